//! Producers and consumers.

use rand::Rng;

use super::caller::{is_gone, ok};
use super::names::{CHANNELS, SHELF, UPDATED, WORK};
use super::{Call, Caller};
use crate::history::{Action, Answer, Delivery, How};
use crate::time;

/// Enqueues until the time is up.
pub(super) async fn produce(mut caller: Caller) {
    while caller.goes_on() {
        caller.think().await;
        let data = caller.label();
        let (queue, channel, updatable) = match caller.rng.random_range(0..100) {
            0..55 => (WORK, CHANNELS[caller.rng.random_range(0..CHANNELS.len())].to_owned(), false),
            55..80 => (WORK, UPDATED[caller.rng.random_range(0..UPDATED.len())].to_owned(), true),
            _ => (SHELF, format!("s{}", caller.rng.random_range(0..8)), false),
        };
        let action = Action::Enqueue { queue: queue.to_owned(), channel, data, updatable };
        let call = caller.usual();
        let enqueued = ok(caller.call(action, call).await);
        if let Some(Answer::Enqueued { item, how: How::Created, .. }) = enqueued {
            caller.recorder.noted(queue, &item);
        }
    }
}

/// Dequeues until the time is up, and does with each delivery what consumers do.
pub(super) async fn consume(mut caller: Caller) {
    while caller.goes_on() {
        caller.think().await;
        let max_items = caller.rng.random_range(1..=3);
        let lease_ms = caller.rng.random_range(500..2000);
        let wait_ms = if caller.chance(30) { 0 } else { caller.rng.random_range(300..2000) };
        let abandon_us = caller.chance(6).then_some(500_000);
        let call = Call { abandon_us, ..caller.usual() };
        let action = Action::Dequeue { queue: WORK.to_owned(), max_items, lease_ms, wait_ms };
        let Some(Answer::Delivered(deliveries)) = ok(caller.call(action, call).await) else { continue };
        for delivery in deliveries {
            work(&mut caller, delivery, lease_ms).await;
        }
    }
}

async fn work(caller: &mut Caller, delivery: Delivery, lease_ms: u64) {
    let Delivery { item, token, .. } = delivery;
    let queue = WORK.to_owned();
    let extend = caller.chance(15);
    if extend {
        time::sleep_us(lease_ms * 500).await;
        let action = Action::Extend { queue: queue.clone(), item: item.clone(), token: token.clone() };
        if is_gone(&caller.call(action, Call::default()).await) {
            return;
        }
    }
    let us = caller.rng.random_range(0..lease_ms * 300);
    time::sleep_us(us).await;
    let call = caller.usual();
    let action = match caller.rng.random_range(0..100) {
        0..60 => Action::Ack { queue, item, token },
        60..76 => Action::Nack { queue, item, token },
        76..84 => Action::Return { queue, item, token },
        84..92 => {
            // Paused for longer than its lease.
            time::sleep_us(lease_ms * 1100).await;
            Action::Ack { queue, item, token }
        }
        _ => return,
    };
    caller.call(action, call).await;
}
