//! Queues: settings, life cycle, pauses, purge.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    keys::{Id, IdSchema, KeyValues, KeyValuesInput, KeyValuesSchema, Revision},
    limiter::Limit,
    page::{QueryInput, QuerySchema},
};

/// Where in its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Before all waiting items of its priority.
    Front,
    /// Behind them.
    Back,
}

/// Exponential backoff: the delay before attempt n + 1 is `min(max_ms, initial_ms · factor^(n-1))`,
/// then moved by up to ± `jitter` of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"initial_ms": 1000, "factor": 2.0, "max_ms": 60000, "jitter": 0.1}))]
pub struct Backoff {
    /// First delay, ms; 0 retries at once. 1000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 31622400000_i64)]
    pub initial_ms: Option<u64>,
    /// Growth per attempt, 1 to 1000, in steps of 0.001. 2 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub factor: Option<f64>,
    /// Longest delay, ms. 60,000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 31622400000_i64)]
    pub max_ms: Option<u64>,
    /// Share of the delay to move by, 0 to 1, in steps of 0.001. 0.1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub jitter: Option<f64>,
}

/// How items behave that do not say otherwise. All are present in replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({
    "updatable": false, "max_attempts": 5,
    "backoff": {"initial_ms": 1000, "factor": 2.0, "max_ms": 60000, "jitter": 0.1},
    "retry_position": "back", "lease_ms": 30000, "priority": 0, "weight": 1
}))]
pub struct ItemDefaults {
    /// A later enqueue on its channel replaces it while it waits. False when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updatable: Option<bool>,
    /// Deliveries before it is a dead letter, at least 1, or `"unlimited"`. 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<Limit>,
    /// Between attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Where a failed item goes. `back` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_position: Option<Position>,
    /// Lease of a delivery (visibility timeout), ms. 30,000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 86400000)]
    pub lease_ms: Option<u64>,
    /// Larger goes first, within its channel and in the `priority` order. 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// What one delivery counts for under the Limiter, at least 1 (GPUs of a job, say). 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    pub weight: Option<u32>,
}

/// Adds a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({
    "name": "builds", "key_values": {"team": "ci"}, "max_items": 100000,
    "defaults": {"max_attempts": 3, "lease_ms": 60000}
}))]
pub struct CreateQueueRequest {
    /// Unique among queues. 1 to 128 bytes; not a UUID.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// Labels of the queue, to query by; they never change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<KeyValuesSchema>)]
    pub key_values: Option<KeyValuesInput>,
    /// Items it holds at most (waiting, delayed, in flight); no bound of its own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    /// Dead letters it keeps; the oldest leave first. 10,000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_dead_letters: Option<u64>,
    /// For items that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<ItemDefaults>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

impl CreateQueueRequest {
    /// A queue with every setting as it is by default.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            key_values: None,
            max_items: None,
            max_dead_letters: None,
            defaults: None,
            request_id: None,
        }
    }
}

/// Replaces a queue's settings, all of them: what is absent gets its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"max_items": 200000, "defaults": {"max_attempts": "unlimited"}}))]
pub struct UpdateQueueRequest {
    /// Items it holds at most (waiting, delayed, in flight); no bound of its own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    /// Dead letters it keeps; the oldest leave first. 10,000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_dead_letters: Option<u64>,
    /// For items that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<ItemDefaults>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "0190163d-8694-739b-aea5-966c26f8ad96", "name": "builds", "key_values": {"team": "ci"},
    "max_items": 100000, "max_dead_letters": 10000,
    "defaults": {"updatable": false, "max_attempts": 3,
                 "backoff": {"initial_ms": 1000, "factor": 2.0, "max_ms": 60000, "jitter": 0.1},
                 "retry_position": "back", "lease_ms": 60000, "priority": 0, "weight": 1},
    "revision": 5, "state": "active", "pauses": [], "counts": {"waiting": 12, "delayed": 1, "in_flight": 3},
    "channels": 4, "dead_letters": 0, "consumers_waiting": 0
}))]
pub struct Queue {
    /// Its id.
    #[schema(value_type = IdSchema)]
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<KeyValuesSchema>)]
    pub key_values: Option<KeyValues>,
    /// Items it holds at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_items: Option<u64>,
    /// Dead letters it keeps.
    pub max_dead_letters: u64,
    /// For items that do not say.
    pub defaults: ItemDefaults,
    /// Revision of its last change; also the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// Where it is in its life.
    pub state: QueueState,
    /// Standing pauses.
    pub pauses: Vec<StandingPause>,
    /// Items by state.
    pub counts: ItemCounts,
    /// Channels.
    pub channels: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Consumers waiting.
    pub consumers_waiting: u64,
}

/// Where a queue is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueState {
    /// In use.
    Active,
    /// Gone for callers; what it holds is being removed.
    Deleting,
}

/// Items by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemCounts {
    /// Due.
    pub waiting: u64,
    /// Not due yet.
    pub delayed: u64,
    /// Delivered, lease running.
    pub in_flight: u64,
}

/// What a pause stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PauseKind {
    /// Handing out.
    Dequeue,
    /// Taking in, so that the queue runs dry: set by `drain`.
    Enqueue,
}

/// A standing pause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StandingPause {
    /// What stops.
    pub kind: PauseKind,
    /// Of which channels; absent for the whole queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<QuerySchema>)]
    pub query: Option<QueryInput>,
}

/// The queue is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"state": "deleting"}))]
pub struct DeletingReply {
    /// Always `deleting`. The queue is gone for callers; its rows go in the background.
    pub state: QueueState,
}

/// Pauses, drains, resumes or purges the whole queue, or the channels that match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"query": {"where": {"branch": {"eq": "main"}}}}))]
pub struct QueueActionRequest {
    /// Which channels; absent for the whole queue. Only its filter counts here. A pause also holds
    /// for channels to come, and a resume names the very query that was paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<QuerySchema>)]
    pub query: Option<QueryInput>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// Items were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"items": 12, "continuing": false}))]
pub struct RemovedReply {
    /// So far.
    pub items: u64,
    /// True when more is removed in the background.
    pub continuing: bool,
}

/// Moves dead letters back to their channels, or removes them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"query": {"where": {"branch": {"eq": "main"}}}, "max_items": 100}))]
pub struct DeadLetterActionRequest {
    /// Which; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<QuerySchema>)]
    pub query: Option<QueryInput>,
    /// At most this many, 1 to 1000; 1000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub max_items: Option<u32>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// Dead letters went back to their channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"items": 3, "more": false}))]
pub struct RedriveReply {
    /// How many.
    pub items: u64,
    /// True when matching ones are left: repeat the call.
    pub more: bool,
}

/// An empty answer: it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({}))]
pub struct DoneReply {}

/// A body for calls that need none: only a `request_id`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({}))]
pub struct EmptyRequest {
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

crate::object::object! {
    Backoff,
    ItemDefaults,
    CreateQueueRequest,
    UpdateQueueRequest,
    QueueActionRequest,
    DeadLetterActionRequest,
    EmptyRequest,
}
