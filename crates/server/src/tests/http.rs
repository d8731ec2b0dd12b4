//! Whatever a client may get wrong about HTTP and JSON is a clear problem.

use http::Method;
use serde_json::json;
use willow_api::ErrorCode;

use super::harness::Harness;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test]
async fn a_path_that_is_not_there() {
    let server = Harness::start().await;
    for path in ["/nowhere", "/v1", "/v1/", "/v1/locks/", "/v1/lock", "/docs/errors/NOPE", "//"] {
        let problem = server.get(path).await.problem(ErrorCode::RouteNotFound);
        assert!(problem.detail.contains(path), "{problem}");
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take() {
    let server = Harness::start().await;
    let reply = server.get("/v1/locks").await;
    reply.problem(ErrorCode::MethodNotAllowed);
    assert_eq!(reply.header("allow"), "POST");
    let reply = server.send(Method::PATCH, "/v1/limiter/rules/r", &[], "").await;
    reply.problem(ErrorCode::MethodNotAllowed);
    let mut allowed: Vec<&str> = reply.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PUT"]);
}

#[tokio::test]
async fn bodies_that_are_no_request() {
    let server = Harness::start().await;
    let nested = format!("{{\"key_values\":{}}}", "[".repeat(100_000));
    let bodies: [(&[u8], ErrorCode, Option<&str>); 16] = [
        (b"", ErrorCode::InvalidJson, None),
        (b" ", ErrorCode::InvalidJson, None),
        (b"{", ErrorCode::InvalidJson, None),
        (b"{\"token\": 1}{", ErrorCode::InvalidJson, None),
        (b"{\"token\": NaN}", ErrorCode::InvalidJson, None),
        (b"{\"owner\": \"\xff\"}", ErrorCode::InvalidJson, None),
        (b"[]", ErrorCode::InvalidField, None),
        (b"null", ErrorCode::InvalidField, None),
        (b"{\"key_value\": {}}", ErrorCode::InvalidField, Some("key_value")),
        (b"{\"ttl_ms\": 1e999}", ErrorCode::InvalidField, Some("ttl_ms")),
        (b"{\"ttl_ms\": 99999999999999999999}", ErrorCode::InvalidField, Some("ttl_ms")),
        (b"{\"ttl_ms\": \"5\"}", ErrorCode::InvalidField, Some("ttl_ms")),
        (b"{\"mode\": \"exclusiv\"}", ErrorCode::InvalidField, Some("mode")),
        (b"{\"session\": \"x\"}", ErrorCode::InvalidField, Some("session")),
        (b"{\"ttl_ms\": 1, \"ttl_ms\": 1}", ErrorCode::InvalidField, Some("ttl_ms")),
        (nested.as_bytes(), ErrorCode::JsonTooDeep, None),
    ];
    for (body, code, field) in bodies {
        let problem = server.send(Method::POST, "/v1/locks", JSON, body.to_vec()).await.problem(code);
        assert_eq!(problem.facts.field.as_deref(), field, "{problem}");
    }
}

#[tokio::test]
async fn bodies_that_do_not_say_that_they_are_json() {
    let server = Harness::start().await;
    for headers in
        [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/x-www-form-urlencoded")]]
    {
        server.send(Method::POST, "/v1/locks", headers, "{}").await.problem(ErrorCode::UnsupportedMediaType);
    }
    let packed = [JSON[0], ("content-encoding", "gzip")];
    let problem = server.send(Method::POST, "/v1/locks", &packed, "{}").await.problem(ErrorCode::UnsupportedMediaType);
    assert_eq!(problem.facts.field.as_deref(), Some("Content-Encoding"));
    // Where a body may be absent, it need not say so.
    server.send(Method::POST, "/v1/locks/query", &[], "").await.ok(200);
    server.send(Method::POST, "/v1/locks/query", &[], "{}").await.problem(ErrorCode::UnsupportedMediaType);
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let server = Harness::with(|config| config.max_body_bytes = 64 * 1024).await;
    let body = format!("{{\"owner\": \"{}\"}}", "x".repeat(64 * 1024));
    let problem = server.send(Method::POST, "/v1/locks", JSON, body.clone()).await.problem(ErrorCode::BodyTooLarge);
    assert_eq!(problem.facts.max_bytes, Some(64 * 1024));
    // The bound also holds where no length is declared, and is another one for items.
    let reply = server.send(Method::POST, "/v1/queues/q/items", JSON, body).await;
    assert_eq!(reply.problem(ErrorCode::InvalidField).facts.field.as_deref(), Some("owner"));
}

#[tokio::test]
async fn ids_parameters_and_headers_that_cannot_be_read() {
    let server = Harness::start().await;
    let problem = server.get("/v1/locks/nope").await.problem(ErrorCode::InvalidId);
    assert_eq!(problem.facts.field.as_deref(), Some("lock"));
    server.get("/v1/limiter/rules/%FF").await.problem(ErrorCode::InvalidId);
    server.get("/v1/queues/q/items/17").await.problem(ErrorCode::InvalidId);
    server.delete("/v1/sessions/1").await.problem(ErrorCode::InvalidId);
    for (query, field) in [
        ("consistency=eventual", "consistency"),
        ("fresh=yes", "fresh"),
        ("consistency=stale&consistency=stale", "consistency"),
    ] {
        let problem = server.get(&format!("/v1/limiter/rules/r?{query}")).await.problem(ErrorCode::InvalidParameter);
        assert_eq!(problem.facts.field.as_deref(), Some(field), "{query}");
    }
    // Of calls that take none, too; those that take some are not disturbed.
    for (method, path) in [(Method::POST, "/v1/sessions"), (Method::DELETE, "/v1/limiter/rules/r")] {
        let reply = server.send(method, &format!("{path}?wait_ms=5"), &[], "").await;
        assert_eq!(reply.problem(ErrorCode::InvalidParameter).facts.field.as_deref(), Some("wait_ms"));
    }
    server.send(Method::POST, "/v1/sessions?", &[], "").await.ok(201);
    server.send(Method::POST, "/v1/locks/query?consistency=stale", &[], "").await.ok(200);
    let path = "/v1/limiter/rules/r";
    for value in ["", "x", "\"", "W/\"1\"", "\"-1\"", "\"+1\"", "\"99999999999999999999\""] {
        let reply = server.send(Method::DELETE, path, &[("if-match", value)], "").await;
        assert_eq!(reply.problem(ErrorCode::InvalidParameter).facts.field.as_deref(), Some("If-Match"));
    }
    // Twice, with the same value or another: it is not certain which is meant.
    for name in ["if-match", "idempotency-key"] {
        let reply = server.send(Method::DELETE, path, &[(name, "\"1\""), (name, "\"2\"")], "").await;
        assert_eq!(reply.problem(ErrorCode::InvalidParameter).facts.field.as_deref(), Some(name));
    }
    let twice = [("content-type", "application/json"), ("content-type", "text/plain")];
    server.send(Method::POST, "/v1/locks", &twice, "{}").await.problem(ErrorCode::InvalidParameter);
}

#[tokio::test]
async fn request_ids_in_two_places() {
    let server = Harness::start().await;
    let send = async |header: &'static str, body: serde_json::Value| {
        let headers = [JSON[0], ("idempotency-key", header)];
        server.send(Method::POST, "/v1/sessions", &headers, body.to_string()).await
    };
    send("a", json!({"request_id": "b"})).await.problem(ErrorCode::RequestIdMismatch);
    let long = "x".repeat(129);
    let problem = server.post("/v1/sessions", &json!({"request_id": long})).await.problem(ErrorCode::OutOfBounds);
    assert_eq!(problem.facts.field.as_deref(), Some("request_id"));
    server.post("/v1/sessions", &json!({"request_id": ""})).await.problem(ErrorCode::OutOfBounds);
    send("", json!({})).await.problem(ErrorCode::OutOfBounds);
}

#[tokio::test]
async fn a_head_that_is_too_large() {
    let server = Harness::start().await;
    let huge = "x".repeat(64 * 1024);
    let reply = server.send(Method::GET, "/livez", &[("x-huge", &huge)], "").await;
    assert_eq!(reply.status.as_u16(), 431);
}

#[tokio::test]
async fn http_2_with_prior_knowledge() {
    let server = Harness::start().await;
    let stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let driver = tokio::spawn(connection);
    for _ in 0..2 {
        let request = http::Request::builder().uri(format!("http://{}/livez", server.addr));
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    }
    driver.abort();
}
