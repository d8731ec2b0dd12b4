//! An item's life: into its channel's line, out to a consumer, back, or away.
//!
//! ```text
//!          ┌────────────── delayed ◄──────────┐ backoff
//!   enqueue┤                 │ due           │
//!          └──► waiting ◄────┴── release ─────┤
//!                  │ deliver (claim)          │
//!                  └────────► in flight ──────┴──► acknowledged │ superseded │ dead letter
//! ```
//! Every way out of `in flight` goes through [`Queues::end_delivery`], which gives the claim back.

use willow_model::{
    Id, Revision,
    bugs::{self, Bug},
};

use super::{
    Backoff, Death, Delivered, Error, LeaseToken, Nacked, Position, Queues,
    rows::{DeadLetter, Item, Lease, State},
};
use crate::{Context, limiter::Limiter, timer::Timer};

impl Queues {
    pub(super) fn item_row(&self, slot: u32) -> &Item {
        self.items.get(slot).expect("an item in a line is stored")
    }

    pub(super) fn item_mut(&mut self, slot: u32) -> &mut Item {
        self.items.get_mut(slot).expect("an item in a line is stored")
    }

    /// Stores an item and puts it into the line of its state.
    pub(super) fn insert_item(&mut self, item: Item, cx: &mut Context) -> u32 {
        if let Some(at_ms) = item.expires_ms.filter(|_| !item.expired) {
            cx.timers.set(at_ms, Timer::ItemExpiry(self.items.vacant()));
        }
        let slot = self.items.insert(item);
        self.link(slot, cx);
        slot
    }

    /// Removes an item that is in the line of its state; its claim must be given back already.
    pub(super) fn remove_item(&mut self, slot: u32, cx: &mut Context) -> Option<Item> {
        self.unlink(slot, cx);
        let item = self.items.remove(slot)?;
        if let Some(at_ms) = item.expires_ms.filter(|_| !item.expired) {
            cx.timers.clear(at_ms, Timer::ItemExpiry(slot));
        }
        Some(item)
    }

    /// Puts an item into the line of its state, with the state's timer.
    pub(super) fn link(&mut self, slot: u32, cx: &mut Context) {
        let item = self.items.get(slot).expect("the caller's item is stored");
        let channel = self.channels.get_mut(item.channel).expect("an item's channel is stored");
        let live = self.queues_live[channel.queue as usize].as_mut().expect("a channel's queue is stored");
        let entry = item.entry(slot);
        let waits = match &item.state {
            State::Waiting => {
                channel.live.waiting.insert(entry);
                live.counts.waiting += 1;
                true
            }
            State::Delayed { due_ms } => {
                channel.live.delayed.insert(entry);
                live.counts.delayed += 1;
                cx.timers.set(*due_ms, Timer::ItemDue(slot));
                true
            }
            State::InFlight(lease) => {
                channel.live.in_flight.insert(entry);
                live.counts.in_flight += 1;
                cx.timers.set(lease.expires_ms, Timer::ItemLease(slot));
                false
            }
        };
        if waits && item.options.updatable {
            debug_assert!(channel.live.updatable.is_none(), "a channel has one waiting updatable item at most");
            channel.live.updatable = Some(slot);
        }
    }

    /// Takes an item out of the line of its state, so that the state may be changed.
    pub(super) fn unlink(&mut self, slot: u32, cx: &mut Context) {
        self.unlink_fired(slot, cx, false);
    }

    /// The same; `fired` says that the state's own timer has just gone off.
    fn unlink_fired(&mut self, slot: u32, cx: &mut Context, fired: bool) {
        let item = self.items.get(slot).expect("the caller's item is stored");
        let channel = self.channels.get_mut(item.channel).expect("an item's channel is stored");
        let live = self.queues_live[channel.queue as usize].as_mut().expect("a channel's queue is stored");
        let entry = item.entry(slot);
        let timer = match &item.state {
            State::Waiting => {
                channel.live.waiting.remove(entry);
                live.counts.waiting -= 1;
                None
            }
            State::Delayed { due_ms } => {
                channel.live.delayed.remove(entry);
                live.counts.delayed -= 1;
                Some((*due_ms, Timer::ItemDue(slot)))
            }
            State::InFlight(lease) => {
                channel.live.in_flight.remove(entry);
                live.counts.in_flight -= 1;
                Some((lease.expires_ms, Timer::ItemLease(slot)))
            }
        };
        if let Some((at_ms, timer)) = timer.filter(|_| !fired) {
            cx.timers.clear(at_ms, timer);
        }
        if channel.live.updatable == Some(slot) {
            channel.live.updatable = None;
        }
    }

