//! The cluster as a node sees it: who belongs to it, and how each of them is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use willow_core::catalogue::NodeState;

use crate::transport::{Reception, Transport};
use crate::{GroupId, Health, NodeId, ProposeError};

/// How a node takes part in a cluster of several.
#[derive(Clone, Debug)]
pub struct Peering {
    /// Reaches the others.
    pub transport: Arc<dyn Transport>,
    /// What the transport's listener asks on behalf of others.
    pub reception: Reception,
    /// Where the others reach this node: `host:port`.
    pub peer_addr: String,
    /// Where clients reach this node: a URL. Told to clients and shown to people.
    pub client_url: String,
    /// What to do on an empty data directory. One that holds a member's data goes on as that member.
    pub start: Start,
}

/// What a node does whose data directory is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Found a cluster, unless somebody at `others` knows of one: then join that. All of them must have said
    /// so first: a founder that has lost its disk must not found a second cluster beside the first.
    Bootstrap {
        /// Peer addresses of the nodes that are meant to join.
        others: Vec<String>,
    },
    /// Join the cluster that one of `members` knows, however long that takes.
    Join {
        /// Peer addresses of nodes that are, or will be, in the cluster.
        members: Vec<String>,
    },
}

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Its id; drawn when it was founded.
    pub cluster: u128,
    /// The node that answers.
    pub answered_by: NodeId,
    /// Its nodes, by id.
    pub nodes: Vec<NodeStatus>,
}

/// One node, as the catalogue has it, and as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Which.
    pub id: NodeId,
    /// Where peers reach it.
    pub peer_addr: String,
    /// Where clients reach it.
    pub client_url: String,
    /// Whether it is to stay.
    pub state: NodeState,
    /// What it says of itself, or why it says nothing.
    pub report: Result<NodeReport, String>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Version of its software.
    pub version: String,
    /// What it can do.
    pub health: Health,
    /// Bytes of its log on disk.
    pub log_bytes: u64,
    /// Bytes of the newest snapshot of all data.
    pub snapshot_bytes: u64,
    /// Bytes free on its disk, if it knows.
    pub free_bytes: Option<u64>,
    /// Its part in each group.
    pub groups: Vec<GroupReport>,
}

/// A node's part in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Which group.
    pub group: GroupId,
    /// What the node does in it.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Last entry in its log.
    pub last_index: u64,
    /// Last entry it knows to be committed. What it has not applied of that is its lag.
    pub committed_index: u64,
    /// Last entry it has applied.
    pub applied_index: u64,
    /// Last entry in its newest snapshot.
    pub snapshot_index: u64,
    /// Last entry that its log no longer has.
    pub purged_index: u64,
    /// Who votes, as far as it knows.
    pub voters: Vec<NodeId>,
    /// Who follows without a vote, as far as it knows.
    pub learners: Vec<NodeId>,
}

/// What a node does in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Takes the writes.
    Leader,
    /// Follows, and votes.
    Follower,
    /// Stands for election.
    Candidate,
    /// Follows, and does not vote (yet).
    Learner,
}

/// Why the cluster was not changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClusterError {
    /// There is no such node.
    #[error("the cluster has no node {0}; `willow cluster status` lists them")]
    NoSuchNode(NodeId),
    /// The node cannot lead: it does not vote in the group, or is about to leave.
    #[error("node {0} cannot lead: it is not a voter, or is leaving")]
    CannotLead(NodeId),
    /// The node cannot hear of it.
    #[error("node {0} does not answer: {1}")]
    NoAnswer(NodeId, String),
    /// The last node cannot leave.
    #[error("node {0} is the last one; a cluster needs at least one node")]
    LastNode(NodeId),
    /// The catalogue did not take the change.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// It was asked for, and has not come to pass in time; it may yet.
    #[error("not done within {0} ms; look at the cluster's status")]
    Slow(u64),
}
