//! Queues, items and channels over HTTP.

use http::Method;
use serde_json::{Value, json};
use willow_api::ErrorCode;

use super::harness::Harness;

fn linux() -> Value {
    json!({"repo": "willow", "os": "linux"})
}

async fn with_queue(body: &Value) -> Harness {
    let server = Harness::start().await;
    server.post("/v1/queues", body).await.ok(201);
    server
}

async fn dequeue(server: &Harness) -> Value {
    let items = server.post("/v1/queues/q/dequeue", &json!({})).await.ok(200)["items"].take();
    items[0].clone()
}

#[tokio::test]
async fn a_queue_from_creation_to_deletion() {
    let server = Harness::start().await;
    let new = json!({"name": "q", "key_values": {"team": "ci"}, "max_items": 10, "defaults": {"lease_ms": 1000}});
    let reply = server.post("/v1/queues", &new).await;
    let queue = reply.ok(201);
    assert_eq!(reply.header("etag"), format!("\"{}\"", queue["revision"]));
    assert_eq!(queue["state"], "active");
    assert_eq!(queue["defaults"]["lease_ms"], 1000);
    assert_eq!(queue["defaults"]["max_attempts"], 5);
    assert_eq!(
        queue["defaults"]["backoff"],
        json!({"initial_ms": 1000, "factor": 2.0, "max_ms": 60000, "jitter": 0.1})
    );
    assert_eq!(server.get("/v1/queues/q").await.ok(200), queue);
    server.post("/v1/queues", &new).await.problem(ErrorCode::AlreadyExists);
    let page = server.post("/v1/queues/query", &json!({"where": {"team": {"eq": "ci"}}})).await.ok(200);
    assert_eq!(page["items"][0]["name"], "q");
    let changed = server.put("/v1/queues/q", &json!({"defaults": {"max_attempts": "unlimited"}})).await.ok(200);
    assert_eq!(changed["defaults"]["max_attempts"], "unlimited");
    assert_eq!(changed.get("max_items"), None);
    let stale = [("if-match", "\"999999\"")];
    server.send(Method::DELETE, "/v1/queues/q", &stale, "").await.problem(ErrorCode::RevisionMismatch);
    assert_eq!(server.delete("/v1/queues/q").await.ok(202), json!({"state": "deleting"}));
    for path in ["items", "dequeue"] {
        let reply = server.post(&format!("/v1/queues/q/{path}"), &json!({"key_values": linux()})).await;
        assert!(reply.status.is_client_error(), "{path}");
    }
}

