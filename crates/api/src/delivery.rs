//! What a consumer says of its deliveries: ack, nack, release, extend. Part of [`crate::item`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    keys::{Id, IdSchema, LeaseToken},
    problem::Problem,
    queue::Position,
};

/// Says that an item is done, or hands it back: the body of ack and release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"lease_token": "23-9f3a1c07"}))]
pub struct LeaseRequest {
    /// Of the delivery.
    pub lease_token: LeaseToken,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// Says that several items are done. Each has its own answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({
    "items": [{"item": "0190163d-8694-739b-aea5-966c26f8ad97", "lease_token": "23-9f3a1c07"}]
}))]
pub struct AckBatchRequest {
    /// 1 to 1000 deliveries.
    #[schema(min_items = 1, max_items = 1000)]
    pub items: Vec<Delivered>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// Names one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Delivered {
    /// The item.
    #[schema(value_type = IdSchema)]
    pub item: Id,
    /// Of the delivery.
    pub lease_token: LeaseToken,
}

/// One answer for each item, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"results": [{"item": "0190163d-8694-739b-aea5-966c26f8ad97", "acked": true}]}))]
pub struct AckBatchReply {
    /// One for each item, in order.
    pub results: Vec<AckResult>,
}

/// What became of one ack of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AckResult {
    /// The item.
    #[schema(value_type = IdSchema)]
    pub item: Id,
    /// Whether it is done.
    pub acked: bool,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<Box<Problem>>,
}

/// Says that an item failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"lease_token": "23-9f3a1c07", "reason": "compiler crashed"}))]
pub struct NackRequest {
    /// Of the delivery.
    pub lease_token: LeaseToken,
    /// Until the next attempt, ms, in place of the backoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 31622400000_i64)]
    pub delay_ms: Option<u64>,
    /// Where it goes, in place of its `retry_position`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Kept with the item, for people. At most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub reason: Option<String>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// What became of a failed item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"status": "retry", "delay_ms": 1000}))]
pub struct NackReply {
    /// Where it went.
    pub status: NackStatus,
    /// When it is tried again, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub delay_ms: Option<u64>,
}

/// Where a failed item went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NackStatus {
    /// It is tried again.
    Retry,
    /// It had its last attempt: it is a dead letter.
    DeadLetter,
    /// A newer one waits in its place; the failed one is gone.
    Superseded,
}

/// Renews an item's lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"lease_token": "23-9f3a1c07", "lease_ms": 60000}))]
pub struct ExtendRequest {
    /// Of the delivery.
    pub lease_token: LeaseToken,
    /// From now, ms; the length of the lease it has when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 86400000)]
    pub lease_ms: Option<u64>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}
