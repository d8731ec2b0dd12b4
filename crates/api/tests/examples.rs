//! Every example in the document is exactly what its type reads and writes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use utoipa::PartialSchema;
use willow_api::{channel, cluster, item, limiter, lock, page, problem, queue};

/// The example of a type's schema.
#[track_caller]
fn example<T: PartialSchema>(name: &str) -> Value {
    let schema = serde_json::to_value(T::schema()).unwrap();
    let example = schema.get("example").or_else(|| schema["examples"].get(0));
    example.unwrap_or_else(|| panic!("{name} has no example")).clone()
}

#[track_caller]
fn check<T: PartialSchema + Serialize + DeserializeOwned>() {
    let name = std::any::type_name::<T>();
    let example = example::<T>(name);
    let read: T = serde_json::from_value(example.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(serde_json::to_value(read).unwrap(), example, "{name}");
}

macro_rules! check {
    ($($type:ty),+ $(,)?) => { $(check::<$type>();)+ };
}

#[test]
fn requests() {
    check!(
        lock::AcquireRequest,
        lock::HeldLockRequest,
        lock::ValidateRequest,
        lock::CreateSessionRequest,
        limiter::CreateRuleRequest,
        limiter::UpdateRuleRequest,
        limiter::CreateOverrideRequest,
        limiter::UpdateOverrideRequest,
        limiter::IncrementRequest,
        limiter::DecrementRequest,
        limiter::SetCounterRequest,
        limiter::HeartbeatHoldRequest,
        limiter::ExplainRequest,
        queue::CreateQueueRequest,
        queue::UpdateQueueRequest,
        queue::QueueActionRequest,
        queue::DeadLetterActionRequest,
        queue::EmptyRequest,
        item::EnqueueRequest,
        item::EnqueueBatchRequest,
        item::NewItem,
        item::DequeueRequest,
        item::LeaseRequest,
        item::AckBatchRequest,
        item::NackRequest,
        item::ExtendRequest,
        channel::PatchMetadataRequest,
    );
}

#[test]
fn replies() {
    check!(
        lock::AcquireReply,
        lock::Lock,
        lock::Grant,
        lock::ReleaseReply,
        lock::RenewedReply,
        lock::ValidateReply,
        lock::ForceReleaseReply,
        lock::Session,
        lock::EndSessionReply,
        limiter::Rule,
        limiter::Override,
        limiter::IncrementReply,
        limiter::Counter,
        limiter::ReleaseHoldReply,
        limiter::Explanation,
        queue::Queue,
        queue::DeletingReply,
        queue::RemovedReply,
        queue::RedriveReply,
        queue::DoneReply,
        item::EnqueueReply,
        item::EnqueueBatchReply,
        item::DequeueReply,
        item::AckBatchReply,
        item::NackReply,
        item::Item,
        channel::Channel,
        channel::PatchMetadataReply,
        channel::ChannelExplanation,
        cluster::Cluster,
        cluster::HealthReply,
        cluster::LeaderReply,
        cluster::LeavingReply,
        cluster::TransferLeaderRequest,
        page::Plan,
        problem::Problem,
    );
}

#[test]
fn the_example_of_a_query_is_one() {
    let example = example::<page::QuerySchema>("Query");
    let input: willow_api::QueryInput = serde_json::from_value(example).unwrap();
    let query = input.check().unwrap();
    assert!(query.count && query.limit == 100 && query.order_by.len() == 1);
    let filter = self::example::<page::FilterSchema>("Filter");
    let input: willow_api::QueryInput = serde_json::from_value(filter).unwrap();
    assert!(input.check().is_ok());
}

/// Unknown fields of replies are ignored, so that an older client can talk to a newer server.
#[test]
fn replies_of_a_newer_server_are_read() {
    let mut reply = example::<lock::AcquireReply>("AcquireReply");
    reply["from_the_future"] = Value::Bool(true);
    assert!(serde_json::from_value::<lock::AcquireReply>(reply).is_ok());
    let mut request = example::<lock::AcquireRequest>("AcquireRequest");
    request["from_the_future"] = Value::Bool(true);
    assert!(serde_json::from_value::<lock::AcquireRequest>(request).is_err());
}
