//! Page walks while resources come, go and change: what stands throughout is returned exactly once.
//!
//! Time is simulated: a page takes [`PAGE_MS`], and [`CHURN_PER_SECOND`] of the resources are destroyed
//! and as many created in a second of it. The short runs are part of every test run; the long one is
//! `cargo xtask soak-pages`.

use std::collections::{BTreeMap, BTreeSet};

use willow_model::{Id, KeyValues, Kind, Value, ValueRef};
use willow_query::{Index, Options, Query, Run};

const SECRET: [u8; 32] = [3; 32];
const PAGE_MS: f64 = 20.0;
const CHURN_PER_SECOND: f64 = 0.1;
/// Changes of metadata for every resource that is destroyed and created.
const CHANGES: usize = 3;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        ((u128::from(bits) * u128::from(bound)) >> 64) as u64
    }
}

/// A channel with metadata that may change: a load, and a note that no query looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Channel {
    id: Id,
    team: u64,
    cpu: Option<u64>,
    load: Option<u64>,
    note: u64,
}

/// The index, and by slot what is in it.
struct World {
    index: Index,
    channels: BTreeMap<u32, Channel>,
    ids: BTreeSet<Id>,
    free: BTreeSet<u32>,
    random: Random,
    made: u64,
    /// As many as there are to be.
    count: usize,
}

impl World {
    fn new(count: u32, seed: u64) -> Self {
        let mut world = Self {
            index: Index::new(Options { hash_seed: seed, ..Options::default() }),
            channels: BTreeMap::new(),
            ids: BTreeSet::new(),
            // Some to spare: not always the slot just freed is taken.
            free: (0..count + count / 10).collect(),
            random: Random(seed),
            made: 0,
            count: count as usize,
        };
        world.fill();
        world
    }

    fn fill(&mut self) {
        while self.channels.len() < self.count {
            self.create();
        }
    }

    /// Creates one in the lowest free slot; now and then one that was there before.
    fn create(&mut self) {
        self.made += 1;
        let name = if self.random.below(10) == 0 { self.random.below(self.made) } else { self.made };
        let team = name % 17;
        let cpu = (name % 5 > 0).then_some(name % 61);
        let mut pairs = vec![("name", Value::U64(name)), ("team", Value::U64(team))];
        pairs.extend(cpu.map(|cpu| ("cpu", Value::U64(cpu))));
        let pairs = KeyValues::user(pairs).expect("valid");
        let id = Id::derive(Kind::Channel, None, pairs.as_bytes());
        if !self.ids.insert(id) {
            return;
        }
        let slot = self.free.pop_first().expect("more slots than resources");
        let load = (self.random.below(4) > 0).then(|| self.random.below(20));
        self.index.insert(slot, id, &pairs, &[]);
        self.channels.insert(slot, Channel { id, team, cpu, load, note: 0 });
        self.index.set_extra(slot, "metadata.load", load.map(ValueRef::U64));
    }

    fn any_slot(&mut self) -> Option<u32> {
        let (first, last) = (*self.channels.first_key_value()?.0, *self.channels.last_key_value()?.0);
        let from = first + self.random.below(u64::from(last - first) + 1) as u32;
        self.channels.range(from..).next().map(|(&slot, _)| slot)
    }

    /// What happens while one page is fetched; each resource that it touched, as it was before.
    fn pass_time(&mut self) -> Vec<(Channel, Option<Channel>)> {
        let writes = (self.channels.len() as f64 * CHURN_PER_SECOND * PAGE_MS / 1_000.0).ceil() as usize;
        let mut touched = Vec::new();
        for _ in 0..writes {
            if let Some(slot) = self.any_slot()
                && let Some(gone) = self.channels.remove(&slot)
            {
                self.index.remove(slot);
                self.ids.remove(&gone.id);
                self.free.insert(slot);
                touched.push((gone, None));
            }
            self.fill();
            for _ in 0..CHANGES {
                touched.extend(self.change());
            }
        }
        touched
    }

    fn change(&mut self) -> Option<(Channel, Option<Channel>)> {
        let slot = self.any_slot()?;
        let (kind, value) = (self.random.below(2), self.random.below(20));
        let channel = self.channels.get_mut(&slot)?;
        let before = *channel;
        if kind == 0 {
            channel.load = (value > 2).then_some(value);
            self.index.set_extra(slot, "metadata.load", channel.load.map(ValueRef::U64));
        } else {
            channel.note = value;
            self.index.set_extra(slot, "metadata.note", Some(ValueRef::U64(value)));
        }
        Some((before, Some(*channel)))
    }
}

