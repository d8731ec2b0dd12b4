//! The other nodes: where they are, and how a call gets there and back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::tasks::{Tasks, timeout};
use crate::transport::{Lane, Peer, Transport, TransportError};
use crate::wire::{self, Answer, Call, Hello, Refused, Request};
use crate::{GroupId, NodeId};

/// How long a node may take to say who it is. Less than a joining node waits for its answer.
const NAME_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks whoever is at `addr`, of whatever cluster.
pub(crate) async fn ask(
    transport: &dyn Transport,
    tasks: &dyn Tasks,
    limit: Duration,
    addr: &str,
    call: Call,
) -> Result<Answer, String> {
    let request = wire::encode(&Request { cluster: 0, from: 0, to: 0, group: 0, call });
    let peer = Peer { node: None, addr: addr.to_owned() };
    let answer = timeout(tasks, limit, transport.call(&peer, Lane::Client, request)).await;
    let answer = answer.ok_or_else(|| format!("{addr} does not answer"))?.map_err(|error| error.to_string())?;
    match wire::decode(&answer).map_err(|refused| refused.to_string())? {
        Answer::Refused(refused) => Err(refused.to_string()),
        answer => Ok(answer),
    }
}

/// The same, to hear who is there.
pub(crate) async fn ask_name(
    transport: &dyn Transport,
    tasks: &dyn Tasks,
    limit: Duration,
    addr: &str,
) -> Result<Hello, String> {
    match ask(transport, tasks, limit, addr, Call::Hello).await? {
        Answer::Hello(hello) => Ok(hello),
        _ => Err("its answer was not to this call".to_owned()),
    }
}

/// Why a call was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// It did not get there, or the answer not back.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It was not looked at.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It took too long. It may have been done.
    #[error("no answer within {0} ms")]
    TimedOut(u128),
}

impl CallError {
    /// Whether it is certain that the call has had no effect, and will have none.
    pub(crate) fn is_undone(&self) -> bool {
        match self {
            Self::Transport(TransportError::Unreachable { .. }) => true,
            Self::Refused(refused) => !matches!(refused, Refused::Failed(_)),
            Self::Transport(TransportError::Broken { .. }) | Self::TimedOut(_) => false,
        }
    }
}

/// This node's way to the others.
#[derive(Debug)]
pub(crate) struct Peers {
    cluster: u128,
    me: NodeId,
    /// A node that runs alone has none.
    transport: Option<Arc<dyn Transport>>,
    tasks: Arc<dyn Tasks>,
    addrs: RwLock<BTreeMap<NodeId, String>>,
    /// A peer said that the cluster has let this node go.
    is_removed: AtomicBool,
}

impl Peers {
    pub(crate) fn new(
        cluster: u128,
        me: NodeId,
        transport: Option<Arc<dyn Transport>>,
        tasks: Arc<dyn Tasks>,
    ) -> Arc<Self> {
        Arc::new(Self { cluster, me, transport, tasks, addrs: RwLock::default(), is_removed: AtomicBool::new(false) })
    }

    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    pub(crate) fn cluster(&self) -> u128 {
        self.cluster
    }

    /// Whether there may be others at all.
    pub(crate) fn is_alone(&self) -> bool {
        self.transport.is_none()
    }

    /// Whether a peer said that the cluster has let this node go.
    pub(crate) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    /// `node` is at `addr` now.
    pub(crate) fn learn(&self, node: NodeId, addr: &str) {
        if addr.is_empty() || self.addrs.read().get(&node).is_some_and(|known| known == addr) {
            return;
        }
        self.addrs.write().insert(node, addr.to_owned());
    }

    /// `node` was at `addr` once; whatever is known already is newer.
    pub(crate) fn learn_if_unknown(&self, node: NodeId, addr: &str) {
        if !addr.is_empty() {
            self.addrs.write().entry(node).or_insert_with(|| addr.to_owned());
        }
    }

    /// Whether a node that is about to join can be reached where it says it can, and nobody else is there.
    pub(crate) async fn check_address(&self, addr: &str) -> Result<(), String> {
        let Some(transport) = &self.transport else { return Err("this node takes nobody in".to_owned()) };
        match ask_name(transport.as_ref(), self.tasks.as_ref(), NAME_TIMEOUT, addr).await {
            Ok(Hello { node: 0, .. }) => Ok(()),
            Ok(Hello { node, .. }) => Err(format!("node {node} is at {addr} already")),
            Err(reason) => Err(format!("node {} does not reach it: {reason}", self.me)),
        }
    }

    /// Calls `to`, and waits for its answer as long as it takes.
    pub(crate) async fn call(&self, to: NodeId, group: GroupId, lane: Lane, call: Call) -> Result<Answer, CallError> {
        let addr = self.addrs.read().get(&to).cloned();
        let unreachable =
            |reason: &str| TransportError::Unreachable { addr: to.to_string(), reason: reason.to_owned() };
        let transport = self.transport.as_ref().ok_or_else(|| unreachable("this node has no transport to peers"))?;
        let addr = addr.ok_or_else(|| unreachable("its address is not known"))?;
        let request = Request { cluster: self.cluster, from: self.me.0, to: to.0, group: group.0, call };
        let peer = Peer { node: Some(to), addr };
        let answer = transport.call(&peer, lane, wire::encode(&request)).await?;
        match wire::decode(&answer)? {
            Answer::Refused(refused) => {
                if refused == Refused::Removed {
                    self.is_removed.store(true, Ordering::Relaxed);
                }
                Err(refused.into())
            }
            answer => Ok(answer),
        }
    }

    /// The same, for as long as `limit`.
    pub(crate) async fn call_within(
        &self,
        limit: Duration,
        to: NodeId,
        group: GroupId,
        lane: Lane,
        call: Call,
    ) -> Result<Answer, CallError> {
        let called = timeout(self.tasks.as_ref(), limit, self.call(to, group, lane, call)).await;
        called.unwrap_or(Err(CallError::TimedOut(limit.as_millis())))
    }
}
