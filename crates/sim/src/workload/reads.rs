//! Readers, at any node.

use rand::Rng;

use super::Caller;
use super::names::{COUNTERS, LOCKS, SHELF};
use crate::history::{Action, Answer, Outcome};

/// Looks at this and that until the time is up; every second reader walks listings.
pub(super) async fn run(mut caller: Caller, place: u32) {
    while caller.goes_on() {
        caller.think().await;
        if place % 2 == 1 {
            walk(&mut caller).await;
            continue;
        }
        let stale = caller.chance(30);
        let action = match caller.rng.random_range(0..100) {
            0..45 => Action::ReadLock { lock: LOCKS[caller.rng.random_range(0..LOCKS.len())].to_owned(), stale },
            45..70 => {
                Action::ReadCounter { counter: COUNTERS[caller.rng.random_range(0..COUNTERS.len())].to_owned(), stale }
            }
            _ => {
                let dice = caller.rng.random_range(0..1000);
                let Some((queue, item)) = caller.recorder.recent(dice) else { continue };
                Action::ReadItem { queue, item, stale }
            }
        };
        caller.look(action, None).await;
    }
}

async fn walk(caller: &mut Caller) {
    let walk = caller.recorder.next_walk();
    let mut page = None;
    loop {
        let action = Action::Page { shelf: SHELF.to_owned(), walk, first: page.is_none() };
        match caller.look(action, page).await {
            (Outcome::Ok(Answer::Page { last: false, .. }), next) if next.is_some() => page = next,
            _ => return,
        }
        caller.think().await;
    }
}