    /// Ends a delivery: the lease is gone and the claim given back. The item is in no line until the
    /// caller says what becomes of it.
    pub(super) fn end_delivery(&mut self, slot: u32, fired: bool, limiter: &mut Limiter, cx: &mut Context) {
        let item = self.item_row(slot);
        debug_assert!(matches!(item.state, State::InFlight(_)), "only what is in flight has a claim");
        let (channel, weight) = (item.channel, u64::from(item.options.weight));
        self.unlink_fired(slot, cx, fired);
        let live = &mut self.channel_mut(channel).live;
        let counter = if live.in_flight.is_empty() { live.counter.take() } else { live.counter.clone() };
        let counter = counter.unwrap_or_else(|| self.counter_of(channel));
        if !(fired && bugs::is_on(Bug::SlotLeakedOnExpiry)) {
            limiter.unclaim(&counter, weight, cx);
        }
        self.item_mut(slot).state = State::Waiting;
    }

    /// Removes an item whose delivery has been ended by [`Queues::end_delivery`].
    pub(super) fn drop_ended(&mut self, slot: u32, cx: &mut Context) -> Option<Item> {
        let item = self.items.remove(slot)?;
        if let Some(at_ms) = item.expires_ms.filter(|_| !item.expired) {
            cx.timers.clear(at_ms, Timer::ItemExpiry(slot));
        }
        Some(item)
    }

    /// The running delivery that a lease token names. A lease that ends at this very moment has ended: its
    /// deadline is about to be fired, and must not be put off any more.
    pub(super) fn delivery(&self, queue: u32, delivered: &Delivered, now_ms: u64) -> Result<u32, Error> {
        let slot = self.items.slot(&delivered.item).ok_or(Error::NoSuchItem)?;
        let item = self.item_row(slot);
        if self.channel_row(item.channel).queue != queue {
            return Err(Error::NoSuchItem);
        }
        match &item.state {
            State::InFlight(_) if bugs::is_on(Bug::StaleLeaseAccepted) => Ok(slot),
            State::InFlight(lease) if lease.token == delivered.token && lease.expires_ms > now_ms => Ok(slot),
            _ => Err(Error::StaleLease { item: delivered.item }),
        }
    }

    /// What becomes of an item whose delivery failed and was ended.
    pub(super) fn fail(
        &mut self,
        slot: u32,
        delay_ms: Option<u64>,
        position: Option<Position>,
        cx: &mut Context,
        limiter: &mut Limiter,
    ) -> Nacked {
        let item = self.item_row(slot);
        let (id, channel) = (item.id, item.channel);
        let exhausted = item.options.max_attempts.is_some_and(|max| item.attempts >= max);
        let nacked = if self.is_superseded(slot) {
            if bugs::is_on(Bug::StalePayloadOnNack) {
                self.put_data_back(slot);
            }
            self.drop_ended(slot, cx);
            Nacked::Superseded
        } else if item.expired || exhausted {
            let death = if item.expired { Death::Expired } else { Death::AttemptsExhausted };
            if let Some(item) = self.drop_ended(slot, cx) {
                self.bury(item, death, cx);
            }
            Nacked::DeadLetter
        } else {
            let jitter = mix(cx.entropy, id.to_u128() as u64);
            let delay_ms = delay_ms.unwrap_or_else(|| backoff_ms(&item.options.backoff, item.attempts, jitter));
            let position = position.unwrap_or(item.options.retry_position);
            self.put_back(slot, Some(position), delay_ms, cx);
            Nacked::Retry { delay_ms }
        };
        self.refresh(channel, limiter);
        nacked
    }

    /// What becomes of an item that was handed back unharmed and whose delivery was ended: its old
    /// place, no attempt charged.
    pub(super) fn hand_back(&mut self, slot: u32, cx: &mut Context, limiter: &mut Limiter) {
        let superseded = self.is_superseded(slot);
        let item = self.item_mut(slot);
        item.attempts = item.attempts.saturating_sub(1);
        let (channel, expired) = (item.channel, item.expired);
        if superseded {
            self.drop_ended(slot, cx);
        } else if expired {
            if let Some(item) = self.drop_ended(slot, cx) {
                self.bury(item, Death::Expired, cx);
            }
        } else {
            self.put_back(slot, None, 0, cx);
        }
        self.refresh(channel, limiter);
    }

