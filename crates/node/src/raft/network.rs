//! How a group reaches its peers: the consensus library's calls as this crate's messages.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, BasicNode, OptionalSend, Snapshot};
use parking_lot::Mutex;

use super::log_store::encode_entry;
use super::state_machine::StoredSnapshot;
use super::types::{Leader, RaftVote, TypeConfig, entry_id, log_id, vote, vote_record};
use crate::peers::{CallError, Peers};
use crate::snapshots::Sending;
use crate::transport::{Lane, TransportError};
use crate::wire::{Answer, Append, Appended, Call, SnapshotBegin, SnapshotChunks, SnapshotEnd, Transfer, Vote, Voted};
use crate::{GroupId, NodeId};

/// How long entries may take to be written by a follower. A dead peer is noticed by the transport long before;
/// this is for one whose disk hangs.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a follower may take to write some chunks of a snapshot.
const CHUNKS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a follower may take to read a whole snapshot into memory: minutes for one of many gigabytes.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes of chunks in one message.
const CHUNKS_BYTES: usize = 1024 * 1024;

/// Makes connections to the members of one group.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    group: GroupId,
    peers: Arc<Peers>,
    /// Members for which the log is not to be kept any longer.
    let_go: Arc<Mutex<BTreeSet<NodeId>>>,
    acknowledged: Arc<Mutex<BTreeMap<NodeId, Acknowledged>>>,
}

/// What a member has said that it has, to this leader in this term.
#[derive(Clone, Copy, Debug, Default)]
struct Acknowledged {
    term: u64,
    index: u64,
    /// It said later that it does not have it.
    is_lost: bool,
}

/// The way to one member.
#[derive(Debug)]
pub(crate) struct Link {
    network: Network,
    target: NodeId,
    lane: Lane,
}

impl Network {
    pub(crate) fn new(group: GroupId, peers: Arc<Peers>) -> Self {
        Self { group, peers, let_go: Arc::default(), acknowledged: Arc::default() }
    }

    /// The next time that entries do not reach `node`, the library is told that its log does not match. It then
    /// sends a snapshot when the member is back, and no longer keeps the log for it: a stream of entries that it
    /// has begun it would keep open, and the log with it, for as long as the member is down.
    pub(crate) fn let_go(&self, node: NodeId) {
        self.let_go.lock().insert(node);
    }

    fn link(&self, target: u64, node: &BasicNode, lane: Lane) -> Link {
        let target = NodeId(target);
        self.peers.learn_if_unknown(target, &node.addr);
        Link { network: self.clone(), target, lane }
    }
}

impl<R: AsyncRuntime> RaftNetworkFactory<TypeConfig<R>> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Link {
        self.link(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> Link {
        self.link(target, node, Lane::Urgent)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &BasicNode) -> Link {
        self.link(target, node, Lane::Bulk)
    }
}

impl Link {
    async fn call(&self, limit: Duration, lane: Lane, call: Call) -> Result<Answer, CallError> {
        self.network.peers.call_within(limit, self.target, self.network.group, lane, call).await
    }

    /// Notices a member that no longer has what it said it has: the library sends it nothing more, for what it
    /// acknowledged may have been counted.
    fn compare(&self, term: u64, previous: u64, sent: u64, appended: &Appended) {
        let mut all = self.network.acknowledged.lock();
        let known = all.entry(self.target).or_default();
        if known.term != term {
            *known = Acknowledged { term, ..Acknowledged::default() };
        }
        match appended {
            Appended::All => known.index = known.index.max(previous.saturating_add(sent)),
            Appended::UpTo(Some(last)) => known.index = known.index.max(last.index),
            Appended::Conflict if previous > 0 && previous <= known.index && !known.is_lost => {
                known.is_lost = true;
                let (node, group, entry) = (self.target, self.network.group, known.index);
                tracing::error!(
                    %node, %group,
                    "node {node} no longer has entries up to {entry}, which it has acknowledged: its disk has lost data. \
                     Stop it, empty its data directory, let it join anew, and remove node {node}"
                );
            }
            Appended::UpTo(None) | Appended::Conflict | Appended::HigherVote(_) => {}
        }
    }

