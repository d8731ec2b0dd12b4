//! Lines: increments that wait for room, first come, first served, in each bucket.
//!
//! ```text
//!  increment ── something in the way ──► the line of the first bucket in the way
//!  a bucket gains room ──► its line, from the head:
//!      all its buckets allow it  ──► granted; the next
//!      another is in the way     ──► to that one's line, at its age; the next
//!      no room here              ──► stop
//! ```
//! Whoever comes while a line stands in one of its buckets is denied there, so that a large request
//! is not starved by small ones. A waiter that wants more than a limit allows at all stands aside
//! ([`Crowd::stuck`](super::bucket::Crowd)) and is tried again when the limit changes.

use std::collections::BTreeSet;

use super::{
    Error, Increment, Limiter,
    admission::{Request, Seat, Target},
    bucket::{pairs, values_of},
    counters::Change,
    rows::Waiter,
};
use crate::{Context, Outcome, Refusal, Reply, WaiterId, command::CancelWait, timer::Timer};

impl Limiter {
    /// Lets a new increment wait; `seat` is the first limit in its way.
    pub(super) fn wait(&mut self, command: Increment, target: &Target, seat: Seat, cx: &mut Context) -> Reply {
        let Some(id) = cx.new_waiter() else { return Err(Refusal::TooManyWaiters) };
        let deadline_ms = cx.after(command.wait_ms);
        let slot = self.waiters.insert(Waiter {
            id,
            key_values: command.key_values,
            amount: command.amount,
            hold_ttl_ms: command.hold_ttl_ms,
            entropy: cx.entropy,
            deadline_ms,
            parked: seat.limit,
        });
        cx.timers.set(deadline_ms, Timer::IncrementWait(slot));
        self.park(slot, target, seat);
        Ok(Outcome::Waiting(id))
    }

    fn waiter(&self, slot: u32) -> &Waiter {
        self.waiters.get(slot).expect("who stands in a line is stored")
    }

    fn park(&mut self, slot: u32, target: &Target, seat: Seat) {
        let bucket = self.open_seat(seat, target);
        let Some(waiter) = self.waiters.get(slot) else { return };
        let (id, amount, parked) = (waiter.id, waiter.amount, waiter.parked);
        if parked != seat.limit
            && let Some(waiter) = self.waiters.get_mut(slot)
        {
            waiter.parked = seat.limit;
        }
        let possible = self.catalogue.terms(seat.limit).could_fit(amount);
        let crowd = self.buckets.crowd(bucket);
        if possible {
            crowd.line.insert(id, slot)
        } else {
            crowd.stuck.insert(id, slot)
        };
    }

    /// The bucket of a seat, created if it was not there.
    pub(super) fn open_seat(&mut self, seat: Seat, target: &Target) -> u32 {
        if let Some(bucket) = seat.bucket {
            return bucket;
        }
        let mut values = Vec::new();
        values_of(self.catalogue.pattern(seat.limit), &pairs(&target.key_values), &mut values);
        self.buckets.find_or_create(seat.limit, &values)
    }

    /// Takes a waiter out of its line; the bucket it stood in.
    fn unpark(&mut self, slot: u32) -> Option<u32> {
        let waiter = self.waiter(slot);
        let id = waiter.id;
        let mut values = Vec::new();
        values_of(self.catalogue.pattern(waiter.parked), &pairs(&waiter.key_values), &mut values);
        let bucket = self.buckets.find(waiter.parked, &values)?;
        let crowd = self.buckets.crowd(bucket);
        crowd.line.remove(&id);
        crowd.stuck.remove(&id);
        Some(bucket)
    }

    /// Buckets that gained room, in order: those in line are served, then the queue is told.
    pub(super) fn serve_all(&mut self, buckets: Vec<u32>, cx: &mut Context) {
        for bucket in buckets {
            self.serve(bucket, cx);
        }
    }

    fn serve(&mut self, bucket: u32, cx: &mut Context) {
        while let Some((waiter, slot)) = self.head_with_room(bucket) {
            let target = self.target(&self.waiter(slot).key_values.clone());
            match self.first_block(&target, self.waiter(slot).amount, Some(waiter)) {
                None => {
                    self.buckets.crowd(bucket).line.remove(&waiter);
                    self.grant(slot, &target, cx);
                }
                Some(seat) if seat.bucket == Some(bucket) => break,
                Some(seat) => {
                    self.buckets.crowd(bucket).line.remove(&waiter);
                    self.park(slot, &target, seat);
                }
            }
        }
        self.touch(bucket);
        self.retire(bucket);
    }

    /// Who stands first in line, if the bucket has room for it.
    fn head_with_room(&self, bucket: u32) -> Option<(WaiterId, u32)> {
        let bucket = self.buckets.get(bucket);
        let (waiter, slot) = bucket.crowd.as_ref()?.line.first_key_value()?;
        let room = self.catalogue.terms(bucket.limit).passes(bucket.used, self.waiter(*slot).amount);
        room.then_some((*waiter, *slot))
    }

