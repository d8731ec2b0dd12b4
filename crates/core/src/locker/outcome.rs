//! What Locker commands answer, and how locks look to a reader.

use serde::{Deserialize, Serialize};
use willow_model::{Id, KeyValues, Revision};

use super::{Mode, SessionId};

/// Answers of Locker commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// A session started.
    Session(Session),
    /// All locks asked for are held.
    Acquired(Acquired),
    /// A lock was given back; held `depth` times still.
    Released {
        /// 0 when it is let go.
        depth: u32,
    },
    /// The lock is shared now.
    Downgraded(Grant),
    /// The lease was renewed.
    Renewed {
        /// Left of the lease, ms.
        expires_in_ms: u64,
    },
    /// A session ended; `released` locks were given back.
    Ended {
        /// How many.
        released: u32,
    },
    /// A lock was taken away from `holders` sessions.
    Forced {
        /// How many.
        holders: u32,
    },
}

impl From<Outcome> for crate::Outcome {
    fn from(outcome: Outcome) -> Self {
        Self::Lock(outcome)
    }
}

/// A session as its owner sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its secret.
    pub session: SessionId,
    /// Left of its lease, ms.
    pub expires_in_ms: u64,
}

/// What an acquire brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acquired {
    /// The session that holds the locks.
    pub session: SessionId,
    /// Left of its lease, ms.
    pub expires_in_ms: u64,
    /// In the order asked for.
    pub locks: Vec<Grant>,
}

/// One lock held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Which.
    pub lock: Id,
    /// Fencing token: larger than that of any earlier grant.
    pub token: Revision,
    /// How it is held.
    pub mode: Mode,
    /// How many releases let it go.
    pub depth: u32,
}

/// A lock as anyone may see it: no session secret.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its id.
    pub id: Id,
    /// What it locks.
    pub key_values: KeyValues,
    /// Revision of this incarnation.
    pub revision: Revision,
    /// Who holds it, oldest grant first; at most [`super::HOLDERS_SHOWN`].
    pub holders: Vec<HolderView>,
    /// How many hold it in all.
    pub holding: u32,
    /// Who waits for it, next first; at most [`super::WAITERS_SHOWN`].
    pub waiters: Vec<WaiterView>,
    /// How many wait in all.
    pub waiting: u32,
}

/// A holder as anyone may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HolderView {
    /// As the session named itself.
    pub owner: Option<Box<str>>,
    /// How it holds.
    pub mode: Mode,
    /// Its fencing token.
    pub token: Revision,
    /// How often it acquired the lock.
    pub depth: u32,
    /// Since when, ms ago.
    pub held_for_ms: u64,
    /// Left of its lease, ms.
    pub expires_in_ms: u64,
}

/// A waiter as anyone may see it.
#[derive(Clone, Debug, PartialEq)]
pub struct WaiterView {
    /// As the session named itself.
    pub owner: Option<Box<str>>,
    /// How it wants the lock.
    pub mode: Mode,
    /// Since when, ms ago.
    pub waiting_for_ms: u64,
    /// Place in line, 1 is next.
    pub position: u32,
}

/// Holders listed in one [`View`] or refusal.
pub const HOLDERS_SHOWN: usize = 100;

/// Waiters listed in one [`View`].
pub const WAITERS_SHOWN: usize = 100;

/// Answer of [`super::Locker::validate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// True when the token is held now.
    pub valid: bool,
    /// Left of the holder's lease when valid, ms.
    pub expires_in_ms: Option<u64>,
    /// The newest token ever granted on this lock while it exists, to compare with.
    pub newest_token: Option<Revision>,
}
