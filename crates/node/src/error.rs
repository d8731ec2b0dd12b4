//! What can go wrong, one enum per operation, each saying whether anything was done and what to do next.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use willow_core::Refusal;

use crate::NodeId;

/// Why the node takes no writes. Reads of what is applied go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unavailable {
    /// No room to write the log. The node takes writes again by itself once there is room.
    #[error("the disk is full; free some space, writes resume by themselves")]
    DiskFull,
    /// The log could not be written or synced. What a failed sync left on disk is unknown, so it is
    /// not tried again: only a restart, which reads the log back, ends this.
    #[error("the log cannot be written ({0}); check the disk and restart this node")]
    Storage(String),
    /// Consensus stopped.
    #[error("consensus stopped ({0}); restart this node")]
    Stopped(String),
    /// This node knows of no leader, or leads and hears no majority: most members cannot be reached, or an election is
    /// under way.
    #[error("no leader with a majority is known; see that a majority of the nodes runs and is connected")]
    NoLeader,
    /// The cluster has let this node go.
    #[error("this node was removed from the cluster; empty its data directory and let it join anew")]
    Removed,
}

/// Why a proposal has no outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum ProposeError {
    /// The machine refused the command: the answer of the log, the same on every node.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too much is queued already. Nothing was done.
    #[error("the node is overloaded; retry in {} ms", retry_after.as_millis())]
    Overloaded {
        /// When a retry may find room.
        retry_after: Duration,
    },
    /// The node takes no writes. Nothing was done.
    #[error("the node takes no writes: {0}")]
    Unavailable(Unavailable),
    /// The command was handed to the log, but the log did not say what became of it. Repeating it with the
    /// same request id is safe; without one it may be done twice.
    #[error("the outcome is unknown ({reason}); retry with the same request_id")]
    OutcomeUnknown {
        /// What came between.
        reason: String,
    },
    /// No majority of the nodes has confirmed it in time. It may be done yet; repeating it is as after
    /// [`ProposeError::OutcomeUnknown`].
    #[error(
        "no majority of the nodes has confirmed it within {limit_ms} ms, so the outcome is unknown; retry with the same \
         request_id"
    )]
    NoQuorum {
        /// How long it was waited for.
        limit_ms: u64,
    },
    /// The node is stopping. A queued command was not done; a waiting one with a request id keeps its place.
    #[error("the node is shutting down; retry")]
    ShuttingDown,
    /// Another node leads the group. Nothing was done.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// The encoded command exceeds what one log entry may hold. Nothing was done.
    #[error("the command has {bytes} bytes, more than the {limit} that a log entry may hold")]
    TooLarge {
        /// Encoded size of the command.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
}

impl ProposeError {
    /// True when the same call may succeed later without anything else changing. After
    /// [`ProposeError::OutcomeUnknown`] the retry must carry the same request id.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded { .. }
            | Self::Unavailable(_)
            | Self::OutcomeUnknown { .. }
            | Self::NoQuorum { .. }
            | Self::ShuttingDown
            | Self::NotLeader { .. } => true,
            Self::Refused(_) | Self::TooLarge { .. } => false,
        }
    }
}

/// Why a linearizable read was not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ReadError {
    /// Another node leads the group.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// No quorum confirmed that this node still leads.
    #[error("leadership could not be confirmed with a quorum; retry")]
    NoQuorum,
    /// Consensus stopped.
    #[error("consensus stopped; restart this node")]
    Stopped,
    /// See [`Unavailable::NoLeader`].
    #[error("{}", Unavailable::NoLeader)]
    NoLeader,
    /// See [`Unavailable::Removed`].
    #[error("{}", Unavailable::Removed)]
    Removed,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("cannot open the data directory: {0}")]
    Storage(String),
    /// A record of the log or of a snapshot does not decode.
    #[error("the data directory holds a record that cannot be read")]
    Record(#[from] crate::RecordError),
    /// The log begins after what the newest snapshot covers.
    #[error(
        "the log begins at entry {first}, but the newest snapshot that can be read ends at {snapshot:?}: put the missing \
         one back. In a cluster: or remove this node, give it an empty data directory and join it again"
    )]
    Gap {
        /// First entry in the log.
        first: u64,
        /// Last entry in the snapshot.
        snapshot: Option<u64>,
    },
    /// A member's log is gone: it held what this node acknowledged, and whom it voted for.
    #[error(
        "the data directory is that of a member, but its log is gone, and with it what this node acknowledged: put the \
         log directory back; or remove the node from its cluster and start it on an empty data directory (a restore \
         that was interrupted is begun again, on an empty one)"
    )]
    LogGone,
    /// The newest snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A setting is out of range.
    #[error("bad configuration: {0}")]
    Config(String),
    /// Consensus did not start.
    #[error("consensus did not start: {0}")]
    Raft(String),
    /// The first command of the cluster was not accepted.
    #[error("the cluster could not be initialized: {0}")]
    Initialize(ProposeError),
}

/// Why no snapshot was written or read. The node goes on without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("snapshot: {0}")]
pub struct SnapshotError(pub(crate) String);
