//! What the Limiter stores. Everything else it knows is derived from these rows.

use serde::{Deserialize, Serialize};
use willow_model::{Id, KeyValues, Kind, Revision};

use super::{BucketId, Limit, RuleMode, bucket::LimitRef};
use crate::{WaiterId, table::Row};

/// A stored rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) id: Id,
    pub(super) name: Box<str>,
    pub(super) key_values: KeyValues,
    pub(super) limit: Limit,
    pub(super) mode: RuleMode,
    pub(super) revision: Revision,
    pub(super) shadow_denials: u64,
    /// Part of its buckets' ids. A new override may change what blocks whoever is parked under one
    /// of them: with new ids they are all tried again.
    pub(super) epoch: Revision,
}

impl Rule {
    pub(super) fn id_of(key_values: &KeyValues) -> Id {
        Id::derive(Kind::Rule, None, key_values.as_bytes())
    }
}

impl Row for Rule {
    type Key = Id;
    fn key(&self) -> Id {
        self.id
    }
}

/// A stored override.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Override {
    pub(super) id: Id,
    /// Slot of its rule, which outlives it.
    pub(super) rule: u32,
    pub(super) name: Box<str>,
    pub(super) key_values: KeyValues,
    pub(super) limit: Limit,
    pub(super) revision: Revision,
}

impl Override {
    pub(super) fn id_of(rule: Id, key_values: &KeyValues) -> Id {
        Id::derive(Kind::Override, Some(rule), key_values.as_bytes())
    }
}

impl Row for Override {
    type Key = Id;
    fn key(&self) -> Id {
        self.id
    }
}

/// A stored counter; `free` and `held` are never both 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Counter {
    pub(super) id: Id,
    pub(super) key_values: KeyValues,
    pub(super) free: u64,
    /// Bound to holds and to items in flight. `free + held` never leaves 64 bits.
    pub(super) held: u64,
    pub(super) revision: Revision,
}

impl Counter {
    pub(super) fn id_of(key_values: &KeyValues) -> Id {
        Id::derive(Kind::Counter, None, key_values.as_bytes())
    }
}

impl Row for Counter {
    type Key = Id;
    fn key(&self) -> Id {
        self.id
    }
}

/// A stored hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hold {
    pub(super) id: Id,
    /// Slot of its counter, which lives as long as something is held on it.
    pub(super) counter: u32,
    pub(super) amount: u64,
    pub(super) ttl_ms: u64,
    pub(super) expires_ms: u64,
}

impl Row for Hold {
    type Key = Id;
    fn key(&self) -> Id {
        self.id
    }
}

/// A stored waiting increment. Waiter ids grow, so they are the order of the lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) key_values: KeyValues,
    pub(super) amount: u64,
    pub(super) hold_ttl_ms: Option<u64>,
    /// Of the increment's envelope: the id of the hold to come.
    pub(super) entropy: u128,
    pub(super) deadline_ms: u64,
    /// Under which limit's bucket it stands in line.
    pub(super) parked: LimitRef,
}

impl Row for Waiter {
    type Key = WaiterId;
    fn key(&self) -> WaiterId {
        self.id
    }
}

/// A bucket that the queue watches, by the name it knows it by: the name cannot be read backwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Watched {
    pub(super) id: BucketId,
    pub(super) limit: LimitRef,
    /// As in the bucket.
    pub(super) values: Box<[u8]>,
}

impl Row for Watched {
    type Key = BucketId;
    fn key(&self) -> BucketId {
        self.id
    }
}
