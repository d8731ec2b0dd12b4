//! The transport over real sockets on loopback.

mod broken;
mod calls;
mod hostile;
mod secured;

use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use willow_node::{Lane, Peer, Service, Transport, TransportError};

use crate::{
    MAX_FRAME_BYTES, PeerListener, PeerTls, PeerTransport, Security, Settings,
    certs::{self, NewNode},
};

/// Longer than anything takes on a busy machine; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(15);

/// Does what the request's first word says.
#[derive(Debug)]
struct Words {
    /// How many `hold` there are.
    held: watch::Sender<usize>,
    /// How many `until` have come.
    come: watch::Sender<usize>,
}

impl Service for Words {
    fn answer(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        let (held, come) = (self.held.clone(), self.come.clone());
        Box::pin(async move {
            match &request[..request.len().min(5)] {
                b"hold!" => {
                    let _hold = Hold::new(held);
                    std::future::pending().await
                }
                b"until" => {
                    come.send_modify(|come| *come += 1);
                    come.subscribe().wait_for(|come| *come >= 1000).await.expect("the sender is here");
                    request
                }
                b"panic" => panic!("as asked"),
                b"long!" => Bytes::from(vec![0; MAX_FRAME_BYTES + 1]),
                _ => request,
            }
        })
    }
}

struct Hold(watch::Sender<usize>);

impl Hold {
    fn new(held: watch::Sender<usize>) -> Self {
        held.send_modify(|held| *held += 1);
        Self(held)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.send_modify(|held| *held -= 1);
    }
}

/// A listener with [`Words`] behind it.
struct Node {
    peer: Peer,
    held: watch::Receiver<usize>,
    come: watch::Receiver<usize>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Node {
    async fn start(security: Security) -> Self {
        Self::start_at(loopback(), security, patient()).await
    }

    async fn start_at(addr: SocketAddr, security: Security, settings: Settings) -> Self {
        let listener = PeerListener::bind_with(addr, security, settings).await.expect("bind");
        let peer = peer(listener.local_addr());
        let ((held_sender, held), (come_sender, come)) = (watch::channel(0), watch::channel(0));
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { stopped.await.unwrap_or_default() };
        let task = tokio::spawn(listener.serve(Arc::new(Words { held: held_sender, come: come_sender }), shutdown));
        Self { peer, held, come, stop, task }
    }

    async fn holds(&mut self, count: usize) {
        let reached = self.held.wait_for(|held| *held == count);
        tokio::time::timeout(LONG, reached).await.expect("in time").expect("the service lives");
    }

    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        self.task.await.expect("it ends well");
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn peer(addr: SocketAddr) -> Peer {
    Peer { node: None, addr: addr.to_string() }
}

/// Settings for a machine that may stand still for a while.
fn patient() -> Settings {
    Settings { connect_timeout: LONG, missed_pings: 40, ..Settings::default() }
}

fn insecure() -> PeerTransport {
    PeerTransport::with_settings(Security::Insecure, patient())
}

async fn call(transport: &PeerTransport, to: &Peer, request: impl Into<Bytes>) -> Result<Bytes, TransportError> {
    let answer = transport.call(to, Lane::Client, request.into());
    tokio::time::timeout(LONG, answer).await.expect("in time")
}

fn is_unreachable(answer: &Result<Bytes, TransportError>) -> bool {
    matches!(answer, Err(TransportError::Unreachable { .. }))
}

fn is_broken(answer: &Result<Bytes, TransportError>) -> bool {
    matches!(answer, Err(TransportError::Broken { .. }))
}

/// A certificate for loopback, by the CA in `folder`, which is made when missing.
fn certificate(folder: &Path, name: &str, hosts: &[&str]) -> Security {
    let ca = folder.join("ca.pem");
    if !ca.exists() {
        certs::create_ca(folder, certs::CA_VALIDITY).expect("a CA");
    }
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    let node = NewNode { name: name.to_owned(), hosts, valid_for: certs::NODE_VALIDITY };
    let own = certs::create_node(folder, &node).expect("a certificate");
    Security::Tls(PeerTls::from_dir(own).expect("its files"))
}

/// What is logged on this thread while it lives.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || writer.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }

    /// Waits for a line with `words`.
    async fn have(&self, words: &str) {
        let start = SystemTime::now();
        while !self.text().contains(words) {
            assert!(start.elapsed().expect("a clock") < LONG, "no `{words}` in: {}", self.text());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
