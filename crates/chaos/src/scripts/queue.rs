//! Producers and consumers of single items.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;
use willow_sim::history::{Action, Answer, Delivery, How};

use crate::{
    caller::{Call, Caller, is_gone, ok},
    names::{CHANNELS, UPDATED},
};

/// Mean pause between two things to do, ms.
const THINK_MS: u64 = 60;

/// Enqueues until the round is over.
pub(super) async fn produce(mut caller: Caller) {
    let queue = caller.shared.names.work.clone();
    while caller.goes_on() {
        caller.think(THINK_MS).await;
        let data = caller.label();
        let updatable = caller.chance(30);
        let channels: &[&str] = if updatable { &UPDATED } else { &CHANNELS };
        let channel = channels[caller.rng.random_range(0..channels.len())].to_owned();
        let action = Action::Enqueue { queue: queue.clone(), channel, data, updatable };
        let call = caller.usual();
        let enqueued = ok(caller.call(action, call).await);
        if let Some(Answer::Enqueued { item, how: How::Created, .. }) = enqueued {
            caller.shared.recorder.noted(&queue, &item);
        }
    }
}

/// Dequeues until the round is over, and does with each delivery what consumers do.
pub(super) async fn consume(mut caller: Caller) {
    let queue = caller.shared.names.work.clone();
    while caller.goes_on() {
        caller.think(THINK_MS).await;
        let max_items = caller.rng.random_range(1..=3);
        let lease_ms = caller.rng.random_range(500..2000);
        let wait_ms = if caller.chance(30) { 0 } else { caller.rng.random_range(300..2000) };
        let abandon = caller.chance(6).then_some(Duration::from_millis(500));
        let call = Call { abandon, ..caller.usual() };
        let action = Action::Dequeue { queue: queue.clone(), max_items, lease_ms, wait_ms };
        let Some(Answer::Delivered(deliveries)) = ok(caller.call(action, call).await) else { continue };
        for delivery in deliveries {
            work(&mut caller, &queue, delivery, lease_ms).await;
        }
    }
}

async fn work(caller: &mut Caller, queue: &str, delivery: Delivery, lease_ms: u64) {
    let Delivery { item, token, .. } = delivery;
    let queue = queue.to_owned();
    if caller.chance(15) {
        sleep(Duration::from_millis(lease_ms / 2)).await;
        let action = Action::Extend { queue: queue.clone(), item: item.clone(), token: token.clone() };
        if is_gone(&caller.call(action, Call::default()).await) {
            return;
        }
    }
    let percent = caller.rng.random_range(0..30);
    sleep(Duration::from_millis(lease_ms * percent / 100)).await;
    let call = caller.usual();
    let action = match caller.rng.random_range(0..100) {
        0..60 => Action::Ack { queue, item, token },
        60..76 => Action::Nack { queue, item, token },
        76..84 => Action::Return { queue, item, token },
        84..92 => {
            // Paused for longer than its lease.
            sleep(Duration::from_millis(lease_ms * 11 / 10)).await;
            Action::Ack { queue, item, token }
        }
        _ => return,
    };
    caller.call(action, call).await;
}
