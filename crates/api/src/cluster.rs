//! The cluster, as one of its nodes sees it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::keys::{Id, IdSchema, Revision};

/// The cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "7b0f5a9e-6a53-4c1e-8d0a-2f9f7f1f5c3e", "answered_by": 1, "version": "0.1.0", "revision": 42, "waiting": 0,
    "nodes": [
        {"id": 1, "state": "active", "peer_addr": "10.0.0.1:7171", "client_url": "http://10.0.0.1:7070",
         "health": "ready", "version": "0.1.0",
         "disk": {"log_bytes": 67108864, "snapshot_bytes": 0, "free_bytes": 21474836480_u64},
         "groups": [{"group": 1, "role": "leader", "term": 3, "leader": 1, "last_index": 512, "committed_index": 512,
                     "applied_index": 512, "snapshot_index": 0, "lag": 0}]},
        {"id": 2, "state": "active", "peer_addr": "10.0.0.2:7171", "client_url": "http://10.0.0.2:7070",
         "health": "unreachable", "reason": "10.0.0.2:7171 cannot be reached: connection refused", "groups": []}
    ],
    "groups": [{"id": 1, "name": "data", "leader": 1, "term": 3, "committed_index": 512, "voters": [1, 2], "learners": []}]
}))]
pub struct Cluster {
    /// Its id, drawn at random when it was founded.
    #[schema(value_type = IdSchema)]
    pub id: Id,
    /// The node that answers: all of this is what it sees.
    #[serde(default)]
    pub answered_by: u64,
    /// Version of the software of the node that answers.
    pub version: String,
    /// The newest revision that the answering node knows of.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// Calls that wait for a lock, for room or for an item, as far as the answering node knows.
    pub waiting: u64,
    /// Its nodes, by id; those that were removed are left out.
    pub nodes: Vec<Node>,
    /// Its Raft groups, by id.
    #[serde(default)]
    pub groups: Vec<Group>,
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Its id: given out once, and never again.
    pub id: u64,
    /// Whether it is to stay.
    #[serde(default)]
    pub state: NodeState,
    /// Where the other nodes reach it: `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub peer_addr: Option<String>,
    /// Where clients reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub client_url: Option<String>,
    /// Whether it takes writes.
    pub health: HealthState,
    /// Why it does not, or why nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// Version of its software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub version: Option<String>,
    /// Its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub disk: Option<Disk>,
    /// Its part in each group, by id. Empty while nothing is known of it.
    #[serde(default)]
    pub groups: Vec<NodeGroup>,
}

/// Whether a node is to stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Every group has it, or is about to take it in.
    #[default]
    Active,
    /// Every group lets it go.
    Leaving,
    /// No group has it.
    Removed,
}

/// A node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disk {
    /// Bytes of its log.
    pub log_bytes: u64,
    /// Bytes of its newest snapshot of all data.
    pub snapshot_bytes: u64,
    /// Bytes that are free, where the node can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub free_bytes: Option<u64>,
}

/// A node's part in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeGroup {
    /// Which group.
    pub group: u32,
    /// What the node does in it.
    pub role: Role,
    /// The node's term.
    pub term: u64,
    /// Who leads, as far as the node knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub leader: Option<u64>,
    /// Last entry in the node's log.
    pub last_index: u64,
    /// Last entry that the node knows to be committed.
    pub committed_index: u64,
    /// Last entry that the node has applied.
    pub applied_index: u64,
    /// Last entry in the node's newest snapshot.
    pub snapshot_index: u64,
    /// Entries that some node knows to be committed, and this one has not applied.
    pub lag: u64,
}

/// What a node does in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It takes writes for the others.
    Leader,
    /// It follows a leader, and votes.
    Follower,
    /// It stands for election.
    Candidate,
    /// It follows a leader, and does not vote (yet).
    Learner,
}

/// A Raft group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Its id.
    pub id: u32,
    /// What it holds: `catalogue` (the nodes), or `data`.
    pub name: String,
    /// The node that leads it; absent while no node that answers says so of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub leader: Option<u64>,
    /// The newest term that any node is in.
    pub term: u64,
    /// Last entry that any node knows to be committed.
    pub committed_index: u64,
    /// The nodes that vote in it, as its leader has it, or else whoever is in the newest term.
    #[serde(default)]
    pub voters: Vec<u64>,
    /// The nodes that follow it without a vote: they are catching up.
    #[serde(default)]
    pub learners: Vec<u64>,
}

/// Whether a node takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It reads its log back after a start, or looks for a leader.
    Starting,
    /// Reads and writes.
    Ready,
    /// Reads of what is applied; writes are refused.
    ReadOnly,
    /// It takes no new work.
    Stopping,
    /// It did not answer the node that was asked.
    Unreachable,
}

/// Makes another node lead a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"node": 2}))]
pub struct TransferLeaderRequest {
    /// The node that is to lead: one that votes in the group.
    pub node: u64,
}

/// A node leads a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"group": 1, "leader": 2}))]
pub struct LeaderReply {
    /// The group.
    pub group: u32,
    /// The node that leads it.
    pub leader: u64,
}

/// A node is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"node": 3, "state": "leaving"}))]
pub struct LeavingReply {
    /// The node.
    pub node: u64,
    /// `leaving`: it is gone once the cluster does not list it any more. `removed`: it was, before this call.
    pub state: NodeState,
}

/// Answer of `/livez` and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"status": "ready"}))]
pub struct HealthReply {
    /// Whether it takes writes.
    pub status: HealthState,
    /// Why it does not, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
}
