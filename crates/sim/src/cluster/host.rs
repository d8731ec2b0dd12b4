//! A computer: its disk and wall clock, which outlive the node on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use willow_model::bugs::{self, Bug};
use willow_node::{Config, Node, NodeId, Peering, RuntimeKind, Start};
use willow_storage::log;
use willow_storage::snapshot::SnapshotOptions;
use willow_storage::vfs::{CrashMode, FaultVfs, Vfs};

use super::clock::{SimClock, SimEntropy};
use super::lazy::LazyVfs;
use super::life::Life;
use super::net::Net;
use super::speed::{Paced, Speed};
use crate::faults::Crash;
use crate::time;

/// How long after a failed start the next is tried.
const RESTART_US: u64 = 500_000;

/// A computer. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: usize,
    addr: String,
    start: Start,
    disk: FaultVfs,
    speed: Speed,
    skew_ms: Arc<AtomicI64>,
    entropy: Arc<SimEntropy>,
    net: Net,
    snapshot_commands: u64,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    life: Life,
    node: Option<Node>,
    /// The node's id, once it has started.
    id: Option<NodeId>,
    /// Taken out of the cluster for good.
    is_retired: bool,
    /// Why it did not start, the last time.
    failure: Option<String>,
}

impl Host {
    pub(super) fn new(seed: u64, place: usize, start: Start, skew_ms: i64, snapshot_commands: u64, net: Net) -> Self {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(place as u64);
        let life = Life::new(0);
        life.end();
        Self(Arc::new(Inner {
            place,
            addr: addr(place),
            start,
            disk: FaultVfs::new(seed),
            speed: Speed::new(seed),
            skew_ms: Arc::new(AtomicI64::new(skew_ms)),
            entropy: Arc::new(SimEntropy::new(seed)),
            net,
            snapshot_commands,
            running: Mutex::new(Running { life, node: None, id: None, is_retired: false, failure: None }),
        }))
    }

    pub(super) fn place(&self) -> usize {
        self.0.place
    }

    pub(super) fn disk(&self) -> &FaultVfs {
        &self.0.disk
    }

    pub(super) fn speed(&self) -> &Speed {
        &self.0.speed
    }

    /// The node, if one runs and has started.
    pub(super) fn node(&self) -> Option<(Node, Life)> {
        let running = self.0.running.lock();
        running.node.clone().map(|node| (node, running.life.clone()))
    }

    /// The id of the node, as it last started.
    pub(super) fn id(&self) -> Option<NodeId> {
        self.0.running.lock().id
    }

    /// The kernel stops the process; returns the life that it stops in, if there is one.
    pub(super) fn pause(&self) -> Option<Life> {
        let life = self.0.running.lock().life.clone();
        if life.is_over() {
            return None;
        }
        life.pause();
        Some(life)
    }

    /// The process goes on, if it was stopped.
    pub(super) fn resume(&self) {
        self.0.running.lock().life.clone().resume();
    }

    pub(super) fn is_up(&self) -> bool {
        !self.0.running.lock().life.is_over()
    }

    pub(super) fn is_retired(&self) -> bool {
        self.0.running.lock().is_retired
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.0.running.lock().failure.clone()
    }

    /// The wall clock is set.
    pub(super) fn set_clock(&self, by_ms: i64) {
        self.0.skew_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Begins a new life, unless one goes on. It starts when it can: a node that is to join waits until it is
    /// taken in, and one that cannot start tries again.
    pub(super) fn start(&self) {
        let Inner { place, addr, net, .. } = &*self.0;
        let life = {
            let mut running = self.0.running.lock();
            if running.is_retired || !running.life.is_over() {
                return;
            }
            running.life = Life::new(running.life.number + 1);
            running.failure = None;
            running.life.clone()
        };
        let reception = net.listen(*place, addr, life.clone());
        let peering = Peering {
            transport: net.transport(*place, life.clone()),
            reception,
            peer_addr: addr.clone(),
            client_url: format!("http://{addr}"),
            start: self.0.start.clone(),
        };
        let host = self.clone();
        time::spawn(async move {
            let _over = life.clone().run(host.open(peering, life)).await;
        });
    }

    async fn open(self, peering: Peering, life: Life) {
        loop {
            match Node::open(self.config(peering.clone(), &life)).await {
                Ok(node) => {
                    let ready = node.clone();
                    {
                        let mut running = self.0.running.lock();
                        if life.is_over() {
                            return;
                        }
                        running.id = Some(node.id());
                        (running.node, running.failure) = (Some(node), None);
                    }
                    // A founder writes the first entry once it leads.
                    let failure = ready.ready().await.err();
                    self.0.running.lock().failure = failure.map(|error| error.to_string());
                    return;
                }
                Err(error) => self.0.running.lock().failure = Some(error.to_string()),
            }
            time::sleep_us(RESTART_US).await;
        }
    }

    fn config(&self, peering: Peering, life: &Life) -> Config {
        let inner = &*self.0;
        let mut config = Config::new("data");
        config.peering = Some(peering);
        config.runtime = RuntimeKind::Simulated;
        config.clock = Arc::new(SimClock { skew_ms: Arc::clone(&inner.skew_ms), born_us: time::now_us() });
        config.entropy = Arc::clone(&inner.entropy) as _;
        config.vfs = if bugs::is_on(Bug::AckBeforeSync) {
            Arc::new(LazyVfs(inner.disk.clone())) as Arc<dyn Vfs>
        } else {
            Arc::new(inner.disk.clone())
        };
        let pace = Arc::new(Paced { speed: inner.speed.clone(), life: life.clone() });
        config.log = log::Options { retry_interval: Duration::ZERO, pace: Some(pace), ..log::Options::small_inline() };
        config.snapshots = SnapshotOptions { keep: 2, min_free_bytes: 0 };
        config.snapshot_commands = inner.snapshot_commands;
        config.snapshot_chunk_bytes = 2048;
        config
    }

    /// The node stops dead, and the disk keeps what it would.
    pub(super) fn crash(&self, mode: Crash) {
        let node = {
            let mut running = self.0.running.lock();
            running.life.end();
            running.node.take()
        };
        self.0.disk.crash(match mode {
            Crash::KeepAll => CrashMode::KeepAll,
            Crash::LoseUnsynced => CrashMode::LoseUnsynced,
            Crash::Torn => CrashMode::Torn,
        });
        drop(node);
    }

    /// The computer is thrown away.
    pub(super) fn retire(&self) {
        self.crash(Crash::LoseUnsynced);
        self.0.running.lock().is_retired = true;
    }
}

/// Where a host listens.
pub(super) fn addr(place: usize) -> String {
    format!("n{place}:1")
}
