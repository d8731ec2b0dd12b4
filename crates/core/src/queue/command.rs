//! What the log may ask of the Queue.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use willow_model::{Id, Key, KeyValues, Revision, Value};
use willow_query::{OrderBy, Query};

use crate::limiter::Selector;

/// Queue commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Adds a queue.
    CreateQueue(CreateQueue),
    /// Changes a queue's settings.
    UpdateQueue(UpdateQueue),
    /// Removes a queue: at once for callers, its rows in bounded steps.
    DeleteQueue(DeleteQueue),
    /// Adds items, or updates waiting ones.
    Enqueue(Enqueue),
    /// Takes items.
    Dequeue(Dequeue),
    /// Items are done.
    Ack(Ack),
    /// An item failed; it is retried or goes to the dead letters.
    Nack(Nack),
    /// An item is handed back unharmed: no attempt is charged.
    Release(Release),
    /// Renews an item's lease.
    Extend(Extend),
    /// Changes a channel's metadata and taints.
    PatchMetadata(PatchMetadata),
    /// Removes a channel's waiting items and its metadata.
    DeleteChannel(DeleteChannel),
    /// Stops handing out, or stops taking in.
    Pause(Pause),
    /// Ends a pause.
    Resume(Resume),
    /// Removes waiting and delayed items by query.
    Purge(Purge),
    /// Moves dead letters back to their channels.
    Redrive(Redrive),
    /// Removes dead letters.
    PurgeDeadLetters(PurgeDeadLetters),
}

/// Bytes of an item. Shared, for they are copied into every reply.
pub type Data = Arc<[u8]>;

/// What a delivered item is acknowledged with: fits one delivery only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseToken {
    /// Revision of the delivery: its fencing token.
    pub revision: Revision,
    /// Makes the token hard to guess.
    pub nonce: u32,
}

/// Adds a queue; its id derives from its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateQueue {
    /// Unique among queues.
    pub name: Box<str>,
    /// Labels of the queue, to query by; may be absent.
    pub key_values: Option<KeyValues>,
    /// Its settings.
    pub config: QueueConfig,
}

/// Settings of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueConfig {
    /// Items it holds at most (waiting, delayed, in flight); `None` is no bound of its own.
    pub max_items: Option<u64>,
    /// Dead letters it keeps; the oldest leave first.
    pub max_dead_letters: u64,
    /// For items that do not say.
    pub defaults: ItemOptions,
}

/// How an item behaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemOptions {
    /// A later enqueue on its channel replaces it while it waits.
    pub updatable: bool,
    /// Deliveries before it is a dead letter; `None` is without end.
    pub max_attempts: Option<u32>,
    /// Between attempts.
    pub backoff: Backoff,
    /// Where a failed item goes.
    pub retry_position: Position,
    /// Visibility timeout, ms.
    pub lease_ms: u64,
    /// Larger goes first, within its channel and in the `priority` order.
    pub priority: i32,
    /// What one delivery counts for under the Limiter, at least 1 (GPUs of a job, say).
    pub weight: u32,
}

/// Exponential backoff. The delay before attempt n+1 is `min(max, initial · factor^(n-1))`, then
/// moved by up to ± `jitter` of itself (from the envelope's entropy).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// First delay, ms; 0 retries at once.
    pub initial_ms: u64,
    /// Growth, thousandths: 2000 doubles.
    pub factor_milli: u32,
    /// Longest delay, ms.
    pub max_ms: u64,
    /// Share of the delay to move by, thousandths, 0–1000.
    pub jitter_milli: u32,
}

/// Where in its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// Before all waiting items of its priority.
    Front,
    /// Behind them.
    Back,
}

/// Changes a queue's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateQueue {
    /// Which.
    pub queue: Selector,
    /// New settings.
    pub config: QueueConfig,
    /// Refused when the queue's revision is another.
    pub if_match: Option<Revision>,
}

/// Removes a queue with all it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteQueue {
    /// Which.
    pub queue: Selector,
    /// Refused when the queue's revision is another.
    pub if_match: Option<Revision>,
}

/// Adds items. Each has its own answer; one refused item does not stop the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enqueue {
    /// Where.
    pub queue: Selector,
    /// 1 to [`crate::limits::BATCH_ITEMS`].
    pub items: Vec<NewItem>,
}

/// An item to add. Options that are `None` come from the queue's defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewItem {
    /// Its channel.
    pub key_values: KeyValues,
    /// Its bytes.
    pub data: Data,
    /// Of the bytes.
    pub content_type: Box<str>,
    /// See [`ItemOptions`].
    pub updatable: Option<bool>,
    /// See [`ItemOptions`]; the inner `None` is without end.
    pub max_attempts: Option<Option<u32>>,
    /// See [`ItemOptions`].
    pub backoff: Option<Backoff>,
    /// See [`ItemOptions`].
    pub retry_position: Option<Position>,
    /// See [`ItemOptions`].
    pub lease_ms: Option<u64>,
    /// See [`ItemOptions`].
    pub priority: Option<i32>,
    /// See [`ItemOptions`].
    pub weight: Option<u32>,
    /// Not before this many ms from now.
    pub delay_ms: u64,
    /// Dead after this many ms, unless done.
    pub expires_in_ms: Option<u64>,
    /// A repeat with the same key on this queue is answered with the first item.
    pub idempotency_key: Option<Box<str>>,
}