    fn put_back(&mut self, slot: u32, position: Option<Position>, delay_ms: u64, cx: &mut Context) {
        let place = position.map(|position| place(position, cx.next_revision()));
        let state = if delay_ms == 0 { State::Waiting } else { State::Delayed { due_ms: cx.after(delay_ms) } };
        let item = self.item_mut(slot);
        item.position = place.unwrap_or(item.position);
        item.state = state;
        self.link(slot, cx);
    }

    /// What [`Bug::StalePayloadOnNack`] does.
    fn put_data_back(&mut self, slot: u32) {
        let item = self.item_row(slot);
        let (channel, data) = (item.channel, item.data.clone());
        if let Some(newer) = self.channel_row(channel).live.updatable {
            self.item_mut(newer).data = data;
        }
    }

    /// Does a newer item wait in its channel? Then an updatable one must not come back: its data is stale.
    fn is_superseded(&self, slot: u32) -> bool {
        let item = self.item_row(slot);
        let live = &self.channel_row(item.channel).live;
        let mut waiting = live.waiting.iter().chain(live.delayed.iter());
        item.options.updatable && waiting.any(|other| self.item_row(other.item).revision > item.revision)
    }

    /// Makes a dead letter of an item that is stored no longer.
    pub(super) fn bury(&mut self, mut item: Item, death: Death, cx: &mut Context) {
        let Channel { id, queue, key_values, .. } = self.channel_row(item.channel);
        let (id, queue, key_values) = (*id, *queue, key_values.clone());
        item.state = State::Waiting;
        let max = self.queue_row(queue).config.max_dead_letters;
        if max == 0 {
            return;
        }
        let died = cx.next_revision();
        let item_id = item.id;
        let slot =
            self.dead.insert(DeadLetter { queue, channel: id, key_values: key_values.clone(), item, death, died });
        let live = self.state_mut(queue);
        live.dead_index.insert(slot, item_id, &key_values, &[]);
        live.dead_order.insert((died, slot));
        self.trim_dead(queue, max);
    }

    /// Lets the oldest dead letters go while there are more than `max`, a bounded number at a time.
    pub(super) fn trim_dead(&mut self, queue: u32, max: u64) {
        for _ in 0..crate::limits::ROWS_PER_STEP {
            let order = &self.state(queue).dead_order;
            let Some(&(_, oldest)) = order.first().filter(|_| order.len() as u64 > max) else { return };
            self.remove_dead(oldest);
        }
    }

    pub(super) fn remove_dead(&mut self, slot: u32) -> Option<DeadLetter> {
        let letter = self.dead.remove(slot)?;
        let live = self.state_mut(letter.queue);
        live.dead_index.remove(slot);
        live.dead_order.remove(&(letter.died, slot));
        Some(letter)
    }

    /// Takes the head of a channel out, its claim made. The channel's place is the caller's to refresh.
    pub(super) fn lease_head(
        &mut self,
        channel: u32,
        lease_ms: Option<u64>,
        consumer: Option<Box<str>>,
        nonce: u64,
        cx: &mut Context,
    ) -> Option<u32> {
        let slot = self.channel_row(channel).live.waiting.first()?.item;
        self.unlink(slot, cx);
        let revision = cx.next_revision();
        let item = self.item_mut(slot);
        let lease_ms = lease_ms.unwrap_or(item.options.lease_ms);
        item.attempts = item.attempts.saturating_add(1);
        item.state = State::InFlight(Box::new(Lease {
            token: LeaseToken { revision, nonce: mix(u128::from(nonce), revision.0) as u32 },
            expires_ms: cx.after(lease_ms),
            lease_ms,
            consumer,
        }));
        self.link(slot, cx);
        let row = self.channel_mut(channel);
        (row.delivered, row.delivered_ms) = (revision, cx.now_ms);
        Some(slot)
    }

