//! A node: starts, serves and stops the groups of one data directory, and speaks for them to its peers.

mod answer;
mod upkeep;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use willow_core::catalogue::{self, NodeFacts, NodeRecord, NodeState};
use willow_core::{Command, Machine, Outcome, Refusal, RequestId};
use willow_storage::log::{Log, Recovered};
use willow_storage::vfs::Vfs;

use crate::cluster::{ClusterError, ClusterStatus, NodeReport, NodeStatus, Start};
use crate::group::Group;
use crate::health::Health;
use crate::identity::Identity;
use crate::join::{Found, Joining};
use crate::peers::Peers;
use crate::role::Leader;
use crate::snapshots;
use crate::stats::Stats;
use crate::tasks::{Owned, Tasks, blocking, timeout};
use crate::transport::Lane;
use crate::wire::{Answer, Call, Joined};
use crate::{Config, GroupId, NodeId, ProposeError, ReadError, StartError};

/// How long a node may take to say how it is.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a leader may take to hand over, ms.
const TRANSFER_MS: u64 = 5_000;

/// What a command came to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is moved once and matched at once; most are outcomes")]
pub enum Proposed {
    /// The machine's final answer.
    Done(Outcome),
    /// The command waits; the handle brings the answer.
    Waiting(Waiting),
}

impl Proposed {
    /// The final answer, waited for if need be.
    pub(crate) async fn outcome(self) -> Result<Outcome, ProposeError> {
        match self {
            Self::Done(outcome) => Ok(outcome),
            Self::Waiting(waiting) => waiting.await,
        }
    }
}

