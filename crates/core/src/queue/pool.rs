//! Channels that may be handed out, in every order that is asked for.
//!
//! ```text
//! Pools (one per queue)
//!  ├─ ready                     due head, not serial-blocked, not known to be blocked
//!  └─ parked: per limit or pause   closed: not looked at │ open: searched like `ready`
//!       each of them: clean │ one Pool per set of taints, so that who tolerates none walks none
//! ```
//! Each Pool keeps a tree per order, and for queries that walked far into one where they got to
//! ([`Fronts`]). A release of room under a bucket opens its set: O(1), however many are parked there. The first
//! claim that fails on the bucket closes it again.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use roaring::RoaringBitmap;
use willow_query::Index;

use super::{
    Taint,
    front::{self, Fronts, Start, Wanted},
    rows::{Parked, Placed},
};

/// Place in an order, then the channel's row (never decisive: sequences are unique).
pub(super) type Rank = (u64, u64, u32);

/// The orders that are kept as trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Oldest,
    Priority,
    Idle,
}

impl Sort {
    pub(super) const ALL: [Self; 3] = [Self::Oldest, Self::Priority, Self::Idle];

    pub(super) fn rank(self, placed: &Placed, channel: u32) -> Rank {
        match self {
            Self::Oldest => (placed.sequence.0, 0, channel),
            // Flipping the sign bit makes the order of i32 that of u32; `!` turns it round.
            Self::Priority => (u64::from(!(placed.priority.cast_unsigned() ^ (1 << 31))), placed.sequence.0, channel),
            Self::Idle => (placed.delivered.0, placed.sequence.0, channel),
        }
    }
}

/// Channels with the same taints that wait for the same thing.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub(super) members: RoaringBitmap,
    trees: [BTreeSet<Rank>; 3],
    fronts: Fronts,
}

impl Pool {
    fn insert(&mut self, channel: u32, placed: &Placed, index: &Index, kept: [bool; 3]) {
        self.members.insert(channel);
        for (sort, tree) in Sort::ALL.into_iter().zip(&mut self.trees) {
            if kept[sort as usize] {
                tree.insert(sort.rank(placed, channel));
            }
        }
        self.fronts.insert(channel, placed, index);
    }

    fn remove(&mut self, channel: u32, placed: &Placed, kept: [bool; 3]) {
        self.members.remove(channel);
        for (sort, tree) in Sort::ALL.into_iter().zip(&mut self.trees) {
            if kept[sort as usize] {
                tree.remove(&sort.rank(placed, channel));
            }
        }
        if self.members.is_empty() {
            self.fronts.clear();
        } else {
            self.fronts.remove(channel, placed);
        }
    }

    /// The first match in the order of a tree that is kept, if it may come before `best`. `rank` tells a
    /// member's.
    fn best(&mut self, wanted: &Wanted<'_>, best: Option<Rank>, rank: impl Fn(u32) -> Rank) -> Option<Rank> {
        let tree = &self.trees[wanted.sort as usize];
        let too_late = |rank: Rank| best.is_some_and(|best| rank > best);
        let first = *tree.first().filter(|first| !too_late(**first))?;
        if wanted.index.matches(first.2, wanted.compiled) {
            return Some(first);
        }
        let from = match self.fronts.start(wanted) {
            Start::At(rank) => return Some(rank),
            Start::From(edge) if too_late(edge) => return None,
            Start::From(edge) => edge,
            Start::Unknown => first,
        };
        let (found, looked_at) = self.walk(wanted, from, &rank);
        if self.fronts.found(wanted, found, looked_at) {
            self.walk_parts(wanted, first, &rank);
        }
        found
    }

    /// The first match from a rank on, and how many members were looked at.
    fn walk(&self, wanted: &Wanted<'_>, from: Rank, rank: impl Fn(u32) -> Rank) -> (Option<Rank>, usize) {
        let ordered = self.trees[wanted.sort as usize].range(from..).map(|(.., channel)| *channel);
        let (found, looked_at) = wanted.index.select_best(wanted.compiled, &self.members, ordered, &rank);
        (found.map(rank), looked_at)
    }

    /// A walk was long: finds out how long it would be for each equality that the query demands. None is
    /// longer than that walk was.
    fn walk_parts(&mut self, wanted: &Wanted<'_>, first: Rank, rank: impl Fn(u32) -> Rank) {
        for query in front::parts(wanted.query) {
            let compiled = wanted.index.compile(&query);
            let part = Wanted { query: &query, compiled: &compiled, ..*wanted };
            let from = match self.fronts.start(&part) {
                Start::At(_) => continue,
                Start::From(edge) => edge,
                Start::Unknown => first,
            };
            let (found, looked_at) = self.walk(&part, from, &rank);
            self.fronts.found(&part, found, looked_at);
        }
    }
}

/// Channels that wait for the same thing.
#[derive(Debug, Default)]
pub(super) struct ByTaints {
    clean: Pool,
    tainted: BTreeMap<Box<[Taint]>, Pool>,
}

impl ByTaints {
    fn insert(&mut self, channel: u32, placed: &Placed, taints: &[Taint], index: &Index, kept: [bool; 3]) {
        if taints.is_empty() {
            return self.clean.insert(channel, placed, index, kept);
        }
        match self.tainted.get_mut(taints) {
            Some(pool) => pool.insert(channel, placed, index, kept),
            None => self.tainted.entry(taints.into()).or_default().insert(channel, placed, index, kept),
        }
    }

