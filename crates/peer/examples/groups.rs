//! Several groups on one log: rate and latency of proposals to 1, 4 and 16 groups of the same three nodes, in one
//! process, over loopback.
//!
//! `cargo run --release -p willow-peer --example groups -- [--seconds N] [--groups 1,4,16] [--callers 1,32,256]
//! [--dir DIR]`
//!
//! Each caller proposes to one group, at the node that leads it; the groups' leaders are spread over the nodes. The
//! command is one that the machine answers at once: the cancellation of a wait that is not there.
#![allow(clippy::print_stdout, reason = "a table on stdout is what it is for")]

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use willow_core::{Command, WaiterId, command::CancelWait};
use willow_node::{Config, NodeId, Peering, Reception, Start, bench::Groups};
use willow_peer::{PeerListener, PeerTransport, Security};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const NODES: usize = 3;
const WARM_UP: Duration = Duration::from_millis(500);

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
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = PeerListener::bind(any, Security::Insecure).await?;
        addrs.push((NodeId(index as u64), listener.local_addr().to_string()));
        let reception = Reception::default();
        tokio::spawn(listener.serve(Arc::new(reception.clone()), std::future::pending()));
        receptions.push(reception);
    }
    let mut nodes = Vec::new();
    for ((id, addr), reception) in addrs.iter().zip(receptions) {
        let mut config = Config::new(dir.join(id.to_string()));
        config.peering = Some(Peering {
            transport: Arc::new(PeerTransport::new(Security::Insecure)),
            reception,
            peer_addr: addr.clone(),
            client_url: String::new(),
            start: Start::Bootstrap { others: Vec::new() },
        });
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
    let mut times = load(nodes, groups, callers, duration).await?;
    let took = began.elapsed().as_secs_f64();
    let batches = batches().saturating_sub(before) as f64;
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
    println!(
        "{groups:>3} groups {callers:>4} callers {:>8.0}/s  p50 {:>6} p99 {:>6} µs  {:>6.0} batches/s of {:>5.1}",
        times.len() as f64 / took,
        at(0.5),
        at(0.99),
        batches / took,
        times.len() as f64 / batches,
    );
    Ok(())
}

fn leader(nodes: &[Groups], group: usize) -> Option<&Groups> {
    nodes.iter().find(|node| node.is_leading(group))
}

/// How long each proposal took.
async fn load(nodes: &[Groups], groups: usize, callers: usize, duration: Duration) -> Result<Vec<Duration>> {
    let end = Instant::now() + duration;
    let mut calls = Vec::new();
    for caller in 0..callers {
        let group = caller % groups;
        let node = leader(nodes, group).unwrap_or(&nodes[0]).clone();
        calls.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                let command = Command::CancelWait(CancelWait { waiter: WaiterId(u64::MAX), undelivered: None });
                node.propose(group, command).await?;
                times.push(began.elapsed());
            }
            Ok::<_, willow_node::ProposeError>(times)
        }));
    }
    let mut times = Vec::new();
    for call in calls {
        times.extend(call.await??);
    }
    Ok(times)
}
