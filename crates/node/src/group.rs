//! One Raft group on this node, wired together: queue, consensus, log, machine, timer, snapshots.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use willow_core::command::Initialize;
use willow_core::{Command, Envelope, Machine, Refusal, RequestId};
use willow_storage::log::Log;

use crate::clock::{Clock, Entropy};
use crate::group_log::{GroupLog, LogEvents};
use crate::health::{Health, HealthCell};
use crate::node::Proposed;
use crate::proposal::{Answer, Slot};
use crate::proposer::Proposer;
use crate::queue::Encoded;
use crate::raft::{Consensus, Ended};
use crate::record::SnapshotHead;
use crate::replica::{Replica, SnapshotPolicy};
use crate::snapshots::Snapshots;
use crate::stats::{Cells, Stats};
use crate::waiters::Waiters;
use crate::{Config, GroupId, ProposeError, ReadError, SnapshotError, StartError, Unavailable};

/// How often a log that could not be written is tried again, ms.
const RETRY_MS: u64 = 200;
/// How long to leave snapshots alone after one could not be written, ms: each try reads all state.
const SNAPSHOT_RETRY_MS: u64 = 10_000;

/// A running group.
#[derive(Debug)]
pub(crate) struct Group {
    proposer: Arc<Proposer>,
    consensus: Consensus,
    replica: Arc<Replica>,
    snapshots: Arc<Snapshots>,
    health: Arc<HealthCell>,
    log: Log,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// The task that writes snapshots: it ends by itself when they are stopped.
    snapshotting: Mutex<Option<JoinHandle<()>>>,
}

/// Carries the log's ups and downs to whoever has to act.
#[derive(Debug)]
struct Downtime {
    proposer: Arc<Proposer>,
    waiters: Arc<Waiters>,
    health: Arc<HealthCell>,
    /// Wakes the task that tries the log again.
    stalled: Notify,
}

impl LogEvents for Downtime {
    fn log_stalled(&self, why: Unavailable) {
        if self.health.get() != Health::ReadOnly(why.clone()) {
            tracing::error!(%why, "writes are refused");
        }
        let unknown = ProposeError::OutcomeUnknown { reason: why.to_string() };
        // Health first: whoever is refused by the queue finds the reason there.
        self.health.read_only(why.clone());
        self.proposer.stall(ProposeError::Unavailable(why), &unknown);
        self.waiters.fail_all(&unknown);
        self.stalled.notify_one();
    }

    fn log_resumed(&self) {
        tracing::info!("writes are taken again");
        self.proposer.resume();
        self.health.ready();
    }
}

impl Group {
    /// Opens, recovers and runs the group.
    pub(crate) async fn start(config: Config) -> Result<Arc<Self>, StartError> {
        let stats = Arc::new(Cells::new());
        let proposer = Arc::new(Proposer::new(&config));
        let waiters = Arc::new(Waiters::new(Arc::clone(&proposer) as _));
        let health = Arc::new(HealthCell::new());
        let downtime = Arc::new(Downtime {
            proposer: Arc::clone(&proposer),
            waiters: Arc::clone(&waiters),
            health: Arc::clone(&health),
            stalled: Notify::new(),
        });
        let policy = SnapshotPolicy { log_bytes: config.snapshot_log_bytes, commands: config.snapshot_commands };
        let replica = Arc::new(Replica::new(waiters, Arc::clone(&stats), policy));
        let opening = open(config.clone(), Arc::clone(&replica));
        let (log, snapshots) = tokio::task::spawn_blocking(opening).await.map_err(StartError::broken)??;
        let group_log = GroupLog::new(GroupId::DATA, log.clone(), Arc::clone(&downtime) as _, Arc::clone(&stats));
        let consensus =
            Consensus::open(config.node_id, Arc::clone(&group_log), Arc::clone(&replica), Arc::clone(&snapshots))
                .await?;
        let group = Arc::new(Self {
            proposer,
            consensus,
            replica,
            snapshots,
            health,
            log,
            clock: config.clock,
            entropy: config.entropy,
            tasks: Mutex::default(),
            snapshotting: Mutex::default(),
        });
        group.spawn_tasks(Arc::clone(&group_log), downtime);
        if let Err(error) = group.join(&group_log).await {
            group.shutdown().await;
            return Err(error);
        }
        Ok(group)
    }

    fn spawn_tasks(self: &Arc<Self>, log: Arc<GroupLog>, downtime: Arc<Downtime>) {
        let timer = Arc::clone(&self.replica.timer);
        let tasks = vec![
            tokio::spawn(propose_batches(
                Arc::clone(&self.proposer),
                self.consensus.clone(),
                Arc::clone(&log),
                Arc::clone(&downtime),
            )),
            tokio::spawn(timer.run(Arc::clone(&self.clock), Arc::clone(&self.proposer))),
            tokio::spawn(retry_log(log, downtime, Arc::clone(&self.replica), Arc::clone(&self.clock))),
        ];
        *self.tasks.lock() = tasks;
        let snapshots = write_snapshots(
            Arc::clone(&self.replica),
            Arc::clone(&self.snapshots),
            self.consensus.clone(),
            Arc::clone(&self.clock),
        );
        *self.snapshotting.lock() = Some(tokio::spawn(snapshots));
    }

