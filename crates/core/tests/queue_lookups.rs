//! Lookups over items: by id, at random, one after the other, and how many.

mod support;

use std::collections::BTreeMap;

use support::{
    check_replay_and_restore,
    queue::{Bench, config, item, q},
};
use willow_core::{
    Command, Outcome,
    cursor::{AdvanceCursor, Advanced},
    machine::{Collection, Listing},
    queue::{ItemState, ItemView, NewItem},
};
use willow_model::Id;
use willow_query::{Count, Pick, Query};

fn query(text: &str) -> Query {
    text.parse().expect("a well-formed query")
}

fn list(bench: &Bench, query: &Query, states: &[ItemState], seed: u64) -> Listing<ItemView> {
    let machine = &bench.logged.machine;
    machine.queues().query_items(&q(), query, states, machine.lookup(seed)).expect("our own token").expect("a queue")
}

fn text(item: &ItemView) -> String {
    String::from_utf8(item.data.to_vec()).expect("text")
}

/// What a round-robin lookup over items picks next.
fn next(bench: &mut Bench, query: &Query, states: &[ItemState]) -> Option<String> {
    let query = Query { pick: Some(Pick::RoundRobin { cursor: "c".into() }), ..query.clone() };
    let collection = Collection::Items { queue: bench.view().id, states: states.to_vec() };
    let picked = match bench.logged.apply(Command::AdvanceCursor(AdvanceCursor { collection, query })) {
        Ok(Outcome::Cursor(Advanced { id })) => id?,
        other => panic!("{other:?}"),
    };
    // As the server does: then it is read by its id.
    let shown = list(bench, &Query { ids: Some(vec![picked]), ..Query::default() }, states, 0);
    Some(text(&shown.items[0]))
}

/// Items of three channels, one per line, in the order of pages.
fn bench() -> (Bench, Vec<String>) {
    let mut bench = Bench::new(config());
    for (job, count) in [("a", 3), ("b", 1), ("c", 2)] {
        for at in 0..count {
            bench.enqueue(item(&format!("job={job}"), &format!("{job}{at}")));
        }
    }
    let order = list(&bench, &Query::default(), &[], 0).items.iter().map(text).collect();
    (bench, order)
}

#[test]
fn round_robin_over_items_goes_over_every_item_in_the_order_of_pages() {
    let (mut bench, order) = bench();
    for turn in 0..13 {
        assert_eq!(next(&mut bench, &Query::default(), &[]).as_ref(), Some(&order[turn % 6]), "turn {turn}");
    }
    let only_a: Vec<_> = (0..4).filter_map(|_| next(&mut bench, &query("job = \"a\""), &[])).collect();
    assert_eq!(only_a.len(), 4);
    assert!(only_a.iter().all(|text| text.starts_with('a')), "{only_a:?}");
    assert_eq!(only_a[0], only_a[3], "once round");
    assert_eq!(next(&mut bench, &query("job = \"x\""), &[]), None);
    check_replay_and_restore(&mut bench.logged, 9);
}

#[test]
fn round_robin_goes_on_where_it_stood_when_the_item_there_is_gone() {
    let (mut bench, order) = bench();
    let all = Query::default();
    assert_eq!(next(&mut bench, &all, &[]).as_ref(), Some(&order[0]));
    // All of its channel but the last go: the first, where the cursor stands, too.
    let channel = &order[0][..1];
    let same = order.iter().filter(|text| text.starts_with(channel)).count();
    for _ in 1..same {
        let delivery = bench.take_one(&format!("job = \"{channel}\""));
        bench.ack(&delivery);
    }
    let left: Vec<&String> = order.iter().filter(|text| !text.starts_with(channel)).collect();
    let expected = if same == 1 { left[0] } else { &order[same - 1] };
    assert_eq!(next(&mut bench, &all, &[]).as_ref(), Some(expected));
    // The whole channel goes.
    for text in order.iter().skip(1).filter(|text| text.starts_with(channel)).take(1) {
        let delivery = bench.take_one(&format!("job = \"{}\"", &text[..1]));
        bench.ack(&delivery);
    }
    assert_eq!(next(&mut bench, &all, &[]).as_ref(), Some(if same == 1 { left[1] } else { left[0] }));
}

