//! Items: enqueue, dequeue, ack, nack, release, extend, inspect.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

pub use crate::delivery::*;
use crate::{
    keys::{Id, IdSchema, KeyValues, KeyValuesInput, KeyValuesSchema, LeaseToken, Revision},
    limiter::Limit,
    page::{QueryInput, QuerySchema},
    problem::Problem,
    queue::{Backoff, Position},
};

/// JSON that is passed on as it is written. Compared as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(pub Box<RawValue>);

impl RawJson {
    /// The JSON of a value.
    ///
    /// # Errors
    /// When the value cannot be JSON, such as a map with keys that are not strings.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// The JSON text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

/// The fields of an item to add, alone or with those of the whole call.
macro_rules! new_item {
    ($(#[$meta:meta])* pub struct $name:ident { $($extra:tt)* }) => {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields, remote = "Self")]
        $(#[$meta])*
        pub struct $name {
            /// Its channel, which is created with its first item.
            #[schema(value_type = KeyValuesSchema)]
            pub key_values: KeyValuesInput,
            /// Its data, any JSON, kept as written; the content type is then `application/json`. At most one
            /// of `data` and `data_base64` is given; none is an item without data.
            #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
            #[schema(value_type = serde_json::Value)]
            pub data: Option<RawJson>,
            /// Its data, any bytes up to 1 MiB, in base64 (RFC 4648, section 4).
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(max_length = 1398104)]
            pub data_base64: Option<String>,
            /// Of `data_base64`; `application/octet-stream` when absent. At most 256 bytes.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(min_length = 1, max_length = 256)]
            pub content_type: Option<String>,
            /// A later enqueue on its channel replaces it while it waits.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub updatable: Option<bool>,
            /// Deliveries before it is a dead letter, at least 1, or `"unlimited"`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub max_attempts: Option<Limit>,
            /// Between attempts.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub backoff: Option<Backoff>,
            /// Where it goes when it fails.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub retry_position: Option<Position>,
            /// Lease of a delivery (visibility timeout), ms.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(minimum = 100, maximum = 86400000)]
            pub lease_ms: Option<u64>,
            /// Larger goes first.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub priority: Option<i32>,
            /// What it counts for under the Limiter, at least 1.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(minimum = 1)]
            pub weight: Option<u32>,
            /// Not before this many ms from now; 0 when absent.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(maximum = 31622400000_i64)]
            pub delay_ms: Option<u64>,
            /// Dead after this many ms, unless done.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(minimum = 1, maximum = 31622400000_i64)]
            pub expires_in_ms: Option<u64>,
            /// A repeat with the same key on this queue is answered with the first item. At most 256 bytes.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(min_length = 1, max_length = 256)]
            pub idempotency_key: Option<String>,
            $($extra)*
        }
    };
}

new_item! {
    /// An item of a batch. What is absent comes from the queue's defaults.
    #[schema(example = json!({"key_values": {"repo": "willow", "os": "linux"}, "data": {"commit": "3f2a91c"}}))]
    pub struct NewItem {}
}

new_item! {
    /// Adds one item. What is absent comes from the queue's defaults.
    #[schema(example = json!({
        "key_values": {"repo": "willow", "branch": "main", "os": "linux"}, "data": {"commit": "3f2a91c"},
        "priority": 10, "delay_ms": 0, "idempotency_key": "3f2a91c-linux"
    }))]
    pub struct EnqueueRequest {
        /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(min_length = 1, max_length = 128)]
        pub request_id: Option<String>,
    }
}

impl NewItem {
    /// An item of a channel, without data; everything else as the queue's defaults say.
    #[must_use]
    pub fn new(key_values: impl Into<KeyValuesInput>) -> Self {
        Self {
            key_values: key_values.into(),
            data: None,
            data_base64: None,
            content_type: None,
            updatable: None,
            max_attempts: None,
            backoff: None,
            retry_position: None,
            lease_ms: None,
            priority: None,
            weight: None,
            delay_ms: None,
            expires_in_ms: None,
            idempotency_key: None,
        }
    }

    /// The call that adds it alone.
    #[must_use]
    pub fn into_request(self, request_id: Option<String>) -> EnqueueRequest {
        EnqueueRequest {
            key_values: self.key_values,
            data: self.data,
            data_base64: self.data_base64,
            content_type: self.content_type,
            updatable: self.updatable,
            max_attempts: self.max_attempts,
            backoff: self.backoff,
            retry_position: self.retry_position,
            lease_ms: self.lease_ms,
            priority: self.priority,
            weight: self.weight,
            delay_ms: self.delay_ms,
            expires_in_ms: self.expires_in_ms,
            idempotency_key: self.idempotency_key,
            request_id,
        }
    }
}

