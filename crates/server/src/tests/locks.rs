//! Locks and sessions over HTTP.

use http::Method;
use serde_json::{Value, json};
use willow_api::ErrorCode;

use super::harness::Harness;

fn main_branch() -> Value {
    json!({"repo": "willow", "branch": "main"})
}

/// Acquires, and returns lock, session and token.
async fn acquire(server: &Harness, body: &Value) -> (String, String, u64) {
    let reply = server.post("/v1/locks", body).await.ok(200);
    let grant = &reply["locks"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&grant["lock"]), text(&reply["session"]), grant["token"].as_u64().unwrap())
}

#[tokio::test]
async fn a_lock_from_acquire_to_release() {
    let server = Harness::start().await;
    let (lock, session, token) = acquire(&server, &json!({"key_values": main_branch(), "owner": "me"})).await;
    let seen = server.get(&format!("/v1/locks/{lock}")).await.ok(200);
    assert_eq!(seen["key_values"], main_branch());
    assert_eq!(seen["holders"][0]["owner"], "me");
    assert_eq!(seen["holders"][0]["token"], token);
    assert!(!seen.to_string().contains(&session), "a session is a secret");

    let held = json!({"session": session, "token": token});
    let path = |action: &str| format!("/v1/locks/{lock}/{action}");
    assert_eq!(server.post(&path("heartbeat"), &held).await.ok(200)["expires_in_ms"], 30_000);
    let valid = server.post(&path("validate"), &json!({"token": token})).await.ok(200);
    assert_eq!((&valid["valid"], &valid["newest_token"]), (&json!(true), &json!(token)));
    assert_eq!(server.post(&path("validate"), &json!({"token": token + 1})).await.ok(200)["valid"], false);
    assert_eq!(server.post(&path("downgrade"), &held).await.ok(200)["mode"], "shared");
    assert_eq!(server.post(&path("release"), &held).await.ok(200), json!({"depth": 0}));
    server.get(&format!("/v1/locks/{lock}")).await.problem(ErrorCode::LockNotFound);
}

#[tokio::test]
async fn a_held_lock_says_who_holds_it_and_until_when() {
    let server = Harness::start().await;
    let (lock, session, token) =
        acquire(&server, &json!({"key_values": main_branch(), "owner": "first", "ttl_ms": 1500})).await;
    let reply = server.post("/v1/locks", &json!({"key_values": main_branch()})).await;
    let problem = reply.problem(ErrorCode::LockHeld);
    assert!(problem.retryable);
    assert_eq!(problem.facts.lock.map(|id| id.to_string()), Some(lock.clone()));
    assert_eq!(problem.facts.retry_after_ms, Some(1500));
    assert_eq!(problem.facts.position, Some(1));
    let holders = problem.facts.holders.unwrap();
    assert_eq!((holders[0].owner.as_deref(), holders[0].token.0), (Some("first"), token));

    let other = json!({"session": "00000000-0000-0000-0000-000000000001"});
    server.post(&format!("/v1/locks/{lock}/release"), &other).await.problem(ErrorCode::SessionExpired);
    let stale = json!({"session": session, "token": token + 1});
    server.post(&format!("/v1/locks/{lock}/release"), &stale).await.problem(ErrorCode::StaleToken);
    let (_, idle, _) = acquire(&server, &json!({"key_values": {"a": 1}})).await;
    let reply = server.post(&format!("/v1/locks/{lock}/heartbeat"), &json!({"session": idle})).await;
    reply.problem(ErrorCode::LockNotHeld);
}

/// Nothing is written meanwhile, so machine time stands still.
#[tokio::test]
async fn a_look_at_a_lock_tells_what_is_left_now() {
    let server = Harness::start().await;
    let (lock, _, token) = acquire(&server, &json!({"key_values": main_branch(), "ttl_ms": 5000})).await;
    server.clock.advance(2000);
    let looked = server.get(&format!("/v1/locks/{lock}")).await.ok(200);
    assert_eq!(looked["holders"][0]["held_for_ms"], 2000);
    assert_eq!(looked["holders"][0]["expires_in_ms"], 3000);
    let validity = server.post(&format!("/v1/locks/{lock}/validate"), &json!({"token": token})).await.ok(200);
    assert_eq!((&validity["valid"], &validity["expires_in_ms"]), (&json!(true), &json!(3000)));
}

#[tokio::test]
async fn several_locks_are_taken_all_or_none() {
    let server = Harness::start().await;
    let both = json!({"locks": [{"key_values": {"a": 1}}, {"key_values": {"a": 2}, "mode": "shared"}]});
    let reply = server.post("/v1/locks", &both).await.ok(200);
    assert_eq!(reply["locks"].as_array().unwrap().len(), 2);
    let third = json!({"locks": [{"key_values": {"a": 3}}, {"key_values": {"a": 1}}]});
    server.post("/v1/locks", &third).await.problem(ErrorCode::LockHeld);
    let page = server.post("/v1/locks/query", &json!({"where": {"a": {"exists": true}}, "count": true})).await.ok(200);
    assert_eq!(page["count"], json!({"total": 2, "exact": true}));
    let twice = json!({"locks": [{"key_values": {"a": 9}}, {"key_values": {"a": 9}}]});
    server.post("/v1/locks", &twice).await.problem(ErrorCode::DuplicateLock);
}