    fn error<R: AsyncRuntime>(&self, action: RPCTypes, error: CallError) -> RPCError<TypeConfig<R>> {
        match error {
            CallError::Transport(TransportError::Unreachable { .. }) => Unreachable::new(&error).into(),
            CallError::TimedOut(ms) => {
                let timeout = Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX));
                Timeout { action, id: self.network.peers.me().0, target: self.target.0, timeout }.into()
            }
            error => NetworkError::new(&error).into(),
        }
    }

    fn streaming<R: AsyncRuntime>(&self, error: CallError) -> StreamingError<TypeConfig<R>> {
        self.error(RPCTypes::InstallSnapshot, error).into()
    }

    async fn ask_vote<R: AsyncRuntime>(
        &self,
        request: VoteRequest<TypeConfig<R>>,
        call: impl FnOnce(Vote) -> Call,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        let asked = Vote {
            vote: vote_record(&request.vote),
            last: request.last_log_id.as_ref().map(entry_id),
            is_transfer: request.leadership_transfer,
        };
        match self.call(option.hard_ttl(), Lane::Urgent, call(asked)).await {
            Ok(Answer::Vote(Voted { vote: theirs, is_granted, last })) => {
                Ok(VoteResponse::new(vote(theirs), last.map(log_id), is_granted))
            }
            Ok(_) => Err(NetworkError::new(&unexpected()).into()),
            Err(error) => Err(self.error(RPCTypes::Vote, error)),
        }
    }

    async fn send_snapshot(&self, by: &RaftVote, sending: Sending) -> Result<RaftVote, CallError> {
        let begin = SnapshotBegin { vote: vote_record(by), head: Bytes::copy_from_slice(sending.head()) };
        let begun = self.call(CHUNKS_TIMEOUT, Lane::Bulk, Call::SnapshotBegin(begin)).await?;
        let Answer::SnapshotBegun { transfer } = begun else { return Err(unexpected().into()) };
        let (mut sending, mut first) = (sending, 0);
        loop {
            let (back, chunks) = sending.next(CHUNKS_BYTES).await.map_err(crate::wire::Refused::Failed)?;
            sending = back;
            if chunks.is_empty() {
                break;
            }
            let next = first + chunks.len() as u64;
            let taken = self
                .call(CHUNKS_TIMEOUT, Lane::Bulk, Call::SnapshotChunks(SnapshotChunks { transfer, first, chunks }))
                .await?;
            let Answer::SnapshotTaken = taken else { return Err(unexpected().into()) };
            first = next;
        }
        let end = SnapshotEnd { transfer, chunks: first, vote: vote_record(by) };
        match self.call(INSTALL_TIMEOUT, Lane::Bulk, Call::SnapshotEnd(end)).await? {
            Answer::SnapshotInstalled { vote: theirs } => Ok(vote(theirs)),
            _ => Err(unexpected().into()),
        }
    }
}

fn unexpected() -> crate::wire::Refused {
    crate::wire::Refused::Malformed("the answer is not to this call".to_owned())
}

impl<R: AsyncRuntime> RaftNetworkV2<TypeConfig<R>> for Link {
    type SnapshotData = StoredSnapshot;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig<R>>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        let entries: Result<Vec<Bytes>, _> =
            request.entries.iter().map(|entry| encode_entry(entry).map(Bytes::from)).collect();
        let append = Append {
            vote: vote_record(&request.vote),
            previous: request.prev_log_id.as_ref().map(entry_id),
            entries: entries.map_err(|error| NetworkError::new(&error))?,
            committed: request.leader_commit.as_ref().map(entry_id),
        };
        let (term, previous) = (append.vote.term, append.previous.map_or(0, |id| id.index));
        let sent = append.entries.len() as u64;
        match self.call(APPEND_TIMEOUT, self.lane, Call::Append(append)).await {
            Ok(Answer::Append(appended)) => {
                if self.lane == Lane::Log {
                    self.compare(term, previous, sent, &appended);
                }
                Ok(match appended {
                    Appended::All => AppendEntriesResponse::Success,
                    Appended::UpTo(last) => AppendEntriesResponse::PartialSuccess(last.map(log_id)),
                    Appended::Conflict => AppendEntriesResponse::Conflict,
                    Appended::HigherVote(theirs) => AppendEntriesResponse::HigherVote(vote(theirs)),
                })
            }
            Ok(_) => Err(NetworkError::new(&unexpected()).into()),
            Err(error) => {
                if self.lane == Lane::Log && self.network.let_go.lock().remove(&self.target) {
                    return Ok(AppendEntriesResponse::Conflict);
                }
                Err(self.error(RPCTypes::AppendEntries, error))
            }
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        self.ask_vote(request, Call::Vote, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        self.ask_vote(request, Call::PreVote, &option).await
    }

    async fn full_snapshot(
        &mut self,
        by: RaftVote,
        snapshot: Snapshot<Leader, u64, BasicNode, StoredSnapshot>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig<R>>, StreamingError<TypeConfig<R>>> {
        let sending = snapshot.snapshot.send();
        let sent = async {
            let sending = sending.await.map_err(|error| crate::wire::Refused::Failed(error.to_string()))?;
            self.send_snapshot(&by, sending).await
        };
        let (mut sent, mut cancel) = (std::pin::pin!(sent.fuse()), std::pin::pin!(cancel.fuse()));
        tokio::select! {
            biased;
            closed = &mut cancel => Err(closed.into()),
            vote = &mut sent => vote.map(SnapshotResponse::new).map_err(|error| self.streaming(error)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        let transfer = Transfer {
            from: vote_record(request.from_leader()),
            to: *request.to_node_id(),
            last: request.last_log_id().map(entry_id),
        };
        match self.call(option.hard_ttl(), Lane::Urgent, Call::Transfer(transfer)).await {
            // A refusal says that the log or the vote moved on: the library tries again, or lets it be.
            Ok(Answer::Transfer(Ok(()))) => Ok(Ok(())),
            Ok(Answer::Transfer(Err(reason))) => Err(NetworkError::new(&crate::wire::Refused::Failed(reason)).into()),
            Ok(_) => Err(NetworkError::new(&unexpected()).into()),
            Err(error) => Err(self.error(RPCTypes::TransferLeader, error)),
        }
    }
}
