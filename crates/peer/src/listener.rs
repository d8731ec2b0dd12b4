//! [`PeerListener`]: calls of others to this node.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use willow_node::Service;

use crate::{
    connection::Connection,
    dial::{Stream, hello_reason},
    hello,
    security::{Security, io_advice},
    settings::{HANDSHAKE_TIMEOUT, MAX_CONNECTIONS, MAX_HANDSHAKES, MAX_REQUEST_BYTES, Settings},
    throttle::Throttle,
};

/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a peer that was refused may take to read why.
const LINGER: Duration = Duration::from_millis(500);

/// What it may still send meanwhile.
const LINGER_BYTES: u64 = 64 << 10;

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Others could reach it, and nothing would keep them out.
    #[error(
        "without TLS peers are taken on loopback addresses only, and {0} is none: make certificates with \
         `willow cluster certs`"
    )]
    Insecure(SocketAddr),
    /// The address is taken, or not this machine's.
    #[error("peers cannot be listened for on {addr}: {source}")]
    Io {
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Listens for peers and lets a service answer them.
#[derive(Debug)]
pub struct PeerListener {
    tcp: TcpListener,
    addr: SocketAddr,
    security: Security,
    settings: Settings,
}

/// What all connections of a listener share.
#[derive(Debug)]
struct House {
    service: Arc<dyn Service>,
    security: Security,
    settings: Settings,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    budget: Arc<Semaphore>,
    log: Throttle,
}

impl PeerListener {
    /// Listens at `addr`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError`]: insecure beyond loopback, or the address cannot be had.
    pub async fn bind(addr: SocketAddr, security: Security) -> Result<Self, BindError> {
        Self::bind_with(addr, security, Settings::default()).await
    }

    /// The same with other times.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub async fn bind_with(addr: SocketAddr, security: Security, settings: Settings) -> Result<Self, BindError> {
        if matches!(security, Security::Insecure) && !addr.ip().is_loopback() {
            return Err(BindError::Insecure(addr));
        }
        let fault = |source| BindError::Io { addr, source };
        let tcp = TcpListener::bind(addr).await.map_err(fault)?;
        let addr = tcp.local_addr().map_err(fault)?;
        Ok(Self { tcp, addr, security, settings })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until `shutdown` ends; then drops all connections and what runs on them.
    pub async fn serve(self, service: Arc<dyn Service>, shutdown: impl Future<Output = ()> + Send) {
        let house = Arc::new(House {
            service,
            security: self.security,
            settings: self.settings,
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            budget: Arc::new(Semaphore::new(MAX_REQUEST_BYTES)),
            log: Throttle::default(),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = self.tcp.accept() => accepted,
            };
            match accepted {
                Ok((tcp, from)) => house.open(tcp, from, &tasks, &stop),
                Err(error) => {
                    house.warn("accept", from_nobody(), &format!("a connection was not accepted: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}

fn from_nobody() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

/// Closes a connection so that the last thing that was sent on it, why TLS failed, is read: a socket that is
/// closed with unread bytes in it resets the connection, which takes that away.
async fn let_go(mut tcp: TcpStream) {
    if tcp.shutdown().await.is_ok() {
        let _rest = tokio::io::copy(&mut tcp.take(LINGER_BYTES), &mut tokio::io::sink()).await;
    }
}

impl House {
    /// Begins with a connection, if there is room for it.
    fn open(self: &Arc<Self>, tcp: TcpStream, from: SocketAddr, tasks: &TaskTracker, stop: &CancellationToken) {
        let slot = Arc::clone(&self.connections).try_acquire_owned();
        let handshake = Arc::clone(&self.handshakes).try_acquire_owned();
        let (Ok(slot), Ok(handshake)) = (slot, handshake) else {
            self.warn("full", from, "there are too many connections; this one is dropped");
            return;
        };
        let (house, stop) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = house.keep(tcp, from, handshake) => {}
            }
            drop(slot);
        });
    }

    async fn keep(&self, tcp: TcpStream, from: SocketAddr, handshake: OwnedSemaphorePermit) {
        let admitted = timeout(HANDSHAKE_TIMEOUT, self.admit(tcp)).await;
        drop(handshake);
        let too_late = || Err(format!("no handshake within {} ms", HANDSHAKE_TIMEOUT.as_millis()));
        let stream = match admitted.unwrap_or_else(|_| too_late()) {
            Ok(Some(stream)) => stream,
            Ok(None) => return,
            Err(reason) => return self.warn(&from.ip().to_string(), from, &reason),
        };
        let connection = Connection::new(Arc::clone(&self.service), Arc::clone(&self.budget));
        let end = connection.run(stream, &self.settings).await;
        match end.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::TimedOut => {
                self.warn(&from.ip().to_string(), from, &io_advice(&end));
            }
            _ => tracing::debug!(%from, reason = %end, "a peer's connection ended"),
        }
    }

    /// Lets a peer in, or says why not; `None` for who says nothing at all, as probes of ports do.
    async fn admit(&self, tcp: TcpStream) -> Result<Option<Stream>, String> {
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        if tcp.peek(&mut [0]).await.map_err(|error| error.to_string())? == 0 {
            return Ok(None);
        }
        let mut stream: Stream = match &self.security {
            Security::Insecure => Box::new(tcp),
            Security::Tls(tls) => match TlsAcceptor::from(Arc::clone(&tls.server)).accept(tcp).into_fallible().await {
                Ok(stream) => Box::new(stream),
                Err((error, tcp)) => {
                    let _given_up = timeout(LINGER, let_go(tcp)).await;
                    return Err(io_advice(&error));
                }
            },
        };
        let version = hello::welcome(&mut stream, &self.settings.versions).await.map_err(hello_reason)?;
        tracing::debug!(version, "a peer has connected");
        Ok(Some(stream))
    }

    /// A line in the log, at a bounded rate.
    fn warn(&self, subject: &str, from: SocketAddr, reason: &str) {
        if let Some(left_out) = self.log.line(subject) {
            tracing::warn!(%from, reason, left_out, "a connection of a peer was dropped");
        }
    }
}
