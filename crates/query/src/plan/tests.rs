//! The engine against the naive reference.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use roaring::RoaringBitmap;
use willow_model::{Id, Key, KeyValues, Value, ValueRef};

use super::{Page, Run};
use crate::ast::{Direction, Filter, Missing, Op, OrderBy, Pick, Query};
use crate::index::{Index, Options};
use crate::naive::{self, Doc};
use crate::testing::{doc, docs, list_query};

const SECRET: [u8; 32] = [7; 32];

/// An index and what ought to be in it, by slot.
struct World {
    index: Index,
    docs: BTreeMap<u32, Doc>,
}

impl World {
    fn new(reverse: bool, docs: Vec<Doc>) -> Self {
        let index = Index::new(Options { reverse, ..Options::default() });
        let mut world = Self { index, docs: BTreeMap::new() };
        for doc in docs {
            world.insert(doc);
        }
        world
    }

    /// Puts it into the lowest free slot, replacing one of the same id.
    fn insert(&mut self, doc: Doc) {
        self.remove(doc.id);
        let slot = (0..).find(|slot| !self.docs.contains_key(slot)).expect("some slot is free");
        let extra: Vec<(&str, ValueRef<'_>)> =
            doc.extra.iter().map(|(key, value)| (key.as_str(), value.as_ref())).collect();
        self.index.insert(slot, doc.id, &doc.key_values, &extra);
        self.docs.insert(slot, doc);
    }

    fn remove(&mut self, id: Id) {
        let slot = self.docs.iter().find(|(_, doc)| doc.id == id).map(|(&slot, _)| slot);
        if let Some(slot) = slot {
            self.index.remove(slot);
            self.docs.remove(&slot);
        }
    }

    fn set_extra(&mut self, slot: u32, key: &str, value: Option<Value>) {
        self.index.set_extra(slot, key, value.as_ref().map(Value::as_ref));
        let Some(doc) = self.docs.get_mut(&slot) else {
            return;
        };
        let key = Key::new(key).expect("valid");
        match value {
            Some(value) => doc.extra.insert(key, value),
            None => doc.extra.remove(&key),
        };
    }

    fn all(&self) -> Vec<Doc> {
        self.docs.values().cloned().collect()
    }

    fn run(&self, query: &Query, budget: usize) -> Page {
        let run = Run { budget, seed: 5, ..Run::new(&SECRET, b"tests") };
        self.index.run(query, &run).expect("the token is the query's")
    }

    fn ids(&self, docs: &[u32]) -> Vec<Id> {
        docs.iter().map(|slot| self.docs[slot].id).collect()
    }

    /// Every page, from the first.
    fn walk(&self, query: &Query, budget: usize) -> Vec<Id> {
        let mut query = query.clone();
        let mut ids = Vec::new();
        for _ in 0..300 {
            let page = self.run(&query, budget);
            assert!(page.docs.len() <= query.page_limit());
            ids.extend(self.ids(&page.docs));
            query.page_token = page.next_page_token;
            if query.page_token.is_none() {
                return ids;
            }
        }
        panic!("the pages do not end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pages_agree(
        docs in docs(60),
        query in list_query(),
        reverse in any::<bool>(),
        budget in prop_oneof![1..30_usize, Just(usize::MAX)],
    ) {
        let world = World::new(reverse, docs);
        let expected: Vec<Id> = naive::all(&world.all(), &query).iter().map(|position| position.id).collect();
        prop_assert_eq!(&world.walk(&query, budget), &expected);
        let page = world.run(&Query { count: true, explain: true, ..query }, budget);
        let count = page.count.expect("asked for");
        if count.exact {
            prop_assert_eq!(count.value as usize, expected.len());
        } else {
            prop_assert!(budget < 60);
        }
        prop_assert!(page.plan.is_some());
    }

    #[test]
    fn pages_agree_while_writing(
        (docs, arriving) in (docs(40), docs(40)),
        query in list_query(),
        writes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, -2_i64..3), 0..80),
    ) {
        let mut world = World::new(true, docs);
        let (mut query, mut after, mut arriving, mut writes) = (query, None, arriving, writes.into_iter());
        let mut throughout: BTreeSet<Id> = world.docs.values().map(|doc| doc.id).collect();
        let mut seen = BTreeMap::new();
        loop {
            let all = world.all();
            let page = world.run(&query, usize::MAX);
            let expected = naive::page(&all, &query, after.as_ref());
            prop_assert_eq!(world.ids(&page.docs), expected.ids.clone());
            prop_assert_eq!(page.next_page_token.is_some(), expected.next.is_some());
            for id in expected.ids {
                *seen.entry(id).or_insert(0) += 1;
            }
            query.page_token = page.next_page_token;
            after = expected.next;
            if after.is_none() {
                break;
            }
            for (at, kind, value) in writes.by_ref().take(6) {
                let slots: Vec<u32> = world.docs.keys().copied().collect();
                let slot = if slots.is_empty() { None } else { Some(slots[at.index(slots.len())]) };
                match (kind, slot) {
                    (0, Some(slot)) => {
                        let id = world.docs[&slot].id;
                        throughout.remove(&id);
                        world.remove(id);
                    }
                    (1, Some(slot)) => {
                        throughout.remove(&world.docs[&slot].id);
                        let value = (value != 0).then_some(Value::I64(value));
                        world.set_extra(slot, "metadata.a", value);
                    }
                    _ => if let Some(doc) = arriving.pop() {
                        throughout.remove(&doc.id);
                        world.insert(doc);
                    }
                }
            }
        }
        let query = Query { page_token: None, ..query };
        for position in naive::all(&world.all(), &query) {
            if throughout.contains(&position.id) {
                prop_assert_eq!(seen.get(&position.id), Some(&1), "a resource that was there throughout");
            }
        }
    }

