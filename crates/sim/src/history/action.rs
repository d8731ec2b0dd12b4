//! What a client may ask for.

use serde::{Deserialize, Serialize};

/// How a lock is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Alone.
    Exclusive,
    /// With other shared holders.
    Shared,
    /// Some of its permits.
    Semaphore {
        /// How many.
        permits: u32,
        /// Of how many.
        max_permits: u32,
    },
}

/// An operation. Resources are named by strings that the driver chooses; sessions, holds, items and tokens
/// by what the server called them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Starts a session.
    CreateSession {
        /// Its lease.
        ttl_ms: u64,
    },
    /// Ends a session.
    EndSession {
        /// Which.
        session: String,
    },
    /// Renews a session's lease.
    RenewSession {
        /// Which.
        session: String,
    },
    /// Takes all of these locks, or none.
    Acquire {
        /// Which, and how.
        locks: Vec<(String, Mode)>,
        /// Who will hold them; `None` starts a session.
        session: Option<String>,
        /// Lease of the session.
        ttl_ms: u64,
        /// How long to wait in line.
        wait_ms: u64,
        /// Label that others see: unique for each acquire, so that readers can tell who waits.
        owner: String,
    },
    /// Gives a lock back.
    Release {
        /// Which.
        lock: String,
        /// Whose.
        session: String,
        /// Of which grant.
        token: Option<u64>,
    },
    /// Renews the lease of the session that holds a lock.
    RenewLock {
        /// Which.
        lock: String,
        /// Whose.
        session: String,
        /// Of which grant.
        token: Option<u64>,
    },
    /// Takes a lock away from whoever holds it.
    ForceRelease {
        /// Which.
        lock: String,
    },
    /// Looks at a lock.
    ReadLock {
        /// Which.
        lock: String,
        /// Any state will do.
        stale: bool,
    },
    /// Adds to a counter.
    Increment {
        /// Which.
        counter: String,
        /// How much.
        amount: u64,
        /// Bound to a lease of this length.
        hold_ttl_ms: Option<u64>,
        /// How long to wait for room.
        wait_ms: u64,
    },
    /// Takes from a counter.
    Decrement {
        /// Which.
        counter: String,
        /// How much.
        amount: u64,
    },
    /// Renews a hold.
    RenewHold {
        /// Which.
        hold: String,
    },
    /// Gives a hold back.
    ReleaseHold {
        /// Which.
        hold: String,
    },
    /// Looks at a counter.
    ReadCounter {
        /// Which.
        counter: String,
        /// Any state will do.
        stale: bool,
    },
    /// Adds an item, or updates the one that waits.
    Enqueue {
        /// Where.
        queue: String,
        /// Where in there.
        channel: String,
        /// Different for each enqueue of a run.
        data: String,
        /// It may be updated in place.
        updatable: bool,
    },
    /// Takes items.
    Dequeue {
        /// From where.
        queue: String,
        /// How many.
        max_items: u32,
        /// Lease of each.
        lease_ms: u64,
        /// How long to wait for the first.
        wait_ms: u64,
    },
    /// An item is done.
    Ack {
        /// Of which queue.
        queue: String,
        /// Which.
        item: String,
        /// Of which delivery.
        token: String,
    },
    /// An item failed.
    Nack {
        /// Of which queue.
        queue: String,
        /// Which.
        item: String,
        /// Of which delivery.
        token: String,
    },
    /// An item is handed back.
    Return {
        /// Of which queue.
        queue: String,
        /// Which.
        item: String,
        /// Of which delivery.
        token: String,
    },
    /// Renews an item's lease.
    Extend {
        /// Of which queue.
        queue: String,
        /// Which.
        item: String,
        /// Of which delivery.
        token: String,
    },
    /// Looks at an item.
    ReadItem {
        /// Of which queue.
        queue: String,
        /// Which.
        item: String,
        /// Any state will do.
        stale: bool,
    },
    /// Asks for one page of a listing of items.
    Page {
        /// Of which queue.
        shelf: String,
        /// Names the walk that it belongs to.
        walk: u64,
        /// The first page of a walk.
        first: bool,
    },
}

impl Action {
    /// The delivery that it is about: queue, item, token.
    #[must_use]
    pub fn delivery(&self) -> Option<(&str, &str, &str)> {
        match self {
            Self::Ack { queue, item, token }
            | Self::Nack { queue, item, token }
            | Self::Return { queue, item, token }
            | Self::Extend { queue, item, token } => Some((queue, item, token)),
            _ => None,
        }
    }

    /// True when it changes nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Self::ReadLock { .. } | Self::ReadCounter { .. } | Self::ReadItem { .. } | Self::Page { .. })
    }

    /// True for a read that may be answered from any state.
    #[must_use]
    pub fn is_stale_read(&self) -> bool {
        matches!(
            self,
            Self::ReadLock { stale: true, .. }
                | Self::ReadCounter { stale: true, .. }
                | Self::ReadItem { stale: true, .. }
        )
    }
}
