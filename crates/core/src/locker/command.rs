//! What the log may ask of the Locker.

use serde::{Deserialize, Serialize};
use willow_model::{Id, KeyValues, Revision};

/// A session's secret name: whoever knows it may use what the session holds. Never listed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u128);

impl std::fmt::Debug for SessionId {
    /// Hides the secret: debug output ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// Locker commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Starts a session.
    CreateSession(CreateSession),
    /// Takes one lock, or several at once.
    Acquire(Acquire),
    /// Gives back a lock.
    Release(Release),
    /// Turns an exclusive lock into a shared one.
    Downgrade(Downgrade),
    /// Renews the lease of the session that holds a lock.
    HeartbeatLock(HeartbeatLock),
    /// Renews a session's lease.
    HeartbeatSession(HeartbeatSession),
    /// Ends a session and gives back all it holds.
    EndSession(EndSession),
    /// Takes a lock from its holders by force.
    ForceRelease(ForceRelease),
}

/// Starts a session; its id is the envelope's entropy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateSession {
    /// Lease, ms.
    pub ttl_ms: u64,
    /// Who this is, for people.
    pub owner: Option<Box<str>>,
}

/// Takes all `locks` or none.
///
/// What the session holds already is counted once more, under the same token, and past any line; shared
/// becomes exclusive, with a new token, if nobody shares it. A semaphore is not re-entrant: each acquire
/// takes permits of its own, under its own token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acquire {
    /// 1 to [`crate::limits::LOCKS_PER_ACQUIRE`] locks, no two the same.
    pub locks: Vec<LockRequest>,
    /// The session to hold them; `None` starts one whose id is the envelope's entropy, shaped as a UUID. It
    /// ends with its last lock, so that lock and unlock leave nothing behind; one started by
    /// [`CreateSession`] stays.
    pub session: Option<SessionId>,
    /// Lease of the session, ms: of the new one, or a new value for the given one.
    pub ttl_ms: Option<u64>,
    /// How long to wait in line, ms; 0 tries once.
    pub wait_ms: u64,
    /// Who this is, for people; of a new session.
    pub owner: Option<Box<str>>,
}

/// One lock of an acquire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LockRequest {
    /// Which.
    pub key_values: KeyValues,
    /// How.
    pub mode: Mode,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Alone.
    Exclusive,
    /// With other shared holders.
    Shared,
    /// With other permits, up to `max_permits` of them.
    Semaphore {
        /// Wanted or held, at least 1.
        permits: u32,
        /// Of the lock in all. Holders and waiters of one lock agree on it.
        max_permits: u32,
    },
}

/// Gives back a lock, once per time it was acquired by the session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Which.
    pub lock: Id,
    /// Whose.
    pub session: SessionId,
    /// Refused when it is not the token held.
    pub token: Option<Revision>,
}

/// Exclusive to shared, without letting go. Keeps the token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Downgrade {
    /// Which.
    pub lock: Id,
    /// Whose.
    pub session: SessionId,
    /// Refused when it is not the token held.
    pub token: Option<Revision>,
}

/// Renews the session's lease if it still holds the lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatLock {
    /// Which.
    pub lock: Id,
    /// Whose.
    pub session: SessionId,
    /// Refused when it is not the token held.
    pub token: Option<Revision>,
}

/// Renews a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatSession {
    /// Whose.
    pub session: SessionId,
}

/// Ends a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndSession {
    /// Whose.
    pub session: SessionId,
}

/// Takes a lock away from everyone who holds it. Audited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForceRelease {
    /// Which.
    pub lock: Id,
    /// Who asks, for the audit.
    pub by: Option<Box<str>>,
    /// Why, for the audit.
    pub reason: Option<Box<str>>,
}