#[tokio::test]
async fn fields_that_do_not_go_together() {
    let server = Harness::start().await;
    let key_values = json!({"a": 1});
    let cases = [
        (json!({}), "key_values"),
        (json!({"key_values": key_values, "locks": []}), "locks"),
        (json!({"key_values": key_values, "permits": 1}), "permits"),
        (json!({"key_values": key_values, "mode": "shared", "max_permits": 1}), "max_permits"),
        (json!({"key_values": key_values, "mode": "semaphore"}), "max_permits"),
        (json!({"locks": [{"key_values": key_values}], "mode": "shared"}), "mode"),
    ];
    for (body, field) in cases {
        let problem = server.post("/v1/locks", &body).await.problem(ErrorCode::InvalidField);
        assert_eq!(problem.facts.field.as_deref(), Some(field), "{body}");
    }
    let bounds = [
        (json!({"locks": []}), "locks"),
        (json!({"key_values": key_values, "ttl_ms": 0}), "ttl_ms"),
        (json!({"key_values": key_values, "ttl_ms": u64::MAX}), "ttl_ms"),
        (json!({"key_values": key_values, "wait_ms": u64::MAX}), "wait_ms"),
        (json!({"key_values": key_values, "mode": "semaphore", "permits": 0, "max_permits": 1}), "permits"),
        (json!({"key_values": key_values, "owner": "x".repeat(257)}), "owner"),
    ];
    for (body, field) in bounds {
        let problem = server.post("/v1/locks", &body).await.problem(ErrorCode::OutOfBounds);
        assert!(problem.facts.field.unwrap().ends_with(field), "{body}");
    }
}

#[tokio::test]
async fn key_values_that_name_nothing() {
    let server = Harness::start().await;
    let cases = [
        (json!({}), ErrorCode::InvalidKeyValues),
        (json!({"a": null}), ErrorCode::InvalidKeyValues),
        (json!({"a": [1]}), ErrorCode::InvalidKeyValues),
        (json!({"a": {"any": true}}), ErrorCode::InvalidKeyValues),
        (json!({"a": {"u8": 256}}), ErrorCode::InvalidKeyValues),
        (json!({"": 1}), ErrorCode::InvalidKeyValues),
        (json!({"_mine": 1}), ErrorCode::ReservedKey),
        (json!({"_willow_queue_name": "q"}), ErrorCode::ReservedKey),
        (json!([]), ErrorCode::InvalidKeyValues),
    ];
    for (key_values, code) in cases {
        let problem = server.post("/v1/locks", &json!({"key_values": key_values})).await.problem(code);
        assert_eq!(problem.facts.field.as_deref(), Some("key_values"), "{key_values}");
    }
    let body = r#"{"key_values": {"a": 1, "a": 2}}"#;
    let headers = [("content-type", "application/json")];
    server.send(Method::POST, "/v1/locks", &headers, body).await.problem(ErrorCode::InvalidKeyValues);
}

#[tokio::test]
async fn sessions_hold_until_they_end_or_expire() {
    let server = Harness::start().await;
    let reply = server.post("/v1/sessions", &json!({"ttl_ms": 5000, "owner": "me"})).await.ok(201);
    let session = reply["session"].as_str().unwrap();
    assert_eq!(reply["expires_in_ms"], 5000);
    for key in ["a", "b"] {
        server.post("/v1/locks", &json!({"key_values": {key: 1}, "session": session})).await.ok(200);
    }
    let path = format!("/v1/sessions/{session}");
    server.clock.advance(3000);
    let beat = server.send(Method::POST, &format!("{path}/heartbeat"), &[], "").await.ok(200);
    assert_eq!(beat["expires_in_ms"], 5000);
    assert_eq!(server.delete(&path).await.ok(200), json!({"released": 2}));
    server.delete(&path).await.problem(ErrorCode::SessionExpired);

    let (_, session, _) = acquire(&server, &json!({"key_values": {"a": 1}, "ttl_ms": 1000})).await;
    server.clock.advance(1000);
    let path = format!("/v1/sessions/{session}/heartbeat");
    server.post(&path, &json!({})).await.problem(ErrorCode::SessionExpired);
}

#[tokio::test]
async fn a_forced_release_takes_the_lock_away() {
    let server = Harness::start().await;
    let (lock, ..) = acquire(&server, &json!({"key_values": main_branch()})).await;
    let path = format!("/v1/locks/{lock}?by=ops&reason=stuck%20deploy");
    assert_eq!(server.delete(&path).await.ok(200), json!({"holders": 1}));
    server.delete(&path).await.problem(ErrorCode::LockNotFound);
    server.delete(&format!("/v1/locks/{lock}?by={}", "x".repeat(257))).await.problem(ErrorCode::OutOfBounds);
}

#[tokio::test]
async fn a_repeat_is_answered_from_the_record() {
    let server = Harness::start().await;
    let body = json!({"key_values": main_branch(), "request_id": "try-1"});
    let first = server.post("/v1/locks", &body).await.ok(200);
    assert_eq!(server.post("/v1/locks", &body).await.ok(200), first);
    // The header is the same thing.
    let headers = [("content-type", "application/json"), ("idempotency-key", "\"try-1\"")];
    let bare = json!({"key_values": main_branch()}).to_string();
    assert_eq!(server.send(Method::POST, "/v1/locks", &headers, bare).await.ok(200), first);
    let other = json!({"key_values": {"other": 1}, "request_id": "try-1"});
    server.post("/v1/locks", &other).await.problem(ErrorCode::RequestIdReused);
}