#[tokio::test]
async fn an_item_from_enqueue_to_ack() {
    let server = with_queue(&json!({"name": "q"})).await;
    let data = r#"{"z":1, "a":  [1.50, "é"]}"#;
    let body = format!(r#"{{"key_values": {}, "data": {data}, "priority": -3}}"#, linux());
    let headers = [("content-type", "application/json")];
    let added = server.send(Method::POST, "/v1/queues/q/items", &headers, body).await.ok(201);
    assert_eq!(added["status"], "created");
    let id = added["item"].as_str().unwrap();
    let seen = server.get(&format!("/v1/queues/q/items/{id}")).await;
    assert!(String::from_utf8_lossy(&seen.bytes).contains(data), "data is passed on as written");
    assert_eq!(seen.ok(200)["state"], "waiting");
    let list = server.post("/v1/queues/q/items/query?states=waiting", &json!({})).await.ok(200);
    assert_eq!(list["items"][0]["id"], id);
    assert_eq!(list["items"][0].get("data"), None);
    assert_eq!(list["items"][0]["data_bytes"], data.len());
    assert!(
        server.post("/v1/queues/q/items/query?data=true", &json!({})).await.ok(200)["items"][0]["data"].is_object()
    );
    let none = server.post("/v1/queues/q/items/query?states=in_flight,delayed", &json!({})).await.ok(200);
    assert_eq!(none["items"], json!([]));

    let item = dequeue(&server).await;
    assert_eq!((&item["item"], &item["attempt"], &item["priority"]), (&json!(id), &json!(1), &json!(-3)));
    assert_eq!(item["key_values"], linux());
    let path = |action: &str| format!("/v1/queues/q/items/{id}/{action}");
    let lease = json!({"lease_token": item["lease_token"]});
    let extend = json!({"lease_token": item["lease_token"], "lease_ms": 60_000});
    assert_eq!(server.post(&path("extend"), &extend).await.ok(200)["expires_in_ms"], 60_000);
    let problem = server.post(&path("ack"), &json!({"lease_token": "1-00000000"})).await.problem(ErrorCode::StaleLease);
    assert_eq!(problem.facts.item.map(|id| id.to_string()).as_deref(), Some(id));
    assert_eq!(server.post(&path("ack"), &lease).await.ok(200), json!({}));
    server.post(&path("ack"), &lease).await.problem(ErrorCode::ItemNotFound);
    server.get(path("").trim_end_matches('/')).await.problem(ErrorCode::ItemNotFound);
    assert_eq!(server.post("/v1/queues/q/dequeue", &json!({})).await.ok(200), json!({"items": []}));
}

#[tokio::test]
async fn data_that_is_not_json() {
    let server = with_queue(&json!({"name": "q"})).await;
    let items = "/v1/queues/q/items";
    server.post(items, &json!({"key_values": linux(), "data_base64": "AAH/", "content_type": "image/x"})).await.ok(201);
    let item = dequeue(&server).await;
    assert_eq!((&item["data_base64"], &item["content_type"]), (&json!("AAH/"), &json!("image/x")));
    // It says that it is JSON, but is not.
    let liar = json!({"key_values": linux(), "data_base64": "e30", "content_type": "application/json"});
    server.post(items, &liar).await.problem(ErrorCode::InvalidField);
    let liar = json!({"key_values": linux(), "data_base64": "e3s=", "content_type": "application/json"});
    server.post(items, &liar).await.ok(201);
    assert_eq!(dequeue(&server).await["data_base64"], "e3s=");
    // None, and JSON's null, are different.
    server.post(items, &json!({"key_values": linux()})).await.ok(201);
    let item = dequeue(&server).await;
    assert_eq!((item.get("data"), item.get("data_base64")), (None, None));
    server.post(items, &json!({"key_values": linux(), "data": null})).await.ok(201);
    assert_eq!(dequeue(&server).await.get("data"), Some(&Value::Null));
    let both = json!({"key_values": linux(), "data": 1, "data_base64": ""});
    server.post(items, &both).await.problem(ErrorCode::InvalidField);
    // Correct, but most parsers refuse it: one such item would stop every consumer that takes it.
    for data in ["1e400", "[\"\\ud800\"]"] {
        let body = format!(r#"{{"key_values": {}, "data": {data}}}"#, linux());
        let reply = server.send(Method::POST, items, &[("content-type", "application/json")], body).await;
        assert_eq!(reply.problem(ErrorCode::InvalidField).facts.field.as_deref(), Some("data"));
    }
    // As bytes it comes back as bytes.
    let bytes = json!({"key_values": linux(), "data_base64": "MWU0MDA=", "content_type": "application/json"});
    server.post(items, &bytes).await.ok(201);
    assert_eq!(dequeue(&server).await["data_base64"], "MWU0MDA=");
    let large = json!({"key_values": linux(), "data": "x".repeat(1024 * 1024)});
    server.post(items, &large).await.problem(ErrorCode::OutOfBounds);
}

#[tokio::test]
async fn a_refused_item_and_an_empty_answer_leave_the_request_id_free() {
    let server = with_queue(&json!({"name": "q", "max_items": 1})).await;
    let (items, dequeued) = ("/v1/queues/q/items", json!({"request_id": "take"}));
    let none = server.post("/v1/queues/q/dequeue", &dequeued).await.ok(200);
    assert_eq!(none, json!({"items": []}));
    server.post(items, &json!({"key_values": linux()})).await.ok(201);
    // Full says that the same call may succeed later: then it must be able to.
    let same = json!({"key_values": linux(), "request_id": "add"});
    server.post(items, &same).await.problem(ErrorCode::QueueFull);
    let item = server.post("/v1/queues/q/dequeue", &dequeued).await.ok(200)["items"][0].take();
    let ack = json!({"items": [{"item": item["item"], "lease_token": item["lease_token"]}]});
    assert_eq!(server.post("/v1/queues/q/items/ack", &ack).await.ok(200)["results"][0]["acked"], true);
    let added = server.post(items, &same).await.ok(201);
    assert_eq!(server.post(items, &same).await.ok(201), added);
    // A value corrected after a refusal is no other request either.
    let wrong = json!({"key_values": {"os": "mac"}, "weight": 0, "request_id": "heavy"});
    server.post(items, &wrong).await.problem(ErrorCode::OutOfBounds);
    let right = json!({"key_values": {"os": "mac"}, "weight": 1, "request_id": "heavy"});
    server.post(items, &right).await.problem(ErrorCode::QueueFull);
}

#[tokio::test]
async fn batches_answer_item_by_item() {
    let server = with_queue(&json!({"name": "q", "max_items": 2})).await;
    let item = json!({"key_values": linux(), "data": 1});
    let reply = server.post("/v1/queues/q/items/batch", &json!({"items": [item, item, item]})).await.ok(200);
    let results = reply["results"].as_array().unwrap();
    assert_eq!(results[1]["status"], "created");
    assert_eq!((&results[2]["error"]["code"], &results[2]["error"]["max_items"]), (&json!("QUEUE_FULL"), &json!(2)));
    server.post("/v1/queues/q/items", &item).await.problem(ErrorCode::QueueFull);
    server.post("/v1/queues/q/items/batch", &json!({"items": []})).await.problem(ErrorCode::OutOfBounds);
    let bad = json!({"items": [item, {"key_values": {}}]});
    let problem = server.post("/v1/queues/q/items/batch", &bad).await.problem(ErrorCode::InvalidKeyValues);
    assert_eq!(problem.facts.field.as_deref(), Some("items[1].key_values"));
    let taken = server.post("/v1/queues/q/dequeue", &json!({"max_items": 10})).await.ok(200);
    let taken = taken["items"].as_array().unwrap();
    assert_eq!(taken.len(), 2);
    let ack = |item: &Value, token: &Value| json!({"item": item["item"], "lease_token": token});
    let acks = json!({"items": [ack(&taken[0], &taken[0]["lease_token"]), ack(&taken[1], &json!("1-00000000"))]});
    let reply = server.post("/v1/queues/q/items/ack", &acks).await.ok(200);
    assert_eq!(reply["results"][0]["acked"], true);
    assert_eq!(reply["results"][1]["error"]["code"], "STALE_LEASE");
}

#[tokio::test]
async fn failed_items_are_retried_and_then_dead() {
    let server = with_queue(&json!({"name": "q", "defaults": {"max_attempts": 2, "backoff": {"initial_ms": 0}}})).await;
    server.post("/v1/queues/q/items", &json!({"key_values": linux(), "data": 1})).await.ok(201);
    let item = dequeue(&server).await;
    let path = |action: &str| format!("/v1/queues/q/items/{}/{action}", item["item"].as_str().unwrap());
    assert_eq!(server.post(&path("release"), &json!({"lease_token": item["lease_token"]})).await.ok(200), json!({}));
    let item = dequeue(&server).await;
    let nack = json!({"lease_token": item["lease_token"], "reason": "flaky", "delay_ms": 0});
    assert_eq!(server.post(&path("nack"), &nack).await.ok(200), json!({"status": "retry", "delay_ms": 0}));
    let item = dequeue(&server).await;
    assert_eq!(item["attempt"], 2);
    let nack = json!({"lease_token": item["lease_token"], "reason": "broken"});
    assert_eq!(server.post(&path("nack"), &nack).await.ok(200), json!({"status": "dead_letter"}));
    let dead = server.post("/v1/queues/q/dead-letters/query?data=true", &json!({})).await.ok(200);
    let dead = &dead["items"][0];
    assert_eq!(
        (&dead["state"], &dead["death"], &dead["reason"], &dead["data"]),
        (&json!("dead"), &json!("attempts_exhausted"), &json!("broken"), &json!(1))
    );
    let redrive = "/v1/queues/q/dead-letters/redrive";
    server.post(redrive, &json!({"max_items": 0})).await.problem(ErrorCode::OutOfBounds);
    assert_eq!(server.post(redrive, &json!({})).await.ok(200), json!({"items": 1, "more": false}));
    assert_eq!(dequeue(&server).await["attempt"], 1);
    let purge = server.post("/v1/queues/q/dead-letters/purge", &json!({})).await.ok(200);
    assert_eq!(purge, json!({"items": 0, "continuing": false}));
}

#[tokio::test]
async fn channels_have_metadata_and_say_why_they_wait() {
    let server = with_queue(&json!({"name": "q"})).await;
    let added = server.post("/v1/queues/q/items", &json!({"key_values": linux(), "data": 1})).await.ok(201);
    let path = format!("/v1/queues/q/channels/{}", added["channel"].as_str().unwrap());
    let reply = server.get(&path).await;
    assert_eq!(reply.ok(200)["counts"], json!({"waiting": 1, "delayed": 0, "in_flight": 0}));
    let patch = json!({"set": {"tier": 1}, "taints": [{"key": "gpu", "value": "a", "effect": "NoSchedule"}]});
    let changed = server.call(Method::PATCH, &format!("{path}/metadata"), &patch).await.ok(200);
    assert_eq!(changed["channel"]["metadata"], json!({"tier": 1}));
    for (set, code) in
        [(json!({"_x": 1}), ErrorCode::ReservedKey), (json!({"a": {"any": true}}), ErrorCode::InvalidKeyValues)]
    {
        server.call(Method::PATCH, &format!("{path}/metadata"), &json!({"set": set})).await.problem(code);
    }
    server.call(Method::PATCH, &format!("{path}/metadata"), &json!({})).await.problem(ErrorCode::InvalidField);
    let found =
        server.post("/v1/queues/q/channels/query", &json!({"where": {"metadata.tier": {"eq": 1}}})).await.ok(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert_eq!(server.post("/v1/queues/q/dequeue", &json!({})).await.ok(200)["items"], json!([]));
    let explained = server.get(&format!("{path}/explain")).await.ok(200);
    let reasons = explained["reasons"].as_array().unwrap();
    assert!(reasons.iter().any(|reason| reason["reason"] == "tainted"), "{explained}");
    let tolerant = json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]});
    assert_eq!(server.post("/v1/queues/q/dequeue", &tolerant).await.ok(200)["items"].as_array().unwrap().len(), 1);
    let wrong = json!({"tolerations": [{"key": "gpu", "operator": "Exists", "value": "a"}]});
    server.post("/v1/queues/q/dequeue", &wrong).await.problem(ErrorCode::InvalidField);
    assert_eq!(server.delete(&path).await.ok(200)["items"], 0);
    server.get("/v1/queues/q/channels/00000000-0000-0000-0000-000000000000").await.problem(ErrorCode::ChannelNotFound);
    server.get("/v1/queues/none/channels/00000000-0000-0000-0000-000000000000").await.problem(ErrorCode::QueueNotFound);
}

