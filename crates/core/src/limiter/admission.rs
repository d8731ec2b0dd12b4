//! Whether an increment passes, and all that is in its way if not. The same code decides for a
//! caller, for one who waits, for the queue's claims, and for `explain`.

use willow_model::{Id, KeyValues, Origin, Value};

use super::{
    Blocking, BucketId, Error, HoldView, Incremented, Limit, Limiter, RuleMode,
    bucket::{LimitRef, pairs, split_values, values_of},
    counters::Change,
    rows::{Counter, Hold},
};
use crate::{Context, WaiterId, timer::Timer};

/// Counters looked at to tell when leases give a bucket room.
const RETRY_COUNTERS: usize = 64;
/// Holds looked at for the same.
const RETRY_HOLDS: usize = 256;

/// A limit that a counter falls under, and its bucket, if there is one yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) limit: LimitRef,
    pub(super) bucket: Option<u32>,
    /// Where the bucket's part of [`Target::values`] ends; it begins where the one before ends.
    pub(super) end: usize,
}

/// A counter that somebody wants to add to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) id: Id,
    pub(super) key_values: KeyValues,
    /// Its slot, if it exists.
    pub(super) counter: Option<u32>,
    /// In the order in which they are asked.
    pub(super) seats: Vec<Seat>,
    /// What the buckets of a counter that does not exist stand for, one after the other.
    pub(super) values: Vec<u8>,
}

/// What is wanted on a counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) amount: u64,
    pub(super) hold_ttl_ms: Option<u64>,
    /// Becomes the hold's id.
    pub(super) entropy: u128,
}

impl Limiter {
    /// Finds the counter and all its limits.
    pub(super) fn target(&self, key_values: &KeyValues) -> Target {
        let id = Counter::id_of(key_values);
        let counter = self.counters.rows.slot(&id);
        let key_values = key_values.clone();
        let Some(slot) = counter else { return self.new_target(id, key_values) };
        let seat = |bucket: &u32| Seat { limit: self.buckets.get(*bucket).limit, bucket: Some(*bucket), end: 0 };
        let seats = self.counters.places(slot).iter().map(seat).collect();
        Target { id, key_values, counter, seats, values: Vec::new() }
    }

    /// The same for a counter that does not exist.
    pub(super) fn new_target(&self, id: Id, key_values: KeyValues) -> Target {
        let limits = self.catalogue.limits_of(&key_values);
        let mut seats = Vec::with_capacity(limits.len());
        let mut values = Vec::new();
        if !limits.is_empty() {
            let pairs = pairs(&key_values);
            values.reserve(limits.len() * 32);
            for limit in limits {
                let start = values.len();
                values_of(self.catalogue.pattern(limit), &pairs, &mut values);
                let bucket = self.buckets.find(limit, &values[start..]);
                seats.push(Seat { limit, bucket, end: values.len() });
            }
        }
        Target { id, key_values, counter: None, seats, values }
    }

    pub(super) fn used(&self, seat: Seat) -> u128 {
        seat.bucket.map_or(0, |bucket| self.buckets.get(bucket).used)
    }

    /// Callers in line for it.
    pub(super) fn waiting(&self, seat: Seat) -> usize {
        seat.bucket.map_or(0, |bucket| self.buckets.get(bucket).waiting())
    }

    /// Does the limit let `amount` pass for this waiter, or for somebody who comes now?
    pub(super) fn passes(&self, seat: Seat, amount: u64, waiter: Option<WaiterId>) -> bool {
        let terms = self.catalogue.terms(seat.limit);
        if terms.mode == RuleMode::Shadow {
            return true;
        }
        let Some(bucket) = seat.bucket.map(|bucket| self.buckets.get(bucket)) else {
            return terms.fits(0, amount);
        };
        let in_line = match waiter {
            Some(waiter) => bucket.is_behind(waiter),
            None => bucket.waiting() > 0,
        };
        terms.fits(bucket.used, amount) && !in_line
    }

