//! The consensus library behind plain types.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::raft::ClientWriteResult;
use openraft::{BasicNode, Raft, ReadPolicy, ServerState, SnapshotPolicy};

use super::log_store::LogStore;
use super::network::NoPeers;
use super::state_machine::StateMachine;
use super::types::{Completion, TypeConfig};
use crate::group_log::GroupLog;
use crate::proposal::Proposal;
use crate::replica::Replica;
use crate::snapshots::Snapshots;
use crate::{NodeId, ReadError, StartError};

/// Heartbeats of a leader, ms. Also sets the tick, about a fifth of it.
const HEARTBEAT_MS: u64 = 150;
/// A follower that hears nothing for this long stands for election, ms.
const ELECTION_MIN_MS: u64 = 450;
const ELECTION_MAX_MS: u64 = 900;
/// Entries kept although a snapshot covers them, so that a follower that lags a little needs no snapshot.
const ENTRIES_KEPT: u64 = 128;

/// How long a stop may take. Nothing is lost by giving up: what is durable is.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Consensus has stopped, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stopped(pub(crate) String);

/// One group's membership in its Raft group.
#[derive(Clone)]
pub(crate) struct Consensus {
    raft: Raft<TypeConfig, StateMachine>,
    node: NodeId,
    /// Alive as long as the library still has the machine and the log.
    machine: Weak<()>,
}

impl Consensus {
    /// Recovers the group's state from its log, without taking part yet.
    pub(crate) async fn open(
        node: NodeId,
        log: Arc<GroupLog>,
        replica: Arc<Replica>,
        snapshots: Arc<Snapshots>,
    ) -> Result<Self, StartError> {
        let log = LogStore::new(log, node)?;
        let alive = Arc::new(());
        let weak = Arc::downgrade(&alive);
        let machine = StateMachine { replica, snapshots, _alive: alive };
        let config = openraft::Config {
            cluster_name: "willow".to_owned(),
            heartbeat_interval: HEARTBEAT_MS,
            election_timeout_min: ELECTION_MIN_MS,
            election_timeout_max: ELECTION_MAX_MS,
            // Snapshots are written when this crate says so.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: ENTRIES_KEPT,
            ..openraft::Config::default()
        };
        let config = Arc::new(config.validate().map_err(|error| StartError::Raft(error.to_string()))?);
        let raft = Raft::build(node.0, config, NoPeers, log, machine).await.map_err(start_error)?;
        Ok(Self { raft, node, machine: weak })
    }

    /// Takes part, and makes a cluster of this node if its log is empty. Ends when somebody leads.
    pub(crate) async fn run(&self) -> Result<(), StartError> {
        self.raft.run();
        if !self.raft.is_initialized().await.map_err(start_error)? {
            let alone = BTreeMap::from([(self.node.0, BasicNode::default())]);
            self.raft.initialize(alone).await.map_err(|error| StartError::Raft(error.to_string()))?;
        } else if self.is_only_voter() {
            // Nobody else can lead: there is nothing to wait for.
            self.raft.trigger().elect(false).await.map_err(start_error)?;
        }
        let led = self.raft.wait(None).metrics(|metrics| metrics.current_leader.is_some(), "a leader").await;
        led.map_err(|error| StartError::Raft(error.to_string()))?;
        Ok(())
    }

    /// Ends when everything that was in the log at the start is applied. Does not end while the log cannot
    /// be written.
    pub(crate) async fn recovered(&self) -> Result<(), StartError> {
        self.raft.wait_for_recovery(None).await.map_err(|error| StartError::Raft(error.to_string()))?;
        Ok(())
    }

    /// Hands a batch to the log. `ended` is called exactly once, if this answers `Ok`.
    pub(crate) async fn propose(
        &self,
        proposal: Proposal,
        ended: impl FnOnce(Ended) + Send + 'static,
    ) -> Result<(), Stopped> {
        let mut guard = Guard(Some(Box::new(ended)));
        let completion = Completion::new(move |result: ClientWriteResult<TypeConfig>| {
            let outcome = match result {
                Ok(_) => Ended::Applied,
                Err(ClientWriteError::ForwardToLeader(forward)) => Ended::NotLeader { leader: leader(&forward) },
                Err(error) => Ended::Unknown { reason: error.to_string() },
            };
            guard.end(outcome);
        });
        self.raft.client_write_ff(proposal, Some(completion)).await.map_err(|fatal| Stopped(fatal.to_string()))
    }

    /// Ends once this node is known to lead and to have applied everything that was answered before.
    pub(crate) async fn confirm_read(&self) -> Result<(), ReadError> {
        // Nobody but this node can have answered anything, and it answers only what it has applied.
        if self.is_leading() && self.is_only_voter() {
            return Ok(());
        }
        let confirmed = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
        confirmed.map(|_read_at| ()).map_err(|error| match error {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
                ReadError::NotLeader { leader: leader(&forward) }
            }
            RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ReadError::NoQuorum,
            RaftError::Fatal(_) => ReadError::Stopped,
        })
    }

    /// Tells the library that a newer snapshot is there, so that it drops the log before it.
    pub(crate) async fn snapshot_written(&self) -> Result<(), Stopped> {
        self.raft.trigger().snapshot().await.map_err(|fatal| Stopped(fatal.to_string()))
    }

    /// Leaves. Ends when nothing of the library runs any more, or hangs in a write that cannot be made.
    pub(crate) async fn stop(&self) {
        let stopping = async {
            let stopped = self.raft.shutdown().await;
            // The worker that applies ends a little later.
            while self.machine.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
            stopped
        };
        match tokio::time::timeout(STOP_TIMEOUT, stopping).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "consensus did not stop cleanly"),
            Err(_elapsed) => tracing::error!("consensus did not stop in time"),
        }
    }

    fn is_leading(&self) -> bool {
        self.raft.server_metrics().borrow_watched().state == ServerState::Leader
    }

    fn is_only_voter(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.voter_ids().eq([self.node.0])
    }
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Calls back once, also when the library drops the proposal unheard.
struct Guard(Option<Box<dyn FnOnce(Ended) + Send>>);

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

fn leader(forward: &ForwardToLeader<TypeConfig>) -> Option<NodeId> {
    forward.leader_id.map(NodeId)
}

fn start_error(error: Fatal<TypeConfig>) -> StartError {
    StartError::Raft(error.to_string())
}
