//! What the Locker stores. Fields marked `skip` are derived and rebuilt on restore.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use willow_model::{Id, KeyValues, Revision};

use super::{Mode, SessionId};
use crate::{WaiterId, table::Row};

/// Whose locks live and die together.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionRow {
    pub(super) id: SessionId,
    pub(super) ttl_ms: u64,
    /// `None` while the acquire that starts it waits: nobody knows it yet to renew it.
    pub(super) deadline_ms: Option<u64>,
    pub(super) owner: Option<Box<str>>,
    /// Started by an acquire: it ends with its last lock.
    pub(super) implicit: bool,
    /// Rows of the locks it holds.
    #[serde(skip)]
    pub(super) held: BTreeSet<u32>,
    /// Rows of its waiters.
    #[serde(skip)]
    pub(super) waiters: BTreeSet<u32>,
    /// Locks that those want, together.
    #[serde(skip)]
    pub(super) wanted: usize,
}

impl SessionRow {
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        self.deadline_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Left of the lease, ms; all of it before it starts.
    pub(super) fn expires_in_ms(&self, now_ms: u64) -> u64 {
        self.deadline_ms.map_or(self.ttl_ms, |at_ms| at_ms.saturating_sub(now_ms))
    }
}

impl Row for SessionRow {
    type Key = SessionId;
    fn key(&self) -> SessionId {
        self.id
    }
}

/// A lock that somebody holds or waits for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Lock {
    pub(super) id: Id,
    pub(super) key_values: KeyValues,
    pub(super) revision: Revision,
    /// Token of the newest grant.
    pub(super) newest: Option<Revision>,
    /// Oldest grant first.
    pub(super) holders: Vec<Holder>,
    /// Who waits, next first.
    #[serde(skip)]
    pub(super) line: BTreeSet<Place>,
}

impl Row for Lock {
    type Key = Id;
    fn key(&self) -> Id {
        self.id
    }
}

/// One grant. A session has one per lock, but of a semaphore as many as it acquired.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) session: SessionId,
    pub(super) mode: Mode,
    pub(super) token: Revision,
    pub(super) depth: u32,
    pub(super) since_ms: u64,
    /// What it was before it became exclusive by an upgrade, should that have to be undone.
    pub(super) upgraded: Option<Shared>,
}

/// A shared grant under an exclusive one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Shared {
    pub(super) token: Revision,
    /// How often it was acquired, less the releases since: those count here first, for the lock stays
    /// exclusive until it is let go.
    pub(super) depth: u32,
}

/// A place in a line: upgrades go first, for all others wait for their shared lock to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) not_upgrade: bool,
    /// Waiter ids only grow: they are the order of arrival.
    pub(super) waiter: WaiterId,
    /// The waiter's row.
    pub(super) row: u32,
}

/// An acquire in line for all its locks at once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) session: SessionId,
    pub(super) wants: Vec<Want>,
    pub(super) since_ms: u64,
    pub(super) deadline_ms: u64,
    /// The session was started for it and goes with it, unless it is granted.
    pub(super) starts_session: bool,
}

impl Row for Waiter {
    type Key = WaiterId;
    fn key(&self) -> WaiterId {
        self.id
    }
}

/// One lock that a waiter wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Want {
    /// The lock's row: it stays while somebody is in its line.
    pub(super) lock: u32,
    pub(super) mode: Mode,
    pub(super) upgrade: bool,
}

impl Waiter {
    pub(super) fn place(&self, row: u32, want: &Want) -> Place {
        Place { not_upgrade: !want.upgrade, waiter: self.id, row }
    }
}

impl Lock {
    /// Where in line, 1 is next; past the end when it is not in line.
    pub(super) fn position(&self, waiter: WaiterId) -> u32 {
        let ahead = self.line.iter().take_while(|place| place.waiter != waiter).count();
        u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1)
    }

    pub(super) fn is_shared_by(&self, session: Option<SessionId>) -> bool {
        let shares = |holder: &Holder| Some(holder.session) == session && holder.mode == Mode::Shared;
        self.holders.iter().any(shares)
    }

    pub(super) fn is_unused(&self) -> bool {
        self.holders.is_empty() && self.line.is_empty()
    }

    /// The grant that `session` has, the one with `token` or the newest.
    pub(super) fn holder(&self, session: SessionId, token: Option<Revision>) -> Option<usize> {
        self.holders
            .iter()
            .rposition(|holder| holder.session == session && token.is_none_or(|token| token == holder.token))
    }
}
