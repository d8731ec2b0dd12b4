//! Why a Locker command did nothing.

use serde::{Deserialize, Serialize};
use willow_model::Id;

use super::HolderView;

/// Refusals of Locker commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// Somebody else holds it, or is ahead in line.
    #[error("the lock is held; wait with wait_ms, or retry later")]
    Held {
        /// The first lock of the request that cannot be had.
        lock: Id,
        /// Who holds it.
        holders: Vec<HolderView>,
        /// Place in line that the caller had, or would have had.
        position: u32,
        /// When a lease bounds it: nothing changes before, unless somebody lets go, ms.
        retry_after_ms: Option<u64>,
    },
    /// No such session: it ended, or its lease did.
    #[error("the session has expired or never was; acquire again without it")]
    SessionExpired,
    /// The session does not hold the lock.
    #[error("this session does not hold the lock")]
    NotHeld {
        /// Which.
        lock: Id,
    },
    /// The token is not the one held.
    #[error("the fencing token is stale: the lock was granted anew since")]
    StaleToken {
        /// Which.
        lock: Id,
    },
    /// No such lock: nobody holds it or waits for it.
    #[error("no such lock: nobody holds it or waits for it")]
    NoSuchLock {
        /// Which.
        lock: Id,
    },
    /// The lock is in use with another kind or capacity.
    #[error("the lock is in use as another kind, or with another max_permits")]
    ModeMismatch {
        /// Which.
        lock: Id,
    },
    /// Two sessions want to turn shared into exclusive, or one wants that among several locks: they could
    /// wait for each other for ever.
    #[error(
        "waiting to upgrade this lock might never end: another session waits to upgrade it too, or the acquire wants other locks beside; release and acquire again"
    )]
    UpgradeDeadlock {
        /// Which.
        lock: Id,
    },
    /// A value is out of its bounds.
    #[error("{field} is out of bounds: {bounds}")]
    OutOfBounds {
        /// Which field.
        field: Box<str>,
        /// What it may be.
        bounds: Box<str>,
    },
    /// One acquire names a lock twice.
    #[error("the same key values are listed twice in one acquire")]
    DuplicateLock,
    /// The session holds, or waits for, as many as it may.
    #[error("the session holds and waits for as many locks as one session may; release some, or use another session")]
    TooManyLocks,
    /// The machine holds as many as it may.
    #[error("there are as many {what} as there may be; retry later")]
    Full {
        /// Of what: `locks` or `sessions`.
        what: Box<str>,
    },
}
