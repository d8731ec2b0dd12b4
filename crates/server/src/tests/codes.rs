//! Every error code is produced by a real request, or, where that would take a million rules or a broken
//! disk, by the refusal that it stands for.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use willow_api::ErrorCode as C;
use willow_core::{Refusal, catalogue, cursor, limiter, locker, queue};
use willow_model::Id;

use super::harness::Harness;
use crate::refusal;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Codes seen so far.
struct Seen {
    server: Harness,
    codes: BTreeSet<C>,
}

impl Seen {
    async fn post(&mut self, path: &str, body: &Value, code: C) {
        self.server.post(path, body).await.problem(code);
        self.codes.insert(code);
    }

    async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: &'static str, code: C) {
        self.server.send(method, path, headers, body).await.problem(code);
        self.codes.insert(code);
    }

    async fn get(&mut self, path: &str, code: C) {
        self.send(Method::GET, path, &[], "", code).await;
    }

    fn refused(&mut self, refusal: impl Into<Refusal>, code: C) {
        assert_eq!(refusal::problem(refusal.into()).code, code);
        self.codes.insert(code);
    }
}

#[tokio::test]
async fn every_code_is_produced() {
    let mut seen = Seen { server: Harness::start().await, codes: BTreeSet::new() };
    requests(&mut seen).await;
    locks(&mut seen).await;
    limits(&mut seen).await;
    queues(&mut seen).await;
    cluster(&mut seen).await;
    refusals(&mut seen);
    // Each has a test of its own: `slow`, `faults`, `waits`.
    seen.codes.extend([C::RequestTimeout, C::Overloaded, C::ShuttingDown, C::DiskFull, C::StorageFailed]);
    seen.codes.extend([C::NotLeader, C::NoQuorum, C::OutcomeUnknown, C::BodyTooLarge]);
    seen.codes.extend([C::NoLeader, C::NodeRemoved, C::CannotLead, C::ChangePending]);
    let missing: Vec<&C> = C::ALL.iter().filter(|code| !seen.codes.contains(code)).collect();
    assert!(missing.is_empty(), "no test produces {missing:?}");
}