impl NewItem {
    /// An item with the queue's defaults, due at once and for good.
    #[must_use]
    pub fn new(key_values: KeyValues, data: Data, content_type: &str) -> Self {
        Self {
            key_values,
            data,
            content_type: content_type.into(),
            updatable: None,
            max_attempts: None,
            backoff: None,
            retry_position: None,
            lease_ms: None,
            priority: None,
            weight: None,
            delay_ms: 0,
            expires_in_ms: None,
            idempotency_key: None,
        }
    }
}

/// Takes items of the channels that match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dequeue {
    /// From where.
    pub queue: Selector,
    /// Which channels. Only its filter, ids, key_count and matching count here.
    pub query: Query,
    /// Which of them first.
    pub order: Order,
    /// Taints to put up with.
    pub tolerations: Vec<Toleration>,
    /// 1 to [`crate::limits::BATCH_ITEMS`].
    pub max_items: u32,
    /// Lease, ms; the item's own when `None`.
    pub lease_ms: Option<u64>,
    /// How long to wait for the first item, ms.
    pub wait_ms: u64,
    /// Who this is, for people.
    pub consumer: Option<Box<str>>,
}

/// Which channel goes first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Whose next item was enqueued first.
    Oldest,
    /// Whose next item has the highest priority; then oldest.
    Priority,
    /// The next after the last one handed out under this cursor's name, by channel id.
    RoundRobin {
        /// Name of the cursor, within the queue.
        cursor: Box<str>,
    },
    /// Any, with equal chance.
    Random,
    /// Whose last delivery is longest ago; those never delivered first, oldest first among equals.
    LongestIdle,
    /// By these keys or `metadata.<key>`s, then by channel id.
    By(Vec<OrderBy>),
}

/// As in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Toleration {
    /// Of the taint; `None` tolerates every key (needs `Exists`).
    pub key: Option<Box<str>>,
    /// How values compare.
    pub operator: TolerationOperator,
    /// `None` tolerates every effect.
    pub effect: Option<TaintEffect>,
}

/// How a toleration's value compares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TolerationOperator {
    /// Any value.
    Exists,
    /// This value.
    Equal(Box<str>),
}

/// Keeps consumers away that do not tolerate it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Taint {
    /// Its key.
    pub key: Box<str>,
    /// Its value; may be empty.
    pub value: Box<str>,
    /// What it does.
    pub effect: TaintEffect,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaintEffect {
    /// Items are not handed to who does not tolerate it.
    NoSchedule,
}

/// Names one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The item.
    pub item: Id,
    /// Its lease token.
    pub token: LeaseToken,
}

/// Items are done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// Of which queue.
    pub queue: Selector,
    /// 1 to [`crate::limits::BATCH_ITEMS`]; each has its own answer.
    pub items: Vec<Delivered>,
}

/// An item failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nack {
    /// Of which queue.
    pub queue: Selector,
    /// Which.
    pub delivered: Delivered,
    /// In place of the backoff, ms.
    pub delay_ms: Option<u64>,
    /// In place of the item's `retry_position`.
    pub position: Option<Position>,
    /// Kept with the item, for people.
    pub reason: Option<Box<str>>,
}

/// An item is handed back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Of which queue.
    pub queue: Selector,
    /// Which.
    pub delivered: Delivered,
}

/// Renews a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extend {
    /// Of which queue.
    pub queue: Selector,
    /// Which.
    pub delivered: Delivered,
    /// From now, ms; the length of the lease it has when `None`.
    pub lease_ms: Option<u64>,
}

/// Changes metadata. Creates the channel when it sets something on one that is not there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchMetadata {
    /// Of which queue.
    pub queue: Selector,
    /// Which channel: it must exist, by items or by metadata.
    pub channel: Id,
    /// `None` removes the key.
    pub set: Vec<(Key, Option<Value>)>,
    /// Replaces all taints, when given.
    pub taints: Option<Vec<Taint>>,
    /// Refused when the channel's revision is another.
    pub if_match: Option<Revision>,
}

/// Removes waiting and delayed items and metadata; what is in flight may still be acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteChannel {
    /// Of which queue.
    pub queue: Selector,
    /// Which.
    pub channel: Id,
}

/// What stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PauseKind {
    /// Handing out.
    Dequeue,
    /// Taking in, so that the queue runs dry ("drain").
    Enqueue,
}

/// A standing pause: it holds for channels to come, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// Of which queue.
    pub queue: Selector,
    /// Which channels; `None` is the whole queue.
    pub query: Option<Query>,
    /// What stops.
    pub kind: PauseKind,
}

/// Ends the standing pauses with this very query (both kinds), or all of the whole queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// Of which queue.
    pub queue: Selector,
    /// As it was paused.
    pub query: Option<Query>,
}

/// Removes waiting and delayed items, in bounded steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Purge {
    /// Of which queue.
    pub queue: Selector,
    /// Of which channels; `None` is all.
    pub query: Option<Query>,
}

/// Moves dead letters back, oldest first, attempts reset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Redrive {
    /// Of which queue.
    pub queue: Selector,
    /// Which; `None` is all.
    pub query: Option<Query>,
    /// At most this many, up to [`crate::limits::ROWS_PER_STEP`].
    pub max_items: u32,
}

/// Removes dead letters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PurgeDeadLetters {
    /// Of which queue.
    pub queue: Selector,
    /// Which; `None` is all.
    pub query: Option<Query>,
    /// At most this many, up to [`crate::limits::ROWS_PER_STEP`].
    pub max_items: u32,
}
