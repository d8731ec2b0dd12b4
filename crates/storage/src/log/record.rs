//! What callers put into the log and get out of it.

use bytes::Bytes;

/// A Raft group of this node. Many groups share one log.
pub type GroupId = u32;

/// Names a small durable value of a group (vote, committed index, …). The caller assigns them.
pub type StateKey = u16;

/// One change to the log of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Appends an entry. Its index must be one past the group's last; the first entry of a group
    /// that never held or purged anything may have any index.
    Entry {
        /// The group.
        group: GroupId,
        /// Raft index.
        index: u64,
        /// Raft term (or anything else: opaque here).
        term: u64,
        /// The entry, opaque here.
        payload: Bytes,
    },
    /// Removes the group's entries from `from` on. Nothing to remove is not an error.
    Truncate {
        /// The group.
        group: GroupId,
        /// First index removed.
        from: u64,
    },
    /// Removes the group's entries up to and including `up_to`, which may lie past the last
    /// entry (a snapshot was installed): the next entry is then `up_to + 1`.
    Purge {
        /// The group.
        group: GroupId,
        /// Last index removed.
        up_to: u64,
    },
    /// Sets a small durable value, replacing the one before.
    State {
        /// The group.
        group: GroupId,
        /// Which value.
        key: StateKey,
        /// The value, opaque here.
        value: Bytes,
    },
    /// Forgets the group: entries, purge point and state.
    Forget {
        /// The group.
        group: GroupId,
    },
}

impl Record {
    /// The group that the record changes.
    pub fn group(&self) -> GroupId {
        match *self {
            Self::Entry { group, .. }
            | Self::Truncate { group, .. }
            | Self::Purge { group, .. }
            | Self::State { group, .. }
            | Self::Forget { group } => group,
        }
    }
}

/// An entry read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Raft index.
    pub index: u64,
    /// Raft term as given.
    pub term: u64,
    /// The entry as given.
    pub payload: Bytes,
}

/// What the log holds of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// First index held; equals `next` when there is none.
    pub first: u64,
    /// One past the last index held or purged: the index of the next entry.
    pub next: u64,
    /// Term of the last entry held.
    pub last_term: Option<u64>,
    /// Last index purged.
    pub purged: Option<u64>,
}

impl Bounds {
    /// Index and term of the last entry held.
    pub fn last(&self) -> Option<(u64, u64)> {
        self.last_term.map(|term| (self.next - 1, term))
    }

    /// Number of entries held.
    pub fn len(&self) -> u64 {
        self.next - self.first
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
