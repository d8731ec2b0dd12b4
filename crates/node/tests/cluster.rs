//! Several nodes in one process, as their callers see them. Time is real here; what depends on its course, or on
//! faults at any moment, is simulated elsewhere.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use support::{Counted, holds, is_grant, put, release, renew, request, wait_for};
use tokio::sync::watch;
use willow_core::Outcome;
use willow_node::{
    Config, GroupId, Health, Lane, Node, NodeId, NodeState, Peer, Peering, ProposeError, Proposed, ReadError,
    Reception, Role, Service, Start, Transport, TransportError, Unavailable,
};
use willow_storage::log;
use willow_storage::snapshot::SnapshotOptions;
use willow_storage::vfs::{CrashMode, FaultVfs};

const MINUTE_MS: u64 = 60_000;

/// Who is at an address, and whether it can be reached.
type End = (Reception, watch::Sender<bool>);

/// Where each address leads.
#[derive(Clone, Debug, Default)]
struct Wires(Arc<Mutex<HashMap<String, End>>>);

impl Wires {
    fn connect(&self, addr: &str) -> Reception {
        let reception = Reception::default();
        self.0.lock().insert(addr.to_owned(), (reception.clone(), watch::Sender::new(true)));
        reception
    }

    fn cut(&self, addr: &str) {
        if let Some((_, is_up)) = self.0.lock().get(addr) {
            is_up.send_replace(false);
        }
    }

    fn mend(&self, addr: &str) {
        if let Some((_, is_up)) = self.0.lock().get(addr) {
            is_up.send_replace(true);
        }
    }

    fn end(&self, addr: &str) -> Option<(Reception, watch::Receiver<bool>)> {
        self.0.lock().get(addr).map(|(reception, is_up)| (reception.clone(), is_up.subscribe()))
    }
}

/// One node's side of the wires: cut off with its address.
#[derive(Debug)]
struct Wire {
    wires: Wires,
    from: String,
}

impl Transport for Wire {
    fn call(&self, to: &Peer, _lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (addr, ends) = (to.addr.clone(), [self.wires.end(&self.from), self.wires.end(&to.addr)]);
        Box::pin(async move {
            let unreachable = || TransportError::Unreachable { addr: addr.clone(), reason: "cut".to_owned() };
            let [Some((_, mut here)), Some((there, mut up))] = ends else { return Err(unreachable()) };
            if !*here.borrow() || !*up.borrow() {
                return Err(unreachable());
            }
            tokio::select! {
                answer = there.answer(request) => Ok(answer),
                _ = here.wait_for(|is_up| !is_up) => Err(TransportError::Broken { addr, reason: "cut".to_owned() }),
                _ = up.wait_for(|is_up| !is_up) => Err(TransportError::Broken { addr, reason: "cut".to_owned() }),
            }
        })
    }
}

/// A machine in the cluster: its address and its disk outlive its node.
struct Host {
    addr: String,
    vfs: FaultVfs,
    entropy: Arc<Counted>,
}

impl Host {
    fn new(n: u64) -> Self {
        let entropy = Arc::new(Counted::from(n << 32));
        Self { addr: format!("host-{n}:1"), vfs: FaultVfs::new(n), entropy }
    }

    fn config(&self, wires: &Wires, start: Start) -> Config {
        let mut config = Config::new("data");
        config.vfs = Arc::new(self.vfs.clone());
        config.entropy = Arc::clone(&self.entropy) as _;
        config.log = log::Options { retry_interval: Duration::ZERO, ..log::Options::small_inline() };
        config.snapshots = SnapshotOptions { keep: 2, min_free_bytes: 0 };
        config.peering = Some(Peering {
            transport: Arc::new(Wire { wires: wires.clone(), from: self.addr.clone() }),
            reception: wires.connect(&self.addr),
            peer_addr: self.addr.clone(),
            client_url: format!("http://{}", self.addr),
            start,
        });
        config
    }

    async fn start(&self, wires: &Wires, start: Start) -> Node {
        Node::start(self.config(wires, start)).await.expect("the node starts")
    }
}

/// Three nodes, all of them voters in both groups.
struct Cluster {
    wires: Wires,
    hosts: Vec<Host>,
    nodes: Vec<Node>,
}

fn join(members: &[&str]) -> Start {
    Start::Join { members: members.iter().map(|addr| (*addr).to_owned()).collect() }
}