async fn requests(seen: &mut Seen) {
    seen.send(Method::POST, "/v1/locks", JSON, "{", C::InvalidJson).await;
    seen.post("/v1/locks", &json!({"nope": 1}), C::InvalidField).await;
    seen.post("/v1/locks", &json!({"key_values": {"a": 1}, "ttl_ms": 1}), C::OutOfBounds).await;
    let deep = serde_json::from_str::<Value>(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap();
    seen.post("/v1/locks", &deep, C::JsonTooDeep).await;
    seen.post("/v1/locks", &json!({"key_values": {}}), C::InvalidKeyValues).await;
    seen.post("/v1/locks", &json!({"key_values": {"_a": 1}}), C::ReservedKey).await;
    let query_name = json!({"name": "query", "key_values": {"a": 1}, "limit": 1});
    seen.post("/v1/limiter/rules", &query_name, C::InvalidName).await;
    seen.get("/v1/locks/x", C::InvalidId).await;
    seen.get("/v1/cluster?x=1", C::InvalidParameter).await;
    seen.post("/v1/locks/query", &json!({"limit": "x"}), C::InvalidQuery).await;
    seen.post("/v1/locks/query", &json!({"page_token": "x"}), C::PageTokenMismatch).await;
    let header = [JSON[0], ("idempotency-key", "a")];
    seen.send(Method::POST, "/v1/sessions", &header, "{\"request_id\": \"b\"}", C::RequestIdMismatch).await;
    seen.server.post("/v1/sessions", &json!({"request_id": "once"})).await.ok(201);
    seen.post("/v1/sessions", &json!({"request_id": "once", "owner": "x"}), C::RequestIdReused).await;
    seen.get("/nowhere", C::RouteNotFound).await;
    seen.get("/v1/locks", C::MethodNotAllowed).await;
    seen.send(Method::POST, "/v1/locks", &[], "{}", C::UnsupportedMediaType).await;
}

async fn locks(seen: &mut Seen) {
    let held = seen.server.post("/v1/locks", &json!({"key_values": {"a": 1}})).await.ok(200);
    let (lock, session) = (held["locks"][0]["lock"].as_str().unwrap(), held["session"].clone());
    let path = |action: &str| format!("/v1/locks/{lock}/{action}");
    seen.post("/v1/locks", &json!({"key_values": {"a": 1}}), C::LockHeld).await;
    seen.get(&format!("/v1/locks/{NOBODY}"), C::LockNotFound).await;
    seen.post(&path("release"), &json!({"session": session, "token": 0}), C::StaleToken).await;
    seen.post(&path("release"), &json!({"session": NOBODY}), C::SessionExpired).await;
    let idle = seen.server.post("/v1/sessions", &json!({})).await.ok(201);
    seen.post(&path("release"), &json!({"session": idle["session"]}), C::LockNotHeld).await;
    let semaphore = json!({"key_values": {"a": 1}, "mode": "semaphore", "max_permits": 2});
    seen.post("/v1/locks", &semaphore, C::LockModeMismatch).await;
    let twice = json!({"locks": [{"key_values": {"b": 1}}, {"key_values": {"b": 1}}]});
    seen.post("/v1/locks", &twice, C::DuplicateLock).await;
}

async fn limits(seen: &mut Seen) {
    let rules = "/v1/limiter/rules";
    let rule = json!({"name": "r", "key_values": {"k": {"any": true}}, "limit": 1});
    seen.server.post(rules, &rule).await.ok(201);
    seen.post(rules, &rule, C::AlreadyExists).await;
    seen.get(&format!("{rules}/none"), C::RuleNotFound).await;
    seen.get(&format!("{rules}/r/overrides/none"), C::OverrideNotFound).await;
    let wide = json!({"name": "o", "key_values": {"other": 1}, "limit": 1});
    seen.post(&format!("{rules}/r/overrides"), &wide, C::OverrideNotNarrower).await;
    let edit = "{\"limit\": 1, \"mode\": \"enforce\"}";
    let if_match = [JSON[0], ("if-match", "\"0\"")];
    seen.send(Method::PUT, &format!("{rules}/r"), &if_match, edit, C::RevisionMismatch).await;
    let moved = "{\"limit\": 1, \"mode\": \"enforce\", \"key_values\": {\"x\": 1}}";
    seen.send(Method::PUT, &format!("{rules}/r"), JSON, moved, C::KeyValuesImmutable).await;
    let counter = json!({"key_values": {"k": 1}});
    seen.server.post("/v1/limiter/counters/increment", &counter).await.ok(200);
    seen.post("/v1/limiter/counters/increment", &counter, C::LimitReached).await;
    let two = json!({"key_values": {"k": 1}, "amount": 2});
    seen.post("/v1/limiter/counters/decrement", &two, C::CounterUnderflow).await;
    seen.get(&format!("/v1/limiter/counters/{NOBODY}"), C::CounterNotFound).await;
    seen.send(Method::DELETE, &format!("/v1/limiter/holds/{NOBODY}"), &[], "", C::HoldNotFound).await;
    let most = json!({"key_values": {"free": 1}, "amount": u64::MAX});
    seen.server.post("/v1/limiter/counters/increment", &most).await.ok(200);
    seen.post("/v1/limiter/counters/increment", &most, C::CounterOverflow).await;
}

async fn queues(seen: &mut Seen) {
    seen.get("/v1/queues/none", C::QueueNotFound).await;
    seen.server.post("/v1/queues", &json!({"name": "q", "max_items": 1})).await.ok(201);
    let item = json!({"key_values": {"a": 1}, "data": 1});
    seen.server.post("/v1/queues/q/items", &item).await.ok(201);
    seen.post("/v1/queues/q/items", &item, C::QueueFull).await;
    seen.get(&format!("/v1/queues/q/items/{NOBODY}"), C::ItemNotFound).await;
    seen.get(&format!("/v1/queues/q/channels/{NOBODY}"), C::ChannelNotFound).await;
    let taken = seen.server.post("/v1/queues/q/dequeue", &json!({})).await.ok(200);
    let ack = format!("/v1/queues/q/items/{}/ack", taken["items"][0]["item"].as_str().unwrap());
    seen.post(&ack, &json!({"lease_token": "0-00000000"}), C::StaleLease).await;
    seen.post("/v1/queues/q/resume", &json!({}), C::PauseNotFound).await;
    seen.server.post("/v1/queues/q/drain", &json!({})).await.ok(200);
    seen.post("/v1/queues/q/items", &item, C::QueueDraining).await;
}

async fn cluster(seen: &mut Seen) {
    seen.post("/v1/cluster/groups/9/transfer-leader", &json!({"node": 1}), C::GroupNotFound).await;
    seen.refused(catalogue::Error::NoSuchNode { node: 9 }, C::NodeNotFound);
    seen.refused(catalogue::Error::Removed { node: 9 }, C::NodeRemoved);
    seen.refused(catalogue::Error::LastNode { node: 1 }, C::LastNode);
    seen.refused(catalogue::Error::TooMany, C::Internal);
}

/// What takes too much, or cannot be timed, to bring about by requests.
fn refusals(seen: &mut Seen) {
    let lock = Id::from_u128(1);
    seen.refused(Refusal::WaitCancelled, C::WaitCancelled);
    seen.refused(Refusal::TooManyWaiters, C::TooManyWaiters);
    seen.refused(Refusal::AlreadyInitialized, C::Internal);
    seen.refused(locker::Error::UpgradeDeadlock { lock }, C::LockUpgradeDeadlock);
    seen.refused(locker::Error::TooManyLocks, C::TooManyLocks);
    seen.refused(limiter::Error::TooMany, C::TooManyRules);
    seen.refused(queue::Error::QueueDeleting, C::QueueDeleting);
    seen.refused(queue::Error::TooManyPauses, C::TooManyPauses);
    seen.refused(queue::Error::TooMuchMetadata, C::TooMuchMetadata);
    seen.refused(cursor::Error::NoSuchParent { what: "rule".into() }, C::RuleNotFound);
    seen.refused(cursor::Error::NoSuchParent { what: "queue".into() }, C::QueueNotFound);
}
