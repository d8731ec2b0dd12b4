//! Pools with fronts against a list of channels that is looked through as a whole.

use std::collections::BTreeMap;

use proptest::prelude::*;
use willow_model::{Id, KeyValues, Origin, Revision};
use willow_query::{Compiled, Index, Options, Query};

use super::{
    super::{
        Taint, TaintEffect,
        pool::{Pools, Rank, Sort},
        rows::{Parked, Placed},
    },
    FRONTS, Fronts, KNOWN, Start, Wanted, parts,
};

const CHANNELS: u32 = 24;
const QUERIES: [&str; 8] = [
    "",
    "os = \"mac\"",
    "os = \"linux\" or repo = \"r2\"",
    "repo >= \"r2\"",
    "os = \"mac\" and repo >= \"r2\"",
    "os = \"mac\" and repo in [\"r0\", \"r1\"] and branch != \"b1\"",
    "repo = \"r2\"",
    "os = \"none\"",
];

fn key_values(channel: u32) -> KeyValues {
    let os = ["linux", "mac"][channel as usize % 2];
    KeyValues::parse(Origin::User, &format!("os={os} repo=r{} branch=b{channel}", channel % 5)).unwrap()
}

fn index() -> Index {
    let mut index = Index::new(Options::default());
    for channel in 0..CHANNELS {
        index.insert(channel, Id::from_u128(channel.into()), &key_values(channel), &[]);
    }
    index
}

fn holds(query: usize, channel: u32) -> bool {
    match query {
        0 => true,
        1 => channel % 2 == 1,
        2 => channel.is_multiple_of(2) || channel % 5 == 2,
        3 => channel % 5 >= 2,
        4 => channel % 2 == 1 && channel % 5 >= 2,
        5 => channel % 2 == 1 && channel % 5 < 2 && channel != 1,
        6 => channel % 5 == 2,
        _ => false,
    }
}

fn taint(on: bool) -> Vec<Taint> {
    let taint = Taint { key: "k".into(), value: "v".into(), effect: TaintEffect::NoSchedule };
    if on { vec![taint] } else { vec![] }
}

#[derive(Clone, Debug)]
enum Op {
    /// Puts a channel in, or moves it.
    Place {
        channel: u32,
        priority: i32,
        delivered: u64,
        back: bool,
        tainted: bool,
        parked: Option<u64>,
    },
    Remove(u32),
    Open {
        parked: u64,
        open: bool,
    },
    /// Finds the first match, and maybe takes it out.
    Best {
        query: usize,
        sort: usize,
        tolerant: bool,
        take: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    // One is asked for more often than others, so that its front lasts.
    let asked = prop_oneof![2 => Just((1, 0)), 1 => (0..QUERIES.len(), 0usize..3)];
    let parked = prop::option::weighted(0.3, 0u64..2);
    prop_oneof![
        6 => (0..CHANNELS, -1..2, 0u64..5, prop::bool::weighted(0.4), prop::bool::weighted(0.2), parked).prop_map(
            |(channel, priority, delivered, back, tainted, parked)| Op::Place {
                channel, priority, delivered, back, tainted, parked
            }
        ),
        2 => (0..CHANNELS).prop_map(Op::Remove),
        1 => (0u64..2, any::<bool>()).prop_map(|(parked, open)| Op::Open { parked, open }),
        6 => (asked, any::<bool>(), any::<bool>()).prop_map(
            |((query, sort), tolerant, take)| Op::Best { query, sort, tolerant, take }
        ),
    ]
}

#[derive(Clone, Copy)]
struct Member {
    placed: Placed,
    tainted: bool,
    parked: Option<u64>,
}

struct World {
    index: Index,
    queries: Vec<(Query, Compiled)>,
    pools: Pools,
    members: BTreeMap<u32, Member>,
    open: [bool; 2],
    sequence: u64,
}

impl World {
    fn new() -> Self {
        let index = index();
        let queries = QUERIES.map(|query| query.parse::<Query>().unwrap());
        let queries = queries.map(|query| (query.clone(), index.compile(&query))).into();
        let mut pools = Pools::default();
        Sort::ALL.into_iter().for_each(|sort| pools.keep(sort, |_| None));
        Self { index, queries, pools, members: BTreeMap::new(), open: [false; 2], sequence: 0 }
    }

