//! Producers and consumers.

use rand::Rng;

use super::actor::{Actor, Call, is_gone, ok};
use crate::history::{Action, Answer, Delivery, How};

/// Enqueues until the time is up.
pub async fn produce(mut caller: impl Actor) {
    let (stage, work, shelf) = (caller.stage(), caller.work(), caller.shelf());
    while caller.goes_on() {
        caller.think().await;
        let data = caller.label();
        let (queue, channel, updatable) = match (caller.rng().random_range(0..100), &shelf) {
            (55..80, _) => (&work, caller.pick(stage.updated), true),
            (80.., Some(shelf)) => (shelf, format!("s{}", caller.rng().random_range(0..8)), false),
            _ => (&work, caller.pick(stage.channels), false),
        };
        let action = Action::Enqueue { queue: queue.clone(), channel, data, updatable };
        let call = caller.usual();
        let enqueued = ok(caller.call(action, call).await);
        if let Some(Answer::Enqueued { item, how: How::Created, .. }) = enqueued {
            caller.noted(queue, &item);
        }
    }
}

/// Dequeues until the time is up, and does with each delivery what consumers do.
pub async fn consume(mut caller: impl Actor) {
    let queue = caller.work();
    while caller.goes_on() {
        caller.think().await;
        let max_items = caller.rng().random_range(1..=3);
        let lease_ms = caller.rng().random_range(500..2000);
        let wait_ms = if caller.chance(30) { 0 } else { caller.rng().random_range(300..2000) };
        let abandon_us = caller.chance(6).then_some(500_000);
        let call = Call { abandon_us, ..caller.usual() };
        let action = Action::Dequeue { queue: queue.clone(), max_items, lease_ms, wait_ms };
        let Some(Answer::Delivered(deliveries)) = ok(caller.call(action, call).await) else { continue };
        for delivery in deliveries {
            work(&mut caller, &queue, delivery, lease_ms).await;
        }
    }
}

async fn work(caller: &mut impl Actor, queue: &str, delivery: Delivery, lease_ms: u64) {
    let Delivery { item, token, .. } = delivery;
    let queue = queue.to_owned();
    let extend = caller.chance(15);
    if extend {
        caller.pause_us(lease_ms * 500).await;
        let action = Action::Extend { queue: queue.clone(), item: item.clone(), token: token.clone() };
        if is_gone(&caller.call(action, Call::default()).await) {
            return;
        }
    }
    let us = caller.rng().random_range(0..lease_ms * 300);
    caller.pause_us(us).await;
    let call = caller.usual();
    let action = match caller.rng().random_range(0..100) {
        0..60 => Action::Ack { queue, item, token },
        60..76 => Action::Nack { queue, item, token },
        76..84 => Action::Return { queue, item, token },
        84..92 => {
            // Paused for longer than its lease.
            caller.pause_us(lease_ms * 1100).await;
            Action::Ack { queue, item, token }
        }
        _ => return,
    };
    caller.call(action, call).await;
}
