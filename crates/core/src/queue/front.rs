//! Fronts: how far a query has found its way into a pool's order.
//!
//! ```text
//!  order of the pool   m m m L m m m m L m │ m L m L …
//!                                          edge: from here on nothing is known
//!  known               L, L                (those before the edge that the query wants)
//! ```
//! A consumer of a kind that is slow leaves its channels lying at the front of the order, and everybody
//! else would walk past them at each dequeue. So a query that had to walk far remembers where it got to:
//! it walks past each channel once, not once per dequeue. That costs nothing to build, for the walk was made
//! anyway, and hardly anything to keep: what comes in behind the edge need not even be tested.
//!
//! A query of several conditions also leaves fronts of those that are equalities, for others that have one
//! in common with it: a hundred kinds of consumers for linux walk past what is not for linux once.
//!
//! Fronts are derived, and no answer depends on which there are: a replica that has just been restored
//! has none.

use std::collections::BTreeSet;

use willow_query::{Compiled, Filter, Index, Op, Query};

use super::{
    pool::{Rank, Sort},
    rows::Placed,
};

/// Channels looked at in vain for which a front is worth keeping: below it they cost less than a dequeue.
const LONG_WALK: usize = in_debug(1, 128);
/// Fronts of one pool: each is looked at when a channel comes or goes. Those used longest ago leave.
const FRONTS: usize = in_debug(2, 32);
/// Equalities of one query that leave fronts.
const PARTS: usize = 4;
/// Channels known before the edge. Past it the edge moves back, which bounds memory: what lies
/// between is walked again once these are taken.
const KNOWN: usize = in_debug(3, 1024);

/// After every rank.
const END: Rank = (u64::MAX, u64::MAX, u32::MAX);

/// A bound that is small in debug builds, so that the tests of the whole machine reach what lies beyond
/// it; they are compiled apart from this crate, which `cfg!(test)` does not reach.
const fn in_debug(debug: usize, otherwise: usize) -> usize {
    if cfg!(debug_assertions) { debug } else { otherwise }
}

/// What a dequeue wants of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) sort: Sort,
    pub(super) query: &'a Query,
    pub(super) compiled: &'a Compiled,
    pub(super) index: &'a Index,
}

/// The fronts of one pool.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    fronts: Vec<Front>,
    uses: u64,
}

#[derive(Debug)]
struct Front {
    sort: Sort,
    query: Query,
    compiled: Compiled,
    /// Whatever matches and comes before it is in `known`.
    edge: Rank,
    known: BTreeSet<Rank>,
    used: u64,
}

/// Where the first match is, from what says least to what says most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Start {
    /// Nobody has looked yet.
    Unknown,
    /// There or later.
    From(Rank),
    /// There.
    At(Rank),
}

/// The equalities that a query of several conditions demands, as queries of their own.
pub(super) fn parts(query: &Query) -> Vec<Query> {
    let Filter::And(parts) = &query.filter else { return vec![] };
    let equal = parts.iter().filter(|part| matches!(part, Filter::Term { op: Op::Eq(_) | Op::In(_), .. }));
    equal.take(PARTS).map(|part| Query { filter: part.clone(), limit: query.limit, ..Query::default() }).collect()
}

impl Front {
    /// Does everything that matches the query match this?
    fn is_part_of(&self, query: &Query) -> bool {
        let Query { filter, ids: None, key_count: None, matching: None, order_by, .. } = &self.query else {
            return false;
        };
        order_by.is_empty() && matches!(&query.filter, Filter::And(parts) if parts.contains(filter))
    }
}

impl Fronts {
    /// Where to look for the first match.
    pub(super) fn start(&mut self, wanted: &Wanted<'_>) -> Start {
        self.uses += 1;
        let mut start = Start::Unknown;
        for front in self.fronts.iter_mut().filter(|front| front.sort == wanted.sort) {
            let first = front.known.first();
            if front.query == *wanted.query {
                front.used = self.uses;
                if let Some(rank) = first {
                    return Start::At(*rank);
                }
                start = start.max(Start::From(front.edge));
            } else if front.is_part_of(wanted.query) {
                front.used = self.uses;
                start = start.max(Start::From(*first.unwrap_or(&front.edge)));
            }
        }
        start
    }

    /// The first match was found to be here, or nowhere, after so many channels were looked at; true when
    /// these were many.
    pub(super) fn found(&mut self, wanted: &Wanted<'_>, at: Option<Rank>, looked_at: usize) -> bool {
        let edge = at.unwrap_or(END);
        let long = looked_at > LONG_WALK;
        if let Some(front) = self.find(wanted) {
            debug_assert!(front.known.is_empty(), "what is known is taken first");
            front.edge = edge;
            return long;
        }
        if !long {
            return false;
        }
        if self.fronts.len() >= FRONTS
            && let Some(oldest) = (0..self.fronts.len()).min_by_key(|at| self.fronts[*at].used)
        {
            self.fronts.swap_remove(oldest);
        }
        self.fronts.push(Front {
            sort: wanted.sort,
            query: wanted.query.clone(),
            compiled: wanted.compiled.clone(),
            edge,
            known: BTreeSet::new(),
            used: self.uses,
        });
        true
    }

    fn find(&mut self, wanted: &Wanted<'_>) -> Option<&mut Front> {
        self.fronts.iter_mut().find(|front| front.sort == wanted.sort && front.query == *wanted.query)
    }

    /// A channel came into the pool.
    pub(super) fn insert(&mut self, channel: u32, placed: &Placed, index: &Index) {
        for front in &mut self.fronts {
            let rank = front.sort.rank(placed, channel);
            if rank < front.edge && index.matches(channel, &front.compiled) {
                front.known.insert(rank);
                if front.known.len() > KNOWN
                    && let Some(last) = front.known.pop_last()
                {
                    front.edge = last;
                }
            }
        }
    }

    /// A channel left the pool.
    pub(super) fn remove(&mut self, channel: u32, placed: &Placed) {
        for front in &mut self.fronts {
            let rank = front.sort.rank(placed, channel);
            if rank < front.edge {
                front.known.remove(&rank);
            }
        }
    }

    /// The last channel left the pool.
    pub(super) fn clear(&mut self) {
        self.fronts = Vec::new();
    }
}

#[cfg(test)]
mod tests;