    fn remove(&mut self, channel: u32) {
        if let Some(Member { placed, tainted, parked }) = self.members.remove(&channel) {
            let emptied = self.pools.remove(channel, &placed, &taint(tainted), parked.map(name));
            if let Some(parked) = emptied {
                self.pools.set_open(parked, false);
            }
            if let (Some(_), Some(parked)) = (emptied, parked) {
                self.open[parked as usize] = false;
            }
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Place { channel, priority, delivered, back, tainted, parked } => {
                self.remove(channel);
                self.sequence += 1;
                // One that goes to the front has a place that nobody else has, either.
                let sequence = Revision(if back { 1000 + self.sequence } else { 1000 - self.sequence });
                let placed = Placed { priority, sequence, delivered: Revision(delivered), weight: 1 };
                self.pools.insert(channel, &placed, &taint(tainted), parked.map(name), &self.index);
                self.members.insert(channel, Member { placed, tainted, parked });
            }
            Op::Remove(channel) => self.remove(channel),
            Op::Open { parked, open } => {
                if self.pools.set(name(parked)).is_some() {
                    self.pools.set_open(name(parked), open);
                    self.open[parked as usize] = open;
                }
            }
            Op::Best { query, sort, tolerant, take } => {
                let sort = Sort::ALL[sort];
                let members = &self.members;
                let rank = |channel: u32| sort.rank(&members[&channel].placed, channel);
                let wants = |(channel, member): (&u32, &Member)| {
                    let searched = member.parked.is_none_or(|parked| self.open[parked as usize]);
                    (searched && (tolerant || !member.tainted) && holds(query, *channel)).then(|| rank(*channel))
                };
                let expected: Option<Rank> = members.iter().filter_map(wants).min();
                let (query, compiled) = &self.queries[query];
                let wanted = Wanted { sort, query, compiled, index: &self.index };
                assert_eq!(self.pools.best(&wanted, |_| tolerant, rank), expected);
                if let Some((.., channel)) = expected.filter(|_| take) {
                    self.remove(channel);
                }
            }
        }
    }
}

fn name(parked: u64) -> Parked {
    Parked::Pause(Revision(parked))
}

proptest! {
    #[test]
    fn agree_with_a_list(ops in prop::collection::vec(op(), 1..150)) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
        }
    }
}

fn placed(sequence: u64) -> Placed {
    Placed { priority: 0, sequence: Revision(sequence), delivered: Revision(0), weight: 1 }
}

#[test]
fn a_long_walk_is_remembered_and_what_comes_in_front_is_known() {
    let index = index();
    let mut fronts = Fronts::default();
    let query: Query = "os = \"mac\"".parse().unwrap();
    let compiled = index.compile(&query);
    let wanted = Wanted { sort: Sort::Oldest, query: &query, compiled: &compiled, index: &index };
    fronts.found(&wanted, Some((50, 0, 1)), 1);
    assert_eq!(fronts.start(&wanted), Start::Unknown, "a short walk leaves nothing");
    fronts.found(&wanted, Some((50, 0, 1)), 1000);
    assert_eq!(fronts.start(&wanted), Start::From((50, 0, 1)));
    fronts.insert(3, &placed(60), &index);
    fronts.insert(4, &placed(40), &index);
    assert_eq!(fronts.start(&wanted), Start::From((50, 0, 1)), "behind the edge, or not wanted");
    fronts.insert(5, &placed(40), &index);
    assert_eq!(fronts.start(&wanted), Start::At((40, 0, 5)));
    fronts.remove(5, &placed(40));
    assert_eq!(fronts.start(&wanted), Start::From((50, 0, 1)));
    let other = Wanted { sort: Sort::Idle, ..wanted };
    assert_eq!(fronts.start(&other), Start::Unknown, "each order has its own");
}

#[test]
fn equalities_are_shared() {
    let index = index();
    let mut fronts = Fronts::default();
    let query = |text: &str| text.parse::<Query>().map(|query| Query { limit: 1, ..query }).unwrap();
    let found_once = query("os = \"mac\" and repo >= \"r2\"");
    let [part] = &parts(&found_once)[..] else { panic!("a range leaves no front") };
    assert_eq!(*part, query("os = \"mac\""), "as if somebody had asked for just that");
    let compiled = index.compile(part);
    let wanted = Wanted { sort: Sort::Oldest, query: part, compiled: &compiled, index: &index };
    fronts.found(&wanted, Some((50, 0, 1)), 1000);
    let other = query("repo = \"r1\" and os = \"mac\"");
    assert_eq!(fronts.start(&Wanted { query: &other, ..wanted }), Start::From((50, 0, 1)));
    fronts.insert(5, &placed(40), &index);
    assert_eq!(fronts.start(&Wanted { query: &other, ..wanted }), Start::From((40, 0, 5)), "it may want that");
    for other in ["repo = \"r1\" or os = \"mac\"", "repo = \"r1\" and not os = \"mac\""] {
        assert_eq!(fronts.start(&Wanted { query: &query(other), ..wanted }), Start::Unknown);
    }
}

#[test]
fn memory_is_bounded() {
    let index = index();
    let mut fronts = Fronts::default();
    let query: Query = "os = \"mac\"".parse().unwrap();
    let compiled = index.compile(&query);
    let wanted = Wanted { sort: Sort::Oldest, query: &query, compiled: &compiled, index: &index };
    fronts.found(&wanted, None, 1000);
    for at in 0..2 * KNOWN as u64 {
        fronts.insert(1, &placed(at), &index);
    }
    assert_eq!(fronts.fronts[0].known.len(), KNOWN);
    assert_eq!(fronts.fronts[0].edge, (KNOWN as u64, 0, 1), "the edge moved back to what is not known any more");
    for kind in 0..2 * FRONTS {
        let query: Query = format!("repo = \"r{kind}\"").parse().unwrap();
        fronts.start(&wanted);
        fronts.found(&Wanted { query: &query, ..wanted }, None, 1000);
    }
    assert_eq!(fronts.fronts.len(), FRONTS);
    assert_ne!(fronts.start(&wanted), Start::Unknown, "what is used stays");
}