    #[test]
    fn actions_agree(
        docs in docs(60),
        query in list_query(),
        eligible in prop::collection::btree_set(0..70_u32, 0..60),
        seed in any::<u64>(),
        cursor in any::<u128>(),
    ) {
        let mut world = World::new(true, docs);
        let compiled = world.index.compile(&query);
        // What was compiled holds also for what comes later.
        world.insert(Doc::new(Id::from_u128(1), key_values([("later", 1_u8)])));
        let restrict: RoaringBitmap = eligible.iter().copied().collect();
        let matching: Vec<u32> = world.docs.iter()
            .filter(|(slot, doc)| eligible.contains(*slot) && doc.matches(&query) && doc.position(&query).is_some())
            .map(|(&slot, _)| slot)
            .collect();
        for slot in world.docs.keys() {
            let doc = &world.docs[slot];
            let expected = doc.matches(&query) && doc.position(&query).is_some();
            prop_assert_eq!(world.index.matches(*slot, &compiled), expected);
        }
        let rank = |slot: u32| (slot.wrapping_mul(2_654_435_761), slot);
        let mut ordered: Vec<u32> = eligible.iter().copied().collect();
        ordered.sort_by_key(|&slot| rank(slot));
        let (best, _) = world.index.select_best(&compiled, &restrict, ordered, rank);
        prop_assert_eq!(best, matching.iter().copied().min_by_key(|&slot| rank(slot)));
        let random = world.index.select_random(&compiled, &restrict, seed);
        prop_assert_eq!(random.is_some(), !matching.is_empty());
        prop_assert!(random.is_none_or(|slot| matching.contains(&slot)));
        let eligible_docs: Vec<Doc> = matching.iter().map(|slot| world.docs[slot].clone()).collect();
        for cursor in [None, Some(Id::from_u128(cursor))] {
            let next = world.index.select_next(&compiled, &restrict, cursor);
            let expected = naive::round_robin(&eligible_docs, &Query::default(), cursor);
            prop_assert_eq!(next.map(|(slot, _)| world.docs[&slot].id), expected);
            prop_assert_eq!(next.map(|(_, id)| id), expected);
        }
    }

    /// What came and went before leaves no trace in any answer.
    #[test]
    fn history_decides_nothing(
        docs in docs(40),
        gone in prop::collection::vec(doc(), 0..40),
        query in list_query(),
        seed in any::<u64>(),
    ) {
        let mut fresh = World::new(true, docs.clone());
        let mut old = World::new(true, gone.clone());
        for doc in gone {
            old.remove(doc.id);
        }
        old.docs.clear();
        for doc in docs.into_iter().rev() {
            old.insert(doc);
        }
        // The same slots for both.
        let slots: Vec<(u32, Doc)> = old.docs.clone().into_iter().collect();
        fresh.index = Index::new(Options { reverse: true, hash_seed: 99 });
        for (slot, doc) in &slots {
            let extra: Vec<_> = doc.extra.iter().map(|(key, value)| (key.as_str(), value.as_ref())).collect();
            fresh.index.insert(*slot, doc.id, &doc.key_values, &extra);
        }
        let run = Run { seed, ..Run::new(&SECRET, b"tests") };
        let random = Query { pick: Some(Pick::Random), order_by: Vec::new(), ..query.clone() };
        for query in [query, random] {
            let a = fresh.index.run(&query, &run).expect("valid");
            let b = old.index.run(&query, &run).expect("valid");
            prop_assert_eq!((a.docs, a.next_page_token), (b.docs, b.next_page_token));
        }
    }

