//! Three real processes, and what can be done to them.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use willow_api::cluster::{Cluster as Status, HealthState, LeavingReply, Role};
use willow_client::{Client, Options, RetryPolicy};
use willow_harness::{Server, free_address};

use crate::net::Net;

/// How many nodes there are.
pub(crate) const NODES: usize = 3;
/// The group of all data.
const DATA: u32 = 1;
/// How far a node may lag and count as caught up, entries.
const CLOSE: u64 = 2000;
/// How long a node may take to answer about the cluster: it asks the others, who may be silent.
const STATUS: Duration = Duration::from_secs(4);
/// Between two looks at the cluster.
const LOOK: Duration = Duration::from_millis(100);

/// The cluster.
#[derive(Clone, Debug)]
pub(crate) struct Cluster(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    nodes: Vec<Node>,
    net: Net,
}

#[derive(Debug)]
struct Node {
    server: Mutex<Server>,
    url: String,
    /// To ask about the cluster; nothing is tried twice.
    status: Client,
    runs: AtomicBool,
    /// How often it was started again.
    life: AtomicU32,
}

/// Options of a client that tries once.
pub(crate) fn once(timeout: Duration) -> Options {
    Options {
        timeout,
        retry: RetryPolicy { attempts: 1, ..RetryPolicy::default() },
        request_ids: false,
        ..Options::default()
    }
}

impl Cluster {
    /// Starts three nodes on fresh data; returns when all of them vote.
    pub(crate) async fn start(willow: &Path) -> anyhow::Result<Self> {
        let peers = [free_address()?, free_address()?, free_address()?];
        let net = Net::start(peers).await?;
        let mut nodes = Vec::new();
        for (place, peer_listen) in peers.into_iter().enumerate() {
            let server = Server::launch(willow, |dir, address| {
                let others = (0..NODES).filter(|other| *other != place).map(|other| net.proxy(other).to_string());
                let flags = [
                    ("--data-dir", dir.join("data").display().to_string()),
                    ("--listen", address.to_string()),
                    ("--peer-listen", peer_listen.to_string()),
                    ("--peer-addr", net.proxy(place).to_string()),
                    ("--client-url", format!("http://{address}")),
                    ("--join", others.collect::<Vec<_>>().join(",")),
                ];
                let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
                let founder = (place == 0).then(|| "--bootstrap".to_owned());
                Ok(["server".to_owned(), "--peer-insecure".to_owned()]
                    .into_iter()
                    .chain(flags)
                    .chain(founder)
                    .collect())
            })?;
            net.set_pid(place, server.id());
            nodes.push(Node {
                url: server.url(),
                status: Client::with_options(&server.url(), once(STATUS))?,
                server: Mutex::new(server),
                runs: AtomicBool::new(true),
                life: AtomicU32::new(0),
            });
        }
        let cluster = Self(Arc::new(Inner { nodes, net }));
        for node in 0..NODES {
            cluster.listens(node).await?;
        }
        cluster.await_whole(Duration::from_secs(120)).await?;
        Ok(cluster)
    }

    /// The network between the nodes.
    pub(crate) fn net(&self) -> &Net {
        &self.0.net
    }

