//! Calls between nodes that mean well.

use futures_util::future::join_all;
use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn answers_come_back_whatever_their_size_secured_or_not() {
    let folder = tempfile::tempdir().expect("a folder");
    for security in [Security::Insecure, certificate(folder.path(), "n1", &["127.0.0.1"])] {
        let node = Node::start(security.clone()).await;
        let transport = PeerTransport::with_settings(security, patient());
        for length in [0, 1, 200, 9000, 100_000, 5 << 20] {
            let request: Bytes = (0..length).map(|at| (at % 253) as u8).collect();
            assert_eq!(call(&transport, &node.peer, request.clone()).await, Ok(request));
        }
    }
}

#[tokio::test]
async fn the_longest_frame_passes_and_a_longer_one_is_not_sent() {
    let node = Node::start(Security::Insecure).await;
    let transport = insecure();
    let longest = Bytes::from(vec![7; MAX_FRAME_BYTES]);
    assert_eq!(call(&transport, &node.peer, longest.clone()).await, Ok(longest));
    let longer = call(&transport, &node.peer, vec![7; MAX_FRAME_BYTES + 1]).await;
    assert!(is_unreachable(&longer), "{longer:?}");
    let answer = call(&transport, &node.peer, "long!").await;
    assert!(is_broken(&answer), "{answer:?}");
    assert_eq!(call(&transport, &node.peer, "and on").await, Ok(Bytes::from("and on")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_wait_at_once_on_one_connection() {
    let mut node = Node::start(Security::Insecure).await;
    let transport = insecure();
    let call = |at: usize| transport.call(&node.peer, Lane::Client, format!("until {at}").into());
    let first: Vec<_> = (0..999).map(|at| tokio::spawn(call(at))).collect();
    let reached = node.come.wait_for(|come| *come == 999);
    tokio::time::timeout(LONG, reached).await.expect("in time").expect("it lives");
    let last = tokio::spawn(call(999));
    for (at, answer) in join_all(first.into_iter().chain([last])).await.into_iter().enumerate() {
        assert_eq!(answer.expect("no panic"), Ok(Bytes::from(format!("until {at}"))));
    }
}

#[tokio::test]
async fn a_dropped_call_is_dropped_at_the_peer_too() {
    let mut node = Node::start(Security::Insecure).await;
    let transport = insecure();
    let kept = tokio::spawn(transport.call(&node.peer, Lane::Client, "hold!".into()));
    node.holds(1).await;
    let dropped = tokio::spawn(transport.call(&node.peer, Lane::Client, "hold!".into()));
    node.holds(2).await;
    dropped.abort();
    node.holds(1).await;
    assert!(!kept.is_finished());
    assert_eq!(call(&transport, &node.peer, "same connection").await, Ok(Bytes::from("same connection")));
}

#[tokio::test]
async fn a_service_that_panics_breaks_that_call_only() {
    let mut node = Node::start(Security::Insecure).await;
    let transport = insecure();
    let other = tokio::spawn(transport.call(&node.peer, Lane::Client, "hold!".into()));
    node.holds(1).await;
    let answer = call(&transport, &node.peer, "panic").await;
    assert!(is_broken(&answer), "{answer:?}");
    assert_eq!(call(&transport, &node.peer, "echo").await, Ok(Bytes::from("echo")));
    assert!(!other.is_finished());
}

#[tokio::test]
async fn calls_break_when_the_peer_goes_and_the_next_one_connects_again() {
    let folder = tempfile::tempdir().expect("a folder");
    for security in [Security::Insecure, certificate(folder.path(), "n1", &[])] {
        let mut node = Node::start(security.clone()).await;
        let addr: SocketAddr = node.peer.addr.parse().expect("an address");
        let transport = PeerTransport::with_settings(security.clone(), patient());
        let waits = tokio::spawn(transport.call(&node.peer, Lane::Client, "hold!".into()));
        node.holds(1).await;
        let (peer, mut held) = (node.peer.clone(), node.held.clone());
        node.stop().await;
        assert!(is_broken(&waits.await.expect("no panic")));
        // What ran there has been dropped, or the service itself has, with it.
        let _dropped = held.wait_for(|held| *held == 0).await;
        let gone = call(&transport, &peer, "gone").await;
        assert!(is_unreachable(&gone), "{gone:?}");
        let _again = Node::start_at(addr, security, patient()).await;
        assert_eq!(call(&transport, &peer, "back").await, Ok(Bytes::from("back")));
    }
}

#[tokio::test]
async fn what_runs_at_the_peer_ends_with_the_caller_s_node() {
    let mut node = Node::start(Security::Insecure).await;
    let transport = insecure();
    let waits = tokio::spawn(transport.call(&node.peer, Lane::Client, "hold!".into()));
    node.holds(1).await;
    drop(transport);
    assert!(!waits.is_finished(), "a call keeps its connection");
    waits.abort();
    node.holds(0).await;
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let free = TcpListener::bind(loopback()).await.expect("bind").local_addr().expect("an address");
    for addr in [free.to_string(), "no-such-host.invalid:7071".to_owned(), "no port".to_owned()] {
        let answer = call(&insecure(), &Peer { node: None, addr }, "x").await;
        assert!(is_unreachable(&answer), "{answer:?}");
    }
}

/// Accepts, and is silent from then on; with `greets`, only after the hello.
async fn silent(greets: bool) -> Peer {
    let listener = TcpListener::bind(loopback()).await.expect("bind");
    let peer = peer(listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if greets {
                    crate::hello::welcome(&mut stream, &(1..=1)).await.expect("a hello");
                }
                // It stays open, and unread.
                std::future::pending::<()>().await;
                drop(stream);
            });
        }
    });
    peer
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_is_unreachable() {
    let settings = Settings { connect_timeout: Duration::from_millis(100), ..patient() };
    let transport = PeerTransport::with_settings(Security::Insecure, settings);
    let answer = call(&transport, &silent(false).await, "x").await;
    assert!(is_unreachable(&answer), "{answer:?}");
}