    /// Takes part in the group, and waits until this node can serve: reads at least, if the disk is full
    /// from the start.
    async fn join(&self, log: &GroupLog) -> Result<(), StartError> {
        self.consensus.run().await?;
        let mut health = self.health.subscribe();
        tokio::select! {
            // What the log holds is applied all the same.
            changed = health.wait_for(|health| matches!(health, Health::ReadOnly(_))) => {
                changed.map_err(StartError::broken)?;
            }
            recovered = self.consensus.recovered() => recovered?,
        }
        self.replica.go_live();
        self.proposer.not_before(self.replica.read(|state| state.machine.now_ms()));
        if !log.is_stalled() && log.check_writable() {
            self.health.ready();
        }
        if self.replica.read(|state| state.machine.cluster_id()) == 0 {
            self.initialize().await?;
        }
        Ok(())
    }

    /// The first command of a cluster: names it and sets its secret.
    async fn initialize(&self) -> Result<(), StartError> {
        let halves = [self.entropy.draw().to_le_bytes(), self.entropy.draw().to_le_bytes()];
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(&halves[0]);
        secret[16..].copy_from_slice(&halves[1]);
        // Zero means "none".
        let cluster = self.entropy.draw().max(1);
        let command = Command::Initialize(Initialize { cluster, secret });
        match self.propose(command, None).await {
            // A crash between the two steps of a first start, or another node, was there first.
            Ok(_) | Err(ProposeError::Refused(Refusal::AlreadyInitialized)) => Ok(()),
            Err(error) => Err(StartError::Initialize(error)),
        }
    }

    /// See [`crate::Node::propose_waiting`].
    pub(crate) async fn propose(
        &self,
        command: Command,
        request_id: Option<RequestId>,
    ) -> Result<Proposed, ProposeError> {
        let cancel_on_drop = request_id.is_none();
        let envelope = Envelope { request_id, entropy: self.entropy.draw(), command };
        let (answer, answered) = oneshot::channel();
        let pushed = self.proposer.push(Encoded::new(envelope)?, Slot { answer, cancel_on_drop });
        if matches!(pushed, Err(ProposeError::Overloaded { .. })) {
            self.replica.stats.overloaded.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        pushed?;
        match answered.await {
            Ok(Answer::Done(reply)) => reply.map(Proposed::Done).map_err(ProposeError::Refused),
            Ok(Answer::Waiting(waiter)) => Ok(Proposed::Waiting(waiter)),
            Ok(Answer::Failed(error)) => Err(error),
            Err(_dropped) => Err(ProposeError::OutcomeUnknown { reason: "the node stopped".to_owned() }),
        }
    }

    /// See [`crate::Node::read`].
    pub(crate) async fn read<T>(&self, read: impl FnOnce(&Machine) -> T) -> Result<T, ReadError> {
        self.consensus.confirm_read().await?;
        Ok(self.read_stale(read))
    }

    /// See [`crate::Node::read_stale`].
    pub(crate) fn read_stale<T>(&self, read: impl FnOnce(&Machine) -> T) -> T {
        self.replica.read(|state| read(&state.machine))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        self.replica.with(|state| state.machine.digest())
    }

    /// See [`crate::Node::snapshot`].
    pub(crate) async fn snapshot(&self) -> Result<(), SnapshotError> {
        write_snapshot(&self.replica, &self.snapshots, &self.consensus).await
    }

    pub(crate) fn health(&self) -> Health {
        self.health.get()
    }

    pub(crate) fn watch_health(&self) -> tokio::sync::watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.replica.stats.read(self.proposer.depth(), self.replica.waiters.len());
        stats.log_disk_bytes = self.log.stats().segment_bytes;
        stats
    }

    /// See [`crate::Node::shutdown`].
    pub(crate) async fn shutdown(&self) {
        self.health.stopping();
        self.proposer.refuse(ProposeError::ShuttingDown);
        // Whoever waits is sent away; so is whoever begins to wait while the queue drains.
        self.replica.waiters.stop();
        self.proposer.drained().await;
        self.snapshots.stop();
        self.replica.snapshot_due.notify_one();
        let snapshots = self.snapshotting.lock().take();
        if let Some(task) = snapshots {
            finished(task).await;
        }
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            task.abort();
            finished(task).await;
        }
        self.consensus.stop().await;
        // Joins the writer's thread, which may be in a last sync.
        let log = self.log.clone();
        finished(tokio::task::spawn_blocking(move || log.close())).await;
    }
}

