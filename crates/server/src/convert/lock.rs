//! Locks and sessions.

use willow_api::{
    Id, KeyValuesInput,
    keys::SessionId,
    lock::{AcquireReply, AcquireRequest, Grant, Holder, Lock, LockMode, LockWaiter, Session, ValidateReply},
};
use willow_core::{limits, locker};
use willow_model::Origin;

use super::{key_values, label, misplaced, out_of_bounds};
use crate::reply::Failure;

pub(crate) fn session(id: SessionId) -> locker::SessionId {
    locker::SessionId(id.0.to_u128())
}

fn session_id(id: locker::SessionId) -> SessionId {
    SessionId(Id::from_u128(id.0))
}

/// The command that an acquire asks for.
pub(crate) fn acquire(request: AcquireRequest) -> Result<locker::Acquire, Failure> {
    let AcquireRequest { key_values, locks, mode, permits, max_permits, .. } = &request;
    let locks = match (key_values, locks) {
        (Some(key_values), None) => {
            vec![lock_request(key_values, "", *mode, *permits, *max_permits)?]
        }
        (None, Some(locks)) => {
            if let Some(field) = misplaced_in_several(&request) {
                return Err(misplaced(field, "with `locks`, it stands in each of them"));
            }
            if !(1..=limits::LOCKS_PER_ACQUIRE).contains(&locks.len()) {
                return Err(out_of_bounds("locks", &format!("1 to {} locks", limits::LOCKS_PER_ACQUIRE)));
            }
            let one = |(at, lock): (usize, &willow_api::lock::LockSpec)| {
                lock_request(&lock.key_values, &format!("locks[{at}]."), lock.mode, lock.permits, lock.max_permits)
            };
            locks.iter().enumerate().map(one).collect::<Result<_, _>>()?
        }
        (None, None) => return Err(misplaced("key_values", "give the lock's `key_values`, or several `locks`")),
        (Some(_), Some(_)) => return Err(misplaced("locks", "give either `key_values` or `locks`, not both")),
    };
    Ok(locker::Acquire {
        locks,
        session: request.session.map(session),
        ttl_ms: request.ttl_ms,
        wait_ms: request.wait_ms.unwrap_or(0),
        owner: label(request.owner, "owner")?,
    })
}

fn misplaced_in_several(request: &AcquireRequest) -> Option<&'static str> {
    let given = [
        ("mode", request.mode.is_some()),
        ("permits", request.permits.is_some()),
        ("max_permits", request.max_permits.is_some()),
    ];
    given.into_iter().find(|(_, given)| *given).map(|(field, _)| field)
}

/// `prefix` is where the lock stands in the body.
fn lock_request(
    input: &KeyValuesInput,
    prefix: &str,
    mode: Option<LockMode>,
    permits: Option<u32>,
    max_permits: Option<u32>,
) -> Result<locker::LockRequest, Failure> {
    let key_values = key_values(input, Origin::User, &format!("{prefix}key_values"))?;
    let mode = match (mode.unwrap_or_default(), max_permits) {
        (LockMode::Semaphore, Some(max_permits)) => {
            locker::Mode::Semaphore { permits: permits.unwrap_or(1), max_permits }
        }
        (LockMode::Semaphore, None) => {
            return Err(misplaced(&format!("{prefix}max_permits"), "a semaphore needs `max_permits`"));
        }
        (LockMode::Exclusive | LockMode::Shared, _) if permits.is_some() || max_permits.is_some() => {
            let field = if permits.is_some() { "permits" } else { "max_permits" };
            return Err(misplaced(&format!("{prefix}{field}"), "permits belong to the mode `semaphore`"));
        }
        (LockMode::Exclusive, _) => locker::Mode::Exclusive,
        (LockMode::Shared, _) => locker::Mode::Shared,
    };
    Ok(locker::LockRequest { key_values, mode })
}

/// A mode as its three fields.
fn mode(mode: locker::Mode) -> (LockMode, Option<u32>, Option<u32>) {
    match mode {
        locker::Mode::Exclusive => (LockMode::Exclusive, None, None),
        locker::Mode::Shared => (LockMode::Shared, None, None),
        locker::Mode::Semaphore { permits, max_permits } => (LockMode::Semaphore, Some(permits), Some(max_permits)),
    }
}

pub(crate) fn acquired(acquired: locker::Acquired) -> AcquireReply {
    AcquireReply {
        session: session_id(acquired.session),
        expires_in_ms: acquired.expires_in_ms,
        locks: acquired.locks.into_iter().map(grant).collect(),
    }
}

pub(crate) fn grant(grant: locker::Grant) -> Grant {
    let (mode, permits, max_permits) = mode(grant.mode);
    Grant { lock: grant.lock, token: grant.token, mode, permits, max_permits, depth: grant.depth }
}

pub(crate) fn started(session: &locker::Session) -> Session {
    Session { session: session_id(session.session), expires_in_ms: session.expires_in_ms }
}

pub(crate) fn holder(holder: locker::HolderView) -> Holder {
    let (mode, permits, max_permits) = mode(holder.mode);
    Holder {
        owner: super::owned(holder.owner),
        mode,
        permits,
        max_permits,
        token: holder.token,
        depth: holder.depth,
        held_for_ms: holder.held_for_ms,
        expires_in_ms: holder.expires_in_ms,
    }
}

fn waiter(waiter: locker::WaiterView) -> LockWaiter {
    let (mode, permits, max_permits) = mode(waiter.mode);
    LockWaiter {
        owner: super::owned(waiter.owner),
        mode,
        permits,
        max_permits,
        waiting_for_ms: waiter.waiting_for_ms,
        position: waiter.position,
    }
}

pub(crate) fn lock(view: locker::View) -> Lock {
    Lock {
        id: view.id,
        key_values: view.key_values,
        revision: view.revision,
        holders: view.holders.into_iter().map(holder).collect(),
        holding: view.holding,
        waiters: view.waiters.into_iter().map(waiter).collect(),
        waiting: view.waiting,
    }
}

pub(crate) fn validity(validity: &locker::Validity) -> ValidateReply {
    ValidateReply { valid: validity.valid, expires_in_ms: validity.expires_in_ms, newest_token: validity.newest_token }
}
