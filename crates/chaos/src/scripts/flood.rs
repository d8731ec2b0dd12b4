//! Many operations, one like the other.

use std::time::Duration;

use rand::Rng;
use willow_sim::{
    history::{Action, Answer, Delivery, Mode},
    scripts::{Actor, ok},
};

use crate::{
    caller::Caller,
    names::{FLOODED, PIPES},
    wire::Request,
};

/// Lease of a lock; most fail-overs are shorter.
const LOCK_MS: u64 = 3000;
/// How long to wait for a lock.
const WAIT_MS: u64 = 2000;
/// Lease of a delivery.
const LEASE_MS: u64 = 2500;
/// Between two batches of a producer, at most twice this: consumers must keep up.
const THINK_US: u64 = 40_000;

/// Takes one lock after the other, and gives it back at once.
pub(super) async fn locks(mut caller: Caller) {
    while caller.goes_on() {
        let lock = format!("f{}", caller.rng.random_range(0..FLOODED));
        let (locks, owner) = (vec![(lock, Mode::Exclusive)], caller.label());
        let acquire = Action::Acquire { locks, session: None, ttl_ms: LOCK_MS, wait_ms: WAIT_MS, owner };
        let Some(Answer::Acquired { session, grants, .. }) = ok(caller.fast(acquire).await) else { continue };
        for grant in grants {
            let (session, token) = (session.clone(), Some(grant.token));
            caller.fast(Action::Release { lock: grant.lock, session, token }).await;
        }
    }
}

/// Enqueues batches.
pub(super) async fn produce(mut caller: Caller, batch: u32) {
    let queue = caller.shared.names.flood.clone();
    while caller.goes_on() {
        let pause_us = caller.rng.random_range(0..THINK_US * 2);
        caller.pause_us(pause_us).await;
        let channel = format!("p{}", caller.rng.random_range(0..PIPES));
        let new = |caller: &mut Caller| Action::Enqueue {
            queue: queue.clone(),
            channel: channel.clone(),
            data: caller.label(),
            updatable: false,
        };
        let actions: Vec<Action> = (0..batch).map(|_| new(&mut caller)).collect();
        caller.batch(Request::Enqueue(queue.clone(), actions.clone()), actions, Duration::ZERO).await;
    }
}

/// Takes batches and acknowledges them, to the last.
pub(super) async fn consume(mut caller: Caller, batch: u32) {
    let queue = caller.shared.names.flood.clone();
    loop {
        let goes_on = caller.goes_on();
        let wait_ms = if goes_on { 500 } else { 0 };
        let dequeue = Action::Dequeue { queue: queue.clone(), max_items: batch, lease_ms: LEASE_MS, wait_ms };
        let deliveries = match ok(caller.fast(dequeue).await) {
            Some(Answer::Delivered(deliveries)) if !deliveries.is_empty() => deliveries,
            _ if goes_on => continue,
            _ => return,
        };
        let ack = |Delivery { item, token, .. }| Action::Ack { queue: queue.clone(), item, token };
        let actions: Vec<Action> = deliveries.into_iter().map(ack).collect();
        caller.batch(Request::Ack(queue.clone(), actions.clone()), actions, Duration::ZERO).await;
    }
}
