//! What the queue uses: claims on counters within its own apply, and word of buckets that gain room.
//!
//! Increments that wait are served first; what room is left then is reported by
//! [`Limiter::take_opened`]. A wake-up that is lost would stop a channel for ever, so whatever may
//! have opened a bucket *touches* it, and it is at the report that each watch is asked whether its
//! weight has room. A bucket that vanishes is reported as well: what was parked there must be tried
//! again, and will learn where it stands now.

use std::collections::BTreeSet;

use willow_model::KeyValues;

use super::{
    Blocking, BucketId, Limiter,
    counters::Change,
    rows::{Counter, Watched},
};
use crate::Context;

/// What to tell the queue.
#[derive(Debug)]
pub(super) enum Opened {
    /// Ask the bucket's watches.
    Touched(BucketId),
    /// This watch is over.
    Gone(BucketId, u64),
}

impl Limiter {
    /// Counts an item of this weight in flight on the counter of these key values (the channel's,
    /// plus `_willow_queue_name`), if every bucket allows; else names the bucket to park under: the
    /// first that has no room for the weight, or has a line. Never waits. The amount is part of
    /// `CounterView::held`.
    pub(crate) fn claim(&mut self, key_values: &KeyValues, weight: u64, cx: &mut Context) -> Result<(), BucketId> {
        if weight == 0 {
            return Ok(());
        }
        let target = self.target(key_values);
        if let Some(seat) = self.first_block(&target, weight, None) {
            let bucket = self.open_seat(seat, &target);
            return Err(self.name_of(bucket));
        }
        // An amount past 64 bits cannot come from items: each is in memory, with a 32-bit weight.
        self.count_shadows(&target, weight, cx.now_ms);
        self.add(&target, Change::held(weight), cx);
        Ok(())
    }

    /// Takes the weight of an item in flight off again, then serves whoever waits for the room.
    pub(crate) fn unclaim(&mut self, key_values: &KeyValues, weight: u64, cx: &mut Context) {
        let Some(slot) = self.counters.rows.slot(&Counter::id_of(key_values)) else {
            debug_assert!(weight == 0, "what is taken off was claimed before");
            return;
        };
        let weight = weight.min(self.counters.row(slot).held);
        if weight == 0 {
            return;
        }
        let gained = self.take(slot, Change::held(weight), cx);
        self.serve_all(gained, cx);
    }

    /// All that would deny a claim of this weight, to explain.
    pub(crate) fn blocking(&self, key_values: &KeyValues, weight: u64, now_ms: u64) -> Vec<Blocking> {
        self.blocks(&self.target(key_values), weight, now_ms)
    }

    /// From now on, tell when this bucket has room for `weight` (or vanishes, or loses its line).
    /// A bucket may be watched for several weights at once; each (bucket, weight) is one watch.
    pub(crate) fn watch(&mut self, bucket: BucketId, weight: u64) {
        let Some(slot) = self.names.get(&bucket).copied() else {
            self.opened.push(Opened::Gone(bucket, weight));
            return;
        };
        if self.watched.slot(&bucket).is_none() {
            let of = self.buckets.get(slot);
            self.watched.insert(Watched { id: bucket, limit: of.limit, values: of.values.clone() });
        }
        self.buckets.crowd(slot).watches.insert(weight);
        if self.has_room(bucket, weight) {
            self.touch(slot);
        }
    }

    /// No longer.
    pub(crate) fn unwatch(&mut self, bucket: BucketId, weight: u64) {
        let Some(slot) = self.names.get(&bucket).copied() else { return };
        let crowd = self.buckets.crowd(slot);
        crowd.watches.remove(&weight);
        if crowd.watches.is_empty() {
            self.unname(slot);
            self.retire(slot);
        }
    }

    /// Would a claim of this weight pass this bucket? True for a bucket that is not there.
    pub(crate) fn has_room(&self, bucket: BucketId, weight: u64) -> bool {
        self.names.get(&bucket).is_none_or(|slot| {
            let bucket = self.buckets.get(*slot);
            self.catalogue.terms(bucket.limit).passes(bucket.used, weight) && bucket.waiting() == 0
        })
    }

