//! Measures proposals: rate and latency at several numbers of callers, on a real log, beside what a bare
//! sync of the same disk costs in the same run.
//!
//! `cargo run --release -p willow-node --example propose -- [--seconds N] [--in-flight N] [--dir DIR]`
//!
//! The command is one that the machine answers at once (the cancellation of a wait that is not there), so
//! that what is measured is the node.
#![allow(clippy::print_stdout, reason = "a program that prints its results")]

use std::fs::OpenOptions;
use std::io::{Error, Result};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use willow_core::command::CancelWait;
use willow_core::{Command, WaiterId};
use willow_node::{Config, Histogram, Node};

const CALLERS: [usize; 5] = [1, 8, 32, 64, 256];

struct Args {
    seconds: f64,
    in_flight: usize,
    dir: PathBuf,
}

fn args() -> Result<Args> {
    let mut args = Args { seconds: 2.0, in_flight: 2, dir: std::env::temp_dir() };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| Error::other(format!("{name} needs a value")))?;
        match name.as_str() {
            "--seconds" => args.seconds = value.parse().map_err(Error::other)?,
            "--in-flight" => args.in_flight = value.parse().map_err(Error::other)?,
            "--dir" => args.dir = value.into(),
            other => return Err(Error::other(format!("unknown option {other}"))),
        }
    }
    Ok(args)
}

fn main() -> Result<()> {
    let Args { seconds, in_flight, dir } = args()?;
    let dir = tempfile::tempdir_in(dir)?;
    let duration = Duration::from_secs_f64(seconds);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut config = Config::new(dir.path().join("node"));
        config.batches_in_flight = in_flight;
        let node = Node::start(config).await.map_err(Error::other)?;
        println!("bare sync of 4 KiB in place: {}", percentiles(&bare_sync(dir.path(), duration / 4)?));
        for callers in CALLERS {
            measure(&node, callers, duration).await?;
        }
        println!("bare sync of 4 KiB in place: {}", percentiles(&bare_sync(dir.path(), duration / 4)?));
        node.shutdown().await;
        Ok(())
    })
}

async fn measure(node: &Node, callers: usize, duration: Duration) -> Result<()> {
    let before = node.stats();
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers).map(|_| tokio::spawn(call(node.clone(), started + duration))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let took = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let after = node.stats();
    let batches = after.batches - before.batches;
    println!(
        "{callers:4} callers: {:8.0}/s  {}  {:6.0} batches/s of {:5.1}  durable {:4.0} µs  apply {:5.1} µs a batch",
        ratio(latencies.len(), took),
        percentiles(&latencies),
        ratio(batches, took),
        ratio(latencies.len(), ratio(batches, 1)),
        mean(&after.durable_us, &before.durable_us),
        mean(&after.apply_us, &before.apply_us),
    );
    Ok(())
}

/// One caller: proposes, waits for the answer, and again.
async fn call(node: Node, until: Instant) -> Result<Vec<u64>> {
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let started = Instant::now();
        let command = Command::CancelWait(CancelWait { waiter: WaiterId(u64::MAX), undelivered: None });
        node.propose(command, None).await.map_err(Error::other)?;
        latencies.push(micros(started.elapsed()));
    }
    Ok(latencies)
}

/// What one write and sync in the middle of a file costs: the floor under every proposal.
fn bare_sync(dir: &Path, duration: Duration) -> Result<Vec<u64>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).read(true).open(dir.join("bare"))?;
    file.write_all_at(&vec![0; 16 << 20], 0)?;
    file.sync_all()?;
    let mut latencies = Vec::new();
    let started = Instant::now();
    while started.elapsed() < duration {
        let at = Instant::now();
        let page = u64::try_from(latencies.len()).unwrap_or(0) % 4096;
        file.write_all_at(&[7; 4096], page * 4096)?;
        file.sync_data()?;
        latencies.push(micros(at.elapsed()));
    }
    latencies.sort_unstable();
    Ok(latencies)
}

fn percentiles(sorted: &[u64]) -> String {
    let at = |permille: usize| sorted.get(sorted.len().saturating_sub(1) * permille / 1000).copied().unwrap_or(0);
    format!("p50 {:5} p90 {:5} p99 {:5} max {:6} µs", at(500), at(900), at(990), at(1000))
}

fn mean(after: &Histogram, before: &Histogram) -> f64 {
    ratio(after.sum - before.sum, ratio(after.count() - before.count(), 1))
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Figures of a benchmark: small enough that a float holds them.
fn ratio(part: impl TryInto<u32>, whole: impl Into<f64>) -> f64 {
    let part = part.try_into().map_or(f64::NAN, f64::from);
    part / whole.into()
}
