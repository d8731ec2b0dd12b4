//! One Raft group on this node, wired together: queue, consensus, log, machine, timer, snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use willow_core::command::{CancelWait, Initialize};
use willow_core::{Command, Machine, Refusal};
use willow_storage::log::Log;

use crate::clock::{Entropy, LogClock, secret};
use crate::cluster::{GroupReport, Role};
use crate::group_log::{GroupLog, LogEvents};
use crate::health::{Health, HealthCell};
use crate::node::Proposed;
use crate::peers::Peers;
use crate::proposer::Proposer;
use crate::raft::{self, Change, Consensus, Ended, Parts};
use crate::record::SnapshotHead;
use crate::replica::{Replica, SnapshotPolicy};
use crate::role::{Leader, RoleCell};
use crate::route::ReadRounds;
use crate::snapshots::Snapshots;
use crate::stats::{Cells, Stats};
use crate::tasks::{Owned, Tasks, blocking, timeout};
use crate::waiters::Cancel as _;
use crate::waiters::Waiters;
use crate::{Config, GroupId, NodeId, ProposeError, ReadError, SnapshotError, StartError, Unavailable};

/// How often a log that could not be written is tried again, ms.
const RETRY_MS: u64 = 200;
/// How long to leave snapshots alone after one could not be written, ms: each try reads all state.
const SNAPSHOT_RETRY_MS: u64 = 10_000;
/// How long queued commands may take to be done at a shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// A follower that has heard nothing from a leader for this long, or a leader nothing from a majority, says so:
/// several elections' worth.
const SILENCE_MS: u64 = 3_000;

/// A running group.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) proposer: Arc<Proposer>,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) role: Arc<RoleCell>,
    pub(crate) health: Arc<HealthCell>,
    pub(crate) log: Arc<GroupLog>,
    pub(crate) clock: Arc<LogClock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) tasks: Arc<dyn Tasks>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) read_rounds: Mutex<ReadRounds>,
    /// The change of members that was last tried, until it is done.
    pub(crate) changing: Mutex<Option<Change>>,
    /// When a leader was last heard, monotonic ms.
    leader_heard_ms: AtomicU64,
    is_stopping: AtomicBool,
    running: Owned,
    /// The task that writes snapshots: it ends by itself when they are stopped.
    snapshotting: Owned,
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
        self.health.log(Some(why.clone()));
        self.proposer.stall(ProposeError::Unavailable(why), &unknown);
        self.waiters.fail_all(&unknown);
        self.stalled.notify_one();
    }

    fn log_resumed(&self) {
        tracing::info!("writes are taken again");
        self.proposer.resume();
        self.health.log(None);
    }
}

impl Group {
    /// Opens and recovers the group from `log` and its snapshots.
    pub(crate) async fn open(
        id: GroupId,
        config: &Config,
        node: NodeId,
        log: Log,
        peers: Arc<Peers>,
    ) -> Result<Arc<Self>, StartError> {
        let (stats, tasks) = (Arc::new(Cells::new()), config.runtime.tasks());
        let clock = Arc::new(LogClock::new(Arc::clone(&config.clock)));
        let proposer = Arc::new(Proposer::new(config, Arc::clone(&clock)));
        let waiters = Arc::new(Waiters::new(Arc::clone(&proposer) as _));
        let health = Arc::new(HealthCell::new());
        let downtime = Arc::new(Downtime {
            proposer: Arc::clone(&proposer),
            waiters: Arc::clone(&waiters),
            health: Arc::clone(&health),
            stalled: Notify::new(),
        });
        let policy = SnapshotPolicy { log_bytes: config.snapshot_log_bytes, commands: config.snapshot_commands };
        let replica = Arc::new(Replica::new(waiters, Arc::clone(&clock), Arc::clone(&stats), policy));
        let opening = open_snapshots(id, config.clone(), Arc::clone(&replica), log.clone());
        let opened = blocking(tasks.as_ref(), opening).await;
        let snapshots = opened.ok_or_else(|| StartError::Storage("the snapshots could not be read".to_owned()))??;
        let log = GroupLog::new(id, log, Arc::clone(&downtime) as _, stats);
        let parts = Parts {
            node,
            group: id,
            peers: Arc::clone(&peers),
            log: Arc::clone(&log),
            replica: Arc::clone(&replica),
            snapshots: Arc::clone(&snapshots),
            tasks: Arc::clone(&tasks),
            clock: Arc::clone(&config.clock),
        };
        let consensus = raft::open(config.runtime, parts).await?;
        // Nobody leads until somebody is elected.
        proposer.follow(&ProposeError::NotLeader { leader: None });
        let group = Arc::new(Self {
            id,
            proposer,
            consensus,
            replica,
            snapshots,
            role: Arc::new(RoleCell::new(node)),
            health,
            log,
            leader_heard_ms: AtomicU64::new(clock.monotonic_ms()),
            clock,
            entropy: Arc::clone(&config.entropy),
            tasks,
            peers,
            read_rounds: Mutex::default(),
            changing: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            running: Owned::default(),
            snapshotting: Owned::default(),
        });
        group.follow_leadership();
        group.spawn_tasks(&downtime);
        Ok(group)
    }

