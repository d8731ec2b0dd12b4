//! How fast calls are on loopback: `cargo run --release -p willow-peer --example echo`.
//!
//! Client and server share the process and its threads, so a machine of two cores measures both.
#![allow(clippy::print_stdout, reason = "a table on stdout is what it is for")]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use willow_node::{Lane, Peer, Service, Transport};
use willow_peer::{
    PeerListener, PeerTls, PeerTransport, Security,
    certs::{self, NewNode},
};

const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Echo;

impl Service for Echo {
    fn answer(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        Box::pin(std::future::ready(request))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    certs::create_ca(folder.path(), certs::CA_VALIDITY)?;
    let node = NewNode { name: "n1".into(), hosts: vec!["127.0.0.1".into()], valid_for: certs::NODE_VALIDITY };
    let tls = PeerTls::from_dir(certs::create_node(folder.path(), &node)?)?;
    println!(
        "{:<6} {:>9} {:>7} {:>10} {:>8} {:>8} {:>9}",
        "", "bytes", "calls", "calls/s", "p50 us", "p99 us", "MiB/s"
    );
    for (name, security) in [("plain", Security::Insecure), ("tls", Security::Tls(tls))] {
        let listener = PeerListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), security.clone()).await?;
        let peer = Peer { node: None, addr: listener.local_addr().to_string() };
        let server = tokio::spawn(listener.serve(Arc::new(Echo), std::future::pending()));
        let transport = PeerTransport::new(security);
        for (bytes, callers) in [(200, 1), (200, 64), (200, 1000), (1 << 20, 1), (1 << 20, 4)] {
            measure(&transport, &peer, bytes, callers, WARM_UP).await;
            let start = Instant::now();
            let mut times = measure(&transport, &peer, bytes, callers, MEASURED).await;
            let rate = times.len() as f64 / start.elapsed().as_secs_f64();
            times.sort_unstable();
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1000.0;
            let volume = rate * bytes as f64 / f64::from(1 << 20);
            println!("{name:<6} {bytes:>9} {callers:>7} {rate:>10.0} {:>8.1} {:>8.1} {volume:>9.1}", at(0.5), at(0.99));
        }
        server.abort();
    }
    Ok(())
}

/// How long each call took.
async fn measure(
    transport: &PeerTransport,
    peer: &Peer,
    bytes: usize,
    callers: usize,
    time: Duration,
) -> Vec<Duration> {
    let end = Instant::now() + time;
    let caller = || {
        let (transport, peer, request) = (transport.clone(), peer.clone(), Bytes::from(vec![1; bytes]));
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                let answer = transport.call(&peer, Lane::Client, request.clone()).await.expect("an answer");
                assert_eq!(answer.len(), request.len());
                times.push(start.elapsed());
            }
            times
        })
    };
    let callers: Vec<_> = (0..callers).map(|_| caller()).collect();
    join_all(callers).await.into_iter().flat_map(|times| times.expect("no panic")).collect()
}
