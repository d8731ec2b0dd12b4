//! How nodes reach each other: bytes there, bytes back. What is in them is [`crate::wire`]'s business; how
//! they travel (TCP with mutual TLS, or a simulated network) is the transport's.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;

use crate::NodeId;

/// Whom to reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Which node is expected there; `None` when it is only known that somebody may be.
    pub node: Option<NodeId>,
    /// Where it listens for peers: `host:port`.
    pub addr: String,
}

/// What a call is about. Calls of one lane may share a connection; those of another must not wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes and heartbeats: few, small and urgent.
    Urgent,
    /// Entries of the log.
    Log,
    /// Chunks of snapshots: large.
    Bulk,
    /// Commands and reads on behalf of clients, long polls included: many at once.
    Client,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The peer has not seen the request, and never will.
    #[error("{addr} cannot be reached: {reason}")]
    Unreachable {
        /// Where it was looked for.
        addr: String,
        /// What went wrong.
        reason: String,
    },
    /// The peer may have seen the request, and done what it asks for.
    #[error("the connection to {addr} broke before the answer came: {reason}")]
    Broken {
        /// Where it was.
        addr: String,
        /// What went wrong.
        reason: String,
    },
}

/// Brings requests to peers.
pub trait Transport: Debug + Send + Sync + 'static {
    /// Sends `request` and waits for the answer, for as long as the connection lives: a long poll may take
    /// minutes. Dropping the future tells the peer, as far as it can be told, to stop working on it.
    ///
    /// A peer that has died or is cut off must be noticed within a few seconds.
    fn call(&self, to: &Peer, lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// Answers requests of peers.
pub trait Service: Debug + Send + Sync + 'static {
    /// Answers one request. Never fails: what is wrong is in the answer. The transport drops the future when
    /// the caller has gone away.
    fn answer(&self, request: Bytes) -> BoxFuture<'static, Bytes>;
}

/// A service that can be reached before the node behind it has started: a node that is about to join must
/// be able to say that it belongs to no cluster yet. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Reception {
    behind: Arc<RwLock<Behind>>,
}

#[derive(Debug, Default)]
struct Behind {
    service: Option<Arc<dyn Service>>,
    /// The identity with which the node is about to found a cluster; zero if it is not. Until it knows, nobody is
    /// told that it belongs to no cluster: two might found one at once.
    bootstraps: Option<u128>,
}

impl Reception {
    /// From now on `service` answers.
    pub(crate) fn open(&self, service: Arc<dyn Service>) {
        *self.behind.write() = Behind { service: Some(service), bootstraps: None };
    }

    /// The node behind is looking for a cluster, and would found one under `identity`; zero if it would not.
    pub(crate) fn bootstraps(&self, identity: u128) {
        self.behind.write().bootstraps = Some(identity);
    }
}

impl Service for Reception {
    fn answer(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        let (service, bootstraps) = {
            let behind = self.behind.read();
            (behind.service.clone(), behind.bootstraps)
        };
        match service {
            Some(service) => service.answer(request),
            None => Box::pin(std::future::ready(crate::wire::nobody(&request, bootstraps))),
        }
    }
}
