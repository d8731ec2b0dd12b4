//! The consensus library's types, filled in, and their conversion from and to what this crate persists.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use openraft::impls::leader_id_adv::LeaderId;
use openraft::impls::{BoxedErrorSource, InlineBatch};
use openraft::raft::responder::Responder;
use openraft::{
    AsyncRuntime, BasicNode, Entry, EntryPayload, LogId, Membership, OptionalSend, RaftTypeConfig, StoredMembership,
    Vote,
};

use super::runtime::Runtime;
use crate::proposal::Proposal;
use crate::record::{EntryId, Members, RecordError, VoteRecord};

/// One group of this node, on runtime `R`: tokio, or the simulator's.
pub(crate) struct TypeConfig<R = Runtime>(PhantomData<fn() -> R>);

// By hand: derived, they would ask the same of `R`.
impl<R> Clone for TypeConfig<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for TypeConfig<R> {}

impl<R> Default for TypeConfig<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R> PartialEq for TypeConfig<R> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl<R> Eq for TypeConfig<R> {}

impl<R> PartialOrd for TypeConfig<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for TypeConfig<R> {
    fn cmp(&self, _other: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl<R> fmt::Debug for TypeConfig<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypeConfig")
    }
}

impl<R: AsyncRuntime> RaftTypeConfig for TypeConfig<R> {
    type D = Proposal;
    type R = ();
    type NodeId = u64;
    type Node = BasicNode;
    type Term = u64;
    type LeaderId = Leader;
    type Vote = RaftVote;
    type Payload = RaftPayload;
    type Entry = RaftEntry;
    type AsyncRuntime = R;
    type Responder<T>
        = Completion<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub(crate) type Leader = LeaderId<u64, u64>;
pub(crate) type RaftLogId = LogId<Leader>;
pub(crate) type RaftEntry = Entry<Leader, RaftPayload>;
pub(crate) type RaftPayload = EntryPayload<Proposal, u64, BasicNode>;
pub(crate) type RaftMembership = Membership<u64, BasicNode>;
pub(crate) type RaftStoredMembership = StoredMembership<Leader, u64, BasicNode>;
pub(crate) type RaftVote = Vote<Leader>;

/// Hears what became of a proposal. What it captured is dropped unheard when consensus stops.
pub(crate) struct Completion<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Completion<T> {
    pub(crate) fn new(hear: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(hear))
    }
}

impl<R: AsyncRuntime, T: OptionalSend + 'static> Responder<TypeConfig<R>, T> for Completion<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

pub(crate) fn log_id(id: EntryId) -> RaftLogId {
    LogId::new(Leader { term: id.term, node_id: id.node }, id.index)
}

pub(crate) fn entry_id(id: &RaftLogId) -> EntryId {
    let leader = id.committed_leader_id();
    EntryId { term: leader.term, node: leader.node_id, index: id.index() }
}

pub(crate) fn vote_record(vote: &RaftVote) -> VoteRecord {
    let leader = vote.leader_id();
    VoteRecord { term: leader.term, node: leader.node_id, committed: vote.is_committed() }
}

pub(crate) fn vote(record: VoteRecord) -> RaftVote {
    if record.committed { Vote::new_committed(record.term, record.node) } else { Vote::new(record.term, record.node) }
}

pub(crate) fn members(membership: &RaftMembership) -> Members {
    let nodes = membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect();
    Members { configs: membership.get_joint_config().clone(), nodes }
}

/// Fails for a voter without a node, which this crate never writes.
pub(crate) fn membership(members: &Members) -> Result<RaftMembership, RecordError> {
    let nodes: BTreeMap<u64, BasicNode> = members.nodes.iter().map(|(id, addr)| (*id, BasicNode::new(addr))).collect();
    Membership::new(members.configs.clone(), nodes).map_err(|error| RecordError::Malformed(error.to_string()))
}

pub(crate) fn stored_membership(at: Option<EntryId>, of: &Members) -> Result<RaftStoredMembership, RecordError> {
    Ok(StoredMembership::new(at.map(log_id), membership(of)?))
}
