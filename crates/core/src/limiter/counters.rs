//! Counters and the buckets each is counted in.

use std::collections::BTreeSet;

use willow_model::{KeyValues, Revision};
use willow_query::{Index, Options};

use super::{
    CounterView, Limiter,
    admission::{Seat, Target},
    bucket::{LimitRef, pairs, values_of},
    rows::{Counter, Hold},
};
use crate::{Context, table::Table};

/// Stored counters and holds, with all that finds them.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) rows: Table<Counter>,
    pub(super) holds: Table<Hold>,
    /// Derived, like all below.
    pub(super) index: Index,
    /// The buckets that each counter is counted in, by its slot, in the order of their limits.
    places: Vec<Box<[u32]>>,
    /// Holds of each counter, those that end first before others: (counter, end, hold).
    pub(super) ends: BTreeSet<(u32, u64, u32)>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            rows: Table::default(),
            holds: Table::default(),
            index: Index::new(Options::default()),
            places: Vec::new(),
            ends: BTreeSet::new(),
        }
    }
}

impl Counters {
    pub(super) fn row(&self, slot: u32) -> &Counter {
        self.rows.get(slot).expect("a counter lives as long as something refers to it")
    }

    pub(super) fn row_mut(&mut self, slot: u32) -> &mut Counter {
        self.rows.get_mut(slot).expect("a counter lives as long as something refers to it")
    }

    /// The buckets a counter is counted in.
    pub(super) fn places(&self, slot: u32) -> &[u32] {
        self.places.get(slot as usize).map_or(&[], |places| places)
    }

    fn take_places(&mut self, slot: u32) -> Box<[u32]> {
        self.places.get_mut(slot as usize).map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn set_places(&mut self, slot: u32, places: Vec<u32>) {
        let index = slot as usize;
        if self.places.len() <= index {
            self.places.resize_with(index + 1, Box::default);
        }
        self.places[index] = places.into_boxed_slice();
    }
}

/// How a counter changes: its free and its held part, and in which direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) free: u64,
    pub(super) held: u64,
}

impl Change {
    pub(super) const fn free(amount: u64) -> Self {
        Self { free: amount, held: 0 }
    }

    pub(super) const fn held(amount: u64) -> Self {
        Self { free: 0, held: amount }
    }
}

impl Limiter {
    pub(super) fn counter_view(&self, slot: u32) -> CounterView {
        let counter = self.counters.row(slot);
        CounterView {
            id: counter.id,
            key_values: counter.key_values.clone(),
            amount: counter.free.saturating_add(counter.held),
            held: counter.held,
            revision: counter.revision,
        }
    }

    /// Adds to a counter, creating it if need be, and to its buckets. The sum was checked.
    pub(super) fn add(&mut self, target: &Target, change: Change, cx: &mut Context) -> u32 {
        let revision = cx.next_revision();
        let slot = target.counter.unwrap_or_else(|| self.create_counter(target));
        let counter = self.counters.row_mut(slot);
        counter.free = counter.free.saturating_add(change.free);
        counter.held = counter.held.saturating_add(change.held);
        counter.revision = revision;
        for bucket in self.counters.places(slot) {
            self.buckets.add(*bucket, change.free + change.held);
        }
        slot
    }

    fn create_counter(&mut self, target: &Target) -> u32 {
        let places = self.open_seats(target);
        let slot = self.counters.rows.insert(Counter {
            id: target.id,
            key_values: target.key_values.clone(),
            free: 0,
            held: 0,
            revision: Revision(0),
        });
        self.counters.index.insert(slot, target.id, &target.key_values, &[]);
        self.counters.set_places(slot, places);
        slot
    }

    /// The buckets of a new counter, created where they were not there.
    fn open_seats(&mut self, target: &Target) -> Vec<u32> {
        let mut start = 0;
        let open = |seat: &Seat| {
            let values = &target.values[std::mem::replace(&mut start, seat.end)..seat.end];
            seat.bucket.unwrap_or_else(|| self.buckets.create(seat.limit, values))
        };
        target.seats.iter().map(open).collect()
    }