    /// Where clients reach the nodes.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.0.nodes.iter().map(|node| node.url.clone()).collect()
    }

    /// How often a node was started again.
    pub(crate) fn life(&self, node: usize) -> u32 {
        self.0.nodes[node].life.load(Ordering::Relaxed)
    }

    /// Whether a node's process runs (it may be paused).
    pub(crate) fn runs(&self, node: usize) -> bool {
        self.0.nodes[node].runs.load(Ordering::Relaxed)
    }

    /// `kill -9`.
    pub(crate) fn kill(&self, node: usize) -> anyhow::Result<()> {
        let place = &self.0.nodes[node];
        place.runs.store(false, Ordering::Relaxed);
        place.server.lock().kill()
    }

    /// Starts it again, without waiting for it.
    pub(crate) fn relaunch(&self, node: usize) -> anyhow::Result<()> {
        let place = &self.0.nodes[node];
        let mut server = place.server.lock();
        place.life.fetch_add(1, Ordering::Relaxed);
        server.relaunch()?;
        self.0.net.set_pid(node, server.id());
        place.runs.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self, node: usize) -> anyhow::Result<()> {
        self.0.nodes[node].server.lock().pause()
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, node: usize) -> anyhow::Result<()> {
        self.0.nodes[node].server.lock().resume()
    }

    /// The disk of a node that does not run is empty from now on.
    pub(crate) fn wipe(&self, node: usize) -> anyhow::Result<()> {
        let data = self.0.nodes[node].server.lock().dir().join("data");
        std::fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))
    }

    /// What all nodes have in memory now.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let resident = |node: &Node| node.server.lock().resident_bytes().unwrap_or(0);
        self.0.nodes.iter().map(resident).sum()
    }

    /// What all nodes have on disk now.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.0.nodes.iter().map(|node| size(node.server.lock().dir())).sum()
    }

    /// The last lines of a node's log.
    pub(crate) fn log(&self, node: usize, lines: usize) -> String {
        let text = std::fs::read_to_string(self.0.nodes[node].server.lock().dir().join("log")).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Waits until a node listens for clients.
    pub(crate) async fn listens(&self, node: usize) -> anyhow::Result<()> {
        let cluster = self.clone();
        tokio::task::spawn_blocking(move || cluster.0.nodes[node].server.lock().wait_until_it_listens()).await?
    }

    /// What a node says of the cluster.
    pub(crate) async fn status(&self, node: usize) -> anyhow::Result<Status> {
        Ok(self.0.nodes[node].status.cluster().await?)
    }

    /// The node that leads the data, as far as those that answer know.
    pub(crate) async fn leader(&self) -> Option<usize> {
        for node in (0..NODES).filter(|node| self.runs(*node)) {
            let Ok(status) = self.status(node).await else { continue };
            let leader = status.groups.iter().find(|group| group.id == DATA)?.leader;
            let leader = leader.and_then(|id| self.place(&status, id)).filter(|leader| self.runs(*leader));
            if leader.is_some() {
                return leader;
            }
        }
        None
    }

    fn place(&self, status: &Status, id: u64) -> Option<usize> {
        let node = status.nodes.iter().find(|node| node.id == id)?;
        self.0.nodes.iter().position(|place| Some(&place.url) == node.client_url.as_ref())
    }

    /// The id that a node has in the cluster.
    pub(crate) async fn id(&self, node: usize) -> Option<u64> {
        for other in (0..NODES).filter(|other| self.runs(*other)) {
            let Ok(status) = self.status(other).await else { continue };
            let place = |known: &&willow_api::cluster::Node| known.client_url.as_ref() == Some(&self.0.nodes[node].url);
            return status.nodes.iter().rfind(place).map(|known| known.id);
        }
        None
    }

    /// Tells the cluster that a node is gone for good.
    pub(crate) async fn remove(&self, id: u64, except: usize) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let mut last = None;
            for node in (0..NODES).filter(|node| *node != except) {
                let path = format!("/v1/cluster/nodes/{id}");
                match self.0.nodes[node].status.call::<(), LeavingReply>("DELETE", &path, None).await {
                    Ok(_) => return Ok(()),
                    Err(error) => last = Some(error),
                }
            }
            if Instant::now() > until {
                bail!("node {id} cannot be removed: {last:?}");
            }
            sleep(LOOK).await;
        }
    }

    /// Whether all three nodes are ready, vote in every group, and are close behind the leader; if not, why.
    pub(crate) async fn is_whole(&self) -> anyhow::Result<()> {
        for node in 0..NODES {
            is_whole(&self.status(node).await?)?;
        }
        Ok(())
    }

    /// Waits until all three nodes are ready, vote in every group, and are close behind the leader.
    pub(crate) async fn await_whole(&self, within: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + within;
        loop {
            let Err(why) = self.is_whole().await else { return Ok(()) };
            ensure!(Instant::now() < until, "the cluster is not whole after {within:?}: {why:#}");
            sleep(LOOK).await;
        }
    }
}

/// Of a folder with all in it. What goes while it is looked at counts nothing.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn is_whole(status: &Status) -> anyhow::Result<()> {
    ensure!(status.nodes.len() == NODES, "{} nodes are known to {}", status.nodes.len(), status.answered_by);
    ensure!(status.groups.iter().all(|group| group.leader.is_some()), "a group has no leader: {:?}", status.groups);
    for node in &status.nodes {
        let votes = |role| matches!(role, Role::Leader | Role::Follower);
        let is_fine = node.health == HealthState::Ready
            && node.groups.len() == status.groups.len()
            && node.groups.iter().all(|group| votes(group.role) && group.lag < CLOSE);
        ensure!(is_fine, "node {} is not there: {:?} {:?} {:?}", node.id, node.health, node.reason, node.groups);
    }
    Ok(())
}
