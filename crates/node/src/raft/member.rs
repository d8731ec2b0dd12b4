//! The consensus library at work: [`Consensus`] on any of its runtimes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::metrics::RaftServerMetrics;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, ClientWriteResult, TransferLeaderRequest, VoteRequest,
};
use openraft::{AsyncRuntime, BasicNode, ChangeMembers, Instant as _, Raft, ReadPolicy, ServerState, SnapshotPolicy};
use willow_model::bugs::{self, Bug};

use super::consensus::{Change, Consensus, Ended, Hear, Leadership, Membership, Parts, Progress, Stopped};
use super::log_store::{LogStore, decode_entry};
use super::network::Network;
use super::state_machine::StateMachine;
use super::types::{Completion, RaftLogId, TypeConfig, entry_id, log_id, vote, vote_record};
use crate::cluster::Role;
use crate::proposal::Proposal;
use crate::tasks::{Tasks, blocking, timeout};
use crate::wire::{
    Answer, Append, Appended, Refused, SnapshotBegin, SnapshotChunks, SnapshotEnd, Transfer, Vote, Voted,
};
use crate::{NodeId, ReadError, StartError};

/// Heartbeats of a leader, ms. Also sets the tick, about a fifth of it.
const HEARTBEAT_MS: u64 = 100;
/// A follower that answered this recently, ms, needs no heartbeat.
const HEARTBEAT_MIN_MS: u64 = 50;
/// A follower that hears nothing for [`ELECTION_MAX_MS`] (the leader's lease, during which it votes for nobody) and
/// then a random time between the two stands for election, ms. A dead leader is so replaced within 0.6 to 0.9 s.
const ELECTION_MIN_MS: u64 = 200;
const ELECTION_MAX_MS: u64 = 350;
/// Entries kept although a snapshot covers them, so that a follower that lags a little needs no snapshot.
const ENTRIES_KEPT: u64 = 128;
/// Entries that a snapshot covers, beyond which the log is not kept for a member that cannot be reached. More than
/// the library lets gather before it drops them on its own.
const ENTRIES_HELD: u64 = 4 * ENTRIES_KEPT;
/// Entries that the library drops at once.
const PURGE_ENTRIES: u64 = ENTRIES_KEPT;
/// Entries in one message to a follower; their bytes are bounded by the log reader.
const ENTRIES_PER_APPEND: u64 = 256;

/// How long a stop may take. Nothing is lost by giving up: what is durable is.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// See [`Consensus`].
pub(crate) struct Member<R: AsyncRuntime> {
    raft: Raft<TypeConfig<R>, StateMachine>,
    node: NodeId,
    machine: StateMachine,
    network: Network,
    tasks: Arc<dyn Tasks>,
    /// Alive as long as the library still has the machine and the log.
    alive: Weak<()>,
}

impl<R: AsyncRuntime> Member<R> {
    pub(crate) async fn open(parts: Parts) -> Result<Self, StartError> {
        let Parts { node, group, peers, log, replica, snapshots, tasks, clock } = parts;
        let log = LogStore::new(log, node)?;
        let alive = Arc::new(());
        let weak = Arc::downgrade(&alive);
        let machine = StateMachine { replica, snapshots, tasks: Arc::clone(&tasks), clock, _alive: None };
        let config = openraft::Config {
            cluster_name: "willow".to_owned(),
            heartbeat_interval: HEARTBEAT_MS,
            heartbeat_min_interval: Some(HEARTBEAT_MIN_MS),
            election_timeout_min: ELECTION_MIN_MS,
            election_timeout_max: ELECTION_MAX_MS,
            // Snapshots are written when this crate says so.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: ENTRIES_KEPT,
            purge_batch_size: PURGE_ENTRIES,
            max_payload_entries: ENTRIES_PER_APPEND,
            // A leader that comes back is elected anew: the first entry of its term tells when it may serve, and what it
            // sent to followers but lost in a crash must not be written again as another entry of the same term.
            enable_leader_restore: Some(bugs::is_on(Bug::LeaderResumesTerm)),
            // One that was cut off does not unseat a leader when it comes back.
            enable_pre_vote: Some(true),
            ..openraft::Config::default()
        };
        let config = Arc::new(config.validate().map_err(|error| StartError::Raft(error.to_string()))?);
        let network = Network::new(group, peers);
        let theirs = StateMachine { _alive: Some(alive), ..machine.clone() };
        let raft = Raft::build(node.0, config, network.clone(), log, theirs).await.map_err(start_error)?;
        Ok(Self { raft, node, machine, network, tasks, alive: weak })
    }

