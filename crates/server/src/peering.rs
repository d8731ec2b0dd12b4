//! The node's place among others: listening for peers, before there is a node and until it has stopped.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use willow_node::{Peering, Reception, Start};
use willow_peer::{BindError, PeerListener, PeerTls, PeerTransport, Security, TlsError};

use crate::Config;

/// Why the other nodes cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum PeeringError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Nothing says where an empty data directory belongs.
    #[error(
        "the data directory {0} is empty: start the first node with --bootstrap, and every other with --join and the \
         peer address of one that runs"
    )]
    NoStart(std::path::PathBuf),
}

/// The listener for peers, running.
#[derive(Debug)]
pub(crate) struct Peers {
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Peers {
    /// Listens. Others may ask at once; until the node is open they hear that it belongs to no cluster yet.
    pub(crate) async fn listen(
        config: &Config,
        addr: std::net::SocketAddr,
        client_url: String,
    ) -> Result<(Self, Peering), PeeringError> {
        let security = match &config.peer_certs {
            Some(folder) => Security::Tls(PeerTls::from_dir(folder)?),
            None => Security::Insecure,
        };
        let listener = PeerListener::bind(addr, security.clone()).await?;
        let peer_addr = config.peer_addr.clone().unwrap_or_else(|| listener.local_addr().to_string());
        tracing::info!(addr = %listener.local_addr(), %peer_addr, tls = config.peer_certs.is_some(), "listening for peers");
        let reception = Reception::default();
        let stop = CancellationToken::new();
        let serving = listener.serve(Arc::new(reception.clone()), stop.clone().cancelled_owned());
        let peers = Self { stop, serving: tokio::spawn(serving) };
        let transport = Arc::new(PeerTransport::new(security));
        let start = match config.bootstrap {
            true => Start::Bootstrap { others: config.join.clone() },
            false => Start::Join { members: config.join.clone() },
        };
        Ok((peers, Peering { transport, reception, peer_addr, client_url, start }))
    }

    /// Hangs up.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the listener for peers has failed");
        }
    }
}