#[test]
fn round_robin_over_items_minds_their_states_and_their_ids() {
    let (mut bench, order) = bench();
    let taken = bench.take_one("job = \"a\"");
    let in_flight = [ItemState::InFlight];
    let all = Query::default();
    assert_eq!(next(&mut bench, &all, &in_flight).as_deref(), Some("a0"));
    assert_eq!(next(&mut bench, &all, &in_flight).as_deref(), Some("a0"), "the only one");
    let waiting: Vec<_> = (0..5).filter_map(|_| next(&mut bench, &all, &[ItemState::Waiting])).collect();
    let expected: Vec<_> = order.into_iter().filter(|text| text != "a0").collect();
    assert_eq!(waiting, expected, "a cursor of its own");
    let mut two: Vec<Id> = vec![taken.item];
    two.extend(list(&bench, &query("job = \"b\""), &[], 0).items.iter().map(|item| item.id));
    let named = Query { ids: Some(two), ..Query::default() };
    let mut turns: Vec<_> = (0..4).filter_map(|_| next(&mut bench, &named, &[])).collect();
    assert_eq!((&turns[0], &turns[1]), (&turns[2], &turns[3]));
    turns.truncate(2);
    turns.sort();
    assert_eq!(turns, ["a0", "b0"]);
}

#[test]
fn ids_are_of_items() {
    let (bench, order) = bench();
    let mut ids: Vec<Id> = list(&bench, &Query::default(), &[], 0).items.iter().map(|item| item.id).collect();
    ids.swap_remove(1);
    ids.push(Id::from_u128(7));
    let mut page = Query { ids: Some(ids), limit: 2, count: true, ..Query::default() };
    let mut found = Vec::new();
    loop {
        let listing = list(&bench, &page, &[], 0);
        assert_eq!(listing.count, Some(Count { value: 5, exact: true }));
        found.extend(listing.items.iter().map(text));
        page.page_token = listing.next_page_token;
        if page.page_token.is_none() {
            break;
        }
    }
    let mut expected = order;
    expected.remove(1);
    assert_eq!(found, expected);
    let picked = list(&bench, &Query { pick: Some(Pick::Random), page_token: None, ..page.clone() }, &[], 3);
    assert!(found.contains(&text(&picked.items[0])));
    let filtered = Query { page_token: None, ..page };
    let filtered = Query { filter: query("job = \"c\"").filter, ..filtered };
    assert!(list(&bench, &filtered, &[], 0).items.iter().all(|item| text(item).starts_with('c')));
}

/// Channels weigh as much as they have items, whether rows are drawn or, where matches are rare, channels
/// are enumerated.
#[test]
fn a_random_item_is_any_with_equal_chance() {
    let mut bench = Bench::new(config());
    let others = (0..900).map(|at| item(&format!("other={at}"), "other")).collect();
    bench.try_enqueue(others);
    for (job, count) in [("a", 5), ("b", 1), ("c", 2)] {
        for at in 0..count {
            bench.enqueue(NewItem { delay_ms: 1000, ..item(&format!("job={job}"), &format!("{job}{at}")) });
        }
    }
    for (what, text_of) in [("rare", ""), ("filtered", "job is string")] {
        let random = Query { pick: Some(Pick::Random), ..query(text_of) };
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for seed in 0..1600 {
            let listing = list(&bench, &random, &[ItemState::Delayed], seed);
            *counts.entry(text(&listing.items[0])).or_default() += 1;
        }
        assert_eq!(counts.len(), 8, "{what}");
        let chi_square: f64 = counts.values().map(|count| (f64::from(*count) - 200.0).powi(2) / 200.0).sum();
        assert!(chi_square < 24.3, "7 degrees of freedom, 1 in 1000: {what} {chi_square} {counts:?}");
    }
    let nothing = Query { pick: Some(Pick::Random), ..query("job = \"x\"") };
    assert!(list(&bench, &nothing, &[], 1).items.is_empty());
}