    /// Watches whose bucket got room for their weight since the last call, in the order they did,
    /// each once (of one bucket: larger weights first, so that they are not starved). A watch stays
    /// until [`Limiter::unwatch`], unless its bucket vanished: claim again, whatever
    /// [`Limiter::has_room`] says of others.
    pub(crate) fn take_opened(&mut self) -> Vec<(BucketId, u64)> {
        let mut open = Vec::new();
        let mut told = BTreeSet::new();
        for opened in std::mem::take(&mut self.opened) {
            let (bucket, weights) = match opened {
                Opened::Gone(bucket, weight) => (bucket, vec![weight]),
                Opened::Touched(bucket) => (bucket, self.open_watches(bucket)),
            };
            open.extend(weights.into_iter().map(|weight| (bucket, weight)).filter(|watch| told.insert(*watch)));
        }
        for slot in std::mem::take(&mut self.fresh) {
            let bucket = self.names.get(&slot).copied();
            if let Some(bucket) = bucket
                && self.watched.slot(&slot).is_none()
            {
                self.unname(bucket);
                self.retire(bucket);
            }
        }
        open
    }

    /// Weights that a bucket is watched for and has room for.
    fn open_watches(&mut self, bucket: BucketId) -> Vec<u64> {
        let Some(slot) = self.names.get(&bucket).copied() else { return Vec::new() };
        let crowd = self.buckets.crowd(slot);
        crowd.touched = false;
        let weights: Vec<u64> = crowd.watches.iter().rev().copied().collect();
        weights.into_iter().filter(|weight| self.has_room(bucket, *weight)).collect()
    }

    /// A bucket may have gained room: at the next report its watches are asked.
    pub(super) fn touch(&mut self, bucket: u32) {
        if !self.buckets.is_crowded(bucket) {
            return;
        }
        let crowd = self.buckets.crowd(bucket);
        if let Some(name) = crowd.name
            && !crowd.watches.is_empty()
            && !std::mem::replace(&mut crowd.touched, true)
        {
            self.opened.push(Opened::Touched(name));
        }
    }

    /// Ends a bucket's watches, because its limit goes or because what is parked there may fall under
    /// others now.
    pub(super) fn end_watches(&mut self, bucket: u32) {
        let crowd = self.buckets.crowd(bucket);
        let watches = std::mem::take(&mut crowd.watches);
        if let Some(name) = crowd.name {
            self.opened.extend(watches.into_iter().rev().map(|weight| Opened::Gone(name, weight)));
        }
        self.unname(bucket);
    }

    /// What the queue calls a bucket.
    fn name_of(&mut self, bucket: u32) -> BucketId {
        if let Some(name) = self.buckets.crowd(bucket).name {
            return name;
        }
        let of = self.buckets.get(bucket);
        let name = self.bucket_id(of.limit, &of.values);
        self.buckets.crowd(bucket).name = Some(name);
        self.names.insert(name, bucket);
        // Forgotten at the next report, unless it is watched by then.
        self.fresh.push(name);
        name
    }

    fn unname(&mut self, bucket: u32) {
        let crowd = self.buckets.crowd(bucket);
        crowd.touched = false;
        if let Some(name) = crowd.name.take() {
            self.forget_name(name);
        }
    }

    fn forget_name(&mut self, name: BucketId) {
        self.names.remove(&name);
        if let Some(slot) = self.watched.slot(&name) {
            self.watched.remove(slot);
        }
    }

    /// Forgets what nobody needs any more of a bucket.
    pub(super) fn retire(&mut self, bucket: u32) {
        if let Some(name) = self.buckets.retire(bucket) {
            self.forget_name(name);
        }
    }

    pub(super) fn rebuild_names(&mut self) {
        for (_, watched) in self.watched.iter() {
            let bucket = self.buckets.find_or_create(watched.limit, &watched.values);
            self.buckets.crowd(bucket).name = Some(watched.id);
            self.names.insert(watched.id, bucket);
        }
    }
}
