//! What the node cannot do is told in terms of what the caller can do.

use std::time::Duration;

use http::Method;
use serde_json::json;
use willow_api::ErrorCode;
use willow_node::{ClusterError, Health, NodeId, ProposeError, ReadError, Unavailable};

use super::harness::Harness;

#[tokio::test]
async fn every_failure_of_a_proposal_has_its_code() {
    let server = Harness::start().await;
    let storage = || Unavailable::Storage("sync".to_owned());
    let cases = [
        (ProposeError::Overloaded { retry_after: Duration::from_millis(1200) }, ErrorCode::Overloaded, Some(1200)),
        (ProposeError::Unavailable(Unavailable::DiskFull), ErrorCode::DiskFull, Some(5000)),
        (ProposeError::Unavailable(storage()), ErrorCode::StorageFailed, None),
        (ProposeError::Unavailable(Unavailable::Stopped("x".to_owned())), ErrorCode::StorageFailed, None),
        (ProposeError::Unavailable(Unavailable::NoLeader), ErrorCode::NoLeader, Some(500)),
        (ProposeError::Unavailable(Unavailable::Removed), ErrorCode::NodeRemoved, None),
        (ProposeError::ShuttingDown, ErrorCode::ShuttingDown, Some(1000)),
        (ProposeError::NotLeader { leader: Some(NodeId(2)) }, ErrorCode::NotLeader, None),
        (ProposeError::TooLarge { bytes: 2, limit: 1 }, ErrorCode::BodyTooLarge, None),
    ];
    for (error, code, retry_after_ms) in cases {
        server.faults.fail_propose(error);
        let problem = server.post("/v1/sessions", &json!({})).await.problem(code);
        assert_eq!(problem.facts.retry_after_ms, retry_after_ms, "{problem}");
        assert_eq!(problem.retryable, code.is_retryable(), "{problem}");
    }
}

#[tokio::test]
async fn an_unknown_outcome_may_be_repeated_only_with_a_request_id() {
    let server = Harness::start().await;
    let unknown = || ProposeError::OutcomeUnknown { reason: "the leader changed".to_owned() };
    server.faults.fail_propose(unknown());
    assert!(!server.post("/v1/sessions", &json!({})).await.problem(ErrorCode::OutcomeUnknown).retryable);
    server.faults.fail_propose(unknown());
    let reply = server.post("/v1/sessions", &json!({"request_id": "r1"})).await;
    assert!(reply.problem(ErrorCode::OutcomeUnknown).retryable);
}

#[tokio::test]
async fn every_failure_of_a_read_has_its_code() {
    let server = Harness::start().await;
    let cases = [
        (ReadError::NoQuorum, ErrorCode::NoQuorum),
        (ReadError::NotLeader { leader: None }, ErrorCode::NotLeader),
        (ReadError::NoLeader, ErrorCode::NoLeader),
        (ReadError::Removed, ErrorCode::NodeRemoved),
        (ReadError::Stopped, ErrorCode::StorageFailed),
    ];
    for (error, code) in cases {
        server.faults.fail_read(error);
        server.post("/v1/locks/query", &json!({})).await.problem(code);
    }
}

#[tokio::test]
async fn every_failure_of_a_change_of_the_cluster_has_its_code() {
    let server = Harness::start().await;
    let cases = [
        (ClusterError::NoSuchNode(NodeId(9)), ErrorCode::NodeNotFound),
        (ClusterError::LastNode(NodeId(1)), ErrorCode::LastNode),
        (ClusterError::Propose(ProposeError::Unavailable(Unavailable::NoLeader)), ErrorCode::NoLeader),
    ];
    for (error, code) in cases {
        server.faults.fail_cluster(error);
        server.delete("/v1/cluster/nodes/9").await.problem(code);
    }
    let node = json!({"node": 1});
    for (error, code) in [
        (ClusterError::CannotLead(NodeId(1)), ErrorCode::CannotLead),
        (ClusterError::NoAnswer(NodeId(1), "it is down".to_owned()), ErrorCode::CannotLead),
        (ClusterError::Slow(5000), ErrorCode::ChangePending),
    ] {
        server.faults.fail_cluster(error);
        server.post("/v1/cluster/groups/1/transfer-leader", &node).await.problem(code);
    }
}

#[tokio::test]
async fn a_failure_has_a_request_id_and_a_given_one_comes_back() {
    let server = Harness::start().await;
    server.faults.fail_read(ReadError::NoQuorum);
    assert_eq!(server.post("/v1/locks/query", &json!({})).await.header("x-request-id").len(), 16);
    let reply = server.send(Method::GET, "/v1/cluster", &[("x-request-id", "trace-7")], "").await;
    assert_eq!(reply.header("x-request-id"), "trace-7");
    assert_eq!(server.get("/v1/cluster").await.header("x-request-id"), "");
}

#[tokio::test]
async fn readiness_says_why_not() {
    let server = Harness::start().await;
    assert_eq!(server.get("/readyz").await.ok(200), json!({"status": "ready"}));
    assert_eq!(server.get("/livez").await.ok(200), json!({"status": "ready"}));
    server.faults.pretend(Health::ReadOnly(Unavailable::DiskFull));
    let not_ready = server.get("/readyz").await.ok(503);
    assert_eq!(not_ready["status"], "read_only");
    assert!(not_ready["reason"].as_str().unwrap().contains("disk is full"), "{not_ready}");
    assert_eq!(server.get("/livez").await.ok(200)["status"], "read_only");
    assert_eq!(server.get("/v1/cluster").await.ok(200)["nodes"][0]["health"], "read_only");
    let text = server.get("/metrics").await.bytes;
    assert!(String::from_utf8_lossy(&text).contains("willow_node_ready 0"));
    for (health, status) in [(Health::Starting, "starting"), (Health::Stopping, "stopping")] {
        server.faults.pretend(health);
        assert_eq!(server.get("/readyz").await.ok(503)["status"], status);
    }
}

#[tokio::test]
async fn more_requests_than_there_may_be_are_refused_but_health_is_not() {
    let server = Harness::with(|config| config.max_requests = 1).await;
    // The one request: its body does not come.
    let mut slow = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut slow, head.as_bytes()).await.unwrap();
    // It and the one that asks.
    server.metric_is("willow_http_requests_in_flight", 2).await;
    let problem = server.send(Method::POST, "/v1/locks/query", &[], "").await.problem(ErrorCode::Overloaded);
    assert_eq!(problem.facts.retry_after_ms, Some(1000));
    server.get("/readyz").await.ok(200);
    // Its body comes: it is answered, and there is room again.
    tokio::io::AsyncWriteExt::write_all(&mut slow, b"{}").await.unwrap();
    let mut answer = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut slow, &mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 "));
}
