//! Long polls: resolved, cancelled when the client goes away, sent away at shutdown.

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use willow_api::ErrorCode;

use super::harness::{self, Harness, PATIENCE};

const LONG_POLLS: &str = "willow_http_long_polls";

/// Sends a call and does not wait for its answer.
async fn send_only(server: &Harness, path: &str, body: &Value) -> TcpStream {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len(),
    );
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream
}

fn acquire(wait_ms: u64) -> Value {
    json!({"key_values": {"a": 1}, "wait_ms": wait_ms})
}

async fn held(server: &Harness) -> (String, Value) {
    let first = server.post("/v1/locks", &acquire(0)).await.ok(200);
    let lock = first["locks"][0]["lock"].as_str().unwrap().to_owned();
    (lock, json!({"session": first["session"]}))
}

#[tokio::test]
async fn a_waiter_gets_the_lock_when_it_is_released() {
    let server = Harness::start().await;
    let (lock, session) = held(&server).await;
    let body = acquire(60_000);
    let waiting = server.post("/v1/locks", &body);
    let release = async {
        server.metric_is(LONG_POLLS, 1).await;
        let seen = server.get(&format!("/v1/locks/{lock}")).await.ok(200);
        assert_eq!((&seen["waiting"], &seen["waiters"][0]["position"]), (&json!(1), &json!(1)));
        server.post(&format!("/v1/locks/{lock}/release"), &session).await.ok(200);
    };
    let (reply, ()) = tokio::join!(waiting, release);
    assert_eq!(reply.ok(200)["locks"][0]["lock"], lock);
}

#[tokio::test]
async fn a_wait_ends_by_the_clock_of_the_machine() {
    let server = Harness::start().await;
    let _held = held(&server).await;
    let body = acquire(5_000);
    let waiting = server.post("/v1/locks", &body);
    let pass = async {
        server.metric_is(LONG_POLLS, 1).await;
        server.clock.advance(5_000);
    };
    let (reply, ()) = tokio::join!(waiting, pass);
    reply.problem(ErrorCode::LockHeld);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_line() {
    let server = Harness::start().await;
    let (lock, session) = held(&server).await;
    let stream = send_only(&server, "/v1/locks", &acquire(60_000)).await;
    server.metric_is(LONG_POLLS, 1).await;
    drop(stream);
    server.metric_is(LONG_POLLS, 0).await;
    let gone = async {
        while server.get(&format!("/v1/locks/{lock}")).await.ok(200)["waiting"] != 0 {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(PATIENCE, gone).await.is_ok(), "the wait was not cancelled");
    server.post(&format!("/v1/locks/{lock}/release"), &session).await.ok(200);
    server.get(&format!("/v1/locks/{lock}")).await.problem(ErrorCode::LockNotFound);
}

#[tokio::test]
async fn a_client_with_a_request_id_finds_its_place_again() {
    let server = Harness::start().await;
    let (lock, session) = held(&server).await;
    let body = json!({"key_values": {"a": 1}, "wait_ms": 60_000, "request_id": "r"});
    let stream = send_only(&server, "/v1/locks", &body).await;
    server.metric_is(LONG_POLLS, 1).await;
    drop(stream);
    server.metric_is(LONG_POLLS, 0).await;
    server.post(&format!("/v1/locks/{lock}/release"), &session).await.ok(200);
    // Granted while nobody listened; the repeat hears of it.
    let reply = server.post("/v1/locks", &body).await.ok(200);
    assert_eq!(reply["locks"][0]["lock"], lock);
}

#[tokio::test]
async fn consumers_and_increments_wait_too() {
    let server = Harness::start().await;
    server.post("/v1/queues", &json!({"name": "q"})).await.ok(201);
    let body = json!({"wait_ms": 60_000});
    let (reply, ()) = tokio::join!(server.post("/v1/queues/q/dequeue", &body), async {
        server.metric_is(LONG_POLLS, 1).await;
        server.post("/v1/queues/q/items", &json!({"key_values": {"a": 1}, "data": 7})).await.ok(201);
    });
    assert_eq!(reply.ok(200)["items"][0]["data"], 7);

    server.post("/v1/limiter/rules", &json!({"name": "r", "key_values": {"b": 1}, "limit": 1})).await.ok(201);
    let one = json!({"key_values": {"b": 1}});
    server.post("/v1/limiter/counters/increment", &one).await.ok(200);
    let body = json!({"key_values": {"b": 1}, "wait_ms": 60_000});
    let (reply, ()) = tokio::join!(server.post("/v1/limiter/counters/increment", &body), async {
        server.metric_is(LONG_POLLS, 1).await;
        server.post("/v1/limiter/counters/decrement", &one).await.ok(200);
    });
    assert_eq!(reply.ok(200)["counter"]["amount"], 1);
}

#[tokio::test]
async fn shutdown_sends_waiters_away_and_then_ends() {
    let mut server = Harness::start().await;
    let _held = held(&server).await;
    let addr = server.addr;
    let waiting = tokio::spawn(async move {
        let headers = [("content-type", "application/json")];
        harness::send(addr, http::Method::POST, "/v1/locks", &headers, acquire(60_000).to_string().into()).await
    });
    server.metric_is(LONG_POLLS, 1).await;
    let ended = server.stop();
    let problem = waiting.await.unwrap().problem(ErrorCode::ShuttingDown);
    assert!(problem.retryable);
    timeout(PATIENCE, ended).await.expect("it ends").expect("it runs").expect("in order");
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens any more");
}
