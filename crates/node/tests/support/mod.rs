//! A node on a file system that fails on demand, with a clock that moves on demand.
#![allow(dead_code, reason = "each test binary uses its own part")]

mod commands;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use commands::*;
use willow_core::{Command, Outcome, RequestId};
use willow_node::{Config, Entropy, Health, ManualClock, Node, ProposeError};
use willow_storage::log;
use willow_storage::snapshot::SnapshotOptions;
use willow_storage::vfs::{CrashMode, FaultVfs};

/// A point in time that nobody would mistake for a real one.
pub(crate) const START_MS: u64 = 1_000_000;

/// Numbers that look random and come again with every run.
#[derive(Debug, Default)]
pub(crate) struct Counted(AtomicU64);

impl From<u64> for Counted {
    fn from(first: u64) -> Self {
        Self(AtomicU64::new(first))
    }
}

impl Entropy for Counted {
    fn draw(&self) -> u128 {
        let n = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(n)
    }
}

/// Disk and clock: what outlives a node.
pub(crate) struct World {
    pub(crate) vfs: FaultVfs,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) entropy: Arc<Counted>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(START_MS));
        Self { vfs: FaultVfs::new(seed), clock, entropy: Arc::default() }
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new("data");
        config.vfs = Arc::new(self.vfs.clone());
        config.clock = Arc::clone(&self.clock) as _;
        config.entropy = Arc::clone(&self.entropy) as _;
        config.log = log::Options { retry_interval: Duration::ZERO, ..log::Options::small_inline() };
        config.snapshots = SnapshotOptions { keep: 2, min_free_bytes: 0 };
        config
    }

    pub(crate) async fn start(&self) -> Node {
        Node::start(self.config()).await.expect("the node starts")
    }

    /// Ends a node the hard way, and says what the disk keeps.
    pub(crate) fn crash(&self, node: Node, mode: CrashMode) {
        self.vfs.crash(mode);
        drop(node);
    }

    /// Lets time pass until `done`. The number of steps is only there to fail.
    pub(crate) async fn pass_until(&self, mut done: impl FnMut() -> bool) {
        for _ in 0..100_000 {
            if done() {
                return;
            }
            self.clock.advance(50);
            tokio::task::yield_now().await;
        }
        panic!("it never came to that");
    }

    /// Lets time pass until the node takes writes again.
    pub(crate) async fn pass_until_ready(&self, node: &Node) {
        self.pass_until(|| node.health() == Health::Ready).await;
    }
}

pub(crate) fn request(id: &str) -> Option<RequestId> {
    Some(RequestId::new(id).expect("a valid request id"))
}

/// Takes locks `from..to`, one command each.
pub(crate) async fn put_range(node: &Node, from: usize, to: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for n in from..to {
        outcomes.push(put_one(node, n).await.expect("the command is taken"));
    }
    outcomes
}

pub(crate) async fn put_one(node: &Node, n: usize) -> Result<Outcome, ProposeError> {
    node.propose(put(&format!("lock-{n}")), None).await
}

pub(crate) fn holds_all(node: &Node, outcomes: &[Outcome]) -> bool {
    node.read_stale(|machine| outcomes.iter().all(|outcome| holds(machine, outcome)))
}

/// A command that is proposed on a task of its own, for as long as it waits.
pub(crate) fn spawn(
    node: &Node,
    command: Command,
    id: Option<RequestId>,
) -> tokio::task::JoinHandle<Result<Outcome, ProposeError>> {
    let node = node.clone();
    tokio::spawn(async move { node.propose(command, id).await })
}