/// A command that waits. A future of its final answer.
///
/// Dropping it before the answer was taken cancels the wait, and gives back what it was granted meanwhile,
/// unless the command came with a request id: then the wait goes on, and repeating the command with the
/// same id finds it again, at whichever node.
pub struct Waiting(pub(crate) BoxFuture<'static, Result<Outcome, ProposeError>>);

impl Future for Waiting {
    type Output = Result<Outcome, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

/// A running node. Clones are handles to the same node.
///
/// A command goes to the group that holds what it is about. There is one group of data today, so every method goes
/// to it; which group a command belongs to is the node's business, not the caller's.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: NodeId,
    identity: Identity,
    facts: NodeFacts,
    catalogue: Arc<Group>,
    data: Arc<Group>,
    peers: Arc<Peers>,
    tasks: Arc<dyn Tasks>,
    vfs: Arc<dyn Vfs>,
    data_dir: PathBuf,
    log: Log,
    running: Owned,
    /// Said once: this node is taken for another.
    mistaken: std::sync::Once,
}

impl Node {
    /// Opens the data directory, reads back what is there and begins to serve. An empty directory becomes
    /// a new cluster of one, or that of a new member: see [`crate::Peering`].
    ///
    /// # Errors
    /// When the directory cannot be used, holds something this build cannot read, or misses a part.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let node = Self::open(config).await?;
        if let Err(error) = node.ready().await {
            node.shutdown().await;
            return Err(error);
        }
        Ok(node)
    }

    /// The same, without waiting until the node can serve: it does as soon as it knows a leader. A node that is to
    /// join a cluster is only open when one has taken it in.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn open(config: Config) -> Result<Self, StartError> {
        config.validate()?;
        let tasks = config.runtime.tasks();
        let peering = config.peering.as_ref();
        let facts = NodeFacts {
            peer_addr: peering.map_or("", |peering| &peering.peer_addr).into(),
            client_url: peering.map_or("", |peering| &peering.client_url).into(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let identity = read_identity(&config, &tasks).await?;
        let opening = open_log(config.clone(), identity.is_member());
        let opened = blocking(tasks.as_ref(), opening).await;
        let log = opened.ok_or_else(|| StartError::Storage("the log could not be opened".to_owned()))??;
        let identity = if identity.is_member() { identity } else { join(&config, &facts, &tasks, identity).await? };
        let id = NodeId(identity.node);
        let transport = peering.map(|peering| Arc::clone(&peering.transport));
        let peers = Peers::new(identity.cluster, id, transport, Arc::clone(&tasks));
        let catalogue = Group::open(GroupId::CATALOGUE, &config, id, log.clone(), Arc::clone(&peers)).await?;
        let data = Group::open(GroupId::DATA, &config, id, log.clone(), Arc::clone(&peers)).await?;
        let inner = Arc::new(Inner {
            id,
            identity,
            facts,
            catalogue,
            data,
            peers,
            tasks,
            vfs: config.vfs,
            data_dir: config.data_dir,
            log,
            running: Owned::default(),
            mistaken: std::sync::Once::new(),
        });
        if let Some(peering) = peering {
            peering.reception.open(Arc::new(answer::Door(Arc::downgrade(&inner))));
        }
        inner.learn_addresses();
        // The founder's address is in its groups' first entry; who joins finds groups that exist.
        let found = (id == FOUNDER).then_some(&*inner.facts.peer_addr);
        inner.catalogue.run(found).await?;
        inner.data.run(found).await?;
        inner.spawn_tasks();
        Ok(Self { inner })
    }

    /// Waits until this node can serve: reads at least, if the disk is full from the start.
    ///
    /// # Errors
    /// When it never will.
    pub async fn ready(&self) -> Result<(), StartError> {
        let Inner { id, identity, catalogue, data, .. } = &*self.inner;
        for group in [catalogue, data] {
            group.ready().await?;
            if *id == FOUNDER && group.is_new() && !group.log.is_stalled() {
                group.initialize(identity.cluster).await.map_err(StartError::Initialize)?;
            }
        }
        Ok(())
    }

    /// This node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.inner.id
    }

    /// Gets `command` into the log, applies it, and answers what came of it. A command that waits is waited
    /// for; dropping the future then cancels the wait, unless there is a `request_id`.
    ///
    /// Answered means durable: the entry was synced to disk by every node whose vote was needed.
    ///
    /// # Errors
    /// See [`ProposeError`]; each variant says whether anything was done.
    pub async fn propose(&self, command: Command, request_id: Option<RequestId>) -> Result<Outcome, ProposeError> {
        self.propose_waiting(command, request_id).await?.outcome().await
    }

    /// Like [`Node::propose`], but answers with a handle as soon as the command waits.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose_waiting(
        &self,
        command: Command,
        request_id: Option<RequestId>,
    ) -> Result<Proposed, ProposeError> {
        self.inner.data.propose(command, request_id).await
    }

    /// Reads the machine, seeing everything that was answered anywhere before this call began. The closure
    /// keeps applies waiting: bound its work.
    ///
    /// # Errors
    /// When this node cannot be sure to have the newest state.
    pub async fn read<T>(&self, read: impl FnOnce(&Machine) -> T) -> Result<T, ReadError> {
        self.inner.data.read(read).await
    }

    /// Reads the machine as this node has it, however old that is.
    pub fn read_stale<T>(&self, read: impl FnOnce(&Machine) -> T) -> T {
        self.inner.data.read_stale(read)
    }

    /// What time it would be in the log, were something written now. The machine's own time stands at the last
    /// entry.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.data.clock.now_ms()
    }

    /// Digest over all replicated data. Walks everything while applies wait: for tests and tools.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.inner.data.replica.with(|state| state.machine.digest())
    }

    /// Writes a snapshot of the data now and drops the log before it.
    ///
    /// # Errors
    /// When the snapshot could not be written; the node goes on without it.
    pub async fn snapshot(&self) -> Result<(), crate::SnapshotError> {
        self.inner.data.snapshot().await
    }

    /// The group of all data.
    pub(crate) fn data(&self) -> &Arc<Group> {
        &self.inner.data
    }

    /// What the node can do now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.data.health.get()
    }

    /// Follows [`Node::health`].
    #[must_use]
    pub fn watch_health(&self) -> tokio::sync::watch::Receiver<Health> {
        self.inner.data.health.subscribe()
    }

    /// What the node did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.data.stats()
    }

    /// What this node says of itself.
    #[must_use]
    pub fn report(&self) -> NodeReport {
        self.inner.report()
    }

    /// The cluster, every node asked: one that does not answer within a second is said not to. The nodes are
    /// those that this node knows of.
    ///
    /// # Errors
    /// [`ReadError::Removed`]: what this node knows of the cluster is of when it was let go.
    pub async fn status(&self) -> Result<ClusterStatus, ReadError> {
        let inner = &self.inner;
        let mut asked = Vec::new();
        for record in inner.records().into_iter().filter(|record| record.state != NodeState::Removed) {
            let node = NodeId(record.node);
            asked.push(async move {
                let report = inner.report_of(node).await;
                let NodeRecord { facts, state, .. } = record;
                let (peer_addr, client_url) = (facts.peer_addr.into(), facts.client_url.into());
                NodeStatus { id: node, peer_addr, client_url, state, report }
            });
        }
        let nodes = futures_util::future::join_all(asked).await;
        if inner.peers.is_removed() {
            return Err(ReadError::Removed);
        }
        Ok(ClusterStatus { cluster: inner.peers.cluster(), answered_by: inner.id, nodes })
    }

    /// Lets `node` go: it is removed from every group, and never taken back under this id. Answers when the
    /// catalogue has it, with what the node is now; the groups follow.
    ///
    /// # Errors
    /// When there is no such node, or no other.
    pub async fn remove_node(&self, node: NodeId) -> Result<NodeState, ClusterError> {
        match self.inner.change_catalogue(catalogue::Command::Remove { node: node.0 }).await {
            Ok(record) => Ok(record.state),
            Err(ProposeError::Refused(Refusal::Catalogue(catalogue::Error::NoSuchNode { .. }))) => {
                Err(ClusterError::NoSuchNode(node))
            }
            Err(ProposeError::Refused(Refusal::Catalogue(catalogue::Error::LastNode { .. }))) => {
                Err(ClusterError::LastNode(node))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes `to` lead `group`. Answers when it does.
    ///
    /// # Errors
    /// When `to` cannot lead, does not answer, or does not lead within five seconds.
    pub async fn transfer_leader(&self, group: GroupId, to: NodeId) -> Result<(), ClusterError> {
        let inner = &self.inner;
        let Some(group) = inner.group(group.0) else { return Err(ClusterError::CannotLead(to)) };
        match inner.records().iter().find(|record| record.node == to.0) {
            None => return Err(ClusterError::NoSuchNode(to)),
            Some(record) if record.state != NodeState::Active => return Err(ClusterError::CannotLead(to)),
            Some(_) => {}
        }
        if !group.consensus.membership().voters.contains(&to) {
            return Err(ClusterError::CannotLead(to));
        }
        // A leader that hands over stands still until somebody else leads: not for one that cannot hear of it.
        if let Err(reason) = inner.report_of(to).await {
            return Err(ClusterError::NoAnswer(to, reason));
        }
        let asked = async {
            loop {
                let leader = group.role.leader();
                match leader {
                    Leader::There(node) if node == to => return,
                    Leader::Here if inner.id == to => return,
                    Leader::Here => drop(group.consensus.transfer(to).await),
                    Leader::There(node) => {
                        let call = Call::Lead { node: to.0 };
                        drop(inner.peers.call_within(REPORT_TIMEOUT, node, group.id, Lane::Client, call).await);
                    }
                    Leader::Unknown => {}
                }
                let moved = timeout(inner.tasks.as_ref(), REPORT_TIMEOUT, group.role.other_than(leader));
                let _moved = moved.await;
            }
        };
        let limit = Duration::from_millis(TRANSFER_MS);
        timeout(inner.tasks.as_ref(), limit, asked).await.ok_or(ClusterError::Slow(TRANSFER_MS))
    }

    /// Takes no more work, sends everyone who waits away with [`ProposeError::ShuttingDown`], finishes what
    /// is queued and stops. A leader hands over first. Safe to call twice.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        for group in [&inner.data, &inner.catalogue] {
            group.refuse();
            inner.hand_over(group).await;
        }
        inner.running.end().await;
        inner.data.shutdown().await;
        inner.catalogue.shutdown().await;
        // Joins the writer's thread, which may be in a last sync.
        let log = inner.log.clone();
        let _closed = blocking(inner.tasks.as_ref(), move || log.close()).await;
    }
}

