//! Bytes of strangers on the port.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::frame::{Header, Kind};

fn frame(kind: Kind, id: u64, length: usize) -> Vec<u8> {
    let mut bytes = bytes::BytesMut::new();
    Header { kind, id, length }.write(&mut bytes);
    bytes.to_vec()
}

async fn connect(node: &Node) -> TcpStream {
    TcpStream::connect(&node.peer.addr).await.expect("connect")
}

async fn greeted(node: &Node) -> TcpStream {
    let mut stream = connect(node).await;
    assert_eq!(crate::hello::greet(&mut stream, &(1..=1)).await.expect("a hello"), 1);
    stream
}

/// The listener closes the connection, by whatever means.
async fn is_dropped(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _how = tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await.expect("in time");
}

/// Bytes that look like nothing in particular, the same each time.
fn noise(seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..200).map(next).collect()
}

#[tokio::test]
async fn garbage_is_dropped_with_few_lines_and_peers_are_served_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (lines, _guard) = Lines::capture();
    for security in [Security::Insecure, certificate(folder.path(), "n1", &[])] {
        let node = Node::start(security.clone()).await;
        let http = b"GET / HTTP/1.1\r\nHost: willow\r\n\r\n".to_vec();
        for bytes in [http].into_iter().chain((0..100).map(noise)) {
            let mut stream = connect(&node).await;
            stream.write_all(&bytes).await.expect("write");
            stream.shutdown().await.expect("shutdown");
            is_dropped(stream).await;
        }
        let transport = PeerTransport::with_settings(security, patient());
        assert_eq!(call(&transport, &node.peer, "x").await, Ok(Bytes::from("x")));
    }
    let text = lines.text();
    assert!((1..=4).contains(&text.lines().count()), "{text}");
    assert!(text.contains("it is no Willow node") && text.contains("does not speak TLS"), "{text}");
}

#[tokio::test]
async fn noise_after_the_hello_ends_the_connection_and_nothing_else() {
    let node = Node::start(Security::Insecure).await;
    for seed in 0..200 {
        let mut stream = greeted(&node).await;
        stream.write_all(&noise(seed)).await.expect("write");
        stream.shutdown().await.expect("shutdown");
        is_dropped(stream).await;
    }
    assert_eq!(call(&insecure(), &node.peer, "x").await, Ok(Bytes::from("x")));
}

#[tokio::test]
async fn a_frame_past_the_bound_is_refused_by_its_header() {
    let (lines, _guard) = Lines::capture();
    let node = Node::start(Security::Insecure).await;
    for length in [MAX_FRAME_BYTES + 1, u32::MAX as usize] {
        let mut stream = greeted(&node).await;
        stream.write_all(&frame(Kind::Request, 1, length)).await.expect("write");
        // Not one byte of it has come, and yet the connection ends.
        is_dropped(stream).await;
    }
    lines.have("67108865 bytes, of 67108864 at most").await;
}

#[tokio::test]
async fn half_a_frame_holds_nobody_up() {
    let node = Node::start(Security::Insecure).await;
    let mut half = greeted(&node).await;
    half.write_all(&frame(Kind::Request, 1, MAX_FRAME_BYTES)).await.expect("write");
    half.write_all(&[0; 100]).await.expect("write");
    assert_eq!(call(&insecure(), &node.peer, "x").await, Ok(Bytes::from("x")));
    half.shutdown().await.expect("shutdown");
    is_dropped(half).await;
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_dropped() {
    let node = Node::start(Security::Insecure).await;
    let twice = [frame(Kind::Request, 1, 5), b"hold!".to_vec()].concat().repeat(2);
    for bytes in [twice, frame(Kind::Answer, 1, 0), frame(Kind::Refused, 1, 0)] {
        let mut stream = greeted(&node).await;
        stream.write_all(&bytes).await.expect("write");
        is_dropped(stream).await;
    }
    // A cancellation of what is not there may cross its answer: that is no fault.
    let mut stream = greeted(&node).await;
    stream.write_all(&frame(Kind::Cancel, 9, 0)).await.expect("write");
    stream.write_all(&frame(Kind::Ping, 0, 0)).await.expect("write");
    let mut pong = vec![0; crate::frame::HEADER_BYTES];
    stream.read_exact(&mut pong).await.expect("a pong");
    assert_eq!(pong, frame(Kind::Pong, 0, 0));
}

#[tokio::test]
async fn requests_past_the_bound_of_bytes_are_refused_and_known_not_to_be_seen() {
    let mut node = Node::start(Security::Insecure).await;
    let transport = insecure();
    let mut long = vec![0; MAX_FRAME_BYTES];
    long[..5].copy_from_slice(b"hold!");
    let long = Bytes::from(long);
    let calls: Vec<_> = (0..4).map(|_| tokio::spawn(transport.call(&node.peer, Lane::Client, long.clone()))).collect();
    node.holds(4).await;
    let refused = call(&transport, &node.peer, long.slice(..17 << 20)).await;
    assert!(is_unreachable(&refused), "{refused:?}");
    assert_eq!(call(&transport, &node.peer, "a short one").await, Ok(Bytes::from("a short one")));
    for call in calls {
        call.abort();
    }
    node.holds(0).await;
    assert_eq!(call(&transport, &node.peer, vec![1; 17 << 20]).await, Ok(Bytes::from(vec![1; 17 << 20])));
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_dropped() {
    let settings = Settings { ping_every: Duration::from_millis(20), missed_pings: 4, ..patient() };
    let node = Node::start_at(loopback(), Security::Insecure, settings).await;
    let mut stream = greeted(&node).await;
    let request = [frame(Kind::Request, 1, MAX_FRAME_BYTES), vec![0; MAX_FRAME_BYTES]].concat();
    stream.write_all(&request).await.expect("write");
    // It shows signs of life, and takes nothing of its answer.
    let start = SystemTime::now();
    while stream.write_all(&frame(Kind::Ping, 0, 0)).await.is_ok() {
        assert!(start.elapsed().expect("a clock") < LONG, "it is still served");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_probe_of_the_port_is_not_worth_a_line() {
    let (lines, _guard) = Lines::capture();
    let node = Node::start(Security::Insecure).await;
    for _ in 0..3 {
        let mut probe = connect(&node).await;
        probe.shutdown().await.expect("shutdown");
        is_dropped(probe).await;
    }
    assert_eq!(lines.text(), "");
}