    async fn elected_or_led(&self) -> Result<(), StartError> {
        let led = self.raft.wait(None).metrics(|metrics| metrics.current_leader.is_some(), "a leader").await;
        led.map_err(|error| StartError::Raft(error.to_string()))?;
        Ok(())
    }

    async fn change_members(&self, change: Change) -> Result<(), String> {
        let one = |node: NodeId| BTreeSet::from([node.0]);
        let changed = match change {
            Change::AddLearner(node, addr) => {
                self.raft.add_learner(node.0, BasicNode::new(addr), false).await.map(|_applied| ())
            }
            Change::Promote(node) => self.membership_step(ChangeMembers::AddVoterIds(one(node))).await,
            Change::Settle => self.membership_step(ChangeMembers::AddVoterIds(BTreeSet::new())).await,
            Change::Remove(node) if self.membership().learners.contains(&node) => {
                self.membership_step(ChangeMembers::RemoveNodes(one(node))).await
            }
            Change::Remove(node) => self.membership_step(ChangeMembers::RemoveVoters(one(node))).await,
        };
        changed.map_err(|error| error.to_string())
    }

    async fn membership_step(
        &self,
        change: ChangeMembers<u64, BasicNode>,
    ) -> Result<(), RaftError<TypeConfig<R>, ClientWriteError<TypeConfig<R>>>> {
        self.raft.change_membership(change, false).await.map(|_applied| ())
    }
}