#[tokio::test]
async fn a_peer_that_never_answers_pings_is_noticed_by_every_call() {
    let settings = Settings { ping_every: Duration::from_millis(50), missed_pings: 4, ..patient() };
    let transport = PeerTransport::with_settings(Security::Insecure, settings);
    let peer = silent(true).await;
    let answers = join_all((0..3).map(|_| call(&transport, &peer, "x"))).await;
    assert!(answers.iter().all(is_broken), "{answers:?}");
    // What such a peer does not even take must not be waited for longer.
    let long = || call(&transport, &peer, vec![0; MAX_FRAME_BYTES]);
    let answers = join_all([long(), long(), long()]).await;
    assert_eq!(answers.iter().filter(|answer| is_broken(answer)).count(), 1, "only one had room to be sent");
    assert_eq!(answers.iter().filter(|answer| is_unreachable(answer)).count(), 2);
}

#[tokio::test]
async fn a_lane_does_not_wait_for_another() {
    // One connection is stuck in a long request that the peer does not read; others are answered.
    let listener = TcpListener::bind(loopback()).await.expect("bind");
    let to = peer(listener.local_addr().expect("an address"));
    let transport = insecure();
    let stuck = tokio::spawn(transport.call(&to, Lane::Bulk, vec![0; MAX_FRAME_BYTES].into()));
    let (mut first, _) = listener.accept().await.expect("accept");
    crate::hello::welcome(&mut first, &(1..=1)).await.expect("a hello");
    tokio::spawn(async move {
        let (mut second, _) = listener.accept().await.expect("accept");
        crate::hello::welcome(&mut second, &(1..=1)).await.expect("a hello");
        let life = crate::keepalive::Life::default();
        let (from, mut to) = second.split();
        let mut frames = crate::frame::FrameReader::new(from, &life);
        let request = frames.header().await.expect("a request");
        let mut answer = bytes::BytesMut::new();
        crate::frame::Header { kind: crate::frame::Kind::Answer, id: request.id, length: 0 }.write(&mut answer);
        tokio::io::AsyncWriteExt::write_all(&mut to, &answer).await.expect("write");
        std::future::pending::<()>().await;
    });
    let answer = tokio::time::timeout(LONG, transport.call(&to, Lane::Urgent, "x".into())).await.expect("in time");
    assert_eq!(answer, Ok(Bytes::new()));
    assert!(!stuck.is_finished());
    drop(first);
    assert!(is_broken(&stuck.await.expect("no panic")));
}

#[tokio::test]
async fn idle_connections_are_closed_and_made_again() {
    let node = Node::start(Security::Insecure).await;
    let settings = Settings { idle_timeout: Duration::from_millis(20), ..patient() };
    let transport = PeerTransport::with_settings(Security::Insecure, settings);
    for _ in 0..5 {
        assert_eq!(call(&transport, &node.peer, "x").await, Ok(Bytes::from("x")));
        let start = SystemTime::now();
        while transport.connections() > 0 {
            assert!(start.elapsed().expect("a clock") < LONG, "it is still open");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn versions_may_differ_by_one_and_what_cannot_meet_says_why() {
    let with = |versions| Settings { versions, ..patient() };
    let next = Node::start_at(loopback(), Security::Insecure, with(1..=2)).await;
    assert_eq!(call(&insecure(), &next.peer, "x").await, Ok(Bytes::from("x")));
    let node = Node::start(Security::Insecure).await;
    let later = PeerTransport::with_settings(Security::Insecure, with(1..=2));
    assert_eq!(call(&later, &node.peer, "x").await, Ok(Bytes::from("x")));

    let (lines, _guard) = Lines::capture();
    let far = PeerTransport::with_settings(Security::Insecure, with(3..=4));
    let answer = call(&far, &node.peer, "x").await;
    let Err(TransportError::Unreachable { reason, .. }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("this node speaks 3..=4, the peer 1..=1"), "{reason}");
    lines.have("this node speaks 1..=1, the peer 3..=4").await;
}
