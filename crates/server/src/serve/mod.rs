//! Listening, connections, shutdown.
//!
//! ```text
//!  accept ──► too many? ─► 503, close
//!     │
//!     ▼ one task a connection
//!  TimedIo ──► hyper (HTTP/1.1 or h2 with prior knowledge) ──► admit ──► Router
//!     │ bytes in, bytes stuck                     requests begin, end │
//!     └──────────────► Activity ◄─────────────────────────────────────┘
//!                         ▲
//!                     watchdog: head too slow, idle too long, reply not taken
//! ```

mod activity;
mod admit;
mod connection;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use willow_node::{BackupHead, Node, RestoreError, StartError};

use crate::{
    Config, ConfigError,
    app::App,
    backend::Backend,
    peering::{PeeringError, Peers},
    router,
};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node did not start.
    #[error("the node did not start")]
    Node(#[from] StartError),
    /// A backup was not restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The other nodes cannot be talked to.
    #[error(transparent)]
    Peering(#[from] PeeringError),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}{}", hint(.source))]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::AddrInUse { " (is another server running there?)" } else { "" }
}

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;

fn bind(addr: SocketAddr) -> Result<TcpSocket, RunError> {
    let bound = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Else an address just left cannot be taken again for a minute.
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        Ok(socket)
    };
    bound().map_err(|source| RunError::Listen { addr, source })
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    addr: SocketAddr,
    peers: Option<Peers>,
    /// Ends when the node knows whether it can serve.
    readiness: Option<JoinHandle<Result<(), StartError>>>,
}