    #[test]
    fn random_picks_are_different_matches(docs in docs(60), query in list_query(), seed in any::<u64>()) {
        let world = World::new(false, docs);
        let query = Query { pick: Some(Pick::Random), order_by: Vec::new(), ..query };
        let run = Run { seed, ..Run::new(&SECRET, b"tests") };
        let page = world.index.run(&query, &run).expect("valid");
        let matching: BTreeSet<Id> = naive::all(&world.all(), &query).iter().map(|position| position.id).collect();
        let picked: BTreeSet<Id> = world.ids(&page.docs).into_iter().collect();
        prop_assert_eq!(picked.len(), page.docs.len());
        prop_assert_eq!(picked.len(), matching.len().min(query.page_limit()));
        prop_assert!(picked.is_subset(&matching));
    }
}

fn term(key: &str, op: Op) -> Filter {
    Filter::term(Key::new(key).expect("valid"), op)
}

/// Documents 0..count with `n`, `common` (0 or 1) and, for one in a hundred, `rare`.
fn numbered(count: u32) -> World {
    let mut world = World::new(false, Vec::new());
    for slot in 0..count {
        let mut pairs = vec![("n", slot), ("common", slot % 2), ("tenth", slot % 10)];
        if slot % 100 == 7 {
            pairs.push(("rare", 1));
        }
        let key_values = key_values(pairs);
        let id = Id::derive(willow_model::Kind::Counter, None, key_values.as_bytes());
        world.index.insert(slot, id, &key_values, &[]);
        world.docs.insert(slot, Doc::new(id, key_values));
    }
    world
}

/// Picks `draws` times and compares how often each match came with equal shares. The
/// bound is the mean of the chi-square distribution plus five standard deviations.
fn assert_uniform(world: &World, filter: Filter, draws: u64) {
    let query = Query { pick: Some(Pick::Random), limit: 1, ..Query::of(filter) };
    let matching = naive::all(&world.all(), &query).len() as f64;
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for seed in 0..draws {
        let run = Run { seed, ..Run::new(&SECRET, b"tests") };
        let page = world.index.run(&query, &run).expect("valid");
        *counts.entry(page.docs[0]).or_default() += 1;
    }
    let expected = draws as f64 / matching;
    let unseen = (matching - counts.len() as f64) * expected;
    let chi: f64 = counts.values().map(|&count| (count as f64 - expected).powi(2) / expected).sum::<f64>() + unseen;
    let freedom = matching - 1.0;
    assert!(chi < freedom + 5.0 * (2.0 * freedom).sqrt(), "chi-square {chi} with {freedom} degrees of freedom");
}

#[test]
fn random_is_uniform_under_any_filter() {
    let world = numbered(600);
    // By rejection from everything, from a posting, from several; by enumeration of a
    // range, a rare value, and a rare value that no single index knows.
    assert_uniform(&world, Filter::all(), 9_000);
    assert_uniform(&world, term("common", Op::Eq(1_u8.into())), 6_000);
    assert_uniform(&world, term("tenth", Op::Gte(7_u8.into())), 4_000);
    assert_uniform(&world, Filter::not(term("n", Op::Lt(400_u32.into()))), 3_000);
    assert_uniform(&world, term("rare", Op::Exists(true)), 1_000);
    let rare =
        [term("tenth", Op::Eq(7_u8.into())), term("n", Op::Lt(150_u32.into())), term("common", Op::Ne(0_u8.into()))];
    assert_uniform(&world, Filter::and(rare), 1_000);
}

fn order(key: &str, direction: Direction) -> OrderBy {
    OrderBy { key: Key::new(key).expect("valid"), direction, missing: Missing::Last }
}