impl<R: AsyncRuntime> Consensus for Member<R> {
    fn run<'a>(&'a self, found: Option<&'a str>) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async move {
            self.raft.run();
            let is_initialized = self.raft.is_initialized().await.map_err(start_error)?;
            if let Some(addr) = found
                && !is_initialized
            {
                let alone = BTreeMap::from([(self.node.0, BasicNode::new(addr))]);
                self.raft.initialize(alone).await.map_err(|error| StartError::Raft(error.to_string()))?;
            } else if is_initialized && leadership(self.node, &self.raft.server_metrics().borrow_watched()).is_alone {
                // Nobody else can lead: there is nothing to wait for.
                self.raft.trigger().elect(false).await.map_err(start_error)?;
            }
            Ok(())
        })
    }

    fn recovered(&self) -> BoxFuture<'_, Result<(), StartError>> {
        Box::pin(async move {
            self.elected_or_led().await?;
            self.raft.wait_for_recovery(None).await.map_err(|error| StartError::Raft(error.to_string()))?;
            Ok(())
        })
    }

    fn follow(&self, mut hear: Box<dyn FnMut(Leadership) + Send>) {
        let (node, mut metrics) = (self.node, self.raft.server_metrics());
        drop(self.tasks.spawn(Box::pin(async move {
            let mut last = None;
            loop {
                let now = leadership(node, &metrics.borrow_watched());
                if last != Some(now) {
                    last = Some(now);
                    hear(now);
                }
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        })));
    }

    fn progress(&self) -> Progress {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Progress {
            leadership: leadership(self.node, &self.raft.server_metrics().borrow_watched()),
            last_index: metrics.last_log_index.unwrap_or(0),
            committed_index: index(&metrics.cluster_committed).max(index(&metrics.local_committed)),
            snapshot_index: index(&metrics.snapshot),
        }
    }

    fn quorum_heard(&self) -> Option<Duration> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.last_quorum_acked.as_ref().map(|at| at.elapsed())
    }

    fn propose(&self, proposal: Proposal, hear: Hear) -> BoxFuture<'_, Result<(), Stopped>> {
        let mut guard = Guard(Some(hear));
        let completion = Completion::new(move |result: ClientWriteResult<TypeConfig<R>>| {
            let outcome = match result {
                Ok(_) => Ended::Applied,
                Err(ClientWriteError::ForwardToLeader(forward)) => Ended::NotLeader { leader: leader(&forward) },
                // Discarded from this node's log; another node may have committed it all the same.
                Err(error) => Ended::Unknown { reason: error.to_string() },
            };
            guard.end(outcome);
        });
        Box::pin(async move {
            self.raft.client_write_ff(proposal, Some(completion)).await.map_err(|fatal| Stopped(fatal.to_string()))
        })
    }

    fn read_index(&self) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(async move {
            if bugs::is_on(Bug::ReadWithoutQuorum) {
                return Ok(None);
            }
            let confirmed = self.raft.get_read_log_id(ReadPolicy::ReadIndex).await;
            confirmed.map(|(read_at, _applied)| Some(read_at.log_id().index())).map_err(|error| match error {
                RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
                    ReadError::NotLeader { leader: leader(&forward) }
                }
                RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ReadError::NoQuorum,
                RaftError::Fatal(_) => ReadError::Stopped,
            })
        })
    }

    fn snapshot_written(&self) -> BoxFuture<'_, Result<(), Stopped>> {
        Box::pin(async move { self.raft.trigger().snapshot().await.map_err(|fatal| Stopped(fatal.to_string())) })
    }

    fn membership(&self) -> Membership {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        Membership {
            voters: membership.voter_ids().map(NodeId).collect(),
            learners: membership.learner_ids().map(NodeId).collect(),
            is_joint: membership.get_joint_config().len() > 1,
        }
    }

    fn matched(&self, node: NodeId) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        replication.get(&node.0)?.as_ref().map(openraft::LogId::index)
    }

    fn is_log_held(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let held = index(&metrics.snapshot).saturating_sub(index(&metrics.purged));
        held > ENTRIES_HELD
    }

    fn let_go(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let late: Vec<u64> = {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow_watched();
                let wanted = index(&metrics.snapshot).saturating_sub(ENTRIES_KEPT);
                let replication = metrics.replication.iter().flatten();
                let late = replication.filter(|(_, matched)| index(matched) < wanted).map(|(node, _)| *node);
                late.filter(|node| *node != self.node.0).collect()
            };
            for node in late {
                if let Ok(Ok(())) = self.raft.trigger().allow_next_revert(&node, true).await {
                    self.network.let_go(NodeId(node));
                }
            }
        })
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.change_members(change))
    }

    fn transfer(&self, to: NodeId) -> BoxFuture<'_, Result<(), Stopped>> {
        Box::pin(
            async move { self.raft.trigger().transfer_leader(to.0).await.map_err(|fatal| Stopped(fatal.to_string())) },
        )
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Answer, Refused>> {
        Box::pin(async move {
            let Append { vote: by, previous, entries, committed } = append;
            let entries: Result<Vec<_>, _> = entries.iter().map(|bytes| decode_entry(bytes)).collect();
            let request = AppendEntriesRequest {
                vote: vote(by),
                prev_log_id: previous.map(log_id),
                entries: entries.map_err(|error| Refused::Malformed(error.to_string()))?,
                leader_commit: committed.map(log_id),
            };
            let appended = self.raft.append_entries(request).await.map_err(failed)?;
            Ok(Answer::Append(match appended {
                AppendEntriesResponse::Success => Appended::All,
                AppendEntriesResponse::PartialSuccess(last) => Appended::UpTo(last.as_ref().map(entry_id)),
                AppendEntriesResponse::Conflict => Appended::Conflict,
                AppendEntriesResponse::HigherVote(higher) => Appended::HigherVote(vote_record(&higher)),
            }))
        })
    }

    fn vote(&self, asked: Vote, is_pre_vote: bool) -> BoxFuture<'_, Result<Answer, Refused>> {
        Box::pin(async move {
            let mut request = VoteRequest::new(vote(asked.vote), asked.last.map(log_id));
            request.leadership_transfer = asked.is_transfer;
            let voted = if is_pre_vote { self.raft.pre_vote(request).await } else { self.raft.vote(request).await };
            let voted = voted.map_err(failed)?;
            Ok(Answer::Vote(Voted {
                vote: vote_record(&voted.vote),
                is_granted: voted.vote_granted,
                last: voted.last_log_id.as_ref().map(entry_id),
            }))
        })
    }

    fn take_leadership(&self, transfer: Transfer) -> BoxFuture<'_, Result<Answer, Refused>> {
        Box::pin(async move {
            let Transfer { from, to, last } = transfer;
            let request = TransferLeaderRequest::new(vote(from), to, last.map(log_id));
            let taken = self.raft.handle_transfer_leader(request).await.map_err(failed)?;
            Ok(Answer::Transfer(taken.map_err(|error| error.to_string())))
        })
    }

    fn snapshot_begin(&self, begin: SnapshotBegin) -> BoxFuture<'_, Result<Answer, Refused>> {
        Box::pin(async move {
            let StateMachine { snapshots, clock, .. } = self.machine.clone();
            let busy = snapshots.quiet().await;
            let receiving = move || {
                let _busy = busy;
                snapshots.receive(&begin.head, clock.monotonic_ms())
            };
            let transfer = self.blocking(receiving).await?;
            Ok(Answer::SnapshotBegun { transfer })
        })
    }

    fn snapshot_chunks(&self, chunks: SnapshotChunks) -> BoxFuture<'_, Result<Answer, Refused>> {
        Box::pin(async move {
            let StateMachine { snapshots, clock, .. } = self.machine.clone();
            let SnapshotChunks { transfer, first, chunks } = chunks;
            self.blocking(move || snapshots.take(transfer, first, &chunks, clock.monotonic_ms())).await?;
            Ok(Answer::SnapshotTaken)
        })
    }

    fn snapshot_end(&self, end: SnapshotEnd) -> BoxFuture<'_, Result<Answer, Refused>> {
        Box::pin(async move {
            let StateMachine { snapshots, replica, .. } = self.machine.clone();
            let SnapshotEnd { transfer, chunks, vote: by } = end;
            let busy = snapshots.quiet().await;
            let receiving = move || {
                let _busy = busy;
                let applied = replica.read(|state| state.applied);
                snapshots.received(transfer, chunks, applied)
            };
            let Some(kept) = self.blocking(receiving).await? else {
                return Ok(Answer::SnapshotInstalled { vote: by });
            };
            let snapshot = self.machine.stored(kept).map_err(|error| Refused::Failed(error.to_string()))?;
            let installed = self.raft.install_full_snapshot(vote(by), snapshot).await;
            let installed = installed.map_err(|fatal| Refused::Failed(fatal.to_string()))?;
            Ok(Answer::SnapshotInstalled { vote: vote_record(&installed.vote) })
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        let stopping = async {
            let stopped = self.raft.shutdown().await;
            // The worker that applies ends a little later.
            while self.alive.strong_count() > 0 {
                self.tasks.sleep(Duration::ZERO).await;
            }
            stopped.map_err(|error| error.to_string())
        };
        Box::pin(async move {
            match timeout(self.tasks.as_ref(), STOP_TIMEOUT, stopping).await {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::error!(%error, "consensus did not stop cleanly"),
                None => tracing::error!("consensus did not stop in time"),
            }
        })
    }
}

