//! Several Willow nodes on loopback, each a real process.
//!
//! ```text
//!  start ─► node 1 --bootstrap ─► nodes 2, 3, … --join ─► all ready, all voters
//!                 kill · pause, resume · restart · replace (an empty disk) · add      by index, 0 and up
//! ```

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Server, free_address, http, scratch};

/// How long anything may take that ends at all, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many nodes.
    pub nodes: usize,
    /// Whether they talk to each other over mutual TLS, with a CA made for them.
    pub tls: bool,
    /// More arguments of `willow server`, for every node.
    pub arguments: Vec<String>,
    /// A backup that the first node starts from.
    pub restore: Option<PathBuf>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { nodes: 3, tls: false, arguments: Vec::new(), restore: None }
    }
}

/// A cluster; all of its nodes are stopped when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    options: ClusterOptions,
    nodes: Vec<Member>,
    certs: Option<TempDir>,
}

#[derive(Debug)]
struct Member {
    server: Server,
    peer_addr: SocketAddr,
}

/// What a node that answers says of one group and one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// The node's id.
    pub id: u64,
    /// `active` or `leaving`.
    pub state: String,
    /// `ready`, `unreachable`, …
    pub health: String,
    /// Its role in the group of all data; empty for one that does not answer.
    pub role: String,
    /// Where clients reach it.
    pub client_url: String,
    /// What is committed and not applied there.
    pub lag: u64,
}

impl Cluster {
    /// Three nodes, all ready and all voting.
    ///
    /// # Errors
    /// When one does not start; its log is in the error.
    pub fn start(program: impl Into<PathBuf>) -> anyhow::Result<Self> {
        Self::with(program, ClusterOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn with(program: impl Into<PathBuf>, options: ClusterOptions) -> anyhow::Result<Self> {
        let new_folder = || anyhow::Ok(tempfile::Builder::new().prefix("certs-").tempdir_in(scratch()?)?);
        let certs = options.tls.then(new_folder).transpose()?;
        let mut cluster = Self { program: program.into(), nodes: Vec::new(), certs, options };
        // Known before any starts: the founder asks the others, so that it founds no second cluster, should it ever
        // start on an empty disk again.
        let peers = (0..cluster.options.nodes).map(|_| free_address()).collect::<anyhow::Result<Vec<_>>>()?;
        for peer_addr in &peers {
            cluster.spawn_node(*peer_addr, &peers)?;
        }
        cluster.wait_until_complete()?;
        Ok(cluster)
    }

    /// How many nodes there are, dead ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The process of a node, to kill, pause, resume or restart it. Nodes are counted from 0 in the order in which
    /// they were started; their ids are their own affair.
    pub fn node(&mut self, index: usize) -> &mut Server {
        &mut self.nodes[index].server
    }

    /// Where clients reach a node.
    #[must_use]
    pub fn url(&self, index: usize) -> String {
        self.nodes[index].server.url()
    }

    /// All of them, with commas, as `--server` and `Client::new` take them.
    #[must_use]
    pub fn urls(&self) -> String {
        (0..self.len()).map(|index| self.url(index)).collect::<Vec<_>>().join(",")
    }

    /// Adds a node with an empty disk, and waits until it is ready. It may still be catching up.
    ///
    /// # Errors
    /// When it does not start.
    pub fn add(&mut self) -> anyhow::Result<usize> {
        let others: Vec<SocketAddr> = self.nodes.iter().map(|node| node.peer_addr).collect();
        let index = self.spawn_node(free_address()?, &others)?;
        self.wait_until_ready(index)?;
        Ok(index)
    }

    /// Kills a node and starts it on an empty disk, under the address it had: the cluster takes it for a new one.
    /// The old one stays in the catalogue until it is removed.
    ///
    /// # Errors
    /// When the disk cannot be emptied, or it does not start.
    pub fn replace(&mut self, index: usize) -> anyhow::Result<()> {
        let server = self.node(index);
        server.kill()?;
        std::fs::remove_dir_all(server.dir().join("data"))?;
        server.relaunch()
    }

    /// Waits until a node says that it takes writes.
    ///
    /// # Errors
    /// When it ends, or does not in time.
    pub fn wait_until_ready(&mut self, index: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let server = self.node(index);
            ensure!(server.is_running()?, "node {index} has ended:\n{}", server.log());
            match http::get(server.address(), "/readyz") {
                Ok((200, _)) => return Ok(()),
                state if Instant::now() > deadline => bail!("node {index} is not ready: {state:?}\n{}", server.log()),
                _ => sleep(LOOK),
            }
        }
    }

    /// Waits until every node is ready, votes in the group of all data, and has applied what is committed.
    ///
    /// # Errors
    /// When they do not in time.
    pub fn wait_until_complete(&mut self) -> anyhow::Result<()> {
        for index in 0..self.len() {
            self.wait_until_ready(index)?;
        }
        let votes = |node: &NodeState| matches!(node.role.as_str(), "leader" | "follower") && node.health == "ready";
        self.wait_for("all nodes to vote", |nodes| {
            let here = nodes.iter().filter(|node| node.state == "active" && votes(node)).count();
            here >= self.len() && nodes.iter().any(|node| node.role == "leader")
        })
    }

    /// Waits until the nodes are as `is` wants them, as any node that answers sees them.
    ///
    /// # Errors
    /// When they are not in time.
    pub fn wait_for(&self, what: &str, is: impl Fn(&[NodeState]) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.nodes();
            match seen {
                Ok(nodes) if is(&nodes) => return Ok(()),
                seen if Instant::now() > deadline => bail!("waited for {what}; in the end: {seen:?}"),
                _ => sleep(LOOK),
            }
        }
    }

