//! What the server needs of a node, as a trait, so that tests can put faults in between.

use std::{future::Future, pin::Pin};

use willow_api::Consistency;
use willow_core::{Command, Machine, RequestId};
use willow_node::{
    Backup, BackupError, ClusterError, ClusterStatus, GroupId, Health, Node, NodeId, NodeState, NodeStatus,
    ProposeError, Proposed, ReadError, Stats,
};

/// A boxed future, for a trait that is used as an object.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something to do with the machine, once.
pub(crate) type Reading<'a> = Box<dyn FnOnce(&Machine) + Send + 'a>;

/// A node, or something in front of one.
pub(crate) trait Backend: std::fmt::Debug + Send + Sync + 'static {
    /// See [`Node::propose_waiting`].
    fn propose(&self, command: Command, request_id: Option<RequestId>)
    -> BoxFuture<'_, Result<Proposed, ProposeError>>;

    /// See [`Node::read`] and [`Node::read_stale`].
    fn read<'a>(&'a self, consistency: Consistency, read: Reading<'a>) -> BoxFuture<'a, Result<(), ReadError>>;

    /// See [`Node::now_ms`].
    fn now_ms(&self) -> u64;

    /// See [`Node::health`].
    fn health(&self) -> Health;

    /// See [`Node::stats`].
    fn stats(&self) -> Stats;

    /// See [`Node::status`]. The node that answers is always in it.
    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, ReadError>>;

    /// See [`Node::remove_node`].
    fn remove_node(&self, node: NodeId) -> BoxFuture<'_, Result<NodeState, ClusterError>>;

    /// See [`Node::transfer_leader`].
    fn transfer_leader(&self, group: GroupId, to: NodeId) -> BoxFuture<'_, Result<(), ClusterError>>;

    /// See [`Node::backup`].
    fn backup(&self) -> BoxFuture<'_, Result<Backup, BackupError>>;

    /// See [`Node::shutdown`].
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

impl Backend for Node {
    fn propose(
        &self,
        command: Command,
        request_id: Option<RequestId>,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        Box::pin(self.propose_waiting(command, request_id))
    }

    fn read<'a>(&'a self, consistency: Consistency, read: Reading<'a>) -> BoxFuture<'a, Result<(), ReadError>> {
        match consistency {
            Consistency::Linearizable => Box::pin(Self::read(self, read)),
            Consistency::Stale => {
                self.read_stale(read);
                Box::pin(std::future::ready(Ok(())))
            }
        }
    }

    fn now_ms(&self) -> u64 {
        Self::now_ms(self)
    }

    fn health(&self) -> Health {
        Self::health(self)
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }

    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, ReadError>> {
        Box::pin(async move {
            let mut status = Self::status(self).await?;
            if !status.nodes.iter().any(|node| node.id == status.answered_by) {
                // Its catalogue does not know it yet, or has been told to forget it.
                let (peer_addr, client_url) = (String::new(), String::new());
                let (id, report) = (status.answered_by, Ok(self.report()));
                status.nodes.push(NodeStatus { id, peer_addr, client_url, state: NodeState::Active, report });
            }
            Ok(status)
        })
    }

    fn remove_node(&self, node: NodeId) -> BoxFuture<'_, Result<NodeState, ClusterError>> {
        Box::pin(Self::remove_node(self, node))
    }

    fn transfer_leader(&self, group: GroupId, to: NodeId) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(Self::transfer_leader(self, group, to))
    }

    fn backup(&self) -> BoxFuture<'_, Result<Backup, BackupError>> {
        Box::pin(Self::backup(self))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(Self::shutdown(self))
    }
}
