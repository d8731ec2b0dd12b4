//! Against sockets that do as told.

use std::{collections::BTreeSet, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn listen() -> (TcpListener, Pool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, Pool::new(&address, Duration::from_secs(30), 8))
}

fn request(body: &'static str) -> Request<Full<Bytes>> {
    Request::post("/").header("host", "here").body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()
}

/// Reads one request whose body is `body`.
async fn expect(stream: &mut TcpStream, body: &str) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(format!("\r\n\r\n{body}").as_bytes()) {
        let more = stream.read_buf(&mut bytes).await.unwrap();
        assert_ne!(more, 0, "the request ended early: {}", bytes.escape_ascii());
    }
}

async fn answer(stream: &mut TcpStream, body: &str, with: &str) {
    expect(stream, body).await;
    stream.write_all(with.as_bytes()).await.unwrap();
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    listener.accept().await.unwrap()
}

#[tokio::test]
async fn a_connection_serves_one_call_after_the_other() {
    let (listener, pool) = listen().await;
    let server = async {
        let (mut stream, _) = accept(&listener).await;
        for body in ["a", "b", "c"] {
            answer(&mut stream, body, OK).await;
        }
        stream
    };
    let calls = async {
        for body in ["a", "b", "c"] {
            assert_eq!(pool.send(request(body)).await.unwrap(), (StatusCode::OK, "ok".into()));
        }
    };
    let (_stream, ()) = tokio::join!(server, calls);
    assert_eq!(pool.idle.lock().len(), 1);
}

#[tokio::test]
async fn calls_at_once_have_a_connection_each() {
    let (listener, pool) = listen().await;
    let server = async {
        let mut streams = Vec::new();
        let mut peers = BTreeSet::new();
        for _ in 0..3 {
            let (stream, peer) = accept(&listener).await;
            peers.insert(peer);
            streams.push(stream);
        }
        // All are open before any is answered.
        for stream in &mut streams {
            answer(stream, "x", OK).await;
        }
        assert_eq!(peers.len(), 3);
        streams
    };
    let calls = async { tokio::join!(pool.send(request("x")), pool.send(request("x")), pool.send(request("x"))) };
    let (_streams, (first, second, third)) = tokio::join!(server, calls);
    for reply in [first, second, third] {
        assert_eq!(reply.unwrap().0, StatusCode::OK);
    }
    assert_eq!(pool.idle.lock().len(), 3);
}

#[tokio::test]
async fn a_connection_the_server_closed_meanwhile_is_not_used() {
    let (listener, pool) = listen().await;
    for body in ["a", "b"] {
        let server = async {
            let (mut stream, _) = accept(&listener).await;
            answer(&mut stream, body, OK).await;
            drop(stream);
        };
        let (reply, ()) = tokio::join!(pool.send(request(body)), server);
        assert_eq!(reply.unwrap().1, "ok");
        // The end of the stream is on its way.
        while let Some(open) = pool.take() {
            pool.put_back(open);
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_connection_to_be_closed_is_not_kept() {
    let (listener, pool) = listen().await;
    let server = async {
        let (mut stream, _) = accept(&listener).await;
        let reply = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        answer(&mut stream, "a", reply).await;
        stream
    };
    let (reply, _stream) = tokio::join!(pool.send(request("a")), server);
    assert_eq!(reply.unwrap(), (StatusCode::SERVICE_UNAVAILABLE, Bytes::new()));
    assert_eq!(pool.idle.lock().len(), 0);
}

#[tokio::test]
async fn a_connection_that_breaks_without_a_reply_is_an_error() {
    let (listener, pool) = listen().await;
    for reply in ["", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nshor", "nonsense\r\n\r\n"] {
        let server = async {
            let (mut stream, _) = accept(&listener).await;
            answer(&mut stream, "a", reply).await;
        };
        let (outcome, ()) = tokio::join!(pool.send(request("a")), server);
        let failed = outcome.unwrap_err();
        assert!(matches!(failed.error, Error::Connection(_)) && !failed.is_unsent, "{reply}: {failed:?}");
        assert_eq!(pool.idle.lock().len(), 0);
    }
}

#[tokio::test]
async fn a_reply_in_pieces_is_put_together() {
    let (listener, pool) = listen().await;
    let server = async {
        let (mut stream, _) = accept(&listener).await;
        answer(&mut stream, "a", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for piece in ["3\r\nabc\r\n", "2\r\nde\r\n", "0\r\n\r\n"] {
            tokio::task::yield_now().await;
            stream.write_all(piece.as_bytes()).await.unwrap();
        }
        answer(&mut stream, "b", OK).await;
    };
    let calls = async {
        assert_eq!(pool.send(request("a")).await.unwrap().1, "abcde");
        assert_eq!(pool.send(request("b")).await.unwrap().1, "ok");
    };
    tokio::join!(server, calls);
}

/// That is how the server hears that nobody waits any more.
#[tokio::test]
async fn a_call_that_is_dropped_closes_its_connection() {
    let (listener, pool) = listen().await;
    let (mut stream, _) = tokio::select! {
        biased;
        _ = pool.send(request("a")) => panic!("nobody answers"),
        accepted = async {
            let (mut stream, peer) = accept(&listener).await;
            expect(&mut stream, "a").await;
            (stream, peer)
        } => accepted,
    };
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(pool.idle.lock().len(), 0);
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let (listener, pool) = listen().await;
    drop(listener);
    let failed = pool.send(request("a")).await.unwrap_err();
    assert!(matches!(failed.error, Error::Connection(_)) && failed.is_unsent, "{failed:?}");
}

#[tokio::test]
async fn a_call_may_move_between_tasks() {
    let (listener, pool) = listen().await;
    let pool = Arc::new(pool);
    let mut call = {
        let pool = Arc::clone(&pool);
        Box::pin(async move { pool.send(request("a")).await })
    };
    let mut stream = tokio::select! {
        biased;
        _ = call.as_mut() => panic!("nobody answers"),
        stream = async {
            let (mut stream, _) = accept(&listener).await;
            expect(&mut stream, "a").await;
            stream
        } => stream,
    };
    // Now it is another task that is to be woken.
    let moved = tokio::spawn(call);
    tokio::task::yield_now().await;
    stream.write_all(OK.as_bytes()).await.unwrap();
    assert_eq!(moved.await.unwrap().unwrap().1, "ok");
}