    /// Grants a waiter, who is in no line any more, what it waits for: nothing is in the way.
    fn grant(&mut self, slot: u32, target: &Target, cx: &mut Context) {
        let waiter = self.waiter(slot);
        let request = Request { amount: waiter.amount, hold_ttl_ms: waiter.hold_ttl_ms, entropy: waiter.entropy };
        let reply = match self.admit(target, request, cx) {
            Ok(incremented) => Ok(super::Outcome::Incremented(incremented).into()),
            Err(error) => Err(error.into()),
        };
        self.end_wait(slot, reply, cx);
    }

    /// Removes a waiter, who is in no line any more, with its last answer.
    fn end_wait(&mut self, slot: u32, reply: Reply, cx: &mut Context) {
        let Some(waiter) = self.waiters.remove(slot) else { return };
        cx.timers.clear(waiter.deadline_ms, Timer::IncrementWait(slot));
        cx.resolve(waiter.id, reply);
    }

    /// Takes everybody out of the lines of these buckets, to be seated again with
    /// [`Limiter::reseat`] when limits have changed.
    pub(super) fn drain(&mut self, buckets: &[u32]) -> BTreeSet<(WaiterId, u32)> {
        let mut waiters = BTreeSet::new();
        for bucket in buckets {
            let crowd = self.buckets.crowd(*bucket);
            waiters.extend(std::mem::take(&mut crowd.line));
            waiters.extend(std::mem::take(&mut crowd.stuck));
        }
        waiters
    }

    /// Grants or parks those who were drained, by age; then tells the queue of the buckets.
    pub(super) fn reseat(&mut self, waiters: BTreeSet<(WaiterId, u32)>, buckets: Vec<u32>, cx: &mut Context) {
        for (waiter, slot) in waiters {
            let target = self.target(&self.waiter(slot).key_values.clone());
            match self.first_block(&target, self.waiter(slot).amount, Some(waiter)) {
                None => self.grant(slot, &target, cx),
                Some(seat) => self.park(slot, &target, seat),
            }
        }
        for bucket in buckets {
            self.touch(bucket);
            self.retire(bucket);
        }
    }

    /// The waiter in this row has waited long enough.
    pub(crate) fn wait_expired(&mut self, slot: u32, cx: &mut Context) {
        let Some(waiter) = self.waiters.get(slot).cloned() else { return };
        let bucket = self.unpark(slot);
        let target = self.target(&waiter.key_values);
        let mut denial = self.denial(&target, waiter.amount, cx.now_ms);
        if let Error::LimitReached { denied_by, .. } = &mut denial
            && denied_by.is_empty()
            && let Some(seat) = target.seats.iter().copied().find(|seat| seat.limit == waiter.parked)
        {
            // It stood behind nobody but itself, or its limit moved: name where it stood.
            denied_by.push(self.show(seat, &waiter.key_values, waiter.amount, cx.now_ms));
        }
        self.waiters.remove(slot);
        cx.resolve(waiter.id, Err(denial.into()));
        self.serve_all(bucket.into_iter().collect(), cx);
    }

    /// Ends a wait whose caller is gone, or undoes what it was granted; nothing if it is not ours.
    pub(crate) fn cancel_wait(&mut self, command: &CancelWait, cx: &mut Context) {
        if let Some(slot) = self.waiters.slot(&command.waiter) {
            let bucket = self.unpark(slot);
            self.end_wait(slot, Err(Refusal::WaitCancelled), cx);
            self.serve_all(bucket.into_iter().collect(), cx);
        } else if let Some(Outcome::Limit(super::Outcome::Incremented(granted))) = command.undelivered.as_deref() {
            match &granted.hold {
                Some(hold) => {
                    self.give_back(hold.id, cx);
                }
                None => self.undo_increment(granted.counter.id, granted.amount, cx),
            }
        }
    }

    fn undo_increment(&mut self, counter: willow_model::Id, amount: u64, cx: &mut Context) {
        let Some(slot) = self.counters.rows.slot(&counter) else { return };
        // Less may be left when somebody set the counter or took from it meanwhile.
        let amount = amount.min(self.counters.row(slot).free);
        if amount > 0 {
            let gained = self.take(slot, Change::free(amount), cx);
            self.serve_all(gained, cx);
        }
    }

    pub(super) fn rebuild_waiters(&mut self, cx: &mut Context) {
        let slots: Vec<u32> = self.waiters.iter().map(|(slot, _)| slot).collect();
        cx.waiters += slots.len();
        for slot in slots {
            let waiter = self.waiter(slot).clone();
            cx.timers.set(waiter.deadline_ms, Timer::IncrementWait(slot));
            let mut values = Vec::new();
            values_of(self.catalogue.pattern(waiter.parked), &pairs(&waiter.key_values), &mut values);
            let bucket = self.buckets.find_or_create(waiter.parked, &values);
            let possible = self.catalogue.terms(waiter.parked).could_fit(waiter.amount);
            let crowd = self.buckets.crowd(bucket);
            if possible {
                crowd.line.insert(waiter.id, slot)
            } else {
                crowd.stuck.insert(waiter.id, slot)
            };
        }
    }
}
