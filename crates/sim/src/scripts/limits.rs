//! Clients of counters.

use rand::Rng;

use super::actor::{Actor, Call, is_gone, ok};
use crate::history::{Action, Answer};

/// Adds, holds, takes and gives back, until the time is up; then gives back what it added for good.
pub async fn run(mut caller: impl Actor) {
    let mut added: Vec<(String, u64)> = Vec::new();
    while caller.goes_on() {
        caller.think().await;
        match caller.rng().random_range(0..100) {
            0..60 => hold(&mut caller).await,
            60..75 => {
                let counter = counter(&mut caller);
                let amount = caller.rng().random_range(1..=2);
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
        caller.call(Action::Decrement { counter, amount }, Call::SAFE).await;
    }
}

fn counter(caller: &mut impl Actor) -> String {
    let counters = caller.stage().counters;
    caller.pick(counters)
}

async fn hold(caller: &mut impl Actor) {
    let (counter, amount) = (counter(caller), caller.rng().random_range(1..=4));
    let ttl_ms = caller.rng().random_range(400..2000);
    let wait_ms = if caller.chance(50) { 0 } else { caller.rng().random_range(200..2000) };
    let abandon_us = caller.chance(8).then_some(700_000);
    let call = Call { abandon_us, ..caller.usual() };
    let action = Action::Increment { counter, amount, hold_ttl_ms: Some(ttl_ms), wait_ms };
    let Some(Answer::Incremented { hold: Some(hold), .. }) = ok(caller.call(action, call).await) else { return };
    if caller.chance(40) {
        caller.pause_us(ttl_ms * 400).await;
        if is_gone(&caller.call(Action::RenewHold { hold: hold.clone() }, Call::default()).await) {
            return;
        }
    }
    let us = caller.rng().random_range(0..ttl_ms * 1200);
    caller.pause_us(us).await;
    if caller.chance(80) {
        let call = caller.usual();
        caller.call(Action::ReleaseHold { hold }, call).await;
    }
}