    /// What follows from a change of leadership.
    fn follow_leadership(self: &Arc<Self>) {
        // The replica keeps what is told to it: it must not keep itself.
        let (replica, proposer) = (Arc::downgrade(&self.replica), Arc::clone(&self.proposer));
        let id = self.id;
        let act = move |before: Leader, after: Leader| {
            let Some(replica) = replica.upgrade() else { return };
            if after == Leader::Here {
                replica.go_live();
                tracing::info!(group = %id, "this node leads");
                // Their callers were sent away when the leader before lost its place: what these waits would be
                // granted, nobody would know of.
                let (nameless, time_ms) =
                    replica.read(|state| (state.machine.nameless_waits(), state.machine.now_ms()));
                proposer.lead(replica.clock.now_ms().max(time_ms));
                for waiter in nameless {
                    proposer.cancel(CancelWait { waiter, undelivered: None });
                }
            } else if before == Leader::Here {
                tracing::info!(group = %id, "this node does not lead any more");
                let unknown = ProposeError::OutcomeUnknown { reason: "leadership moved".to_owned() };
                proposer.follow(&unknown);
                replica.waiters.fail_all(&unknown);
            }
        };
        let act = Arc::new(act);
        let (role, begun) = (Arc::clone(&self.role), Arc::clone(&act));
        self.replica.on_new_term(Box::new(move |id| role.term_begun(id.term, id.node, &*begun)));
        let (role, clock, health) = (Arc::clone(&self.role), Arc::clone(&self.clock), Arc::clone(&self.health));
        self.consensus.follow(Box::new(move |leadership| {
            clock.set_alone(leadership.is_alone);
            role.leadership(leadership, &*act);
            if leadership.leader.is_none() {
                health.cluster(Some(Unavailable::NoLeader));
            } else {
                health.cluster(None);
            }
        }));
    }

    fn spawn_tasks(self: &Arc<Self>, downtime: &Arc<Downtime>) {
        let timer = Arc::clone(&self.replica.timer).run(Arc::clone(&self.clock), Arc::clone(&self.proposer));
        let (proposer, consensus) = (Arc::clone(&self.proposer), Arc::clone(&self.consensus));
        let propose = propose_batches(proposer, consensus, Arc::clone(&self.log), Arc::clone(downtime));
        let (log, replica) = (Arc::clone(&self.log), Arc::clone(&self.replica));
        let retry = retry_log(log, Arc::clone(downtime), replica, Arc::clone(&self.clock));
        self.running.push(self.tasks.spawn(Box::pin(propose)));
        self.running.push(self.tasks.spawn(Box::pin(timer)));
        self.running.push(self.tasks.spawn(Box::pin(retry)));
        let (replica, snapshots) = (Arc::clone(&self.replica), Arc::clone(&self.snapshots));
        let (consensus, clock, tasks) = (Arc::clone(&self.consensus), Arc::clone(&self.clock), Arc::clone(&self.tasks));
        let write = write_snapshots(replica, snapshots, consensus, clock, tasks);
        self.snapshotting.push(self.tasks.spawn(Box::pin(write)));
    }

    /// Ties a task to the group's life.
    pub(crate) fn own(&self, task: crate::tasks::Task) {
        self.running.push(task);
    }

    /// Takes part in the group; `found` makes one of an empty log.
    pub(crate) async fn run(&self, found: Option<&str>) -> Result<(), StartError> {
        self.consensus.run(found).await
    }

    /// Waits until this node can serve: reads at least, if the disk is full from the start.
    pub(crate) async fn ready(&self) -> Result<(), StartError> {
        let mut health = self.health.subscribe();
        let is_stalled = |health: &Health| match health {
            Health::ReadOnly(why) => *why != Unavailable::NoLeader,
            _ => false,
        };
        let recovered = async {
            self.consensus.recovered().await?;
            self.role.other_than(Leader::Unknown).await;
            Ok::<(), StartError>(())
        };
        tokio::select! {
            biased;
            recovered = recovered => recovered?,
            // What the log holds is applied all the same.
            changed = health.wait_for(is_stalled) => {
                changed.map_err(|error| StartError::Raft(error.to_string()))?;
            }
        }
        self.replica.go_live();
        self.health.recovered();
        if !self.log.is_stalled() {
            // A disk that is nearly full says so from the start.
            self.log.check_writable();
        }
        Ok(())
    }