impl EnqueueRequest {
    /// The item and the request id apart.
    #[must_use]
    pub fn split(self) -> (NewItem, Option<String>) {
        let item = NewItem {
            key_values: self.key_values,
            data: self.data,
            data_base64: self.data_base64,
            content_type: self.content_type,
            updatable: self.updatable,
            max_attempts: self.max_attempts,
            backoff: self.backoff,
            retry_position: self.retry_position,
            lease_ms: self.lease_ms,
            priority: self.priority,
            weight: self.weight,
            delay_ms: self.delay_ms,
            expires_in_ms: self.expires_in_ms,
            idempotency_key: self.idempotency_key,
        };
        (item, self.request_id)
    }
}

/// Tells `"data": null`, which is data, from no data.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<RawJson>, D::Error> {
    RawJson::deserialize(deserializer).map(Some)
}

/// Adds several items. Each has its own answer: one refused item does not stop the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({
    "items": [{"key_values": {"repo": "willow", "os": "linux"}, "data": {"commit": "3f2a91c"}},
              {"key_values": {"repo": "willow", "os": "mac"}, "data": {"commit": "3f2a91c"}}]
}))]
pub struct EnqueueBatchRequest {
    /// 1 to 1000 items.
    #[schema(min_items = 1, max_items = 1000)]
    pub items: Vec<NewItem>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// What an enqueue did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "item": "0190163d-8694-739b-aea5-966c26f8ad97", "channel": "0190163d-8694-739b-aea5-966c26f8ad98",
    "revision": 21, "status": "created"
}))]
pub struct EnqueueReply {
    /// The item.
    #[schema(value_type = IdSchema)]
    pub item: Id,
    /// Its channel.
    #[schema(value_type = IdSchema)]
    pub channel: Id,
    /// Of the item now.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// Whether it is new.
    pub status: EnqueueStatus,
}

/// Created, updated, or there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnqueueStatus {
    /// A new item.
    Created,
    /// A waiting updatable item got new data.
    Updated,
    /// The idempotency key was seen before: nothing was added.
    Duplicate,
}

/// One answer for each item, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "results": [{"item": "0190163d-8694-739b-aea5-966c26f8ad97", "channel": "0190163d-8694-739b-aea5-966c26f8ad98",
                 "revision": 21, "status": "created"},
                {"error": {"type": "/docs/errors/QUEUE_FULL", "title": "The queue is full", "status": 429,
                           "code": "QUEUE_FULL", "detail": "the queue is full (1 items); retry when some are done",
                           "retryable": true, "max_items": 1}}]
}))]
pub struct EnqueueBatchReply {
    /// One for each item, in order.
    pub results: Vec<EnqueueResult>,
}

/// What became of one item of a batch: `error`, or the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum EnqueueResult {
    /// It was added.
    Added(EnqueueReply),
    /// It was refused.
    Refused(ItemError),
}

/// Why one item of a batch was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ItemError {
    /// Why.
    pub error: Box<Problem>,
}

/// Which channel goes first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DequeueOrder {
    /// Whose next item was enqueued first.
    #[default]
    Oldest,
    /// Whose next item has the highest priority; then oldest.
    Priority,
    /// The next after the last one handed out under this cursor's name.
    RoundRobin(RoundRobin),
    /// Any, with equal chance.
    Random,
    /// Whose last delivery is longest ago.
    LongestIdle,
    /// By these keys or `metadata.<key>`s, then by channel id. At most 8.
    OrderBy(Vec<OrderBy>),
}

/// A named cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct RoundRobin {
    /// Its name, within the queue. 1 to 128 bytes.
    #[schema(min_length = 1, max_length = 128)]
    pub cursor: String,
}

/// One key to order by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct OrderBy {
    /// The key, or `metadata.` and a metadata key.
    #[schema(min_length = 1, max_length = 137)]
    pub key: String,
    /// Which way; `asc` when absent.
    #[serde(default)]
    pub direction: Direction,
    /// Where channels without the key go; `last` when absent.
    #[serde(default)]
    pub missing: Missing,
}

/// Which way to order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Smallest first.
    #[default]
    Asc,
    /// Largest first.
    Desc,
}

/// Where those without the key go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// After those with it.
    #[default]
    Last,
    /// Before those with it.
    First,
    /// Nowhere: they do not match.
    Exclude,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum TaintEffect {
    /// Items are not handed to who does not tolerate it.
    #[default]
    NoSchedule,
}

/// How a toleration's value compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum TolerationOperator {
    /// This `value`.
    #[default]
    Equal,
    /// Any value.
    Exists,
}