    fn remove(&mut self, channel: u32, placed: &Placed, taints: &[Taint], kept: [bool; 3]) {
        if taints.is_empty() {
            return self.clean.remove(channel, placed, kept);
        }
        let Some(pool) = self.tainted.get_mut(taints) else { return };
        pool.remove(channel, placed, kept);
        if pool.members.is_empty() {
            self.tainted.remove(taints);
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.clean.members.len() + self.tainted.values().map(|pool| pool.members.len()).sum::<u64>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clean.members.is_empty() && self.tainted.is_empty()
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = (&[Taint], &Pool)> {
        let clean = std::iter::once((&[][..], &self.clean));
        clean.chain(self.tainted.iter().map(|(taints, pool)| (&**taints, pool)))
    }

    fn pools_mut(&mut self) -> impl Iterator<Item = (&[Taint], &mut Pool)> {
        let clean = std::iter::once((&[][..], &mut self.clean));
        clean.chain(self.tainted.iter_mut().map(|(taints, pool)| (&**taints, pool)))
    }
}

/// All channels of one queue that have a due head and are not serial-blocked.
#[derive(Debug, Default)]
pub(super) struct Pools {
    ready: ByTaints,
    parked: BTreeMap<Parked, ByTaints>,
    /// Mirrors the rows of open sets.
    open: BTreeSet<Parked>,
    /// Which trees are kept: built for the first dequeue that needs one, then kept.
    kept: [bool; 3],
}

impl Pools {
    /// The channel must be in the index as it is now, and stay so while it stands here.
    pub(super) fn insert(
        &mut self,
        channel: u32,
        placed: &Placed,
        taints: &[Taint],
        parked: Option<Parked>,
        index: &Index,
    ) {
        let set = match parked {
            None => &mut self.ready,
            Some(parked) => self.parked.entry(parked).or_default(),
        };
        set.insert(channel, placed, taints, index, self.kept);
    }

    /// Returns what it was parked under if nothing is left there.
    pub(super) fn remove(
        &mut self,
        channel: u32,
        placed: &Placed,
        taints: &[Taint],
        parked: Option<Parked>,
    ) -> Option<Parked> {
        let Some(parked) = parked else {
            self.ready.remove(channel, placed, taints, self.kept);
            return None;
        };
        let set = self.parked.get_mut(&parked)?;
        set.remove(channel, placed, taints, self.kept);
        if !set.is_empty() {
            return None;
        }
        self.parked.remove(&parked);
        Some(parked)
    }

    pub(super) fn set_open(&mut self, parked: Parked, open: bool) {
        if open {
            self.open.insert(parked);
        } else {
            self.open.remove(&parked);
        }
    }

    pub(super) fn is_open(&self, parked: Parked) -> bool {
        self.open.contains(&parked)
    }

    pub(super) fn open(&self) -> impl Iterator<Item = (Parked, &ByTaints)> {
        self.open.iter().filter_map(|parked| Some((*parked, self.parked.get(parked)?)))
    }

    pub(super) fn open_len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn set(&self, parked: Parked) -> Option<&ByTaints> {
        self.parked.get(&parked)
    }

    /// Pools that are searched by who tolerates what `tolerates` says. Who tolerates nothing never
    /// touches a tainted one.
    fn searched<'a>(&'a self, tolerates: impl Fn(&[Taint]) -> bool + 'a) -> impl Iterator<Item = &'a Pool> {
        std::iter::once(&self.ready)
            .chain(self.open().map(|(_, set)| set))
            .flat_map(ByTaints::pools)
            .filter(move |(taints, pool)| !pool.members.is_empty() && (taints.is_empty() || tolerates(taints)))
            .map(|(_, pool)| pool)
    }

    /// The first match of all searched pools in an order whose trees are kept.
    pub(super) fn best(
        &mut self,
        wanted: &Wanted<'_>,
        tolerates: impl Fn(&[Taint]) -> bool,
        rank: impl Fn(u32) -> Rank,
    ) -> Option<Rank> {
        let Self { ready, parked, open, .. } = self;
        let mut best: Option<Rank> = None;
        let mut search = |set: &mut ByTaints| {
            for (_, pool) in set.pools_mut().filter(|(taints, _)| taints.is_empty() || tolerates(taints)) {
                best = match (best, pool.best(wanted, best, &rank)) {
                    (Some(best), Some(found)) => Some(best.min(found)),
                    (best, found) => best.or(found),
                };
            }
        };
        search(ready);
        for open in open.iter() {
            parked.get_mut(open).into_iter().for_each(&mut search);
        }
        best
    }

    /// The members of all searched pools.
    pub(super) fn union<'a>(&'a self, tolerates: impl Fn(&[Taint]) -> bool + 'a) -> Cow<'a, RoaringBitmap> {
        let mut pools = self.searched(tolerates);
        let Some(first) = pools.next() else { return Cow::Owned(RoaringBitmap::new()) };
        let mut union = Cow::Borrowed(&first.members);
        for pool in pools {
            *union.to_mut() |= &pool.members;
        }
        union
    }

    pub(super) fn keeps(&self, sort: Sort) -> bool {
        self.kept[sort as usize]
    }

    /// Keeps a tree from now on.
    pub(super) fn keep(&mut self, sort: Sort, placed: impl Fn(u32) -> Option<Placed>) {
        self.kept[sort as usize] = true;
        let sets = std::iter::once(&mut self.ready).chain(self.parked.values_mut());
        for (_, pool) in sets.flat_map(ByTaints::pools_mut) {
            let ranks = pool.members.iter().filter_map(|channel| Some(sort.rank(&placed(channel)?, channel)));
            pool.trees[sort as usize] = ranks.collect();
        }
    }
}
