//! Connections that break at any byte: what a caller is told is what has happened.

use std::collections::HashSet;

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use super::*;

const CALLERS: usize = 16;
const CALLS: usize = 60;

/// Remembers what it has been asked.
#[derive(Debug, Default)]
struct Record(Mutex<HashSet<Bytes>>);

impl Service for Record {
    fn answer(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        assert!(self.0.lock().expect("no panic").insert(request.clone()), "asked twice: {request:?}");
        Box::pin(std::future::ready(request))
    }
}

/// Passes connections on, and cuts each off after some bytes of either direction.
async fn cutting_proxy(to: SocketAddr) -> Peer {
    let listener = TcpListener::bind(loopback()).await.expect("bind");
    let peer = peer(listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let mut state = 7_u64;
        while let Ok((mut here, _)) = listener.accept().await {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Each fourth does not get through its hello.
            let most = if (state >> 60).is_multiple_of(4) { 14 } else { 6000 };
            let (up, down) = ((state >> 33) % most, (state >> 43) % most);
            tokio::spawn(async move {
                let mut there = TcpStream::connect(to).await.expect("connect");
                let (from_here, mut to_here) = here.split();
                let (from_there, mut to_there) = there.split();
                let (mut up, mut down) = (from_here.take(up), from_there.take(down));
                tokio::select! {
                    _ = copy(&mut up, &mut to_there) => {}
                    _ = copy(&mut down, &mut to_here) => {}
                }
                let _flushed = to_there.flush().await;
            });
        }
    });
    peer
}

async fn told_and_done(security: Security) {
    let listener = PeerListener::bind_with(loopback(), security.clone(), patient()).await.expect("bind");
    let proxy = cutting_proxy(listener.local_addr()).await;
    let record = Arc::new(Record::default());
    let service: Arc<dyn Service> = Arc::clone(&record) as _;
    let server = tokio::spawn(listener.serve(service, std::future::pending()));
    let transport = PeerTransport::with_settings(security, patient());
    let caller = |caller: usize| {
        let (transport, proxy) = (transport.clone(), proxy.clone());
        async move {
            let mut told = Vec::new();
            for at in 0..CALLS {
                let request = Bytes::from(format!("{caller} {at} {}", "x".repeat(at * 7)));
                told.push((request.clone(), call(&transport, &proxy, request).await));
            }
            told
        }
    };
    let told: Vec<_> = join_all((0..CALLERS).map(caller)).await.into_iter().flatten().collect();
    server.abort();
    // What was sent before a cut may still be on its way; the end of the server ends that.
    let _ended = server.await;
    let done = record.0.lock().expect("no panic");
    let (mut answered, mut unreachable, mut broken) = (0, 0, 0);
    for (request, answer) in &told {
        match answer {
            Ok(answer) => {
                assert_eq!(answer, request);
                assert!(done.contains(request));
                answered += 1;
            }
            Err(TransportError::Unreachable { .. }) => {
                assert!(!done.contains(request), "it was said never to be seen: {request:?}");
                unreachable += 1;
            }
            Err(TransportError::Broken { .. }) => broken += 1,
        }
    }
    assert!(answered > 50 && broken > 50 && unreachable > 10, "{answered} {unreachable} {broken}");
}

#[tokio::test]
async fn what_is_said_never_to_be_seen_is_not_done_and_nothing_is_done_twice() {
    told_and_done(Security::Insecure).await;
}

#[tokio::test]
async fn the_same_holds_under_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    told_and_done(certificate(folder.path(), "n1", &[])).await;
}
