//! Clients that only look.

use rand::Rng;
use willow_sim::history::Action;

use crate::{
    caller::{Call, Caller},
    names::{COUNTERS, LOCKS},
};

/// Mean pause between two looks, ms.
const THINK_MS: u64 = 50;

/// Looks at locks, counters and items until the round is over, at any state in one of four cases.
pub(super) async fn run(mut caller: Caller) {
    while caller.goes_on() {
        caller.think(THINK_MS).await;
        let stale = caller.chance(25);
        let action = match caller.rng.random_range(0..3) {
            0 => Action::ReadLock { lock: LOCKS[caller.rng.random_range(0..LOCKS.len())].to_owned(), stale },
            1 => {
                Action::ReadCounter { counter: COUNTERS[caller.rng.random_range(0..COUNTERS.len())].to_owned(), stale }
            }
            _ => {
                let dice = caller.rng.random_range(0..1_000_000);
                let Some((queue, item)) = caller.shared.recorder.recent(dice) else { continue };
                Action::ReadItem { queue, item, stale }
            }
        };
        caller.call(action, Call::default()).await;
    }
}
