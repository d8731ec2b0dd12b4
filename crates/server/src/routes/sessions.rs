//! Sessions.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use willow_api::{
    keys::SessionId,
    lock::{CreateSessionRequest, EndSessionReply, RenewedReply, Session},
    queue::EmptyRequest,
};
use willow_core::{
    Command, Outcome, limits,
    locker::{self, CreateSession, EndSession, HeartbeatSession},
};

use crate::{
    app::App,
    convert,
    extract::{Args, Body, RequestIdHeader},
    reply::{self, Answer, Failure},
};

/// Start a session
///
/// A session that holds nothing yet, to acquire locks with. Its id is a secret.
#[utoipa::path(post, path = "/v1/sessions", tag = "locks", request_body = Option<CreateSessionRequest>,
    responses((status = 201, description = "It is started", body = Session)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS"]))))]
pub(crate) async fn create_session(State(app): State<Arc<App>>, body: Body<CreateSessionRequest>) -> Answer {
    let CreateSessionRequest { ttl_ms, owner, .. } = body.value;
    let ttl_ms = ttl_ms.unwrap_or(limits::LEASE_DEFAULT_MS);
    let create = CreateSession { ttl_ms, owner: convert::label(owner, "owner")? };
    match app.propose(Command::Lock(locker::Command::CreateSession(create)), body.request_id).await? {
        Outcome::Lock(locker::Outcome::Session(session)) => {
            Ok(reply::json_with(StatusCode::CREATED, &convert::lock::started(&session)))
        }
        other => Err(Failure::unexpected(&other)),
    }
}

/// Heartbeat a session
///
/// Renews the session's lease, and so everything it holds and its places in line.
#[utoipa::path(post, path = "/v1/sessions/{session}/heartbeat", tag = "locks", request_body = Option<EmptyRequest>,
    params(("session" = SessionId, Path, description = "The session's id")),
    responses((status = 200, description = "The lease is renewed", body = RenewedReply)),
    extensions(("x-willow-errors" = json!(["SESSION_EXPIRED"]))))]
pub(crate) async fn heartbeat_session(
    State(app): State<Arc<App>>,
    Args(session): Args<SessionId>,
    body: Body<EmptyRequest>,
) -> Answer {
    let heartbeat = HeartbeatSession { session: convert::lock::session(session) };
    match app.propose(Command::Lock(locker::Command::HeartbeatSession(heartbeat)), body.request_id).await? {
        Outcome::Lock(locker::Outcome::Renewed { expires_in_ms }) => Ok(reply::json(&RenewedReply { expires_in_ms })),
        other => Err(Failure::unexpected(&other)),
    }
}

/// End a session
///
/// Gives back everything the session holds, and its places in line.
#[utoipa::path(delete, path = "/v1/sessions/{session}", tag = "locks",
    params(("session" = SessionId, Path, description = "The session's id")),
    responses((status = 200, description = "It is ended", body = EndSessionReply)),
    extensions(("x-willow-errors" = json!(["SESSION_EXPIRED"]))))]
pub(crate) async fn end_session(
    State(app): State<Arc<App>>,
    Args(session): Args<SessionId>,
    RequestIdHeader(request_id): RequestIdHeader,
) -> Answer {
    let end = EndSession { session: convert::lock::session(session) };
    match app.propose(Command::Lock(locker::Command::EndSession(end)), request_id).await? {
        Outcome::Lock(locker::Outcome::Ended { released }) => Ok(reply::json(&EndSessionReply { released })),
        other => Err(Failure::unexpected(&other)),
    }
}
