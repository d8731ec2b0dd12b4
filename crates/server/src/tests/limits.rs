//! Rules, overrides, counters, holds, explain over HTTP.

use http::Method;
use serde_json::{Value, json};
use willow_api::ErrorCode;

use super::harness::Harness;

const RULES: &str = "/v1/limiter/rules";
const INCREMENT: &str = "/v1/limiter/counters/increment";

fn per_branch(limit: Value) -> Value {
    json!({"name": "per-branch", "key_values": {"repo": {"any": true}, "branch": {"any": true}}, "limit": limit})
}

fn main_branch() -> Value {
    json!({"repo": "willow", "branch": "main"})
}

#[tokio::test]
async fn a_rule_from_creation_to_deletion() {
    let server = Harness::start().await;
    let reply = server.post(RULES, &per_branch(json!(1))).await;
    let rule = reply.ok(201);
    let revision = rule["revision"].as_u64().unwrap();
    assert_eq!(reply.header("etag"), format!("\"{revision}\""));
    assert_eq!(rule["mode"], "enforce");
    let id = rule["id"].as_str().unwrap();
    for name in [id, "per-branch"] {
        assert_eq!(server.get(&format!("{RULES}/{name}")).await.ok(200), rule);
    }
    let problem = server.post(RULES, &per_branch(json!(2))).await.problem(ErrorCode::AlreadyExists);
    assert_eq!(problem.facts.existing.map(|id| id.to_string()).as_deref(), Some(id));

    let edit = json!({"limit": "unlimited", "mode": "shadow"}).to_string();
    let path = format!("{RULES}/per-branch");
    let put = async |tag: &str| {
        let headers = [("content-type", "application/json"), ("if-match", tag)];
        server.send(Method::PUT, &path, &headers, edit.clone()).await
    };
    let problem = put("\"999999\"").await.problem(ErrorCode::RevisionMismatch);
    assert_eq!(problem.facts.current_revision.map(|revision| revision.0), Some(revision));
    let changed = put(reply.header("etag")).await.ok(200);
    assert_eq!((&changed["limit"], &changed["mode"]), (&json!("unlimited"), &json!("shadow")));
    assert!(changed["revision"].as_u64().unwrap() > revision);
    let moved = json!({"limit": 1, "mode": "enforce", "key_values": {"other": 1}});
    server.put(&path, &moved).await.problem(ErrorCode::KeyValuesImmutable);
    assert_eq!(server.delete(&path).await.ok(200), json!({}));
    server.delete(&path).await.problem(ErrorCode::RuleNotFound);
}

#[tokio::test]
async fn overrides_refine_their_rule() {
    let server = Harness::start().await;
    server.post(RULES, &per_branch(json!(1))).await.ok(201);
    let path = format!("{RULES}/per-branch/overrides");
    let new = json!({"name": "main", "key_values": {"repo": {"any": true}, "branch": "main"}, "limit": 2});
    let made = server.post(&path, &new).await.ok(201);
    assert_eq!(made["overlaps"], json!([]));
    let wide = json!({"name": "wide", "key_values": {"repo": {"any": true}}, "limit": 2});
    let problem = server.post(&path, &wide).await.problem(ErrorCode::OverrideNotNarrower);
    assert_eq!(problem.facts.field.as_deref(), Some("key_values.branch"));
    let one = format!("{path}/main");
    assert_eq!(server.get(&one).await.ok(200), made);
    assert_eq!(server.put(&one, &json!({"limit": 3})).await.ok(200)["limit"], 3);
    let page = server.post(&format!("{path}/query"), &json!({})).await.ok(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    for _ in 0..3 {
        server.post(INCREMENT, &json!({"key_values": main_branch()})).await.ok(200);
    }
    let problem = server.post(INCREMENT, &json!({"key_values": main_branch()})).await.problem(ErrorCode::LimitReached);
    assert_eq!(problem.facts.denied_by.unwrap()[0].override_name.as_deref(), Some("main"));
    assert_eq!(server.delete(&one).await.ok(200), json!({}));
    server.get(&one).await.problem(ErrorCode::OverrideNotFound);
    server.get(&format!("{RULES}/none/overrides/main")).await.problem(ErrorCode::RuleNotFound);
    server.post(&format!("{RULES}/none/overrides/query"), &json!({})).await.problem(ErrorCode::RuleNotFound);
}

#[tokio::test]
async fn counters_count_within_limits() {
    let server = Harness::start().await;
    server.post(RULES, &per_branch(json!(5))).await.ok(201);
    // The amount counts: 5 + 100 is not 5.
    server.post(INCREMENT, &json!({"key_values": main_branch(), "amount": 100})).await.problem(ErrorCode::LimitReached);
    let made = server.post(INCREMENT, &json!({"key_values": main_branch(), "amount": 4})).await.ok(200);
    assert_eq!(made["counter"]["amount"], 4);
    let problem = server
        .post(INCREMENT, &json!({"key_values": main_branch(), "amount": 2}))
        .await
        .problem(ErrorCode::LimitReached);
    let denied = &problem.facts.denied_by.unwrap()[0];
    assert_eq!((denied.used, denied.requested, denied.limit, denied.rule_name.as_str()), (4, 2, 5, "per-branch"));
    let id = made["counter"]["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/v1/limiter/counters/{id}")).await.ok(200)["amount"], 4);
    let decrement = "/v1/limiter/counters/decrement";
    let problem = server.post(decrement, &json!({"key_values": main_branch(), "amount": 5})).await;
    assert_eq!(problem.problem(ErrorCode::CounterUnderflow).facts.available, Some(4));
    server.post(decrement, &json!({"key_values": main_branch(), "amount": 1})).await.ok(200);
    assert_eq!(
        server.put("/v1/limiter/counters", &json!({"key_values": main_branch(), "amount": 9})).await.ok(200)["amount"],
        9
    );
    let page = server.post("/v1/limiter/counters/query", &json!({"where": {"branch": {"eq": "main"}}})).await.ok(200);
    assert_eq!(page["items"][0]["id"], id);
    server.put("/v1/limiter/counters", &json!({"key_values": main_branch(), "amount": 0})).await.ok(200);
    server.get(&format!("/v1/limiter/counters/{id}")).await.problem(ErrorCode::CounterNotFound);
    server.post(decrement, &json!({"key_values": main_branch()})).await.problem(ErrorCode::CounterNotFound);
    server.post(INCREMENT, &json!({"key_values": {"free": 1}, "amount": u64::MAX})).await.ok(200);
    server.post(INCREMENT, &json!({"key_values": {"free": 1}})).await.problem(ErrorCode::CounterOverflow);
    server.post(INCREMENT, &json!({"key_values": {"free": 1}, "amount": 0})).await.problem(ErrorCode::OutOfBounds);
}