/// A taint that a consumer puts up with; as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}))]
pub struct Toleration {
    /// Of the taint; absent tolerates every key, and needs `Exists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub key: Option<String>,
    /// How values compare; `Equal` when absent.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// The value for `Equal`; empty when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub value: Option<String>,
    /// Absent tolerates every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// Takes items of the channels that match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({
    "query": {"where": {"os": {"in": ["linux", "any"]}}}, "order": "oldest", "max_items": 1, "lease_ms": 60000,
    "wait_ms": 0, "consumer": "runner-3"
}))]
pub struct DequeueRequest {
    /// Which channels; absent for all. Only its filter counts here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<QuerySchema>)]
    pub query: Option<QueryInput>,
    /// Which of them first: `"oldest"` (the default), `"priority"`, `"random"`, `"longest_idle"`,
    /// `{"round_robin": {"cursor": …}}` or `{"order_by": […]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<DequeueOrder>,
    /// Taints to put up with, at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 32)]
    pub tolerations: Vec<Toleration>,
    /// How many at most, 1 to 1000; 1 when absent. Fewer when their data comes to 16 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub max_items: Option<u32>,
    /// Lease, ms; the item's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 86400000)]
    pub lease_ms: Option<u64>,
    /// How long to wait for the first item, ms; 0, the default, tries once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 300000)]
    pub wait_ms: Option<u64>,
    /// Who this is, for people. At most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub consumer: Option<String>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// The items taken; none when the wait ended without one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "items": [{"item": "0190163d-8694-739b-aea5-966c26f8ad97", "channel": "0190163d-8694-739b-aea5-966c26f8ad98",
               "key_values": {"repo": "willow", "os": "linux"}, "data": {"commit": "3f2a91c"},
               "content_type": "application/json", "attempt": 1, "revision": 21, "lease_token": "23-9f3a1c07",
               "expires_in_ms": 60000, "priority": 0, "age_ms": 12}]
}))]
pub struct DequeueReply {
    /// The items taken.
    pub items: Vec<Delivery>,
}

/// An item handed to a consumer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// The item.
    #[schema(value_type = IdSchema)]
    pub item: Id,
    /// Its channel.
    #[schema(value_type = IdSchema)]
    pub channel: Id,
    /// The channel's key values.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValues,
    /// Its data, when that is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = serde_json::Value)]
    pub data: Option<RawJson>,
    /// Its data in base64, when it is anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub data_base64: Option<String>,
    /// Of the data.
    pub content_type: String,
    /// Deliveries so far, this one included.
    pub attempt: u32,
    /// Of the item's data: larger is newer.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// To ack, nack, release, extend. The number before the hyphen is a fencing token.
    pub lease_token: LeaseToken,
    /// Left of the lease, ms.
    pub expires_in_ms: u64,
    /// Its priority.
    pub priority: i32,
    /// Since it was enqueued, ms.
    pub age_ms: u64,
}

/// Where an item is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// Due.
    Waiting,
    /// Not due yet.
    Delayed,
    /// Delivered, lease running.
    InFlight,
    /// Given up: a dead letter.
    Dead,
}

/// Why an item is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Death {
    /// It had its last attempt.
    AttemptsExhausted,
    /// Its time was up.
    Expired,
}

/// An item as anyone may see it: no lease token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "0190163d-8694-739b-aea5-966c26f8ad97", "channel": "0190163d-8694-739b-aea5-966c26f8ad98",
    "key_values": {"repo": "willow", "os": "linux"}, "state": "waiting", "data": {"commit": "3f2a91c"},
    "content_type": "application/json", "data_bytes": 20, "revision": 21, "updatable": false, "attempts": 0,
    "max_attempts": 5, "backoff": {"initial_ms": 1000, "factor": 2.0, "max_ms": 60000, "jitter": 0.1},
    "retry_position": "back", "lease_ms": 30000, "priority": 0, "weight": 1, "age_ms": 1200
}))]
pub struct Item {
    /// Its id.
    #[schema(value_type = IdSchema)]
    pub id: Id,
    /// Its channel.
    #[schema(value_type = IdSchema)]
    pub channel: Id,
    /// The channel's key values.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValues,
    /// Where it is.
    pub state: ItemState,
    /// Its data, when that is JSON. Lists leave data out, unless asked with `data=true`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = serde_json::Value)]
    pub data: Option<RawJson>,
    /// Its data in base64, when it is anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub data_base64: Option<String>,
    /// Of the data.
    pub content_type: String,
    /// Size of the data.
    pub data_bytes: u64,
    /// Of its data: larger is newer.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// Can it be updated?
    pub updatable: bool,
    /// Deliveries so far.
    pub attempts: u32,
    /// Deliveries before it is a dead letter.
    pub max_attempts: Limit,
    /// Between attempts.
    pub backoff: Backoff,
    /// Where it goes when it fails.
    pub retry_position: Position,
    /// Lease of a delivery, ms.
    pub lease_ms: u64,
    /// Its priority.
    pub priority: i32,
    /// What it counts for under the Limiter.
    pub weight: u32,
    /// Since it was enqueued, ms.
    pub age_ms: u64,
    /// Until it is due, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub due_in_ms: Option<u64>,
    /// Until it expires, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub expires_in_ms: Option<u64>,
    /// Until its lease ends, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub lease_expires_in_ms: Option<u64>,
    /// Who has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub consumer: Option<String>,
    /// Of its last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// Why it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub death: Option<Death>,
}

crate::object::object! {
    EnqueueBatchRequest,
    RoundRobin,
    OrderBy,
    Toleration,
    DequeueRequest,
    LeaseRequest,
    AckBatchRequest,
    Delivered,
    NackRequest,
    ExtendRequest,
    NewItem,
    EnqueueRequest,
}