impl Server {
    /// Starts a node on the data directory, and listens. A node of a cluster listens as soon as it belongs to
    /// one, which may take as long as the others take to start; `/readyz` tells when it serves.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn start(config: Config) -> Result<Self, RunError> {
        config.validate()?;
        // The address first: who cannot have it leaves no data directory behind. It listens when the node is
        // ready to answer; until then connections are refused, not left waiting.
        let socket = bind(config.listen)?;
        let mut node_config = willow_node::Config::new(&config.data_dir);
        restore(&config, &node_config).await?;
        let Some(peer_listen) = config.peer_listen else {
            let node = Node::start(node_config).await?;
            return Self::listen(config, socket, Arc::new(node));
        };
        let is_told = config.bootstrap || !config.join.is_empty();
        if !is_told && !willow_node::is_member(node_config.vfs.as_ref(), &config.data_dir)? {
            return Err(PeeringError::NoStart(config.data_dir).into());
        }
        let listen = socket.local_addr().map_err(|source| RunError::Listen { addr: config.listen, source })?;
        let client_url = config.client_url.clone().unwrap_or_else(|| format!("http://{listen}"));
        let (peers, peering) = Peers::listen(&config, peer_listen, client_url).await?;
        node_config.peering = Some(peering);
        let node = match Node::open(node_config).await {
            Ok(node) => node,
            Err(error) => {
                peers.stop().await;
                return Err(error.into());
            }
        };
        let mut server = Self::listen(config, socket, Arc::new(node.clone()))?;
        server.peers = Some(peers);
        server.readiness = Some(tokio::spawn(async move { node.ready().await }));
        Ok(server)
    }

    /// Listens in front of a node that runs already.
    #[cfg(test)]
    pub(crate) fn with_backend(config: Config, backend: Arc<dyn Backend>) -> Result<Self, RunError> {
        config.validate()?;
        let socket = bind(config.listen)?;
        Self::listen(config, socket, backend)
    }

    fn listen(config: Config, socket: TcpSocket, backend: Arc<dyn Backend>) -> Result<Self, RunError> {
        let failed = |source| RunError::Listen { addr: config.listen, source };
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { app: Arc::new(App::new(config, backend)), listener, addr, peers: None, readiness: None })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown` ends. Then long polls are answered with a retryable 503, running requests
    /// get their grace, the node hands over what it leads and stops, and its peers are hung up on.
    ///
    /// # Errors
    /// When it turns out that the node cannot serve, ever.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { app, listener, addr, peers, readiness } = self;
        tracing::info!(%addr, data_dir = %app.config.data_dir.display(), "listening");
        let serving = Serving::new(&app);
        let ended = tokio::select! {
            () = serving.accept(listener) => Ok(()),
            () = shutdown => Ok(()),
            error = failure(readiness) => Err(error),
        };
        tracing::info!("shutting down");
        serving.drain().await;
        app.backend.shutdown().await;
        if let Some(peers) = peers {
            peers.stop().await;
        }
        tracing::info!("stopped");
        ended
    }
}

/// Fills an empty data directory from a backup, where one is given.
async fn restore(config: &Config, node: &willow_node::Config) -> Result<(), RunError> {
    let Some(backup) = config.restore.clone() else { return Ok(()) };
    if willow_node::is_member(node.vfs.as_ref(), &config.data_dir)? {
        // A restart with the same settings goes on with what is there.
        tracing::warn!(backup = %backup.display(), "the backup is not restored: the data directory holds a node's data");
        return Ok(());
    }
    // The other nodes are not told the address that the system chooses for port 0; they learn it when they join.
    let peer_addr = config.peer_addr.clone().or_else(|| config.peer_listen.map(|addr| addr.to_string()));
    let (node, peer_addr) = (node.clone(), peer_addr.unwrap_or_default());
    let restored = tokio::task::spawn_blocking(move || willow_node::restore(&node, &backup, &peer_addr)).await;
    let head = restored.map_err(|error| RestoreError::Write(error.to_string()))??;
    let BackupHead { cluster, revision, time_ms, .. } = head;
    tracing::info!(of_cluster = cluster, revision, time_ms, "a new cluster was founded from a backup");
    Ok(())
}

/// Why a node does not become ready; never ends for one that does.
async fn failure(readiness: Option<JoinHandle<Result<(), StartError>>>) -> RunError {
    if let Some(readiness) = readiness {
        match readiness.await {
            Ok(Ok(())) => tracing::info!("ready"),
            Ok(Err(error)) => return error.into(),
            Err(error) => return StartError::Raft(error.to_string()).into(),
        }
    }
    std::future::pending().await
}

/// Starts a server, says where it listens, and serves until `shutdown` ends; also while it still waits for its
/// cluster.
///
/// # Errors
/// See [`RunError`].
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()>,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), RunError> {
    let mut shutdown = std::pin::pin!(shutdown);
    let server = tokio::select! {
        server = Server::start(config) => server?,
        () = &mut shutdown => return Ok(()),
    };
    listening(server.addr());
    server.run(shutdown).await
}

/// What accepted connections share.
struct Serving {
    app: Arc<App>,
    router: axum::Router,
    connections: TaskTracker,
    /// Ends the connections that the grace did not.
    abort: CancellationToken,
}

/// After an accept that failed for want of resources: how long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Closes a connection that is one too many, in terms that a client understands.
const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
retry-after: 1\r\nconnection: close\r\ncontent-length: 195\r\n\r\n\
{\"type\":\"/docs/errors/OVERLOADED\",\"title\":\"The server is overloaded\",\"status\":503,\"code\":\"OVERLOADED\",\
\"detail\":\"too many connections are open; retry later\",\"retryable\":true,\"retry_after_ms\":1000}";

impl Serving {
    fn new(app: &Arc<App>) -> Self {
        Self {
            app: Arc::clone(app),
            router: router::router(app),
            connections: TaskTracker::new(),
            abort: CancellationToken::new(),
        }
    }

    async fn accept(&self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _peer)) => self.serve(stream),
                Err(error) => {
                    // Out of file descriptors, say: others will close theirs.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream) {
        if self.connections.len() >= self.app.config.max_connections {
            self.app.metrics.connections_refused.inc();
            // Best effort: the socket's buffer is empty, so it fits.
            let _sent = stream.try_write(TOO_MANY_CONNECTIONS);
            return;
        }
        // Replies are written in one piece; waiting for more only delays them.
        let _set = stream.set_nodelay(true);
        let serving = connection::serve(stream, Arc::clone(&self.app), self.router.clone());
        let abort = self.abort.clone();
        let open = self.app.metrics.connection();
        self.connections.spawn(async move {
            let _open = open;
            tokio::select! {
                () = serving => {}
                () = abort.cancelled() => {}
            }
        });
    }

    /// Sends long polls away, lets running requests end, then ends what is left.
    async fn drain(&self) {
        self.app.stopping.cancel();
        self.connections.close();
        if tokio::time::timeout(self.app.config.shutdown_grace(), self.connections.wait()).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "connections outlived the grace; closing them");
            self.abort.cancel();
            self.connections.wait().await;
        }
    }
}
