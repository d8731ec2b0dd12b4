//! Fills a node with counters, writes a snapshot under load, and starts it again: how long does that take?
//!
//! `cargo run --release -p willow-node --example restart -- [--counters N] [--dir DIR]`
#![allow(clippy::print_stdout, reason = "a program that prints its results")]

use std::io::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use willow_core::{Command, limiter};
use willow_model::KeyValues;
use willow_node::{Config, Node};

const CALLERS: u64 = 256;

fn increment(n: u64) -> Command {
    let user = format!("user-{n}");
    let key_values = KeyValues::user([("tenant", format!("t{}", n % 1000)), ("user", user), ("api", "v1".to_owned())])
        .expect("valid key values");
    Command::Limit(limiter::Command::Increment(limiter::Increment {
        key_values,
        amount: 1,
        hold_ttl_ms: None,
        wait_ms: 0,
    }))
}

/// Proposes increments of counters `0..count`, and answers the latencies in µs.
async fn increments(node: &Node, count: u64, stop: Arc<AtomicBool>) -> Result<Vec<u64>> {
    let next = Arc::new(AtomicU64::new(0));
    let call = |node: Node, next: Arc<AtomicU64>, stop: Arc<AtomicBool>| async move {
        let mut latencies = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count || stop.load(Ordering::Relaxed) {
                return Ok::<_, Error>(latencies);
            }
            let started = Instant::now();
            node.propose(increment(n), None).await.map_err(Error::other)?;
            latencies.push(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    };
    let tasks: Vec<_> =
        (0..CALLERS).map(|_| tokio::spawn(call(node.clone(), Arc::clone(&next), Arc::clone(&stop)))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

fn percentiles(sorted: &[u64]) -> String {
    let at = |permille: usize| sorted.get(sorted.len().saturating_sub(1) * permille / 1000).copied().unwrap_or(0);
    format!("p50 {} p99 {} p99.9 {} max {} µs", at(500), at(990), at(999), at(1000))
}

fn resident_mib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "unknown".to_owned(), |kib| kib.trim().to_owned())
}

/// CPU time of this process: what wall clocks say on a shared machine is mostly about the others.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in parentheses, user and system ticks are the 12th and 13th fields; a tick is 10 ms.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn main() -> Result<()> {
    let (mut counters, mut dir) = (1_000_000, std::env::temp_dir());
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| Error::other(format!("{name} needs a value")))?;
        match name.as_str() {
            "--counters" => counters = value.parse().map_err(Error::other)?,
            "--dir" => dir = PathBuf::from(value),
            other => return Err(Error::other(format!("unknown option {other}"))),
        }
    }
    let dir = tempfile::tempdir_in(dir)?;
    tokio::runtime::Runtime::new()?.block_on(run(Config::new(dir.path().join("node")), counters))
}

async fn run(config: Config, counters: u64) -> Result<()> {
    println!("resident before: {}", resident_mib());
    let node = Node::start(config.clone()).await.map_err(Error::other)?;
    let (started, cpu_before) = (Instant::now(), cpu());
    let latencies = increments(&node, counters, Arc::default()).await?;
    let (took, cpu_took) = (started.elapsed(), cpu() - cpu_before);
    println!("{counters} counters by {CALLERS} callers in {took:?} ({cpu_took:?} of CPU): {}", percentiles(&latencies));
    let stats = node.stats();
    println!(
        "resident: {}; {} snapshots on the way, longest chunk of the last {} µs",
        resident_mib(),
        stats.snapshots,
        stats.snapshot_chunk_max_us
    );

    // Everything is in the log or in a snapshot of a while ago.
    let digest = restart(node, &config, "after a crash").await?;
    let node = Node::start(config.clone()).await.map_err(Error::other)?;
    assert_eq!(node.digest(), digest, "two restarts differ");
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (node, stop) = (node.clone(), Arc::clone(&stop));
        async move { increments(&node, u64::MAX, stop).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = Instant::now();
    node.snapshot().await.map_err(Error::other)?;
    let took = started.elapsed();
    stop.store(true, Ordering::Relaxed);
    let latencies = load.await??;
    let stats = node.stats();
    println!(
        "snapshot of {} bytes under load in {took:?}, longest chunk {} µs; meanwhile: {}",
        stats.snapshot_bytes,
        stats.snapshot_chunk_max_us,
        percentiles(&latencies)
    );
    node.shutdown().await;
    restart(node, &config, "after a shutdown, from the snapshot").await?;
    Ok(())
}

/// Ends the node without more ado, starts it again and ends it cleanly.
async fn restart(node: Node, config: &Config, what: &str) -> Result<[u8; 32]> {
    drop(node);
    // The old node lets go of the directory in the background.
    let started = loop {
        let (started, cpu_before) = (Instant::now(), cpu());
        match Node::start(config.clone()).await {
            Ok(node) => {
                let (took, cpu_took) = (started.elapsed(), cpu() - cpu_before);
                println!("started {what} in {took:?} ({cpu_took:?} of CPU); resident {}", resident_mib());
                break node;
            }
            Err(error) if error.to_string().contains("in use") => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => return Err(Error::other(error)),
        }
    };
    let digest = started.digest();
    started.shutdown().await;
    Ok(digest)
}
