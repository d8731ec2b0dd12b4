//! The cluster and the health of the node.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use willow_api::{
    Id,
    cluster::{Cluster, HealthReply, HealthState, Node, Role},
};
use willow_node::Health;

use super::ReadParams;
use crate::{
    app::App,
    extract::Parameters,
    reply::{self, Answer},
};

/// What the health is called, and why it is not `ready`.
fn health(health: &Health) -> (HealthState, Option<String>) {
    match health {
        Health::Starting => (HealthState::Starting, Some("the log is being read back; wait".to_owned())),
        Health::Ready => (HealthState::Ready, None),
        Health::ReadOnly(why) => (HealthState::ReadOnly, Some(why.to_string())),
        Health::Stopping => (HealthState::Stopping, Some("the node is shutting down".to_owned())),
    }
}

/// Get the cluster
///
/// Its nodes and how far it is. Today there is one node.
#[utoipa::path(get, path = "/v1/cluster", tag = "operations", params(ReadParams),
    responses((status = 200, description = "The cluster", body = Cluster)),
    extensions(("x-willow-errors" = json!([]))))]
pub(crate) async fn get_cluster(State(app): State<Arc<App>>, Parameters(params): Parameters<ReadParams>) -> Answer {
    let read = app.read(params.consistency, |machine, _| (machine.cluster_id(), machine.revision(), machine.waiting()));
    let (id, revision, waiting) = read.await?;
    let (health, reason) = health(&app.backend.health());
    let node = Node { id: 1, role: Role::Leader, health, reason };
    Ok(reply::json(&Cluster {
        id: Id::from_u128(id),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision,
        waiting: waiting as u64,
        nodes: vec![node],
    }))
}

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