/// The node that founds a cluster has this id.
const FOUNDER: NodeId = NodeId(1);

/// Reads who this node is. A new one gets an identity, written down before anything else: a join whose answer is
/// lost in a crash is repeated under the same one.
async fn read_identity(config: &Config, tasks: &Arc<dyn Tasks>) -> Result<Identity, StartError> {
    if let Some(identity) = on_disk(config, tasks, Identity::read).await? {
        return Ok(identity);
    }
    let identity = Identity::new(config.entropy.draw().max(1));
    on_disk(config, tasks, move |vfs, dir| identity.write(vfs, dir)).await?;
    Ok(identity)
}

/// Finds out where a new node belongs, and writes it down.
async fn join(
    config: &Config,
    facts: &NodeFacts,
    tasks: &Arc<dyn Tasks>,
    mut identity: Identity,
) -> Result<Identity, StartError> {
    let found = match &config.peering {
        None => Found::Cluster,
        Some(peering) => {
            let is_founder = matches!(peering.start, Start::Bootstrap { .. });
            peering.reception.bootstraps(if is_founder { identity.identity } else { 0 });
            let (tasks, clock) = (Arc::clone(tasks), Arc::clone(&config.clock));
            Joining { peering, identity, facts: facts.clone(), tasks, clock }.run().await
        }
    };
    (identity.cluster, identity.node) = match found {
        Found::Cluster => (config.entropy.draw().max(1), FOUNDER.0),
        Found::Member(Joined { cluster, node }) => (cluster, node),
    };
    on_disk(config, tasks, move |vfs, dir| identity.write(vfs, dir)).await?;
    Ok(identity)
}

