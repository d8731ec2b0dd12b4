//! Locks.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use willow_api::{
    ErrorCode, Id, Page, Problem, QueryInput,
    lock::{
        AcquireReply, AcquireRequest, ForceReleaseReply, Grant, HeldLockRequest, Lock, ReleaseReply, RenewedReply,
        ValidateReply, ValidateRequest,
    },
    page::QuerySchema,
};
use willow_core::{
    Command, Machine, Outcome,
    locker::{self, Downgrade, ForceRelease, HeartbeatLock, Release},
    machine::{Collection, Lookup},
};
use willow_query::Query;

use super::{
    ReadParams,
    lookup::{self, Look},
};
use crate::{
    app::App,
    convert,
    extract::{Args, Body, Parameters, RequestIdHeader},
    reply::{self, Answer, Failure},
};

/// Acquire locks
///
/// Takes one lock or several, all or nothing, for a session: the given one, or a new one. With `wait_ms`
/// the call waits in line, first come, first served. Every grant has a fencing token, larger than that of
/// any earlier grant. The reply can get lost on its way: give a `request_id`, and repeat the call with it.
#[utoipa::path(post, path = "/v1/locks", tag = "locks", request_body = AcquireRequest,
    responses((status = 200, description = "All locks are held", body = AcquireReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_KEY_VALUES", "RESERVED_KEY", "DUPLICATE_LOCK",
        "LOCK_HELD", "LOCK_MODE_MISMATCH", "LOCK_UPGRADE_DEADLOCK", "TOO_MANY_LOCKS", "SESSION_EXPIRED",
        "WAIT_CANCELLED", "TOO_MANY_WAITERS"]))))]
pub(crate) async fn acquire_locks(State(app): State<Arc<App>>, body: Body<AcquireRequest>) -> Answer {
    let acquire = locker::Command::Acquire(convert::lock::acquire(body.value)?);
    match app.propose(Command::Lock(acquire), body.request_id).await? {
        Outcome::Lock(locker::Outcome::Acquired(acquired)) => Ok(reply::json(&convert::lock::acquired(acquired))),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Query locks
///
/// Locks that somebody holds or waits for.
#[utoipa::path(post, path = "/v1/locks/query", tag = "locks", params(ReadParams), request_body = Option<QuerySchema>,
    responses((status = 200, description = "One page", body = Page<Lock>)),
    extensions(("x-willow-read" = json!(true)),
        ("x-willow-errors" = json!(["INVALID_QUERY", "PAGE_TOKEN_MISMATCH"]))))]
pub(crate) async fn query_locks(
    State(app): State<Arc<App>>,
    Parameters(params): Parameters<ReadParams>,
    body: Body<QueryInput>,
) -> Answer {
    let look = Look {
        collection: |_: &_| Some(Collection::Locks),
        read: |machine: &Machine, query: &Query, lookup: Lookup<'_>| machine.locker().query(query, lookup).map(Some),
        item: convert::lock::lock,
        missing: || no_such_lock(None),
    };
    lookup::answer(&app, params.consistency, convert::query(&body.value)?, look).await
}

/// Get a lock
///
/// Who holds it and who waits for it. Session secrets are never shown.
#[utoipa::path(get, path = "/v1/locks/{lock}", tag = "locks",
    params(("lock" = willow_api::keys::IdSchema, Path, description = "The lock's id"), ReadParams),
    responses((status = 200, description = "The lock", body = Lock)),
    extensions(("x-willow-errors" = json!(["LOCK_NOT_FOUND"]))))]
pub(crate) async fn get_lock(
    State(app): State<Arc<App>>,
    Args(lock): Args<Id>,
    Parameters(params): Parameters<ReadParams>,
) -> Answer {
    let view = app.read(params.consistency, |machine, lookup| machine.locker().get(lock, lookup)).await?;
    let view = view.ok_or_else(|| no_such_lock(Some(lock)))?;
    Ok(reply::json(&convert::lock::lock(view)))
}

fn no_such_lock(lock: Option<Id>) -> Failure {
    let detail = "no such lock: nobody holds it or waits for it";
    Problem::new(ErrorCode::LockNotFound, detail).with(|facts| facts.lock = lock).into()
}

/// Query parameters of a force-release.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ForceParams {
    /// Who asks, for the audit. At most 256 bytes.
    #[param(max_length = 256, nullable = false)]
    by: Option<String>,
    /// Why, for the audit. At most 256 bytes.
    #[param(max_length = 256, nullable = false)]
    reason: Option<String>,
}

