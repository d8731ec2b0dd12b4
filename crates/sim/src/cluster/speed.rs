//! How long a disk takes: nothing, until it is made slow.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use willow_storage::log::Pace;

use super::life::Life;
use crate::history::Micros;
use crate::time;

/// A slow disk takes at least so long for each write with its sync.
const SLOW_US: Micros = 50_000;

/// A computer's disk, as far as time goes. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Speed(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: StdRng,
    slow_until_us: Micros,
    at_most_us: Micros,
}

impl Speed {
    pub(super) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0xd15c);
        Self(Arc::new(Mutex::new(State { rng, slow_until_us: 0, at_most_us: 0 })))
    }

    /// Until then each write takes up to so long.
    pub(super) fn slow(&self, until_us: Micros, at_most_us: Micros) {
        let mut state = self.0.lock();
        (state.slow_until_us, state.at_most_us) = (until_us, at_most_us.max(SLOW_US + 1));
    }

    /// It is fast again, but for what it is at.
    pub(super) fn recover(&self) {
        self.0.lock().slow_until_us = 0;
    }

    /// How long the next write takes.
    fn next_us(&self) -> Micros {
        let mut state = self.0.lock();
        if time::now_us() >= state.slow_until_us {
            return 0;
        }
        let at_most_us = state.at_most_us;
        state.rng.random_range(SLOW_US..at_most_us)
    }
}

/// The disk as a node in one life writes to it.
#[derive(Debug)]
pub(super) struct Paced {
    pub(super) speed: Speed,
    pub(super) life: Life,
}

impl Pace for Paced {
    fn turn(&self, turn: Box<dyn FnOnce() + Send>) {
        let takes_us = self.speed.next_us();
        if takes_us == 0 {
            return turn();
        }
        let life = self.life.clone();
        time::spawn(async move {
            time::sleep_us(takes_us).await;
            let _over = life.run(async move { turn() }).await;
        });
    }
}
