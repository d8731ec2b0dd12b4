//! Readers, at any node.

use rand::Rng;

use super::actor::{Actor, Call};
use crate::history::Action;

/// Looks at this and that until the time is up.
pub async fn run(mut caller: impl Actor) {
    let stage = caller.stage();
    while caller.goes_on() {
        caller.think().await;
        let stale = caller.chance(30);
        let action = match caller.rng().random_range(0..100) {
            0..45 => {
                let place = caller.rng().random_range(0..stage.exclusive.len() + stage.semaphores.len());
                let lock = stage.exclusive.iter().chain(stage.semaphores).nth(place).copied().unwrap_or_default();
                Action::ReadLock { lock: lock.to_owned(), stale }
            }
            45..70 => Action::ReadCounter { counter: caller.pick(stage.counters), stale },
            _ => {
                let dice = caller.rng().random_range(0..1000);
                let Some((queue, item)) = caller.recent(dice) else { continue };
                Action::ReadItem { queue, item, stale }
            }
        };
        caller.call(action, Call::default()).await;
    }
}