    /// The index of the node that leads the group of all data, once the nodes that answer agree on one.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn leader(&self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(nodes) = self.nodes() {
                let led = nodes.iter().find(|node| node.role == "leader" && node.health == "ready");
                let index = led.and_then(|led| (0..self.len()).find(|index| self.url(*index) == led.client_url));
                if let Some(index) = index {
                    return Ok(index);
                }
            }
            ensure!(Instant::now() < deadline, "no node leads");
            sleep(LOOK);
        }
    }

    /// The nodes, as the first node that answers sees them.
    ///
    /// # Errors
    /// When none answers.
    pub fn nodes(&self) -> anyhow::Result<Vec<NodeState>> {
        let mut error = anyhow::anyhow!("there is no node");
        for index in 0..self.len() {
            match self.nodes_seen_by(index) {
                Ok(nodes) => return Ok(nodes),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    /// The nodes, as a node sees them.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn nodes_seen_by(&self, index: usize) -> anyhow::Result<Vec<NodeState>> {
        let (status, body) = http::get(self.nodes[index].server.address(), "/v1/cluster")?;
        ensure!(status == 200, "status {status}");
        let cluster: Value = serde_json::from_slice(&body)?;
        let nodes = cluster["nodes"].as_array().context("nodes")?;
        Ok(nodes.iter().map(node_state).collect())
    }

    /// The id of a node, once the catalogue knows it.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn id(&self, index: usize) -> anyhow::Result<u64> {
        let url = self.url(index);
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The newest one at this address: an older one may have lost its disk.
            let known = self.nodes().ok().and_then(|nodes| nodes.into_iter().rev().find(|node| node.client_url == url));
            if let Some(node) = known {
                return Ok(node.id);
            }
            ensure!(Instant::now() < deadline, "nobody knows of {url}");
            sleep(LOOK);
        }
    }

    fn spawn_node(&mut self, peer_addr: SocketAddr, peers: &[SocketAddr]) -> anyhow::Result<usize> {
        let index = self.len();
        let others = peers.iter().filter(|peer| **peer != peer_addr).map(ToString::to_string).collect::<Vec<_>>();
        let mut more = vec!["--peer-listen".to_owned(), peer_addr.to_string()];
        more.extend(self.security(index)?);
        match &self.options.restore {
            Some(backup) if index == 0 => more.extend(["--restore".to_owned(), backup.display().to_string()]),
            _ => {
                more.extend(["--join".to_owned(), others.join(",")]);
                more.extend((index == 0).then(|| "--bootstrap".to_owned()));
            }
        }
        more.extend(self.options.arguments.iter().cloned());
        let server = Server::launch(&self.program, |dir, address| {
            let data = dir.join("data").display().to_string();
            let mut arguments =
                vec!["server".into(), "--data-dir".into(), data, "--listen".into(), address.to_string()];
            arguments.extend(more);
            Ok(arguments)
        })?;
        self.nodes.push(Member { server, peer_addr });
        Ok(index)
    }

    fn security(&self, index: usize) -> anyhow::Result<Vec<String>> {
        let Some(certs) = &self.certs else { return Ok(vec!["--peer-insecure".to_owned()]) };
        let name = format!("n{index}");
        let folder = make_certificate(&self.program, certs.path(), &name)?;
        Ok(vec!["--peer-certs".to_owned(), folder.display().to_string()])
    }
}

fn make_certificate(program: &Path, dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(program);
    command.args(["cluster", "certs", "--node", name, "--host", "127.0.0.1", "--dir"]).arg(dir);
    let made = command.output().with_context(|| format!("start {}", program.display()))?;
    ensure!(made.status.success(), "certificates: {}", String::from_utf8_lossy(&made.stderr));
    Ok(dir.join(name))
}

fn node_state(node: &Value) -> NodeState {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let groups = node["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    let data = groups.iter().find(|part| part["group"] == 1).unwrap_or(&Value::Null);
    NodeState {
        id: node["id"].as_u64().unwrap_or_default(),
        state: text(&node["state"]),
        health: text(&node["health"]),
        role: text(&data["role"]),
        client_url: text(&node["client_url"]),
        lag: data["lag"].as_u64().unwrap_or_default(),
    }
}
