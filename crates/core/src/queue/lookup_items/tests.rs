//! Past the budget, which is small in tests.

use std::sync::Arc;

use willow_model::{KeyValues, Origin};
use willow_query::{Count, Query};

use super::BUDGET;
use crate::{
    Batch, Command, Envelope, Machine,
    limiter::Selector,
    queue::{self, Backoff, CreateQueue, Enqueue, ItemOptions, ItemState, NewItem, Position, QueueConfig},
};

const CHANNELS: usize = 3 * BUDGET;

fn q() -> Selector {
    Selector::Name("q".into())
}

fn item(key_values: &str) -> NewItem {
    NewItem::new(KeyValues::parse(Origin::User, key_values).unwrap(), Arc::from(&b""[..]), "")
}

/// Channels `n=0`… of two items each, every other one also with `even=1`.
fn machine() -> Machine {
    let mut machine = Machine::default();
    let backoff = Backoff { initial_ms: 0, factor_milli: 1000, max_ms: 0, jitter_milli: 0 };
    let defaults = ItemOptions {
        updatable: false,
        max_attempts: None,
        backoff,
        retry_position: Position::Back,
        lease_ms: 1000,
        priority: 0,
        weight: 1,
    };
    let config = QueueConfig { max_items: None, max_dead_letters: 0, defaults };
    let create = queue::Command::CreateQueue(CreateQueue { name: "q".into(), key_values: None, config });
    let text = |n: usize| if n.is_multiple_of(2) { format!("n={n} even=1") } else { format!("n={n} odd=1") };
    let items = (0..CHANNELS).flat_map(|n| [item(&text(n)), item(&text(n))]).collect();
    let enqueue = queue::Command::Enqueue(Enqueue { queue: q(), items });
    let envelope = |command| Envelope { request_id: None, entropy: 1, command: Command::Queue(command) };
    let batch = Batch { time_ms: 1, envelopes: vec![envelope(create), envelope(enqueue)] };
    assert!(machine.apply(batch).replies.iter().all(Result::is_ok));
    machine
}

fn query(text: &str) -> Query {
    text.parse().unwrap()
}

#[test]
fn a_count_is_exact_from_what_is_kept_and_estimated_past_the_budget() {
    let machine = machine();
    let count = |text: &str, states: &[ItemState]| {
        let query = Query { count: true, ..query(text) };
        machine.queues().query_items(&q(), &query, states, machine.lookup(1)).unwrap().unwrap().count.unwrap()
    };
    let all = 2 * CHANNELS as u64;
    assert_eq!(count("", &[]), Count { value: all, exact: true });
    assert_eq!(count("", &[ItemState::Waiting]), Count { value: all, exact: true });
    assert_eq!(count("", &[ItemState::InFlight, ItemState::Delayed]), Count { value: 0, exact: true });
    assert_eq!(count("n < 9", &[]), Count { value: 18, exact: true });
    // The index knows how many channels match, and all have two items.
    assert_eq!(count("even = 1", &[]), Count { value: all / 2, exact: false });
}

/// A filter that no index drives: the budget goes to channels that do not match.
#[test]
fn a_page_that_finds_nothing_ends_short_and_the_walk_still_finds_all() {
    let machine = machine();
    let text = format!("not (even = 1) and not (n < {})", CHANNELS - 4);
    let mut page = Query { limit: 3, ..query(&text) };
    let (mut found, mut short) = (Vec::new(), 0);
    loop {
        let listing = machine.queues().query_items(&q(), &page, &[], machine.lookup(1)).unwrap().unwrap();
        found.extend(listing.items.iter().map(|item| item.id));
        page.page_token = listing.next_page_token;
        if page.page_token.is_none() {
            break;
        }
        short += usize::from(listing.items.len() < 3);
    }
    assert_eq!(found.len(), 4, "two channels of two items");
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 4);
    assert!(short >= 1, "no page looked at more than its budget");
}