#[tokio::test]
async fn holds_give_back_what_they_took() {
    let server = Harness::start().await;
    server.post(RULES, &per_branch(json!(1))).await.ok(201);
    let hold = json!({"key_values": main_branch(), "hold": {"ttl_ms": 2000}});
    let id = server.post(INCREMENT, &hold).await.ok(200)["hold"]["id"].as_str().unwrap().to_owned();
    let problem = server.post(INCREMENT, &hold).await.problem(ErrorCode::LimitReached);
    assert_eq!(problem.facts.retry_after_ms, Some(2000));
    let path = format!("/v1/limiter/holds/{id}");
    server.clock.advance(1000);
    assert_eq!(server.post(&format!("{path}/heartbeat"), &json!({})).await.ok(200)["expires_in_ms"], 2000);
    assert_eq!(server.delete(&path).await.ok(200), json!({"amount": 1}));
    server.delete(&path).await.problem(ErrorCode::HoldNotFound);
    server.post(&format!("{path}/heartbeat"), &json!({})).await.problem(ErrorCode::HoldNotFound);
}

#[tokio::test]
async fn explain_says_why_and_what_if() {
    let server = Harness::start().await;
    server.post(RULES, &per_branch(json!(1))).await.ok(201);
    server.post(INCREMENT, &json!({"key_values": main_branch()})).await.ok(200);
    let explained = server.post("/v1/limiter/explain", &json!({"key_values": main_branch()})).await.ok(200);
    assert_eq!(explained["allowed"], false);
    assert_eq!(explained["rules"][0]["verdict"], "matched");
    assert_eq!(explained["denied_by"][0]["rule_name"], "per-branch");
    let what_if = json!({"key_values": main_branch(), "rules": [
        {"name": "per-branch", "key_values": {"repo": {"any": true}, "branch": {"any": true}}, "limit": 2},
        {"name": "mac", "key_values": {"repo": {"any": true}, "os": "mac"}, "limit": 0},
    ]});
    let explained = server.post("/v1/limiter/explain", &what_if).await.ok(200);
    assert_eq!(explained["allowed"], true);
    let mac = explained["rules"].as_array().unwrap().iter().find(|rule| rule["name"] == "mac").unwrap();
    assert_eq!((&mac["verdict"], &mac["key"]), (&json!("missing_key"), &json!("os")));
    let bad = json!({"key_values": main_branch(), "amount": 0});
    server.post("/v1/limiter/explain", &bad).await.problem(ErrorCode::OutOfBounds);
}

#[tokio::test]
async fn queries_that_cannot_be() {
    let server = Harness::start().await;
    let path = format!("{RULES}/query");
    let problem = server.post(&path, &json!({"where": {"a": {"like": 1}}})).await.problem(ErrorCode::InvalidQuery);
    assert!(problem.facts.field.unwrap().starts_with("where.a"));
    server.post(&path, &json!({"page_token": "forged"})).await.problem(ErrorCode::PageTokenMismatch);
    server.post(&path, &json!({"limit": 0})).await.problem(ErrorCode::InvalidQuery);
}

#[tokio::test]
async fn pages_and_picks() {
    let server = Harness::start().await;
    for n in 0..5 {
        server.post(INCREMENT, &json!({"key_values": {"n": n}})).await.ok(200);
    }
    let path = "/v1/limiter/counters/query";
    let mut query = json!({"order_by": [{"key": "n", "direction": "desc"}], "limit": 2});
    let mut seen = Vec::new();
    loop {
        let page = server.post(path, &query).await.ok(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["key_values"]["n"].as_i64().unwrap()));
        let Some(token) = page.get("next_page_token") else { break };
        query["page_token"] = token.clone();
    }
    assert_eq!(seen, [4, 3, 2, 1, 0]);
    let robin = json!({"pick": {"round_robin": {"cursor": "c"}}, "count": true});
    let mut picked = Vec::new();
    for _ in 0..6 {
        let page = server.post(path, &robin).await.ok(200);
        assert_eq!(page["count"]["total"], 5);
        picked.push(page["items"][0]["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(picked[0], picked[5]);
    let distinct: std::collections::BTreeSet<_> = picked.iter().collect();
    assert_eq!(distinct.len(), 5);
    let page = server.post(&format!("{path}?consistency=stale"), &json!({"pick": "random", "limit": 1})).await.ok(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert!(server.post(path, &json!({"explain": true})).await.ok(200).get("plan").is_some());
}
