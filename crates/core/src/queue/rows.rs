//! What the Queue stores. Fields marked `skip` are derived and rebuilt on restore.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use willow_model::{Id, Key, KeyValues, Revision, Value};
use willow_query::Query;

use super::{
    Data, Death, Dequeue, Enqueued, ItemOptions, LeaseToken, PauseKind, QueueConfig, Taint,
    line::{Entry, Line},
};
use crate::{WaiterId, table::Row};

/// A queue.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct QueueRow {
    pub(super) id: Id,
    pub(super) name: Box<str>,
    pub(super) key_values: Option<KeyValues>,
    pub(super) config: QueueConfig,
    pub(super) revision: Revision,
    /// Revision of its creation: names this incarnation, for what may outlive it.
    pub(super) created: Revision,
    pub(super) deleting: bool,
    pub(super) pauses: Vec<PauseRow>,
    pub(super) purges: Vec<PurgeRow>,
    /// When the next background step is due, while there is something to remove or to search.
    pub(super) step_at_ms: Option<u64>,
    /// A dequeue found so many blocked channels that it goes on in the next step, and all who wait with it.
    pub(super) searching: bool,
}

/// A standing pause.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PauseRow {
    /// Revision at which it began: what channels are parked under.
    pub(super) id: Revision,
    pub(super) kind: PauseKind,
    pub(super) query: Option<Query>,
}

/// A purge under way. It removes what was there when it began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PurgeRow {
    pub(super) query: Query,
    /// Items created later stay.
    pub(super) until: Revision,
    /// Channels up to this id are done.
    pub(super) after: Option<Id>,
}

impl Row for QueueRow {
    type Key = Id;
    fn key(&self) -> Id {
        self.id
    }
}

impl QueueRow {
    pub(super) fn paused_whole(&self, kind: PauseKind) -> bool {
        self.pauses.iter().any(|pause| pause.kind == kind && pause.query.is_none())
    }
}

/// A channel.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Channel {
    pub(super) id: Id,
    /// Its queue's row.
    pub(super) queue: u32,
    pub(super) key_values: KeyValues,
    pub(super) meta: Option<Box<Meta>>,
    /// Of the last change of its metadata, or of its creation.
    pub(super) revision: Revision,
    /// What was in the way when its head was last tried. Replicated, so that replicas try the same.
    pub(super) parked: Option<Parked>,
    /// Revision and time of its last delivery; 0 before the first.
    pub(super) delivered: Revision,
    pub(super) delivered_ms: u64,
    #[serde(skip)]
    pub(super) live: Live,
}

/// What may be changed of a channel.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) pairs: BTreeMap<Key, Value>,
    /// Sorted, without repeats.
    pub(super) taints: Vec<Taint>,
}

/// Why a channel with a due item is not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Parked {
    /// The bucket has no room for the weight of its head.
    Limit { bucket: Id, weight: u64 },
    /// By the pause with this id.
    Pause(Revision),
}

/// Derived state of a channel.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) waiting: Line,
    pub(super) delayed: Line,
    pub(super) in_flight: Line,
    /// Its waiting or delayed updatable item: there is at most one.
    pub(super) updatable: Option<u32>,
    /// As it stands in a pool or in a parked set; `None` when it stands in none.
    pub(super) placed: Option<Placed>,
    /// The counter of its claims, kept while something is in flight.
    pub(super) counter: Option<KeyValues>,
}

/// What the orders go by: copied from the head, so that a channel can be taken out of the order
/// after the head has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) priority: i32,
    /// The head's place in the order of enqueuing.
    pub(super) sequence: Revision,
    /// The channel's last delivery.
    pub(super) delivered: Revision,
    pub(super) weight: u32,
}

impl Row for Channel {
    type Key = Id;
    fn key(&self) -> Id {
        self.id
    }
}

impl Channel {
    pub(super) fn taints(&self) -> &[Taint] {
        self.meta.as_ref().map_or(&[], |meta| &meta.taints)
    }