#[test]
fn plans_are_explained() {
    let world = numbered(2_000);
    let explain = |filter: Filter, order_by: Vec<OrderBy>| {
        let query = Query { explain: true, order_by, limit: 10, ..Query::of(filter) };
        world.run(&query, usize::MAX).plan.expect("asked for")
    };
    let walk = explain(Filter::all(), vec![order("n", Direction::Desc)]);
    assert_eq!((walk.access, walk.driver.as_str()), (super::Access::Walk, "n desc, id asc"));
    assert!(walk.actual_rows < 20, "{walk:?}");
    let sort = explain(term("n", Op::In(vec![5_u8.into(), 6_u8.into()])), vec![order("tenth", Direction::Asc)]);
    assert_eq!((sort.access, sort.actual_rows, sort.estimated_rows), (super::Access::Sort, 2, 2));
    assert_eq!(sort.driver, "2 value(s) of n");
    assert!(sort.conditions[0].exact && sort.conditions[0].rows == 2);
}

#[test]
fn a_round_robin_visits_every_match_in_turn() {
    let world = numbered(500);
    let filter = term("tenth", Op::Eq(3_u8.into()));
    let query = Query { pick: Some(Pick::RoundRobin { cursor: "c".into() }), ..Query::of(filter) };
    let (mut cursor, mut seen) = (None, Vec::new());
    for _ in 0..100 {
        let run = Run { cursor, ..Run::new(&SECRET, b"tests") };
        let page = world.index.run(&query, &run).expect("valid");
        cursor = page.next_cursor;
        seen.extend(page.docs);
    }
    assert_eq!(seen[..50], seen[50..], "it wraps");
    assert_eq!(seen[..50].iter().collect::<BTreeSet<_>>().len(), 50);
}

/// Numbers compare exactly: 2^53 + 1 is not 2^53, and `u64::MAX` is not its neighbour.
#[test]
fn order_is_exact_across_numeric_types() {
    let values: Vec<Value> = vec![
        Value::Bool(true),
        Value::I64(-1),
        Value::f64(9_007_199_254_740_992.0).expect("finite"),
        Value::I64(9_007_199_254_740_993),
        Value::U64(u64::MAX - 1),
        Value::U64(u64::MAX),
        Value::f64(18_446_744_073_709_551_616.0).expect("finite"),
        "".into(),
        "a".into(),
    ];
    let mut world = World::new(false, Vec::new());
    for (slot, value) in (0..).zip(values.iter().rev()) {
        let key_values = KeyValues::user([("v", value.clone())]).expect("valid");
        world.index.insert(slot, Id::from_u128(slot.into()), &key_values, &[]);
        world.docs.insert(slot, Doc::new(Id::from_u128(slot.into()), key_values));
    }
    for (direction, forward) in [(Direction::Asc, true), (Direction::Desc, false)] {
        let query = Query { order_by: vec![order("v", direction)], limit: 2, ..Query::default() };
        let slots: Vec<u32> = world.walk(&query, 3).iter().map(|id| id.to_u128() as u32).collect();
        let mut expected: Vec<u32> = (0..values.len() as u32).collect();
        if forward {
            expected.reverse();
        }
        assert_eq!(slots, expected);
    }
}

#[test]
fn memory_is_given_back() {
    let mut world = numbered(5_000);
    let full = world.index.memory_bytes();
    for slot in 0..5_000 {
        world.index.remove(slot);
    }
    assert!(world.index.is_empty());
    let empty = Index::new(Options::default()).memory_bytes();
    let left = world.index.memory_bytes();
    assert!(left < empty + 100_000 && left < full / 8, "{left} of {full} bytes left, {empty} when new");
}

#[test]
fn documents_with_many_pairs_are_whole() {
    let pairs: Vec<(String, u32)> = (0..32).map(|number| (format!("k{number}"), number)).collect();
    let pairs: Vec<(&str, u32)> = pairs.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let mut world = World::new(true, vec![Doc::new(Id::from_u128(3), key_values(pairs))]);
    for (key, value) in
        [("metadata.a", Some(5)), ("metadata.b", Some(6)), ("metadata.a", Some(7)), ("metadata.b", None)]
    {
        world.set_extra(0, key, value.map(Value::I64));
    }
    let found = |filter: Filter| world.run(&Query::of(filter), 9).docs.len();
    assert_eq!(found(term("k31", Op::Eq(31_u8.into()))), 1);
    assert_eq!(found(term("metadata.a", Op::Eq(7_u8.into()))), 1);
    assert_eq!(found(term("metadata.a", Op::Eq(5_u8.into()))), 0);
    assert_eq!(found(term("metadata.b", Op::Exists(true))), 0);
    world.remove(Id::from_u128(3));
    assert!(world.index.is_empty());
}

fn key_values<'a, V: Into<Value>>(pairs: impl IntoIterator<Item = (&'a str, V)>) -> KeyValues {
    KeyValues::user(pairs).expect("valid")
}
