//! What a client may hear.

use serde::{Deserialize, Serialize};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A session started.
    Session {
        /// Its id.
        session: String,
        /// Left of its lease.
        expires_in_ms: u64,
    },
    /// A session ended.
    Ended,
    /// A lease was renewed.
    Renewed {
        /// Left of it.
        expires_in_ms: u64,
    },
    /// All locks asked for are held.
    Acquired {
        /// By whom.
        session: String,
        /// Left of the lease.
        expires_in_ms: u64,
        /// In the order asked for.
        grants: Vec<Grant>,
    },
    /// A lock was given back; held this often still.
    Released {
        /// How often.
        depth: u32,
    },
    /// A lock was taken away.
    Forced,
    /// A lock as it looks; `None` when there is none.
    Lock(Option<LockView>),
    /// A counter was incremented.
    Incremented {
        /// What it counts now.
        amount: u64,
        /// The hold, if one was asked for.
        hold: Option<String>,
    },
    /// A counter was decremented.
    Decremented {
        /// What it counts now.
        amount: u64,
    },
    /// A hold was given back.
    HoldReleased {
        /// What it held.
        amount: u64,
    },
    /// What a counter counts, holds and deliveries included; 0 when there is none.
    Counter {
        /// How much.
        amount: u64,
    },
    /// An item was taken in.
    Enqueued {
        /// Which.
        item: String,
        /// Of its data.
        revision: u64,
        /// New, or the one that waited.
        how: How,
    },
    /// Items, possibly none.
    Delivered(Vec<Delivery>),
    /// An item is done.
    Acked,
    /// What became of a failed item.
    Nacked(Nacked),
    /// An item was handed back.
    Returned,
    /// An item as it looks; `None` when there is none.
    Item(Option<ItemView>),
    /// One page.
    Page {
        /// Of what.
        ids: Vec<String>,
        /// No page follows.
        last: bool,
    },
}

/// One lock held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which.
    pub lock: String,
    /// Its fencing token.
    pub token: u64,
    /// How often the session holds it.
    pub depth: u32,
}

/// A lock as it looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    /// Who holds it.
    pub holders: Vec<Holder>,
    /// Owners of the acquires in line, next first.
    pub waiters: Vec<String>,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Owner of the acquire that started the session.
    pub owner: Option<String>,
    /// Its fencing token.
    pub token: u64,
}

/// What an enqueue did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// A new item.
    Created,
    /// The waiting one has new data.
    Updated,
    /// It had been taken in before.
    Duplicate,
}

/// An item handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Which.
    pub item: String,
    /// Where from.
    pub channel: String,
    /// Its bytes.
    pub data: String,
    /// Of its data.
    pub revision: u64,
    /// Fencing token of the delivery.
    pub fence: u64,
    /// To acknowledge it with.
    pub token: String,
    /// Deliveries so far.
    pub attempt: u32,
    /// What it counts for under the limits of its channel.
    pub weight: u64,
    /// Left of its lease.
    pub expires_in_ms: u64,
}

/// What became of a failed item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nacked {
    /// It is tried again.
    Retry,
    /// It had its last attempt.
    DeadLetter,
    /// A newer one waits in its place.
    Superseded,
}

/// An item as it looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemView {
    /// Where it is.
    pub state: super::ItemState,
    /// Of its data.
    pub revision: u64,
    /// Its bytes.
    pub data: String,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Others hold the lock, or are in line.
    Held,
    /// The session's lease ended, or the session did.
    SessionExpired,
    /// The session does not hold the lock, or not by this token; or the lock is not there.
    NotHeld,
    /// A limit is reached.
    LimitReached,
    /// Less is counted than was to be taken.
    Underflow,
    /// The hold was given back, or its lease ended.
    NoSuchHold,
    /// There is no such item.
    NoSuchItem,
    /// The delivery's lease ended.
    StaleLease,
    /// The request id was used for another request.
    RequestIdReused,
    /// Anything else.
    Other(String),
}

impl Refusal {
    /// True when it says that a lease, of a session, a hold or a delivery, is over.
    #[must_use]
    pub fn says_gone(&self) -> bool {
        matches!(self, Self::SessionExpired | Self::NotHeld | Self::NoSuchHold | Self::NoSuchItem | Self::StaleLease)
    }
}
