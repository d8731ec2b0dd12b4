//! Group commits per second: the log, against the plainest thing that is as durable (append to a
//! growing file and sync it), in turns in one run on the same disk.
//!
//! ```text
//! cargo bench -p willow-storage [-- DIRECTORY]
//! ```
#![allow(clippy::unwrap_used, reason = "a bench may stop at the first error")]
#![allow(clippy::print_stdout, reason = "the result")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use willow_storage::log::{Log, Options, Record};
use willow_storage::vfs::StdVfs;

const BATCH: usize = 64;
const PAYLOAD: usize = 200;
/// Commits before the other one has its turn, so that both meet the same neighbours.
const SLICE: u64 = 100;
const COMMITS: u64 = 3_000;
const ROUNDS: usize = 3;

/// A batch of 64 × 200 B, one commit at a time: the latency of the disk bounds it.
fn log_batches(log: &Log, next: &mut u64) -> Duration {
    let payload = Bytes::from(vec![7; PAYLOAD]);
    let start = Instant::now();
    for _ in 0..SLICE {
        let records =
            (0..BATCH as u64).map(|i| Record::Entry { group: 1, index: *next + i, term: 1, payload: payload.clone() });
        log.append(records.collect()).unwrap();
        *next += BATCH as u64;
    }
    // Snapshots purge now and then.
    let purge = Record::Purge { group: 1, up_to: *next - BATCH as u64 * 50 };
    log.submit(vec![purge], |result| result.unwrap()).unwrap();
    start.elapsed()
}

/// 64 writers, each waiting for its own record: what the queue gathers is one commit.
fn log_gathered(log: &Log, next: &mut u64) -> Duration {
    let payload = Bytes::from(vec![7; PAYLOAD]);
    let (tell, told) = mpsc::channel();
    let mut submit = |group: u32| {
        let tell = tell.clone();
        let record = Record::Entry { group, index: log.bounds(group).next, term: 1, payload: payload.clone() };
        log.submit(vec![record], move |result| {
            result.unwrap();
            tell.send(group).unwrap();
        })
        .unwrap();
        *next += 1;
    };
    let start = Instant::now();
    (100..100 + BATCH as u32).for_each(&mut submit);
    for _ in 0..COMMITS * BATCH as u64 / 4 {
        submit(told.recv().unwrap());
    }
    for _ in 0..BATCH {
        told.recv().unwrap();
    }
    let elapsed = start.elapsed();
    let forget = (100..100 + BATCH as u32).map(|group| Record::Forget { group });
    log.append(forget.collect()).unwrap();
    elapsed
}

fn naive(file: &mut File) -> Duration {
    let batch = vec![7; BATCH * (PAYLOAD + 32)];
    let start = Instant::now();
    for _ in 0..SLICE {
        file.write_all(&batch).unwrap();
        file.sync_data().unwrap();
    }
    start.elapsed()
}

/// Writes a million entries, closes the log, and opens it again.
fn reopen(dir: &Path) {
    const ENTRIES: u64 = 1_000_000;
    let open = || {
        let start = Instant::now();
        let (log, found) = Log::open(Arc::new(StdVfs), dir, Options::default()).unwrap();
        (log, found, start.elapsed())
    };
    let (log, _, _) = open();
    let payload = Bytes::from(vec![7; PAYLOAD]);
    let start = Instant::now();
    for first in (1..=ENTRIES).step_by(10_000) {
        let records =
            (first..first + 10_000).map(|index| Record::Entry { group: 1, index, term: 1, payload: payload.clone() });
        log.append(records.collect()).unwrap();
    }
    let wrote = start.elapsed();
    drop(log);
    let (log, found, opened) = open();
    assert_eq!(log.bounds(1).len(), ENTRIES);
    println!(
        "{ENTRIES} entries of {PAYLOAD} B: written in {wrote:.1?}, opened in {opened:.2?} \
         ({} batches, {} segments)",
        found.batches, found.segments
    );
}

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let place = wanted.unwrap_or_else(|| ".".to_owned());
    let dir = tempfile::tempdir_in(place).unwrap();
    let options = Options::default();
    let (log, _) = Log::open(Arc::new(StdVfs), &dir.path().join("log"), options).unwrap();
    let mut next = 1;
    println!("{BATCH} x {PAYLOAD} B, {COMMITS} commits a round");
    println!("round  log commits/s  growing append/s  ratio  gathered records/s  per sync");
    for round in 1..=ROUNDS {
        let path = dir.path().join(format!("naive-{round}"));
        let mut file = File::options().create_new(true).append(true).open(path).unwrap();
        let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..COMMITS / SLICE {
            ours += log_batches(&log, &mut next);
            theirs += naive(&mut file);
        }
        let ours = COMMITS as f64 / ours.as_secs_f64();
        let theirs = COMMITS as f64 / theirs.as_secs_f64();
        let before = log.stats().counters.batches;
        let mut records = 0;
        let elapsed = log_gathered(&log, &mut records);
        let syncs = log.stats().counters.batches - before;
        println!(
            "{round:>5}  {ours:>13.0}  {theirs:>16.0}  {:>5.2}  {:>18.0}  {:>8.1}",
            ours / theirs,
            records as f64 / elapsed.as_secs_f64(),
            records as f64 / syncs as f64,
        );
    }
    let stats = log.stats();
    println!("{} segments recycled or removed, {} in use", stats.counters.dropped_segments, stats.segments);
    reopen(&dir.path().join("reopen"));
}