/// Does `work`, which blocks, in the data directory.
async fn on_disk<T: Send + 'static>(
    config: &Config,
    tasks: &Arc<dyn Tasks>,
    work: impl FnOnce(&dyn Vfs, &Path) -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let (vfs, dir) = (Arc::clone(&config.vfs), config.data_dir.clone());
    let done = blocking(tasks.as_ref(), move || work(vfs.as_ref(), &dir)).await;
    done.ok_or_else(|| StartError::Storage("the data directory could not be read".to_owned()))?
}

/// The blocking part of a start: opens the log that all groups share. Who became a member had one: with another it
/// would vote twice, and would not know what it has acknowledged.
fn open_log(config: Config, is_member: bool) -> impl FnOnce() -> Result<Log, StartError> {
    move || {
        let failed = |error: &dyn std::fmt::Display| StartError::Storage(error.to_string());
        let dir = config.data_dir.join("log");
        let has_snapshots = [GroupId::CATALOGUE, GroupId::DATA].into_iter().any(|group| {
            config
                .vfs
                .list(&snapshots::dir(&config, group))
                .is_ok_and(|names| names.iter().any(|name| name.ends_with(".snap")))
        });
        if (is_member || has_snapshots) && !Log::exists(config.vfs.as_ref(), &dir).map_err(|error| failed(&error))? {
            return Err(StartError::LogGone);
        }
        let opened = Log::open(Arc::clone(&config.vfs), &dir, config.log.clone());
        let (log, recovered) = opened.map_err(|error| failed(&error))?;
        let Recovered { created, batches, segments, .. } = recovered;
        tracing::info!(created, batches, segments, "the log is open");
        Ok(log)
    }
}

impl Inner {
    fn group(&self, id: u32) -> Option<&Arc<Group>> {
        [&self.catalogue, &self.data].into_iter().find(|group| group.id.0 == id)
    }

    /// The nodes, as this node's catalogue has them.
    fn records(&self) -> Vec<NodeRecord> {
        self.catalogue.read_stale(|machine| machine.catalogue().nodes().cloned().collect())
    }

    fn learn_addresses(&self) {
        for record in self.records() {
            self.peers.learn(NodeId(record.node), &record.facts.peer_addr);
        }
    }

    async fn change_catalogue(&self, command: catalogue::Command) -> Result<NodeRecord, ProposeError> {
        let command = Command::Catalogue(command);
        match self.catalogue.propose(command, None).await?.outcome().await? {
            Outcome::Catalogue(record) => Ok(record),
            _ => Err(ProposeError::OutcomeUnknown { reason: "the answer was not the catalogue's".to_owned() }),
        }
    }

    /// What `node` says of itself, or why it says nothing.
    async fn report_of(&self, node: NodeId) -> Result<NodeReport, String> {
        if node == self.id {
            return Ok(self.report());
        }
        match self.peers.call_within(REPORT_TIMEOUT, node, GroupId::DATA, Lane::Client, Call::Report).await {
            Ok(Answer::Report(report)) => Ok(report),
            Ok(_) => Err("its answer was not to this call".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn report(&self) -> NodeReport {
        NodeReport {
            version: self.facts.version.to_string(),
            health: self.data.health.get(),
            log_bytes: self.log.stats().segment_bytes,
            snapshot_bytes: self.data.stats().snapshot_bytes,
            free_bytes: self.vfs.free_bytes(&self.data_dir).ok(),
            groups: vec![self.catalogue.report(), self.data.report()],
        }
    }
}
