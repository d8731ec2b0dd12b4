//! A Willow node: the deterministic machine made durable, and later highly available, by Raft.
//!
//! ```text
//!   propose(command, request id)                                   read(|machine| …)
//!        │ encode, draw entropy (caller's core)                          │ leader? applied?
//!        ▼                                                               │
//!   ┌─ Proposer ────────────┐  full: Overloaded   disk full: Unavailable │
//!   │ queue ► batch, stamped│◄─────────────┐                             │
//!   └────────┬──────────────┘   next batch │                             │
//!            ▼ one batch = one entry       │                             │
//!   ┌─ consensus (openraft) ┐              │                             │
//!   └────────┬──────────────┘              │                             │
//!            ▼                             │                             │
//!   ┌─ GroupLog ► storage ──┐              │     ┌─ Timer ─────────────┐ │
//!   │ one write, one fsync  │              │     │ deadline passed:    │ │
//!   └────────┬──────────────┘              │     │ propose empty batch │ │
//!            ▼ durable = committed (1 voter)     └─────────▲───────────┘ │
//!   ┌─ Replica::apply ──────┐              │               │ next        │
//!   │ Machine::apply(batch) ├──────────────┴───────────────┘ deadline    │
//!   │ replies ► callers     │◄───────────────────────────────────────────┘
//!   │ waits   ► Waiters     │──► Waiter (future; drop = CancelWait)
//!   └────────┬──────────────┘
//!            ▼ enough log since the last
//!   Snapshots: chunks read between applies ► snapshot store ► purge the log
//! ```
//!
//! **Architecture invariants.** State changes only in `Replica`, only by applying an entry of the log.
//! Nobody is answered before the entry is durable. The only clock is behind [`Clock`], read by the proposer
//! (to stamp batches) and the timer (to know when to propose). Nothing of the consensus library appears in
//! a public signature. No error of the disk ends the process.
#![warn(missing_docs)]

mod backup;
#[cfg(feature = "bench")]
pub mod bench;
mod clock;
mod cluster;
mod config;
mod error;
mod group;
mod group_log;
mod health;
mod identity;
mod join;
mod node;
mod peers;
mod proposal;
mod proposer;
mod queue;
mod raft;
mod reconcile;
mod record;
mod replica;
mod role;
mod route;
#[cfg(feature = "sim")]
mod sim;
mod snapshots;
mod stats;
mod tasks;
mod timer;
mod transport;
mod waiters;
mod wire;

pub use backup::{Backup, BackupError, BackupHead, RestoreError, restore};
pub use clock::{Clock, Entropy, ManualClock, Sleep, SystemClock, SystemEntropy};
pub use cluster::{ClusterError, ClusterStatus, GroupReport, NodeReport, NodeStatus, Peering, Role, Start};
pub use config::{COMMAND_BYTES, Config};
pub use error::{ProposeError, ReadError, SnapshotError, StartError, Unavailable};
pub use health::Health;
pub use identity::is_member;
pub use node::{Node, Proposed, Waiting};
pub use record::RecordError;
#[cfg(feature = "sim")]
pub use sim::{Gate, Held};
pub use stats::{BATCH_BOUNDS, Histogram, LATENCY_BOUNDS_US, Stats};
pub use tasks::RuntimeKind;
pub use transport::{Lane, Peer, Reception, Service, Transport, TransportError};
pub use willow_core::catalogue::NodeState;

/// A node of the cluster. Never zero, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct NodeId(pub u64);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The catalogue: who belongs to the cluster.
    pub const CATALOGUE: Self = Self(0);
    /// The group of all data, until there are more.
    pub const DATA: Self = Self(1);
}

impl std::fmt::Display for GroupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