/// Force-release a lock
///
/// Takes a lock away from everyone who holds it; the next in line gets it. Audited. Holders do not notice
/// before their next heartbeat: the fencing token is what protects the resource from them.
#[utoipa::path(delete, path = "/v1/locks/{lock}", tag = "locks",
    params(("lock" = willow_api::keys::IdSchema, Path, description = "The lock's id"), ForceParams),
    responses((status = 200, description = "It is taken away", body = ForceReleaseReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_PARAMETER", "LOCK_NOT_FOUND"]))))]
pub(crate) async fn force_release_lock(
    State(app): State<Arc<App>>,
    Args(lock): Args<Id>,
    Parameters(params): Parameters<ForceParams>,
    RequestIdHeader(request_id): RequestIdHeader,
) -> Answer {
    let (by, reason) = (convert::label(params.by, "by")?, convert::label(params.reason, "reason")?);
    let force = locker::Command::ForceRelease(ForceRelease { lock, by, reason });
    match app.propose(Command::Lock(force), request_id).await? {
        Outcome::Lock(locker::Outcome::Forced { holders }) => Ok(reply::json(&ForceReleaseReply { holders })),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Heartbeat a lock
///
/// Renews the lease of the session, if it still holds the lock. All that the session holds is renewed.
#[utoipa::path(post, path = "/v1/locks/{lock}/heartbeat", tag = "locks", request_body = HeldLockRequest,
    params(("lock" = willow_api::keys::IdSchema, Path, description = "The lock's id")),
    responses((status = 200, description = "The lease is renewed", body = RenewedReply)),
    extensions(("x-willow-errors" = json!(["SESSION_EXPIRED", "LOCK_NOT_HELD", "LOCK_NOT_FOUND", "STALE_TOKEN"]))))]
pub(crate) async fn heartbeat_lock(
    State(app): State<Arc<App>>,
    Args(lock): Args<Id>,
    body: Body<HeldLockRequest>,
) -> Answer {
    let HeldLockRequest { session, token, .. } = body.value;
    let heartbeat = HeartbeatLock { lock, session: convert::lock::session(session), token };
    match app.propose(Command::Lock(locker::Command::HeartbeatLock(heartbeat)), body.request_id).await? {
        Outcome::Lock(locker::Outcome::Renewed { expires_in_ms }) => Ok(reply::json(&RenewedReply { expires_in_ms })),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Release a lock
///
/// Gives the lock back, once for each time the session acquired it.
#[utoipa::path(post, path = "/v1/locks/{lock}/release", tag = "locks", request_body = HeldLockRequest,
    params(("lock" = willow_api::keys::IdSchema, Path, description = "The lock's id")),
    responses((status = 200, description = "It is given back", body = ReleaseReply)),
    extensions(("x-willow-errors" = json!(["SESSION_EXPIRED", "LOCK_NOT_HELD", "LOCK_NOT_FOUND", "STALE_TOKEN"]))))]
pub(crate) async fn release_lock(
    State(app): State<Arc<App>>,
    Args(lock): Args<Id>,
    body: Body<HeldLockRequest>,
) -> Answer {
    let HeldLockRequest { session, token, .. } = body.value;
    let release = Release { lock, session: convert::lock::session(session), token };
    match app.propose(Command::Lock(locker::Command::Release(release)), body.request_id).await? {
        Outcome::Lock(locker::Outcome::Released { depth }) => Ok(reply::json(&ReleaseReply { depth })),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Downgrade a lock
///
/// Turns an exclusive lock into a shared one without letting go. The token stays.
#[utoipa::path(post, path = "/v1/locks/{lock}/downgrade", tag = "locks", request_body = HeldLockRequest,
    params(("lock" = willow_api::keys::IdSchema, Path, description = "The lock's id")),
    responses((status = 200, description = "It is shared", body = Grant)),
    extensions(("x-willow-errors" = json!(["SESSION_EXPIRED", "LOCK_NOT_HELD", "LOCK_NOT_FOUND", "STALE_TOKEN",
        "LOCK_MODE_MISMATCH"]))))]
pub(crate) async fn downgrade_lock(
    State(app): State<Arc<App>>,
    Args(lock): Args<Id>,
    body: Body<HeldLockRequest>,
) -> Answer {
    let HeldLockRequest { session, token, .. } = body.value;
    let downgrade = Downgrade { lock, session: convert::lock::session(session), token };
    match app.propose(Command::Lock(locker::Command::Downgrade(downgrade)), body.request_id).await? {
        Outcome::Lock(locker::Outcome::Downgraded(grant)) => Ok(reply::json(&convert::lock::grant(grant))),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Validate a fencing token
///
/// Whether the token is held now: for the resource that a lock protects. A linearizable read; nothing is
/// renewed. A lock that nobody holds has no valid token.
#[utoipa::path(post, path = "/v1/locks/{lock}/validate", tag = "locks", request_body = ValidateRequest,
    params(("lock" = willow_api::keys::IdSchema, Path, description = "The lock's id")),
    responses((status = 200, description = "Whether it is held", body = ValidateReply)),
    extensions(("x-willow-read" = json!(true)), ("x-willow-errors" = json!([]))))]
pub(crate) async fn validate_lock(
    State(app): State<Arc<App>>,
    Args(lock): Args<Id>,
    body: Body<ValidateRequest>,
) -> Answer {
    let token = body.value.token;
    let linearizable = willow_api::Consistency::Linearizable;
    let validity = app.read(linearizable, |machine, lookup| machine.locker().validate(lock, token, lookup)).await?;
    Ok(reply::json(&convert::lock::validity(&validity)))
}