#[tokio::test]
async fn pauses_and_purges() {
    let server = with_queue(&json!({"name": "q"})).await;
    let item = json!({"key_values": linux(), "data": 1});
    server.post("/v1/queues/q/items", &item).await.ok(201);
    let some = json!({"query": {"where": {"os": {"eq": "linux"}}}});
    let act = async |action: &'static str, body: &Value| server.post(&format!("/v1/queues/q/{action}"), body).await;
    assert_eq!(act("pause", &some).await.ok(200), json!({}));
    let queue = server.get("/v1/queues/q").await.ok(200);
    assert_eq!(queue["pauses"], json!([{"kind": "dequeue", "query": some["query"]}]));
    assert_eq!(act("dequeue", &json!({})).await.ok(200)["items"], json!([]));
    act("resume", &json!({})).await.problem(ErrorCode::PauseNotFound);
    act("resume", &some).await.ok(200);
    act("drain", &json!({})).await.ok(200);
    act("items", &item).await.problem(ErrorCode::QueueDraining);
    act("resume", &json!({})).await.ok(200);
    assert_eq!(act("purge", &json!({})).await.ok(200)["items"], 1);
    act("pause", &json!({"query": {"where": 1}})).await.problem(ErrorCode::InvalidQuery);
}

#[tokio::test]
async fn dequeues_in_every_order() {
    let server = with_queue(&json!({"name": "q"})).await;
    for n in 0..6 {
        let item = json!({"key_values": {"n": n}, "data": n, "priority": n});
        server.post("/v1/queues/q/items", &item).await.ok(201);
    }
    let take = async |order: Value| {
        let reply = server.post("/v1/queues/q/dequeue", &json!({"order": order})).await.ok(200);
        reply["items"][0]["data"].as_i64()
    };
    assert_eq!(take(json!("oldest")).await, Some(0));
    assert_eq!(take(json!("priority")).await, Some(5));
    assert_eq!(take(json!({"order_by": [{"key": "n", "direction": "desc"}]})).await, Some(4));
    for order in [json!("random"), json!("longest_idle"), json!({"round_robin": {"cursor": "c"}})] {
        assert!(take(order.clone()).await.is_some(), "{order}");
    }
    for order in [json!("newest"), json!({"order_by": 1}), json!({"round_robin": {}})] {
        let reply = server.post("/v1/queues/q/dequeue", &json!({"order": order})).await;
        reply.problem(ErrorCode::InvalidField);
    }
    let reply = server.post("/v1/queues/q/dequeue", &json!({"order": {"order_by": []}})).await;
    reply.problem(ErrorCode::OutOfBounds);
}

#[tokio::test]
async fn one_answer_holds_no_more_than_16_mib_of_data() {
    let server = with_queue(&json!({"name": "q"})).await;
    // A megabyte with its quotes.
    let item = json!({"key_values": linux(), "data": "x".repeat(1024 * 1024 - 2)});
    for _ in 0..17 {
        server.post("/v1/queues/q/items", &item).await.ok(201);
    }
    let taken = async || {
        let reply = server.post("/v1/queues/q/dequeue", &json!({"max_items": 1000})).await.ok(200);
        reply["items"].as_array().unwrap().len()
    };
    assert_eq!((taken().await, taken().await), (16, 1));
    let page = server.post("/v1/queues/q/items/query?data=true", &json!({})).await.ok(200);
    let with_data = page["items"].as_array().unwrap().iter().filter(|item| item.get("data").is_some()).count();
    assert_eq!(with_data, 8);
}