impl Cluster {
    async fn of_three() -> Self {
        let (wires, hosts) = (Wires::default(), vec![Host::new(1), Host::new(2), Host::new(3)]);
        let mut nodes = vec![hosts[0].start(&wires, Start::Bootstrap { others: vec![] }).await];
        for host in &hosts[1..] {
            nodes.push(host.start(&wires, join(&["host-1:1"])).await);
        }
        let cluster = Self { wires, hosts, nodes };
        for node in &cluster.nodes {
            until("all vote", async || voters(node) == 3).await;
        }
        cluster
    }

    /// Which of the nodes leads the data.
    async fn leader(&self) -> usize {
        let mut found = None;
        until("somebody leads", async || {
            found = self.nodes.iter().position(|node| role(node) == Role::Leader && node.health().is_ready());
            found.is_some()
        })
        .await;
        found.expect("just found")
    }

    /// Cuts a node off and ends it the hard way.
    fn crash(&mut self, at: usize) -> Node {
        self.wires.cut(&self.hosts[at].addr);
        self.hosts[at].vfs.crash(CrashMode::LoseUnsynced);
        self.nodes.remove(at)
    }
}

/// Looks again and again, for up to a minute.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < Duration::from_secs(50), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn group(node: &Node, group: GroupId) -> willow_node::GroupReport {
    node.report().groups.into_iter().find(|report| report.group == group).expect("every node has every group")
}

fn role(node: &Node) -> Role {
    group(node, GroupId::DATA).role
}