    /// Whether the group's first command is still to come.
    pub(crate) fn is_new(&self) -> bool {
        self.replica.read(|state| state.machine.cluster_id()) == 0
    }

    /// The first command of a group: names the cluster and sets the group's secret.
    pub(crate) async fn initialize(self: &Arc<Self>, cluster: u128) -> Result<(), ProposeError> {
        let secret = secret(self.entropy.as_ref());
        let command = Command::Initialize(Initialize { cluster, secret });
        match self.propose(command, None).await {
            // A crash between the two steps of a first start, or another node, was there first.
            Ok(Proposed::Done(_) | Proposed::Waiting(_)) | Err(ProposeError::Refused(Refusal::AlreadyInitialized)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// See [`crate::Node::read`].
    pub(crate) async fn read<T>(self: &Arc<Self>, read: impl FnOnce(&Machine) -> T) -> Result<T, ReadError> {
        self.confirm_read().await?;
        Ok(self.read_stale(read))
    }

    /// See [`crate::Node::read_stale`].
    pub(crate) fn read_stale<T>(&self, read: impl FnOnce(&Machine) -> T) -> T {
        self.replica.read(|state| read(&state.machine))
    }

    /// A leader was heard.
    pub(crate) fn heard_leader(&self) {
        self.leader_heard_ms.store(self.clock.monotonic_ms(), Ordering::Relaxed);
    }

    /// Looks after what nobody tells: a leader or a majority that has gone silent, and cancellations that are
    /// the leader's to make.
    pub(crate) fn check_contact(&self) {
        let is_silent = match self.role.leader() {
            Leader::Here => {
                let heard = self.consensus.quorum_heard();
                !self.role.rules_alone() && heard.is_some_and(|ago| ago > Duration::from_millis(SILENCE_MS))
            }
            Leader::There(_) => {
                let heard_ms = self.leader_heard_ms.load(Ordering::Relaxed);
                self.clock.monotonic_ms().saturating_sub(heard_ms) > SILENCE_MS
            }
            Leader::Unknown => true,
        };
        self.health.cluster(is_silent.then_some(Unavailable::NoLeader));
    }

    /// The cluster has let this node go.
    pub(crate) fn removed(&self) {
        if self.health.get() != Health::ReadOnly(Unavailable::Removed) {
            tracing::error!(group = %self.id, why = %Unavailable::Removed, "this node serves no more");
        }
        self.health.cluster(Some(Unavailable::Removed));
    }

    /// Hands cancellations to the leader, for as long as the group lives: their callers came in here, their waits
    /// are the leader's.
    pub(crate) fn forward_cancels(self: &Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        let (weak, proposer) = (Arc::downgrade(self), Arc::clone(&self.proposer));
        async move {
            loop {
                for cancel in proposer.cancels().await {
                    let Some(group) = weak.upgrade() else { return };
                    // Not one after the other: a leader that hangs must not hold up the rest.
                    let tasks = Arc::clone(&group.tasks);
                    drop(tasks.spawn(Box::pin(async move {
                        if let Err(error) = group.propose(Command::CancelWait(cancel), None).await {
                            // The machine's own deadline ends the wait instead.
                            tracing::warn!(%error, "a cancellation was lost");
                        }
                    })));
                }
            }
        }
    }

    pub(crate) fn report(&self) -> GroupReport {
        let progress = self.consensus.progress();
        let is_leading = self.role.is_leading();
        let members = self.consensus.membership();
        GroupReport {
            group: self.id,
            role: match progress.leadership.role {
                Role::Leader if !is_leading => Role::Candidate,
                role => role,
            },
            term: progress.leadership.term,
            leader: progress.leadership.leader,
            last_index: progress.last_index,
            committed_index: progress.committed_index,
            applied_index: self.replica.read(|state| state.applied.map_or(0, |id| id.index)),
            snapshot_index: progress.snapshot_index,
            purged_index: self.log.bounds().purged.unwrap_or(0),
            voters: members.voters.into_iter().collect(),
            learners: members.learners.into_iter().collect(),
        }
    }

    /// See [`crate::Node::snapshot`].
    pub(crate) async fn snapshot(&self) -> Result<(), SnapshotError> {
        write_snapshot(&self.replica, &self.snapshots, self.consensus.as_ref(), &self.clock, self.tasks.as_ref()).await
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.replica.stats.read(self.proposer.depth(), self.replica.waiters.len());
        stats.log_disk_bytes = self.log.disk_bytes();
        stats
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Takes no more work.
    pub(crate) fn refuse(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.health.stopping();
        self.proposer.refuse(ProposeError::ShuttingDown);
        // Whoever waits is sent away; so is whoever begins to wait while the queue drains.
        self.replica.waiters.stop();
    }

    /// See [`crate::Node::shutdown`]. The log is closed by who opened it.
    pub(crate) async fn shutdown(&self) {
        self.refuse();
        if timeout(self.tasks.as_ref(), DRAIN_TIMEOUT, self.proposer.drained()).await.is_none() {
            tracing::warn!(group = %self.id, "commands were still queued or in flight; their outcome is unknown");
        }
        self.snapshots.stop();
        self.replica.snapshot_due.notify_one();
        self.snapshotting.finish().await;
        self.running.end().await;
        self.consensus.stop().await;
    }
}

/// Without [`Group::shutdown`] first, this is a crash: nothing is flushed, nobody is told.
impl Drop for Group {
    fn drop(&mut self) {
        self.snapshots.stop();
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The blocking part of a start: reads the newest snapshot.
fn open_snapshots(
    id: GroupId,
    config: Config,
    replica: Arc<Replica>,
    log: Log,
) -> impl FnOnce() -> Result<Arc<Snapshots>, StartError> {
    move || {
        let snapshots = Snapshots::open(&config, id, Arc::clone(&replica.stats))?;
        snapshots.restore(&replica)?;
        check_no_gap(id, &log, snapshots.latest_head().as_ref())?;
        Ok(Arc::new(snapshots))
    }
}

/// A log that begins after the end of the newest snapshot has lost something.
fn check_no_gap(id: GroupId, log: &Log, snapshot: Option<&SnapshotHead>) -> Result<(), StartError> {
    let bounds = log.bounds(id.0);
    let snapshot = snapshot.and_then(|head| head.last).map(|id| id.index);
    match bounds.purged {
        Some(purged) if snapshot.is_none_or(|last| last < purged) => {
            Err(StartError::Gap { first: bounds.first, snapshot })
        }
        _ => Ok(()),
    }
}

/// Proposes whatever is gathered, for ever.
async fn propose_batches(
    proposer: Arc<Proposer>,
    consensus: Arc<dyn Consensus>,
    log: Arc<GroupLog>,
    downtime: Arc<Downtime>,
) {
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
        if let Err(stopped) = consensus.propose(proposal, Box::new(ended)).await {
            downtime.log_stalled(Unavailable::Stopped(stopped.to_string()));
            return;
        }
    }
}

/// Tries a log that could not be written again and again, until it can.
async fn retry_log(log: Arc<GroupLog>, downtime: Arc<Downtime>, replica: Arc<Replica>, clock: Arc<LogClock>) {
    loop {
        downtime.stalled.notified().await;
        if downtime.health.get() == Health::ReadOnly(Unavailable::DiskFull) {
            // If the disk is full of log, a snapshot that takes its place makes room.
            replica.snapshot_due.notify_one();
        }
        while log.is_stalled() {
            clock.sleep(RETRY_MS).await;
            log.retry();
        }
    }
}

/// Writes a snapshot whenever one is due, until they are stopped.
async fn write_snapshots(
    replica: Arc<Replica>,
    snapshots: Arc<Snapshots>,
    consensus: Arc<dyn Consensus>,
    clock: Arc<LogClock>,
    tasks: Arc<dyn Tasks>,
) {
    let mut not_before_ms = 0;
    loop {
        replica.snapshot_due.notified().await;
        if snapshots.is_stopped() {
            return;
        }
        if clock.monotonic_ms() < not_before_ms {
            continue;
        }
        if let Err(error) = write_snapshot(&replica, &snapshots, consensus.as_ref(), &clock, tasks.as_ref()).await {
            tracing::warn!(%error, "no snapshot was written; the log grows until one is");
            not_before_ms = clock.monotonic_ms().saturating_add(SNAPSHOT_RETRY_MS);
        }
    }
}

async fn write_snapshot(
    replica: &Arc<Replica>,
    snapshots: &Arc<Snapshots>,
    consensus: &dyn Consensus,
    clock: &LogClock,
    tasks: &dyn Tasks,
) -> Result<(), SnapshotError> {
    snapshots.write(replica, clock.monotonic_ms(), tasks).await?;
    consensus.snapshot_written().await.map_err(|stopped| SnapshotError(stopped.to_string()))
}
