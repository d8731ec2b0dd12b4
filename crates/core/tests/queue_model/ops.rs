//! What is done to both queues at random.

use proptest::prelude::*;

use super::{BRANCHES, Channel, KEYS, ORDERS, QUERIES, RULES, SYSTEMS};

/// An item to add.
#[derive(Clone, Debug)]
pub(crate) struct New {
    pub(crate) channel: Channel,
    pub(crate) updatable: bool,
    pub(crate) priority: i32,
    pub(crate) weight: u32,
    pub(crate) delay_ms: u64,
    pub(crate) expires_in_ms: Option<u64>,
    /// Its idempotency key.
    pub(crate) key: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Enqueue(New),
    Dequeue { query: usize, tolerant: bool, order: usize, max_items: u32, wait_ms: u64, repeated: bool },
    Ack(usize),
    Nack { delivery: usize, delay_ms: Option<u64>, front: bool },
    Release(usize),
    Extend(usize),
    Stale(usize),
    Taint { channel: Channel, on: bool },
    Pause { query: usize, on: bool },
    Limit { rule: usize, limit: u64 },
    Purge { query: usize },
    DeleteChannel(Channel),
    Redrive,
    Cancel(usize),
    Undelivered(usize),
    Pass { ms: u64 },
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let channel = || (0..BRANCHES.len(), 0..SYSTEMS.len());
    let expiry = prop::option::weighted(0.1, 100u64..3000);
    let key = prop::option::weighted(0.1, 0..KEYS);
    let wait = prop_oneof![Just(0), 1u64..2500];
    let delay = prop_oneof![4 => Just(0), 1 => 1u64..1500];
    prop_oneof![
        10 => (channel(), prop::bool::weighted(0.4), -1..2, 1u32..3, delay, expiry, key).prop_map(
            |(channel, updatable, priority, weight, delay_ms, expires_in_ms, key)| Op::Enqueue(New {
                channel, updatable, priority, weight, delay_ms, expires_in_ms, key
            })
        ),
        10 => (0..QUERIES.len(), any::<bool>(), 0..ORDERS, 1u32..3, wait, prop::bool::weighted(0.2)).prop_map(
            |(query, tolerant, order, max_items, wait_ms, repeated)| Op::Dequeue {
                query, tolerant, order, max_items, wait_ms, repeated
            }
        ),
        6 => (0usize..8).prop_map(Op::Ack),
        3 => (0usize..8, prop::option::of(0u64..500), any::<bool>()).prop_map(|(delivery, delay_ms, front)| Op::Nack {
            delivery, delay_ms, front
        }),
        2 => (0usize..8).prop_map(Op::Release),
        1 => (0usize..8).prop_map(Op::Extend),
        1 => (0usize..8).prop_map(Op::Stale),
        2 => (channel(), any::<bool>()).prop_map(|(channel, on)| Op::Taint { channel, on }),
        2 => (0..QUERIES.len(), any::<bool>()).prop_map(|(query, on)| Op::Pause { query, on }),
        2 => (0..RULES.len(), 0u64..4).prop_map(|(rule, limit)| Op::Limit { rule, limit }),
        1 => (0..QUERIES.len()).prop_map(|query| Op::Purge { query }),
        1 => channel().prop_map(Op::DeleteChannel),
        1 => Just(Op::Redrive),
        1 => (0usize..4).prop_map(Op::Cancel),
        1 => (0usize..8).prop_map(Op::Undelivered),
        4 => (1u64..700).prop_map(|ms| Op::Pass { ms }),
    ]
}