/// Members that vote in both groups, as `node` has it.
fn voters(node: &Node) -> usize {
    node.report().groups.iter().map(|report| report.voters.len()).min().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_takes_every_request_and_reads_what_was_answered_anywhere() {
    let cluster = Cluster::of_three().await;
    for (n, node) in cluster.nodes.iter().enumerate() {
        let outcome = node.propose(put(&format!("lock-{n}")), None).await.unwrap();
        for reader in &cluster.nodes {
            assert!(reader.read(|machine| holds(machine, &outcome)).await.unwrap(), "lock-{n}");
        }
    }
    let status = cluster.nodes[2].status().await.unwrap();
    assert_eq!(status.nodes.iter().map(|node| node.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(status.nodes.iter().all(|node| node.report.is_ok() && node.state == NodeState::Active), "{status:?}");
    let digests: Vec<_> = cluster.nodes.iter().map(Node::digest).collect();
    until("all replicas agree", async || cluster.nodes.iter().all(|node| node.digest() == digests[0])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_through_a_follower_ends_with_its_grant_and_goes_with_its_caller() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let follower = &cluster.nodes[(leader + 1) % 3];
    let held = follower.propose(put("busy"), None).await.unwrap();
    let waiting = |node: &Node| node.read_stale(|machine| machine.waiting());
    // Without a request id the wait ends with its caller.
    let gone = follower.propose_waiting(wait_for("busy", MINUTE_MS), None).await.unwrap();
    let Proposed::Waiting(gone) = gone else { panic!("{gone:?}") };
    let gone = tokio::spawn(gone);
    until("it waits", async || waiting(&cluster.nodes[leader]) == 1).await;
    gone.abort();
    until("nobody waits", async || waiting(&cluster.nodes[leader]) == 0).await;
    let waits = tokio::spawn({
        let follower = follower.clone();
        async move { follower.propose(wait_for("busy", MINUTE_MS), None).await }
    });
    until("it waits", async || waiting(&cluster.nodes[leader]) == 1).await;
    cluster.nodes[(leader + 2) % 3].propose(release(&held), None).await.unwrap();
    assert!(is_grant(&waits.await.unwrap().unwrap()));
}

/// The heart of it: the leader dies; whoever waited keeps its place, what was answered is there, tokens grow.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_dies_nothing_answered_is_lost_and_waiters_keep_their_place() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes[(leader + 1) % 3].clone();
    let held = follower.propose(put("busy"), None).await.unwrap();
    let waits = tokio::spawn({
        let follower = follower.clone();
        async move { follower.propose(wait_for("busy", MINUTE_MS), request("keeps-its-place")).await }
    });
    until("it waits", async || follower.read_stale(|machine| machine.waiting()) == 1).await;
    let before = follower.read_stale(willow_core::Machine::revision);
    let dead = cluster.crash(leader);
    let outcome = follower.propose(put("another"), request("after")).await.unwrap();
    assert!(follower.read(|machine| holds(machine, &outcome) && holds(machine, &held)).await.unwrap());
    assert!(follower.read_stale(willow_core::Machine::revision) > before);
    follower.propose(release(&held), None).await.unwrap();
    assert!(is_grant(&waits.await.unwrap().unwrap()));
    drop(dead);
    // It comes back with what its disk kept, and catches up.
    let host = &cluster.hosts[leader];
    let back = host.start(&cluster.wires, join(&["host-9:1"])).await;
    until("it catches up", async || back.digest() == follower.digest()).await;
}

/// Nobody could hear of what the wait brings: the lock would be held by nobody until its lease ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_nobody_can_come_back_for_ends_with_its_leader() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes[(leader + 1) % 3].clone();
    let held = follower.propose(put("busy"), request("held")).await.unwrap();
    let waits = tokio::spawn({
        let follower = follower.clone();
        async move { follower.propose(wait_for("busy", MINUTE_MS), None).await }
    });
    until("it waits", async || follower.read_stale(|machine| machine.waiting()) == 1).await;
    let dead = cluster.crash(leader);
    let outcome = waits.await.unwrap();
    assert!(matches!(outcome, Err(ProposeError::OutcomeUnknown { .. })), "{outcome:?}");
    until("it waits no more", async || follower.read_stale(|machine| machine.waiting()) == 0).await;
    follower.propose(release(&held), None).await.unwrap();
    let next = follower.propose(put("busy"), request("next")).await;
    assert!(next.is_ok_and(|outcome| is_grant(&outcome)), "nobody has it");
    drop(dead);
}

/// A heartbeat that was under way when its leader died: its holder must not give up what it holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_outlives_its_leader_without_a_request_id() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes[(leader + 1) % 3].clone();
    let held = follower.propose(put("lock"), request("held")).await.unwrap();
    let renewals = tokio::spawn({
        let (follower, renewal) = (follower.clone(), renew(&held));
        async move {
            for _ in 0..400 {
                follower.propose(renewal.clone(), None).await?;
            }
            Ok::<(), ProposeError>(())
        }
    });
    let dead = cluster.crash(leader);
    assert_eq!(renewals.await.unwrap(), Ok(()));
    drop(dead);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_majority_says_so_to_those_who_write() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    for other in 1..3 {
        cluster.wires.cut(&cluster.hosts[(leader + other) % 3].addr);
    }
    let node = &cluster.nodes[leader];
    for request_id in [None, request("r")] {
        let written = node.propose(put("nowhere"), request_id).await.unwrap_err();
        assert!(written.is_retryable(), "{written:?}");
        assert!(!matches!(written, ProposeError::Refused(_)), "{written:?}");
    }
    for other in 1..3 {
        cluster.wires.mend(&cluster.hosts[(leader + other) % 3].addr);
    }
    until("it serves", async || node.propose(put("somewhere"), request("s")).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cut_off_says_so_and_serves_only_stale_reads() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    cluster.wires.cut(&cluster.hosts[leader].addr);
    let cut = &cluster.nodes[leader];
    until("it notices", async || cut.health() == Health::ReadOnly(Unavailable::NoLeader)).await;
    let (read, written) = tokio::join!(cut.read(|_| ()), cut.propose(put("nowhere"), None));
    assert!(matches!(read, Err(ReadError::NoQuorum | ReadError::NotLeader { .. } | ReadError::NoLeader)), "{read:?}");
    assert!(written.unwrap_err().is_retryable());
    cut.read_stale(|_| ());
    cluster.wires.mend(&cluster.hosts[leader].addr);
    until("it is back", async || cut.health().is_ready()).await;
    let outcome = cut.propose(put("somewhere"), None).await.unwrap();
    assert!(cut.read(|machine| holds(machine, &outcome)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_down_for_long_catches_up_by_a_snapshot() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let late = (leader + 1) % 3;
    drop(cluster.crash(late));
    let node = cluster.nodes[0].clone();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for n in 0..1_000 {
        outcomes.push(node.propose(put(&format!("lock-{n}")), request(&format!("r-{n}"))).await.unwrap());
    }
    for node in &cluster.nodes {
        node.snapshot().await.unwrap();
    }
    // The log does not wait for the one that is down.
    let held = |node: &Node| group(node, GroupId::DATA).last_index - group(node, GroupId::DATA).purged_index;
    until("the log is dropped", async || cluster.nodes.iter().all(|node| held(node) < 300)).await;
    let back = cluster.hosts[late].start(&cluster.wires, join(&["host-9:1"])).await;
    until("it catches up", async || back.digest() == node.digest()).await;
    assert!(back.read_stale(|machine| outcomes.iter().all(|outcome| holds(machine, outcome))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_leaves_while_the_cluster_serves_and_a_new_one_takes_its_place() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let (leaves, stays) = (&cluster.nodes[leader], &cluster.nodes[(leader + 1) % 3]);
    stays.remove_node(leaves.id()).await.unwrap();
    until("it is gone", async || voters(stays) == 2).await;
    let outcome = stays.propose(put("lock"), request("r")).await.unwrap();
    until("the one that left knows", async || leaves.health() == Health::ReadOnly(Unavailable::Removed)).await;
    assert_eq!(leaves.read(|_| ()).await, Err(ReadError::Removed));
    let fresh = Host::new(4);
    let member = &cluster.hosts[(leader + 1) % 3].addr;
    let joined = fresh.start(&cluster.wires, join(&["host-9:1", member])).await;
    assert_eq!(joined.id(), NodeId(4), "ids are never given twice");
    until("it votes", async || voters(&joined) == 3).await;
    assert!(joined.read(|machine| holds(machine, &outcome)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_where_it_is_asked_to_and_a_leader_that_stops_hands_over() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let to = (leader + 1) % 3;
    cluster.nodes[(leader + 2) % 3].transfer_leader(GroupId::DATA, cluster.nodes[to].id()).await.unwrap();
    until("it leads", async || role(&cluster.nodes[to]) == Role::Leader).await;
    let missing = cluster.nodes[to].transfer_leader(GroupId::DATA, NodeId(9)).await;
    assert_eq!(missing, Err(willow_node::ClusterError::NoSuchNode(NodeId(9))));
    let term = group(&cluster.nodes[to], GroupId::DATA).term;
    cluster.nodes[to].shutdown().await;
    let next = &cluster.nodes[leader];
    let outcome = next.propose(put("lock"), request("r")).await.unwrap();
    assert!(next.read(|machine| holds(machine, &outcome)).await.unwrap());
    assert_eq!(group(next, GroupId::DATA).term, term + 1, "handed over, not waited for");
    cluster.wires.cut(&cluster.hosts[to].addr);
    let stopped = next.transfer_leader(GroupId::DATA, cluster.nodes[to].id()).await;
    assert!(matches!(stopped, Err(willow_node::ClusterError::NoAnswer(..))), "{stopped:?}");
}

/// All three may be told to found the cluster: one does. A founder that has lost its disk joins as a new node.
#[tokio::test(flavor = "multi_thread")]
async fn there_is_never_a_second_cluster() {
    let (wires, hosts) = (Wires::default(), [Host::new(1), Host::new(2), Host::new(3)]);
    let addrs: Vec<String> = hosts.iter().map(|host| host.addr.clone()).collect();
    let start = |host: &Host| {
        let others = addrs.iter().filter(|addr| **addr != host.addr).cloned().collect();
        host.config(&wires, Start::Bootstrap { others })
    };
    let configs = hosts.iter().map(start);
    let started = futures_util::future::join_all(configs.map(Node::start)).await;
    let mut nodes: Vec<Node> = started.into_iter().map(|node| node.expect("it starts")).collect();
    let clusters: Vec<u128> = futures_util::future::join_all(nodes.iter().map(|node| async {
        until("all vote", async || voters(node) == 3).await;
        node.status().await.unwrap().cluster
    }))
    .await;
    assert!(clusters.iter().all(|cluster| *cluster == clusters[0]), "{clusters:x?}");
    let founder = nodes.iter().position(|node| node.id() == NodeId(1)).expect("one founded it");
    wires.cut(&hosts[founder].addr);
    hosts[founder].vfs.crash(CrashMode::LoseUnsynced);
    drop(nodes.remove(founder));
    let lost =
        Host { vfs: FaultVfs::new(7), addr: hosts[founder].addr.clone(), entropy: Arc::clone(&hosts[founder].entropy) };
    let again = Node::start(start(&lost)).await.unwrap();
    assert_eq!((again.id(), again.status().await.unwrap().cluster), (NodeId(4), clusters[0]));
}
