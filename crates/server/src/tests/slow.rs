//! Slow and idle clients lose their connection; their number is bounded. Time-outs are short here, and only
//! lower bounds of time are checked.

use std::time::Instant;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::harness::{Harness, PATIENCE};

const SHORT_MS: u64 = 150;

/// Reads to the end of the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server ends the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time() {
    let server = Harness::with(|config| config.header_timeout_ms = SHORT_MS).await;
    for sent in ["", "P", "GET /livez HT", "GET /livez HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r\n"] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut stream).await, "", "{sent:?}");
        assert!(began.elapsed().as_millis() >= u128::from(SHORT_MS), "{sent:?}");
    }
    server.metric_is("willow_http_connections_timed_out_total", 5).await;
}

#[tokio::test]
async fn a_head_that_drips_in() {
    let server = Harness::with(|config| config.header_timeout_ms = SHORT_MS).await;
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let drip = tokio::spawn(async move {
        writer.write_all(b"GET /livez HTTP/1.1\r\n").await?;
        loop {
            writer.write_all(b"x: y\r\n").await?;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        #[expect(unreachable_code, reason = "tells the type of the error")]
        Ok::<(), std::io::Error>(())
    });
    let mut bytes = Vec::new();
    let _read = timeout(PATIENCE, reader.read_to_end(&mut bytes)).await.expect("the server ends the connection");
    assert_eq!(bytes, b"");
    drip.abort();
}

#[tokio::test]
async fn a_second_head_that_does_not_come_in_time() {
    // A part of it that came with the first request counts as idling.
    let short = |config: &mut crate::Config| (config.header_timeout_ms, config.idle_timeout_ms) = (SHORT_MS, SHORT_MS);
    let server = Harness::with(short).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /livez HT").await.unwrap();
    stream.write_all(b"TP/1.1\r\n").await.unwrap();
    let text = rest(&mut stream).await;
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1, "{text}");
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time() {
    let server = Harness::with(|config| config.body_timeout_ms = SHORT_MS).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let head = "POST /v1/locks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let text = rest(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains("REQUEST_TIMEOUT"), "{text}");
}

#[tokio::test]
async fn a_connection_that_idles() {
    let server = Harness::with(|config| config.idle_timeout_ms = SHORT_MS).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let text = rest(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert_eq!(server.metric("willow_http_connections_timed_out_total").await, 0);
}

#[tokio::test]
async fn a_reply_that_is_not_taken() {
    let server = Harness::with(|config| config.write_timeout_ms = SHORT_MS).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    // More replies of half a megabyte than the sockets' buffers hold.
    let ask = b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    stream.write_all(&ask).await.unwrap();
    server.metric_is("willow_http_connections_timed_out_total", 1).await;
}

#[tokio::test]
async fn more_connections_than_there_may_be() {
    let server = Harness::with(|config| config.max_connections = 2).await;
    // Kept open by a head that has begun.
    let mut first = TcpStream::connect(server.addr).await.unwrap();
    first.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    // Answered: so the first was accepted before, and is counted.
    let mut second = TcpStream::connect(server.addr).await.unwrap();
    second.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    second.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let mut third = TcpStream::connect(server.addr).await.unwrap();
    let text = rest(&mut third).await;
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole answer");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("retry-after: 1") && head.contains(&format!("content-length: {}", body.len())), "{head}");
    let problem: willow_api::Problem = serde_json::from_str(body).unwrap();
    assert_eq!(problem.code, willow_api::ErrorCode::Overloaded);
}
