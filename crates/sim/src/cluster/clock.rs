//! What a simulated computer knows of time, and its dice.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use willow_node::{Clock, Entropy, Sleep};

use crate::history::Micros;
use crate::time;

/// True wall time at the start of a run, ms since the Unix epoch.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// A wall clock that is wrong, and a monotonic clock that began with this life of the node.
#[derive(Debug)]
pub(super) struct SimClock {
    /// By how much the wall clock is wrong, ms; the host's, for it outlives the node.
    pub(super) skew_ms: Arc<AtomicI64>,
    pub(super) born_us: Micros,
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        (EPOCH_MS + time::now_us() / 1000).saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }

    fn monotonic_ms(&self) -> u64 {
        time::now_us().saturating_sub(self.born_us) / 1000
    }

    fn sleep(&self, ms: u64) -> Sleep<'_> {
        Box::pin(SimRuntime::sleep(Duration::from_millis(ms)))
    }
}

/// Dice whose throws are known beforehand.
#[derive(Debug)]
pub(super) struct SimEntropy(Mutex<StdRng>);

impl SimEntropy {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SimEntropy {
    fn draw(&self) -> u128 {
        self.0.lock().random()
    }
}
