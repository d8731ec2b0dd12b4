//! Three nodes in one process, over loopback: rate and latency of proposals, at the leader and through a follower.
//!
//! `cargo run --release -p willow-peer --example cluster -- [--seconds N] [--callers 1,32,256] [--tls] [--dir DIR]
//! [--via leader,follower]`
//!
//! The command is one that the machine answers at once (the cancellation of a wait that is not there), so that what
//! is measured is replication: three logs, each synced, on one disk, and all nodes on the same cores.
#![allow(clippy::print_stdout, reason = "a table on stdout is what it is for")]

mod support;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use support::{NODES, Result, WARM_UP};
use willow_node::{Config, GroupId, Node, Role, Start, Stats};
use willow_peer::{
    PeerTls, Security,
    certs::{self, NewNode},
};

struct Args {
    seconds: f64,
    callers: Vec<usize>,
    via: Vec<String>,
    is_tls: bool,
    in_flight: Option<usize>,
    dir: PathBuf,
}

fn args() -> Result<Args> {
    let mut args = Args {
        seconds: 2.0,
        callers: vec![1, 32, 256],
        via: vec!["leader".into(), "follower".into()],
        is_tls: false,
        in_flight: None,
        dir: std::env::temp_dir(),
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        if name == "--tls" {
            args.is_tls = true;
            continue;
        }
        let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--seconds" => args.seconds = value.parse()?,
            "--callers" => args.callers = value.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?,
            "--via" => args.via = value.split(',').map(str::to_owned).collect(),
            "--in-flight" => args.in_flight = Some(value.parse()?),
            "--dir" => args.dir = value.into(),
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    Ok(args)
}

fn main() -> Result<()> {
    let args = args()?;
    let dir = tempfile::tempdir_in(&args.dir)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let nodes = cluster(&args, dir.path()).await?;
        let leader = leader(&nodes).await;
        for via in &args.via {
            let index = if via == "leader" { leader } else { (leader + 1) % NODES };
            for &callers in &args.callers {
                load(&nodes[index], callers, WARM_UP).await?;
                measure(via, &nodes, index, leader, callers, Duration::from_secs_f64(args.seconds)).await?;
            }
        }
        join_all(nodes.iter().map(Node::shutdown)).await;
        Ok(())
    })
}

/// Starts three nodes and waits until all of them vote.
async fn cluster(args: &Args, dir: &Path) -> Result<Vec<Node>> {
    let security = if args.is_tls {
        certs::create_ca(dir, certs::CA_VALIDITY)?;
        let node = NewNode { name: "n".into(), hosts: vec!["127.0.0.1".into()], valid_for: certs::NODE_VALIDITY };
        Security::Tls(PeerTls::from_dir(certs::create_node(dir, &node)?)?)
    } else {
        Security::Insecure
    };
    let mut starting = Vec::new();
    let mut first = None;
    for index in 0..NODES {
        let (addr, reception) = support::listen(&security).await?;
        let start = match &first {
            None => Start::Bootstrap { others: Vec::new() },
            Some(first) => Start::Join { members: vec![String::clone(first)] },
        };
        first.get_or_insert_with(|| addr.clone());
        let mut config = Config::new(dir.join(format!("node-{index}")));
        if let Some(in_flight) = args.in_flight {
            config.batches_in_flight = in_flight;
        }
        config.peering = Some(support::peering(&security, addr, reception, start));
        starting.push(Node::start(config));
    }
    let nodes: Vec<Node> = join_all(starting).await.into_iter().collect::<std::result::Result<_, _>>()?;
    while !nodes.iter().all(|node| matches!(role(node), Some(Role::Leader | Role::Follower))) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(nodes)
}

fn role(node: &Node) -> Option<Role> {
    node.report().groups.iter().find(|group| group.group == GroupId::DATA).map(|group| group.role)
}

async fn leader(nodes: &[Node]) -> usize {
    loop {
        if let Some(leader) = nodes.iter().position(|node| role(node) == Some(Role::Leader)) {
            return leader;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn measure(
    via: &str,
    nodes: &[Node],
    index: usize,
    leader: usize,
    callers: usize,
    duration: Duration,
) -> Result<()> {
    let (before, began) = (stats(nodes), Instant::now());
    let times = load(&nodes[index], callers, duration).await?;
    let (took, after) = (began.elapsed().as_secs_f64(), stats(nodes));
    let batches = (after[leader].batches - before[leader].batches) as f64;
    let durable: Vec<String> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| {
            let (before, after) = (&before.durable_us, &after.durable_us);
            format!("{:.0}", (after.sum - before.sum) as f64 / (after.count() - before.count()).max(1) as f64)
        })
        .collect();
    println!(
        "{via:<9} {callers:>4} callers {}  durable {} µs (leader {leader})",
        support::figures(&times, took, batches),
        durable.join(" "),
    );
    Ok(())
}

fn stats(nodes: &[Node]) -> Vec<Stats> {
    nodes.iter().map(Node::stats).collect()
}

/// How long each proposal took.
async fn load(node: &Node, callers: usize, duration: Duration) -> Result<Vec<Duration>> {
    let caller = |_number| {
        let node = node.clone();
        move || {
            let node = node.clone();
            async move { node.propose(support::command(), None).await }
        }
    };
    support::load(callers, duration, caller).await
}