async fn finished(task: JoinHandle<()>) {
    if let Err(error) = task.await
        && error.is_panic()
    {
        tracing::error!(%error, "a task of the node panicked");
    }
}

/// Without [`Group::shutdown`] first, this is a crash: nothing is flushed, nobody is told.
impl Drop for Group {
    fn drop(&mut self) {
        self.snapshots.stop();
        for task in self.tasks.get_mut().drain(..).chain(self.snapshotting.get_mut().take()) {
            task.abort();
        }
    }
}

impl StartError {
    fn broken(error: impl std::fmt::Display) -> Self {
        Self::Raft(error.to_string())
    }
}

/// The blocking part of a start: opens storage and reads the newest snapshot.
fn open(config: Config, replica: Arc<Replica>) -> impl FnOnce() -> Result<(Log, Arc<Snapshots>), StartError> {
    move || {
        let snapshots = Snapshots::open(&config, GroupId::DATA, Arc::clone(&replica.stats))?;
        snapshots.restore(&replica)?;
        let opened = Log::open(Arc::clone(&config.vfs), &config.data_dir.join("log"), config.log.clone());
        let (log, recovered) = opened.map_err(|error| StartError::Storage(error.to_string()))?;
        tracing::info!(?recovered, "the log is open");
        if recovered.created && snapshots.latest().is_some() {
            return Err(StartError::LogGone);
        }
        check_no_gap(&log, snapshots.latest().as_ref())?;
        Ok((log, Arc::new(snapshots)))
    }
}

/// A log that begins after the end of the newest snapshot has lost something.
fn check_no_gap(log: &Log, snapshot: Option<&SnapshotHead>) -> Result<(), StartError> {
    let bounds = log.bounds(GroupId::DATA.0);
    let snapshot = snapshot.and_then(|head| head.last).map(|id| id.index);
    match bounds.purged {
        Some(purged) if snapshot.is_none_or(|last| last < purged) => {
            Err(StartError::Gap { first: bounds.first, snapshot })
        }
        _ => Ok(()),
    }
}

/// Proposes whatever is gathered, for ever.
async fn propose_batches(proposer: Arc<Proposer>, consensus: Consensus, log: Arc<GroupLog>, downtime: Arc<Downtime>) {
    loop {
        // Asked before each batch, so that a disk about to be full is a refusal and not an unknown outcome.
        let (ticket, proposal) = proposer.next(|| log.check_writable()).await;
        let ended = {
            let (proposer, proposal) = (Arc::clone(&proposer), proposal.clone());
            move |ended| {
                match ended {
                    // The callers have their answers from the apply.
                    Ended::Applied => {}
                    Ended::NotLeader { leader } => proposal.fail(&ProposeError::NotLeader { leader }),
                    Ended::Unknown { reason } => proposal.fail(&ProposeError::OutcomeUnknown { reason }),
                }
                proposer.finished(ticket);
            }
        };
        if let Err(stopped) = consensus.propose(proposal, ended).await {
            downtime.log_stalled(Unavailable::Stopped(stopped.to_string()));
            return;
        }
    }
}

/// Tries a log that could not be written again and again, until it can.
async fn retry_log(log: Arc<GroupLog>, downtime: Arc<Downtime>, replica: Arc<Replica>, clock: Arc<dyn Clock>) {
    loop {
        downtime.stalled.notified().await;
        if downtime.health.get() == Health::ReadOnly(Unavailable::DiskFull) {
            // If the disk is full of log, a snapshot that takes its place makes room.
            replica.snapshot_due.notify_one();
        }
        while log.is_stalled() {
            clock.sleep_until(clock.now_ms().saturating_add(RETRY_MS)).await;
            log.retry();
        }
    }
}

/// Writes a snapshot whenever one is due, until they are stopped.
async fn write_snapshots(
    replica: Arc<Replica>,
    snapshots: Arc<Snapshots>,
    consensus: Consensus,
    clock: Arc<dyn Clock>,
) {
    let mut not_before_ms = 0;
    loop {
        replica.snapshot_due.notified().await;
        if snapshots.is_stopped() {
            return;
        }
        if clock.now_ms() < not_before_ms {
            continue;
        }
        if let Err(error) = write_snapshot(&replica, &snapshots, &consensus).await {
            tracing::warn!(%error, "no snapshot was written; the log grows until one is");
            not_before_ms = clock.now_ms().saturating_add(SNAPSHOT_RETRY_MS);
        }
    }
}

async fn write_snapshot(
    replica: &Arc<Replica>,
    snapshots: &Arc<Snapshots>,
    consensus: &Consensus,
) -> Result<(), SnapshotError> {
    let writing = {
        let (replica, snapshots) = (Arc::clone(replica), Arc::clone(snapshots));
        move || snapshots.write(&replica)
    };
    tokio::task::spawn_blocking(writing).await.map_err(|error| SnapshotError(error.to_string()))??;
    consensus.snapshot_written().await.map_err(|stopped| SnapshotError(stopped.to_string()))
}
