//! What the clients of a run quarrel about, and what is to be set up for it.

use std::collections::{BTreeMap, BTreeSet};

use willow_core::limiter::{self, CreateRule, Limit, RuleMode};
use willow_core::queue::{self, Backoff, CreateQueue, ItemOptions, Position, QueueConfig};
use willow_core::{Command, Machine, limiter::Selector};
use willow_model::{Id, KeyValues, Value};
use willow_query::Query;

use crate::history::{Census, ChannelCensus, CounterCensus, ItemState, Setup, Stored};
use crate::scripts::{Stage, pairs};

/// Locks; the last one is a semaphore.
pub const LOCKS: [&str; 4] = ["l0", "l1", "l2", "s0"];
/// What the clients quarrel about.
pub(super) const STAGE: Stage = Stage {
    exclusive: LOCKS.split_at(3).0,
    semaphores: LOCKS.split_at(3).1,
    counters: &COUNTERS,
    channels: &CHANNELS,
    updated: &UPDATED,
};
/// Counters, by team.
pub const COUNTERS: [&str; 4] = ["t0.j0", "t0.j1", "t1.j0", "t1.j1"];
/// Channels that fall under the limits of the teams.
pub const CHANNELS: [&str; 6] = ["t0.c0", "t0.c1", "t0.c2", "t1.c0", "t1.c1", "t1.c2"];
/// Channels whose items are updated in place.
pub const UPDATED: [&str; 2] = ["u0", "u1"];
/// The queue of all these channels.
pub const WORK: &str = "work";
/// A queue that nobody takes from.
pub const SHELF: &str = "shelf";
/// Of each team.
const LIMIT: u64 = 6;
/// How much faster than true time log time may run: a half percent, in thousandths.
const FAST_MILLI: u64 = 5;
/// What a leader may save up and spend at once on catching up with its wall clock.
const AHEAD_MS: u64 = 1;

/// What is the same for every run.
#[must_use]
pub fn setup() -> Setup {
    let mut setup = Setup { clock_fast_milli: FAST_MILLI, clock_ahead_ms: AHEAD_MS, ..Setup::default() };
    setup.shelves = BTreeSet::from([SHELF.to_owned()]);
    for name in COUNTERS.iter().chain(&CHANNELS) {
        let bucket = name.split('.').next().unwrap_or_default().to_owned();
        setup.limits.insert(bucket.clone(), LIMIT);
        setup.buckets.insert((*name).to_owned(), vec![bucket]);
    }
    setup
}

/// Key values of a lock, counter or channel.
pub(super) fn key_values(name: &str) -> KeyValues {
    KeyValues::user(pairs(name)).expect("short names are valid key values")
}

/// The name that [`key_values`] was made from; reserved keys do not count.
pub(super) fn name(key_values: &KeyValues) -> String {
    let get = |key: &str| key_values.get(key).and_then(|value| value.as_str().map(str::to_owned));
    match (get("team"), get("job").or_else(|| get("channel"))) {
        (Some(team), Some(rest)) => format!("{team}.{rest}"),
        _ => get("name").unwrap_or_else(|| key_values.to_string()),
    }
}

/// Commands that set up a run.
#[must_use]
pub fn prepare() -> Vec<Command> {
    let options = ItemOptions {
        updatable: false,
        max_attempts: Some(5),
        backoff: Backoff { initial_ms: 50, factor_milli: 2000, max_ms: 400, jitter_milli: 200 },
        retry_position: Position::Back,
        lease_ms: 1000,
        priority: 0,
        weight: 1,
    };
    let queue = |name: &str| {
        let config = QueueConfig { max_items: None, max_dead_letters: 100_000, defaults: options.clone() };
        Command::Queue(queue::Command::CreateQueue(CreateQueue { name: name.into(), key_values: None, config }))
    };
    let any = [("team", Value::Any)];
    let rule = CreateRule {
        name: "team".into(),
        key_values: KeyValues::pattern(any).expect("a wildcard is a pattern"),
        limit: Limit::At(LIMIT),
        mode: RuleMode::Enforce,
    };
    vec![queue(WORK), queue(SHELF), Command::Limit(limiter::Command::CreateRule(rule))]
}

/// Everything that is stored, for the checkers.
#[must_use]
pub fn census(machine: &Machine, now_ms: u64) -> Census {
    let mut census = Census {
        locks: machine.locker().len() as u64,
        waiting: machine.waiting() as u64,
        overdue_ms: machine.next_deadline_ms().map_or(0, |at_ms| now_ms.saturating_sub(at_ms)),
        ..Census::default()
    };
    let mut in_flight: BTreeMap<String, u64> = BTreeMap::new();
    for queue in [WORK, SHELF] {
        let selector = Selector::Name(queue.into());
        let live = everything(|query| {
            let listing = machine.queues().query_items(&selector, query, &[], machine.lookup(0));
            listing.ok().flatten().map(|listing| (listing.items, listing.next_page_token))
        });
        let dead = everything(|query| {
            let listing = machine.queues().query_dead_letters(&selector, query, machine.lookup(0));
            listing.ok().flatten().map(|listing| (listing.items, listing.next_page_token))
        });
        for item in live.into_iter().chain(dead) {
            let channel = name(&item.key_values);
            if item.state == queue::ItemState::InFlight {
                *in_flight.entry(channel.clone()).or_default() += u64::from(item.weight);
            }
            census.items.push(Stored {
                queue: queue.to_owned(),
                channel,
                item: item.id.to_string(),
                revision: item.revision.0,
                data: text(&item.data),
                state: state(item.state),
            });
        }
    }
    let counters = everything(|query| {
        let listing = machine.limiter().query_counters(query, machine.lookup(0)).ok()?;
        Some((listing.items, listing.next_page_token))
    });
    let counter = |counter: limiter::CounterView| CounterCensus {
        counter: name(&counter.key_values),
        amount: counter.amount,
        held: counter.held,
    };
    census.counters = counters.into_iter().map(counter).collect();
    // The Limiter counts what falls under some rule; the others it need not know.
    census.channels = in_flight.into_iter().map(|(channel, in_flight)| ChannelCensus { channel, in_flight }).collect();
    census
}

/// All pages of a listing.
fn everything<T>(mut page: impl FnMut(&Query) -> Option<(Vec<T>, Option<String>)>) -> Vec<T> {
    let mut query = Query { limit: 1000, ..Query::default() };
    let mut all = Vec::new();
    while let Some((items, next)) = page(&query) {
        all.extend(items);
        query.page_token = next;
        if query.page_token.is_none() {
            break;
        }
    }
    all
}

pub(super) fn state(state: queue::ItemState) -> ItemState {
    match state {
        queue::ItemState::Waiting => ItemState::Waiting,
        queue::ItemState::Delayed => ItemState::Delayed,
        queue::ItemState::InFlight => ItemState::InFlight,
        queue::ItemState::Dead => ItemState::Dead,
    }
}

pub(super) fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// The id of a lock.
pub(super) fn lock_id(name: &str) -> Id {
    willow_core::locker::id(&key_values(name))
}
