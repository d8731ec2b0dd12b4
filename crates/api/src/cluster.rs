//! The cluster, as seen by one node.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::keys::{Id, IdSchema, Revision};

/// The cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "7b0f5a9e-6a53-4c1e-8d0a-2f9f7f1f5c3e", "version": "0.1.0", "revision": 42, "waiting": 0,
    "nodes": [{"id": 1, "role": "leader", "health": "ready"}]
}))]
pub struct Cluster {
    /// Its id, drawn at random when it was founded.
    #[schema(value_type = IdSchema)]
    pub id: Id,
    /// Version of the software of the node that answers.
    pub version: String,
    /// The newest revision given out.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// Calls that wait now for a lock, for room or for an item.
    pub waiting: u64,
    /// Its nodes.
    pub nodes: Vec<Node>,
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Its id.
    pub id: u64,
    /// What it does.
    pub role: Role,
    /// Whether it takes writes.
    pub health: HealthState,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It takes writes for the others.
    Leader,
    /// It follows a leader.
    Follower,
}

/// Whether a node takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It reads its log back after a start.
    Starting,
    /// Reads and writes.
    Ready,
    /// Reads of what is applied; writes are refused.
    ReadOnly,
    /// It takes no new work.
    Stopping,
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