    /// The first limit in the way.
    pub(super) fn first_block(&self, target: &Target, amount: u64, waiter: Option<WaiterId>) -> Option<Seat> {
        target.seats.iter().copied().find(|seat| !self.passes(*seat, amount, waiter))
    }

    /// All limits in the way of somebody who comes now.
    pub(super) fn blocks(&self, target: &Target, amount: u64, now_ms: u64) -> Vec<Blocking> {
        let blocked = target.seats.iter().filter(|seat| !self.passes(**seat, amount, None));
        blocked.map(|seat| self.show(*seat, &target.key_values, amount, now_ms)).collect()
    }

    /// The refusal that lists all limits in the way.
    pub(super) fn denial(&self, target: &Target, amount: u64, now_ms: u64) -> Error {
        let denied_by = self.blocks(target, amount, now_ms);
        let all: Option<Vec<u64>> = denied_by.iter().map(|blocking| blocking.retry_after_ms).collect();
        Error::LimitReached { denied_by, retry_after_ms: all.and_then(|all| all.into_iter().max()) }
    }

    /// Adds what was asked for: nothing is in the way. Counts what shadow rules would have denied.
    pub(super) fn admit(&mut self, target: &Target, request: Request, cx: &mut Context) -> Result<Incremented, Error> {
        let Request { amount, hold_ttl_ms, entropy } = request;
        self.check_sum(target, amount)?;
        let shadow_denied_by = self.count_shadows(target, amount, cx.now_ms);
        let change = if hold_ttl_ms.is_some() { Change::held(amount) } else { Change::free(amount) };
        let slot = self.add(target, change, cx);
        let hold = hold_ttl_ms.map(|ttl_ms| self.store_hold(slot, amount, ttl_ms, entropy, cx));
        Ok(Incremented { counter: self.counter_view(slot), amount, hold, shadow_denied_by })
    }

    /// # Errors
    /// When the counter's amounts would leave 64 bits together.
    pub(super) fn check_sum(&self, target: &Target, amount: u64) -> Result<(), Error> {
        let Some(slot) = target.counter else { return Ok(()) };
        let counter = self.counters.row(slot);
        let sum = counter.free.checked_add(counter.held).and_then(|sum| sum.checked_add(amount));
        sum.map(|_| ()).ok_or(Error::Overflow)
    }

    /// Shadow limits that an admitted increment goes past; counted once for each of their rules.
    pub(super) fn count_shadows(&mut self, target: &Target, amount: u64, now_ms: u64) -> Vec<Blocking> {
        if self.catalogue.shadows == 0 {
            return Vec::new();
        }
        let past = |seat: &&Seat| {
            let terms = self.catalogue.terms(seat.limit);
            terms.mode == RuleMode::Shadow && !terms.fits(self.used(**seat), amount)
        };
        let past: Vec<Seat> = target.seats.iter().filter(past).copied().collect();
        let mut rules: Vec<u32> = past.iter().map(|seat| self.catalogue.rule_of(seat.limit)).collect();
        rules.sort_unstable();
        rules.dedup();
        for rule in rules {
            if let Some(rule) = self.catalogue.rules.get_mut(rule) {
                rule.shadow_denials = rule.shadow_denials.saturating_add(1);
            }
        }
        past.into_iter().map(|seat| self.show(seat, &target.key_values, amount, now_ms)).collect()
    }

    fn store_hold(&mut self, counter: u32, amount: u64, ttl_ms: u64, entropy: u128, cx: &mut Context) -> HoldView {
        let mut id = Id::from_u128(entropy);
        while self.counters.holds.slot(&id).is_some() {
            // Entropy that repeats is the edge's mistake; the hold gets an id of its own all the same.
            id = Id::derive(willow_model::Kind::Hold, Some(id), &cx.revision().0.to_be_bytes());
        }
        let expires_ms = cx.after(ttl_ms);
        let hold = self.counters.holds.insert(Hold { id, counter, amount, ttl_ms, expires_ms });
        self.counters.ends.insert((counter, expires_ms, hold));
        cx.timers.set(expires_ms, Timer::Hold(hold));
        HoldView { id, expires_in_ms: ttl_ms }
    }

