//! Until `willow-node` exports them.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::fmt::Debug;

/// Whom to reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Which node is expected there; `None` when it is only known that somebody may be.
    pub node: Option<u64>,
    /// Where it listens for peers: `host:port`.
    pub addr: String,
}

/// What a call is about. Calls of one lane may share a connection; those of another must not wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "a copy, for a while")]
pub enum Lane {
    Urgent,
    Log,
    Bulk,
    Client,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "a copy, for a while")]
pub enum TransportError {
    /// The peer has not seen the request, and never will.
    #[error("{addr} cannot be reached: {reason}")]
    Unreachable { addr: String, reason: String },
    /// The peer may have seen the request, and done what it asks for.
    #[error("the connection to {addr} broke before the answer came: {reason}")]
    Broken { addr: String, reason: String },
}

/// Brings requests to peers.
pub trait Transport: Debug + Send + Sync + 'static {
    /// Sends `request` and waits for the answer.
    fn call(&self, to: &Peer, lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// Answers requests of peers.
pub trait Service: Debug + Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: Bytes) -> BoxFuture<'static, Bytes>;
}
