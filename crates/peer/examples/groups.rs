//! Several groups on one log: rate and latency of proposals to 1, 4 and 16 groups of the same three nodes, in one
//! process, over loopback.
//!
//! `cargo run --release -p willow-peer --example groups -- [--seconds N] [--groups 1,4,16] [--callers 1,32,256]
//! [--dir DIR]`
//!
//! Each caller proposes to one group, at the node that leads it; the groups' leaders are spread over the nodes. The
//! command is one that the machine answers at once: the cancellation of a wait that is not there.
#![allow(clippy::print_stdout, reason = "a table on stdout is what it is for")]

mod support;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use support::{NODES, Result, WARM_UP};
use willow_node::{Config, NodeId, Start, bench::Groups};
use willow_peer::Security;

struct Args {
    seconds: f64,
    groups: Vec<usize>,
    callers: Vec<usize>,
    dir: PathBuf,
}

fn args() -> Result<Args> {
    let dir = std::env::temp_dir();
    let mut args = Args { seconds: 2.0, groups: vec![1, 4, 16], callers: vec![1, 32, 256], dir };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
        let numbers = || value.split(',').map(str::parse).collect::<std::result::Result<Vec<usize>, _>>();
        match name.as_str() {
            "--seconds" => args.seconds = value.parse()?,
            "--groups" => args.groups = numbers()?,
            "--callers" => args.callers = numbers()?,
            "--dir" => args.dir = value.into(),
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    Ok(args)
}

fn main() -> Result<()> {
    let args = args()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        for &groups in &args.groups {
            let dir = tempfile::tempdir_in(&args.dir)?;
            let nodes = open(dir.path(), groups).await?;
            for &callers in &args.callers {
                load(&nodes, groups, callers, WARM_UP).await?;
                measure(&nodes, groups, callers, Duration::from_secs_f64(args.seconds)).await?;
            }
            join_all(nodes.iter().map(Groups::shutdown)).await;
        }
        Ok(())
    })
}

/// Three nodes that all vote in all groups.
async fn open(dir: &Path, groups: usize) -> Result<Vec<Groups>> {
    let (mut receptions, mut addrs) = (Vec::new(), Vec::new());
    for index in 1..=NODES {
        let (addr, reception) = support::listen(&Security::Insecure).await?;
        addrs.push((NodeId(index as u64), addr));
        receptions.push(reception);
    }
    let mut nodes = Vec::new();
    for ((id, addr), reception) in addrs.iter().zip(receptions) {
        let mut config = Config::new(dir.join(id.to_string()));
        let start = Start::Bootstrap { others: Vec::new() };
        config.peering = Some(support::peering(&Security::Insecure, addr.clone(), reception, start));
        nodes.push(Groups::open(config, *id, &addrs, u32::try_from(groups)?).await?);
    }
    nodes[0].spread(&addrs).await?;
    for node in &nodes {
        node.ready().await?;
    }
    Ok(nodes)
}

async fn measure(nodes: &[Groups], groups: usize, callers: usize, duration: Duration) -> Result<()> {
    let batches =
        || -> u64 { (0..groups).map(|group| leader(nodes, group).map_or(0, |node| node.stats(group).batches)).sum() };
    let (before, began) = (batches(), Instant::now());
    let times = load(nodes, groups, callers, duration).await?;
    let took = began.elapsed().as_secs_f64();
    let batches = batches().saturating_sub(before) as f64;
    println!("{groups:>3} groups {callers:>4} callers {}", support::figures(&times, took, batches));
    Ok(())
}

fn leader(nodes: &[Groups], group: usize) -> Option<&Groups> {
    nodes.iter().find(|node| node.is_leading(group))
}

/// How long each proposal took.
async fn load(nodes: &[Groups], groups: usize, callers: usize, duration: Duration) -> Result<Vec<Duration>> {
    let caller = |number| {
        let group = number % groups;
        let node = leader(nodes, group).unwrap_or(&nodes[0]).clone();
        move || {
            let node = node.clone();
            async move { node.propose(group, support::command()).await }
        }
    };
    support::load(callers, duration, caller).await
}