    /// One limit, as a denial shows it.
    pub(super) fn show(&self, seat: Seat, key_values: &KeyValues, amount: u64, now_ms: u64) -> Blocking {
        let rule = self.catalogue.rule(self.catalogue.rule_of(seat.limit));
        let terms = self.catalogue.terms(seat.limit);
        let override_ = match seat.limit {
            LimitRef::Rule(_) => None,
            LimitRef::Override(slot) => Some(self.catalogue.override_(slot)),
        };
        let bucket = self.bucket_pairs(seat.limit, key_values);
        let used = self.used(seat);
        Blocking {
            rule: rule.id,
            rule_name: rule.name.clone(),
            override_: override_.map(|override_| override_.id),
            override_name: override_.map(|override_| override_.name.clone()),
            retry_after_ms: self.retry_after_ms(seat, &bucket, amount, now_ms),
            bucket,
            used: clamp(used),
            requested: amount,
            limit: match terms.limit {
                Limit::At(limit) => limit,
                Limit::Unlimited => u64::MAX,
            },
            waiting: u32::try_from(self.waiting(seat)).unwrap_or(u32::MAX),
        }
    }

    /// The values that a counter's bucket stands for, with their keys.
    pub(super) fn bucket_pairs(&self, limit: LimitRef, key_values: &KeyValues) -> KeyValues {
        bucket_of(self.catalogue.pattern(limit), key_values)
    }

    /// When leases that end will have made room, if they bound it: from the holds of the bucket's
    /// counters, with a bounded amount of work.
    fn retry_after_ms(&self, seat: Seat, bucket: &KeyValues, amount: u64, now_ms: u64) -> Option<u64> {
        let terms = self.catalogue.terms(seat.limit);
        let slot = seat.bucket?;
        if self.counters.holds.is_empty() || !terms.could_fit(amount) {
            return None;
        }
        let counters = self.counters.index.matched_by(bucket, RETRY_COUNTERS)?;
        let mut ends = Vec::new();
        for counter in counters.into_iter().filter(|counter| self.counters.places(*counter).contains(&slot)) {
            let of_counter = self.counters.ends.range((counter, 0, 0)..=(counter, u64::MAX, u32::MAX));
            ends.extend(of_counter.take(RETRY_HOLDS).map(|(_, at_ms, hold)| (*at_ms, *hold)));
            if ends.len() >= RETRY_HOLDS {
                return None;
            }
        }
        ends.sort_unstable();
        let mut used = self.used(seat);
        for (at_ms, hold) in ends {
            used = used.saturating_sub(self.counters.holds.get(hold).map_or(0, |hold| hold.amount.into()));
            if terms.fits(used, amount) {
                return Some(at_ms.saturating_sub(now_ms));
            }
        }
        None
    }

    /// What the queue calls a bucket.
    pub(super) fn bucket_id(&self, limit: LimitRef, values: &[u8]) -> BucketId {
        let (parent, epoch) = match limit {
            LimitRef::Rule(slot) => (self.catalogue.rule(slot).id, self.catalogue.rule(slot).epoch),
            LimitRef::Override(slot) => (self.catalogue.override_(slot).id, willow_model::Revision(0)),
        };
        let mut bytes = epoch.0.to_be_bytes().to_vec();
        bytes.extend_from_slice(values);
        Id::derive(willow_model::Kind::Bucket, Some(parent), &bytes)
    }
}

/// `key_values` reduced to the keys of a pattern that matches them.
pub(super) fn bucket_of(pattern: &KeyValues, key_values: &KeyValues) -> KeyValues {
    let mut values = Vec::new();
    values_of(pattern, &pairs(key_values), &mut values);
    let pairs = pattern
        .iter()
        .zip(split_values(&values))
        .filter_map(|((key, _), value)| Some((key, Value::try_from(value).ok()?)));
    KeyValues::collect(Origin::Willow, pairs).unwrap_or_else(|_| pattern.clone())
}

/// A sum as readers see it: past 64 bits it stays at their end.
pub(super) fn clamp(used: u128) -> u64 {
    u64::try_from(used).unwrap_or(u64::MAX)
}