    /// The delivery in this row has lived out its lease: a failed attempt.
    pub(crate) fn lease_expired(&mut self, slot: u32, limiter: &mut Limiter, cx: &mut Context) {
        if self.items.get(slot).is_none() {
            return;
        }
        self.end_delivery(slot, true, limiter, cx);
        self.item_mut(slot).reason = Some("the lease expired".into());
        self.fail(slot, None, None, cx, limiter);
    }

    /// The delayed item in this row is due.
    pub(crate) fn item_due(&mut self, slot: u32, limiter: &mut Limiter, cx: &mut Context) {
        let Some(channel) = self.items.get(slot).map(|item| item.channel) else { return };
        self.unlink_fired(slot, cx, true);
        self.item_mut(slot).state = State::Waiting;
        self.link(slot, cx);
        self.refresh(channel, limiter);
    }

    /// The item in this row has lived out its time. In flight it may still be acknowledged.
    pub(crate) fn item_expired(&mut self, slot: u32, limiter: &mut Limiter, cx: &mut Context) {
        let Some(item) = self.items.get_mut(slot) else { return };
        item.expired = true;
        let channel = item.channel;
        if matches!(item.state, State::InFlight(_)) {
            return;
        }
        if let Some(item) = self.remove_item(slot, cx) {
            self.bury(item, Death::Expired, cx);
        }
        self.refresh(channel, limiter);
    }

    /// The item with this id, if it is of this queue.
    pub(super) fn item_slot(&self, queue: u32, id: Id) -> Option<u32> {
        let slot = self.items.slot(&id)?;
        (self.channel_row(self.item_row(slot).channel).queue == queue).then_some(slot)
    }
}

use super::rows::Channel;

/// The place at one end of the line, as of `revision`.
pub(super) fn place(position: Position, revision: Revision) -> i64 {
    let revision = revision.0.cast_signed();
    match position {
        Position::Front => -revision,
        Position::Back => revision,
    }
}

/// Scrambles randomness with a salt (the finalizer of `SplitMix64`, Steele, Lea and Flood 2014).
pub(super) fn mix(entropy: u128, salt: u64) -> u64 {
    let mut bits =
        (entropy as u64) ^ ((entropy >> 64) as u64).rotate_left(32) ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Delay after this many attempts, in integers: replicas must agree on it to the bit.
pub(super) fn backoff_ms(backoff: &Backoff, attempts: u32, random: u64) -> u64 {
    let max = u128::from(backoff.max_ms);
    let mut delay = u128::from(backoff.initial_ms).min(max);
    // Below a factor of 2 growth is slow, but a delay that no longer grows ends the loop.
    for _ in 1..attempts {
        let grown = (delay * u128::from(backoff.factor_milli) / 1000).min(max);
        if grown == delay {
            break;
        }
        delay = grown;
    }
    let spread = delay * u128::from(backoff.jitter_milli.min(1000)) / 1000;
    let moved = delay - spread + u128::from(random) % (2 * spread + 1);
    u64::try_from(moved.min(u128::from(crate::limits::ITEM_DELAY_MAX_MS))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_maximum_and_jitters_within_bounds() {
        let backoff = Backoff { initial_ms: 100, factor_milli: 2000, max_ms: 1000, jitter_milli: 0 };
        let delays: Vec<u64> = (1..8).map(|attempts| backoff_ms(&backoff, attempts, 9)).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000, 1000]);
        let jittered = Backoff { jitter_milli: 500, ..backoff };
        for random in 0..1000 {
            assert!((50..=150).contains(&backoff_ms(&jittered, 1, random * 7919)));
        }
        let never = Backoff { initial_ms: 0, factor_milli: u32::MAX, max_ms: u64::MAX, jitter_milli: 1000 };
        assert_eq!(backoff_ms(&never, u32::MAX, 1), 0);
        let huge = Backoff { initial_ms: u64::MAX, factor_milli: u32::MAX, max_ms: u64::MAX, jitter_milli: 1000 };
        assert!(backoff_ms(&huge, u32::MAX, u64::MAX) <= crate::limits::ITEM_DELAY_MAX_MS);
    }

    #[test]
    fn back_is_behind_and_front_is_before_all() {
        let places = [Position::Front, Position::Back].map(|position| place(position, Revision(7)));
        assert_eq!(places, [-7, 7]);
        assert!(place(Position::Front, Revision(8)) < place(Position::Front, Revision(7)));
    }
}
