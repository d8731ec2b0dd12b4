//! The health of the node.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use willow_api::cluster::{HealthReply, HealthState};
use willow_node::Health;

use crate::{
    app::App,
    convert::cluster::health,
    reply::{self, Answer},
};

/// Is the process alive
///
/// 200 for as long as it answers at all. Restart it when it does not.
#[utoipa::path(get, path = "/livez", tag = "operations",
    responses((status = 200, description = "It is", body = HealthReply)),
    extensions(("x-willow-errors" = json!([]))))]
pub(crate) async fn livez(State(app): State<Arc<App>>) -> Answer {
    let (status, reason) = health(&app.backend.health());
    Ok(reply::json(&HealthReply { status, reason }))
}

/// Does the node take writes
///
/// 200 when it does; else 503, with the reason and what to do.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses((status = 200, description = "It does", body = HealthReply),
        (status = 503, description = "It does not", body = HealthReply)),
    extensions(("x-willow-errors" = json!([]))))]
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Answer {
    let stopping = app.stopping.is_cancelled();
    let (status, reason) = health(&if stopping { Health::Stopping } else { app.backend.health() });
    let code = if status == HealthState::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(reply::json_with(code, &HealthReply { status, reason }))
}