/// A query, what it is about, and whether a change touches a key that it looks at.
struct Walk {
    query: &'static str,
    matches: fn(&Channel) -> bool,
    /// Ordered by a key that changes: a resource may be met again, or missed, where it moved.
    moves: bool,
}

const WALKS: &[Walk] = &[
    Walk { query: "", matches: |_| true, moves: false },
    Walk { query: "order by name desc", matches: |_| true, moves: false },
    Walk { query: "team < 9 order by cpu desc missing first, name", matches: |c| c.team < 9, moves: false },
    Walk {
        query: "not (cpu >= 30) order by team, cpu missing exclude",
        matches: |c| c.cpu.is_some_and(|cpu| cpu < 30),
        moves: false,
    },
    // The filter looks at metadata, the order does not.
    Walk {
        query: "metadata.load >= 10 order by name",
        matches: |c| c.load.is_some_and(|load| load >= 10),
        moves: false,
    },
    Walk { query: "metadata.load absent", matches: |c| c.load.is_none(), moves: false },
    // The order looks at metadata.
    Walk { query: "team < 9 order by metadata.load desc, name", matches: |c| c.team < 9, moves: true },
];

/// Walks all pages while time passes, and checks what was returned.
fn walk(world: &mut World, walk: &Walk, limit: u32) {
    let mut query: Query = walk.query.parse().expect("valid");
    query.limit = limit;
    let standing = |channel: &&Channel| (walk.matches)(channel);
    let mut throughout: BTreeSet<Id> = world.channels.values().filter(standing).map(|channel| channel.id).collect();
    let mut seen: BTreeMap<Id, u32> = BTreeMap::new();
    // A walk by what changes may meet what moves ahead of it for ever.
    for page in 0..=20 * (world.channels.len() as u32).div_ceil(limit) {
        // Some pages are cut short by the work budget.
        let budget = if page % 5 == 4 { 40 } else { 100_000 };
        let found = world.index.run(&query, &Run { budget, ..Run::new(&SECRET, b"soak") }).expect("its own token");
        let ids: BTreeSet<Id> = found.docs.iter().map(|slot| world.channels[slot].id).collect();
        assert_eq!(ids.len(), found.docs.len(), "{}: a page holds nothing twice", walk.query);
        for slot in &found.docs {
            let channel = &world.channels[slot];
            assert!((walk.matches)(channel), "{}: {channel:?} does not match", walk.query);
            *seen.entry(channel.id).or_default() += 1;
        }
        query.page_token = found.next_page_token;
        if query.page_token.is_none() {
            break;
        }
        for (before, after) in world.pass_time() {
            let stands =
                after.is_some_and(|after| (walk.matches)(&after) && !(walk.moves && after.load != before.load));
            if !stands {
                throughout.remove(&before.id);
            }
        }
    }
    assert_eq!(query.page_token, None, "{}: the pages end", walk.query);
    assert!(!throughout.is_empty(), "{}: something stood throughout", walk.query);
    for id in &throughout {
        assert_eq!(seen.get(id), Some(&1), "{}: {id} stood throughout", walk.query);
    }
}

fn soak(count: u32, limit: u32, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut world = World::new(count, seed);
        for which in WALKS {
            walk(&mut world, which, limit);
        }
    }
}

#[test]
fn what_stands_throughout_is_returned_exactly_once() {
    soak(600, 25, 0..4);
}

/// Ordered by what no change touches, whatever else changes, nothing is returned twice.
#[test]
fn what_does_not_move_is_returned_at_most_once() {
    let mut world = World::new(400, 9);
    let mut query: Query = "metadata.load >= 10 order by name limit 10".parse().expect("valid");
    let mut seen = BTreeSet::new();
    loop {
        let found = world.index.run(&query, &Run::new(&SECRET, b"soak")).expect("its own token");
        for slot in found.docs {
            assert!(seen.insert(world.channels[&slot].id), "returned before");
        }
        query.page_token = found.next_page_token;
        if query.page_token.is_none() {
            break;
        }
        for _ in 0..200 {
            world.change();
        }
    }
}

#[test]
#[ignore = "minutes: cargo xtask soak-pages"]
fn soak_pages() {
    soak(50_000, 100, 0..20);
}