impl<R: AsyncRuntime> Member<R> {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, crate::SnapshotError> + Send + 'static,
    ) -> Result<T, Refused> {
        let done = blocking(self.tasks.as_ref(), work).await;
        let done = done.ok_or_else(|| Refused::Failed("the snapshot could not be written".to_owned()))?;
        done.map_err(|error| Refused::Failed(error.to_string()))
    }
}

impl<R: AsyncRuntime> std::fmt::Debug for Member<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Calls back once, also when the library drops the proposal unheard.
struct Guard(Option<Hear>);

impl Guard {
    fn end(&mut self, ended: Ended) {
        if let Some(hear) = self.0.take() {
            hear(ended);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end(Ended::Unknown { reason: "consensus stopped".to_owned() });
    }
}

fn leadership<R: AsyncRuntime>(node: NodeId, metrics: &RaftServerMetrics<TypeConfig<R>>) -> Leadership {
    let role = match metrics.state {
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Follower => Role::Follower,
        ServerState::Learner | ServerState::Shutdown => Role::Learner,
    };
    let is_alone = metrics.membership_config.voter_ids().eq([node.0]);
    Leadership { term: metrics.vote.leader_id().term, leader: metrics.current_leader.map(NodeId), role, is_alone }
}

/// Zero before the first entry.
fn index(id: &Option<RaftLogId>) -> u64 {
    id.as_ref().map_or(0, openraft::LogId::index)
}

fn leader<R: AsyncRuntime>(forward: &ForwardToLeader<TypeConfig<R>>) -> Option<NodeId> {
    forward.leader_id.map(NodeId)
}

fn start_error<R: AsyncRuntime>(error: Fatal<TypeConfig<R>>) -> StartError {
    StartError::Raft(error.to_string())
}

fn failed(error: impl std::fmt::Display) -> Refused {
    Refused::Failed(error.to_string())
}