    /// Takes off a counter and its buckets, and destroys it at 0. The caller knows that so much is
    /// there, and lets waiters have the room with [`Limiter::serve_all`]: it returns the buckets with
    /// a crowd, in order.
    #[must_use]
    pub(super) fn take(&mut self, slot: u32, change: Change, cx: &mut Context) -> Vec<u32> {
        let counter = self.counters.row_mut(slot);
        debug_assert!(counter.free >= change.free && counter.held >= change.held, "more is taken than there is");
        counter.free = counter.free.saturating_sub(change.free);
        counter.held = counter.held.saturating_sub(change.held);
        counter.revision = cx.next_revision();
        let gone = counter.free == 0 && counter.held == 0;
        let places = if gone {
            self.counters.rows.remove(slot);
            self.counters.index.remove(slot);
            self.counters.take_places(slot)
        } else {
            self.counters.places(slot).into()
        };
        places.into_iter().filter(|bucket| self.take_off(*bucket, change.free + change.held)).collect()
    }

    /// Takes off one bucket; true when it has a crowd, else it may be gone now.
    fn take_off(&mut self, bucket: u32, amount: u64) -> bool {
        self.buckets.take(bucket, amount);
        let crowded = self.buckets.is_crowded(bucket);
        if !crowded {
            self.buckets.retire(bucket);
        }
        crowded
    }

    /// Moves counters out of the buckets of some limits and into those of others: for each counter
    /// that `pattern` matches, `edit` gets its limits, in order, and changes them.
    pub(super) fn relocate(&mut self, pattern: &KeyValues, edit: impl Fn(&Self, &mut Vec<LimitRef>)) {
        let slots = self.counters.index.matched_by(pattern, usize::MAX).unwrap_or_default();
        let mut values = Vec::new();
        for slot in slots {
            let counter = self.counters.row(slot);
            let (key_values, amount) = (counter.key_values.clone(), counter.free.saturating_add(counter.held));
            let old = self.counters.places(slot).to_vec();
            let before: Vec<LimitRef> = old.iter().map(|bucket| self.buckets.get(*bucket).limit).collect();
            let mut limits = before.clone();
            edit(self, &mut limits);
            if limits == before {
                continue;
            }
            limits.sort_unstable();
            let pairs = pairs(&key_values);
            let open = |limit: &LimitRef| {
                if let Ok(at) = before.binary_search(limit) {
                    return old[at];
                }
                values.clear();
                values_of(self.catalogue.pattern(*limit), &pairs, &mut values);
                let bucket = self.buckets.find_or_create(*limit, &values);
                self.buckets.add(bucket, amount);
                bucket
            };
            let places: Vec<u32> = limits.iter().map(open).collect();
            for (bucket, limit) in old.iter().zip(&before) {
                if limits.binary_search(limit).is_err() {
                    self.take_off(*bucket, amount);
                }
            }
            self.counters.set_places(slot, places);
        }
    }

    /// Gives a hold back.
    pub(super) fn end_hold(&mut self, hold: u32, cx: &mut Context) -> Option<u64> {
        let Hold { counter, amount, expires_ms, .. } = self.counters.holds.remove(hold)?;
        self.counters.ends.remove(&(counter, expires_ms, hold));
        let gained = self.take(counter, Change::held(amount), cx);
        self.serve_all(gained, cx);
        Some(amount)
    }

    /// Rebuilds what is derived of counters; rules are there already.
    pub(super) fn rebuild_counters(&mut self) {
        let slots: Vec<u32> = self.counters.rows.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let counter = self.counters.row(slot);
            let (id, amount) = (counter.id, counter.free.saturating_add(counter.held));
            let key_values = counter.key_values.clone();
            self.counters.index.insert(slot, id, &key_values, &[]);
            let places = self.open_seats(&self.new_target(id, key_values));
            for bucket in &places {
                self.buckets.add(*bucket, amount);
            }
            self.counters.set_places(slot, places);
        }
    }
}
