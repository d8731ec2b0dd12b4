//! Commands of the Locker, as plain as they come.

use willow_core::locker::{self, Acquire, HeartbeatSession, LockRequest, Mode, Release};
use willow_core::{Command, Machine, Outcome};
use willow_model::KeyValues;

/// Long enough that no test reaches its end.
const TTL_MS: u64 = 3_600_000;

fn acquire(name: &str, wait_ms: u64) -> Command {
    let key_values = KeyValues::user([("name", name)]).expect("valid key values");
    let lock = LockRequest { key_values, mode: Mode::Exclusive };
    let acquire = Acquire { locks: vec![lock], session: None, ttl_ms: Some(TTL_MS), wait_ms, owner: None };
    Command::Lock(locker::Command::Acquire(acquire))
}

/// Changes the state, at once.
pub(crate) fn put(name: &str) -> Command {
    acquire(name, 0)
}

/// Waits until whoever holds `name` lets go.
pub(crate) fn wait_for(name: &str, wait_ms: u64) -> Command {
    acquire(name, wait_ms)
}

fn acquired(outcome: &Outcome) -> &locker::Acquired {
    match outcome {
        Outcome::Lock(locker::Outcome::Acquired(acquired)) => acquired,
        other => panic!("not a grant: {other:?}"),
    }
}

/// Undoes what `put` did, and so ends a wait for it.
pub(crate) fn release(outcome: &Outcome) -> Command {
    let acquired = acquired(outcome);
    let release = Release { lock: acquired.locks[0].lock, session: acquired.session, token: None };
    Command::Lock(locker::Command::Release(release))
}

/// Renews the lease of what `put` did.
pub(crate) fn renew(outcome: &Outcome) -> Command {
    Command::Lock(locker::Command::HeartbeatSession(HeartbeatSession { session: acquired(outcome).session }))
}

/// True while what `put` did stands.
pub(crate) fn holds(machine: &Machine, outcome: &Outcome) -> bool {
    let grant = &acquired(outcome).locks[0];
    machine.locker().validate(grant.lock, grant.token, machine.lookup(0)).valid
}

/// True for the end of a wait that brought something.
pub(crate) fn is_grant(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Lock(locker::Outcome::Acquired(_)))
}
