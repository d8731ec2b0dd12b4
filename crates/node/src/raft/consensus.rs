//! One node's membership in one Raft group, behind plain types: what the rest of the crate knows of consensus.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use openraft::AsyncRuntime;

use super::member::Member;
use crate::clock::Clock;
use crate::cluster::Role;
use crate::group_log::GroupLog;
use crate::peers::Peers;
use crate::proposal::Proposal;
use crate::replica::Replica;
use crate::snapshots::Snapshots;
use crate::tasks::{RuntimeKind, Tasks};
use crate::wire::{Answer, Append, Refused, SnapshotBegin, SnapshotChunks, SnapshotEnd, Transfer, Vote};
use crate::{GroupId, NodeId, ReadError, StartError};

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Applied; its callers have their answers.
    Applied,
    /// Not appended: another node leads.
    NotLeader { leader: Option<NodeId> },
    /// It may or may not be applied yet.
    Unknown { reason: String },
}

/// Called once with what became of a proposal.
pub(crate) type Hear = Box<dyn FnOnce(Ended) + Send>;

/// Consensus has stopped, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stopped(pub(crate) String);

/// Who leads, as this node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) term: u64,
    pub(crate) leader: Option<NodeId>,
    pub(crate) role: Role,
    /// Nobody else votes.
    pub(crate) is_alone: bool,
}

/// Where this node is in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) leadership: Leadership,
    pub(crate) last_index: u64,
    pub(crate) committed_index: u64,
    pub(crate) snapshot_index: u64,
}

/// The group's members, as its leader has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) voters: BTreeSet<NodeId>,
    pub(crate) learners: BTreeSet<NodeId>,
    /// Two sets of voters: a change is under way, or was left so by a leader that died.
    pub(crate) is_joint: bool,
}

/// A change of members. Each is safe at any time, and may be asked for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    AddLearner(NodeId, String),
    Promote(NodeId),
    Remove(NodeId),
    /// Ends a change that a dead leader left half done.
    Settle,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AddLearner(node, addr) => write!(f, "node {node} at {addr} learns"),
            Self::Promote(node) => write!(f, "node {node} votes"),
            Self::Remove(node) => write!(f, "node {node} goes"),
            Self::Settle => write!(f, "a change that was left half done is ended"),
        }
    }
}

/// What a group's member is made of.
pub(crate) struct Parts {
    pub(crate) node: NodeId,
    pub(crate) group: GroupId,
    pub(crate) peers: Arc<Peers>,
    pub(crate) log: Arc<GroupLog>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) tasks: Arc<dyn Tasks>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// One node's membership in one group.
pub(crate) trait Consensus: Debug + Send + Sync {
    /// Takes part. With `found`, an empty log becomes that of a new group with this node, at that address, as its
    /// only member.
    fn run<'a>(&'a self, found: Option<&'a str>) -> BoxFuture<'a, Result<(), StartError>>;

    /// Ends when this node knows of a leader and has applied everything that was in its log at the start. Does
    /// not end while the log cannot be written.
    fn recovered(&self) -> BoxFuture<'_, Result<(), StartError>>;

    /// Calls `hear` now and whenever the leadership changes, for as long as consensus runs.
    fn follow(&self, hear: Box<dyn FnMut(Leadership) + Send>);

    /// Where this node is.
    fn progress(&self) -> Progress;

    /// How long ago a quorum last heard this leader; `None` when it does not lead, or has not been heard yet.
    fn quorum_heard(&self) -> Option<Duration>;

    /// Hands a batch to the log. `hear` is called exactly once, if this answers `Ok`.
    fn propose(&self, proposal: Proposal, hear: Hear) -> BoxFuture<'_, Result<(), Stopped>>;

    /// The entry up to which a replica must have applied to see everything that was answered before this call
    /// (`None`: nothing). Only the leader knows, and asks a quorum whether it still is.
    fn read_index(&self) -> BoxFuture<'_, Result<Option<u64>, ReadError>>;

    /// Tells the library that a newer snapshot is there, so that it drops the log before it.
    fn snapshot_written(&self) -> BoxFuture<'_, Result<(), Stopped>>;

    /// The members.
    fn membership(&self) -> Membership;

    /// How far a member's log matches this leader's; `None` when this node does not lead, or does not know.
    fn matched(&self, node: NodeId) -> Option<u64>;

    /// Whether the log holds much that the newest snapshot covers, and no member should need.
    fn is_log_held(&self) -> bool;

    /// Stops keeping the log for members that lag behind the newest snapshot and cannot be reached: they get that
    /// snapshot instead when they are back.
    fn let_go(&self) -> BoxFuture<'_, ()>;

    /// Changes the members. Only the leader can.
    fn change(&self, change: Change) -> BoxFuture<'_, Result<(), String>>;

    /// Hands leadership to `to`, which takes it up if its log is complete.
    fn transfer(&self, to: NodeId) -> BoxFuture<'_, Result<(), Stopped>>;

    /// Answers a peer.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Answer, Refused>>;
    /// Answers a peer.
    fn vote(&self, vote: Vote, is_pre_vote: bool) -> BoxFuture<'_, Result<Answer, Refused>>;
    /// Answers a peer.
    fn take_leadership(&self, transfer: Transfer) -> BoxFuture<'_, Result<Answer, Refused>>;
    /// Answers a peer.
    fn snapshot_begin(&self, begin: SnapshotBegin) -> BoxFuture<'_, Result<Answer, Refused>>;
    /// Answers a peer.
    fn snapshot_chunks(&self, chunks: SnapshotChunks) -> BoxFuture<'_, Result<Answer, Refused>>;
    /// Answers a peer.
    fn snapshot_end(&self, end: SnapshotEnd) -> BoxFuture<'_, Result<Answer, Refused>>;

    /// Leaves. Ends when nothing of the library runs any more, or hangs in a write that cannot be made.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// Recovers the group's state from its log, without taking part yet.
pub(crate) async fn open(kind: RuntimeKind, parts: Parts) -> Result<Arc<dyn Consensus>, StartError> {
    async fn on<R: AsyncRuntime>(parts: Parts) -> Result<Arc<dyn Consensus>, StartError> {
        Ok(Arc::new(Member::<R>::open(parts).await?))
    }
    match kind {
        RuntimeKind::Tokio => on::<super::Runtime>(parts).await,
        #[cfg(feature = "sim")]
        RuntimeKind::Simulated => on::<crate::sim::Simulated>(parts).await,
    }
}