    pub(super) fn items(&self) -> usize {
        self.live.waiting.len() + self.live.delayed.len() + self.live.in_flight.len()
    }

    /// Its metadata as key values; `None` when there is none.
    pub(super) fn metadata(&self) -> Option<KeyValues> {
        let meta = self.meta.as_ref().filter(|meta| !meta.pairs.is_empty())?;
        let pairs = meta.pairs.iter().map(|(key, value)| (key.as_str(), value.clone()));
        KeyValues::user(pairs).ok()
    }
}

/// An item.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) id: Id,
    /// Its channel's row.
    pub(super) channel: u32,
    pub(super) attempts: u32,
    /// Its place in the order of enqueuing: revision of its creation, or of its redrive.
    pub(super) sequence: Revision,
    /// See [`Entry`].
    pub(super) position: i64,
    /// Of its data.
    pub(super) revision: Revision,
    pub(super) enqueued_ms: u64,
    /// Its timer is set unless it has fired, which `expired` says.
    pub(super) expires_ms: Option<u64>,
    /// Its time was up while it was in flight.
    pub(super) expired: bool,
    pub(super) state: State,
    pub(super) data: Data,
    pub(super) content_type: Arc<str>,
    pub(super) options: Arc<ItemOptions>,
    pub(super) reason: Option<Box<str>>,
}

/// Where an item is in its life.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum State {
    Waiting,
    Delayed { due_ms: u64 },
    InFlight(Box<Lease>),
}

/// A delivery.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) token: LeaseToken,
    pub(super) expires_ms: u64,
    pub(super) lease_ms: u64,
    pub(super) consumer: Option<Box<str>>,
}

impl Row for Item {
    type Key = Id;
    fn key(&self) -> Id {
        self.id
    }
}

impl Item {
    pub(super) fn entry(&self, item: u32) -> Entry {
        Entry { inverse_priority: !self.options.priority, position: self.position, item }
    }
}

/// A waiting dequeue. Its waiter id is its place in line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Consumer {
    pub(super) waiter: WaiterId,
    pub(super) queue: u32,
    pub(super) dequeue: Dequeue,
    pub(super) deadline_ms: u64,
    /// Of its envelope: what is handed to it later needs randomness of its own.
    pub(super) entropy: u64,
}

impl Row for Consumer {
    type Key = WaiterId;
    fn key(&self) -> WaiterId {
        self.waiter
    }
}

/// A dead letter. It keeps its channel's key values, for it outlives its channel.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DeadLetter {
    pub(super) queue: u32,
    pub(super) channel: Id,
    pub(super) key_values: KeyValues,
    pub(super) item: Item,
    pub(super) death: Death,
    /// Revision of its death: the oldest leave first.
    pub(super) died: Revision,
}

impl Row for DeadLetter {
    type Key = Id;
    fn key(&self) -> Id {
        self.item.id
    }
}

/// An idempotency key and what its first use brought.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// The queue's incarnation.
    pub(super) queue: Revision,
    pub(super) name: Box<str>,
    pub(super) enqueued: Enqueued,
    pub(super) expires_ms: u64,
}

impl Row for Remembered {
    type Key = (Revision, Box<str>);
    fn key(&self) -> (Revision, Box<str>) {
        (self.queue, self.name.clone())
    }
}

/// Where a round-robin order stands.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The queue's incarnation.
    pub(super) queue: Revision,
    pub(super) name: Box<str>,
    pub(super) last: Id,
    pub(super) used: Revision,
}

impl Row for Cursor {
    type Key = (Revision, Box<str>);
    fn key(&self) -> (Revision, Box<str>) {
        (self.queue, self.name.clone())
    }
}

/// A parked set that is searched, for what blocked it may have passed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OpenSet {
    pub(super) queue: u32,
    pub(super) parked: Parked,
}

impl Row for OpenSet {
    type Key = (u32, Parked);
    fn key(&self) -> (u32, Parked) {
        (self.queue, self.parked)
    }
}
