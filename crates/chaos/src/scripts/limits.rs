//! Clients of counters.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;
use willow_sim::history::{Action, Answer};

use crate::{
    caller::{Call, Caller, SAFE, is_gone, ok},
    names::COUNTERS,
};

/// Mean pause between two things to do, ms.
const THINK_MS: u64 = 80;

/// Adds, holds, takes and gives back, until the round is over; then gives back what it added for good.
pub(super) async fn run(mut caller: Caller) {
    let mut added: Vec<(String, u64)> = Vec::new();
    while caller.goes_on() {
        caller.think(THINK_MS).await;
        match caller.rng.random_range(0..100) {
            0..60 => hold(&mut caller).await,
            60..75 => {
                let counter = counter(&mut caller);
                let amount = caller.rng.random_range(1..=2);
                let action = Action::Increment { counter: counter.clone(), amount, hold_ttl_ms: None, wait_ms: 0 };
                let call = caller.usual();
                if ok(caller.call(action, call).await).is_some() {
                    added.push((counter, amount));
                }
            }
            75..95 => {
                if let Some((counter, amount)) = added.pop() {
                    let call = caller.usual();
                    caller.call(Action::Decrement { counter, amount }, call).await;
                }
            }
            _ => {
                // More than there ever is.
                let action = Action::Decrement { counter: counter(&mut caller), amount: 20 };
                let call = caller.usual();
                caller.call(action, call).await;
            }
        }
    }
    for (counter, amount) in added {
        caller.call(Action::Decrement { counter, amount }, SAFE).await;
    }
}

fn counter(caller: &mut Caller) -> String {
    COUNTERS[caller.rng.random_range(0..COUNTERS.len())].to_owned()
}

async fn hold(caller: &mut Caller) {
    let (counter, amount) = (counter(caller), caller.rng.random_range(1..=4));
    let ttl_ms = caller.rng.random_range(400..2000);
    let wait_ms = if caller.chance(50) { 0 } else { caller.rng.random_range(200..2000) };
    let abandon = caller.chance(8).then_some(Duration::from_millis(700));
    let call = Call { abandon, ..caller.usual() };
    let action = Action::Increment { counter, amount, hold_ttl_ms: Some(ttl_ms), wait_ms };
    let Some(Answer::Incremented { hold: Some(hold), .. }) = ok(caller.call(action, call).await) else { return };
    if caller.chance(40) {
        sleep(Duration::from_millis(ttl_ms * 2 / 5)).await;
        if is_gone(&caller.call(Action::RenewHold { hold: hold.clone() }, Call::default()).await) {
            return;
        }
    }
    let percent = caller.rng.random_range(0..120);
    sleep(Duration::from_millis(ttl_ms * percent / 100)).await;
    if caller.chance(80) {
        caller.call(Action::ReleaseHold { hold }, Call::default()).await;
    }
}
