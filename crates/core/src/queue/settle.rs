//! After each command or deadline: what became eligible goes to who waits.

use std::collections::BTreeSet;

use super::{PauseKind, QueueLive, Queues, rows::Parked};
use crate::{Context, WaiterId, limiter::Limiter, limits};

impl Queues {
    /// Offers channels that became eligible to waiting consumers: each to the one that waits longest
    /// of those whose query and tolerations fit.
    pub(crate) fn settle(&mut self, limiter: &mut Limiter, cx: &mut Context) {
        self.forget_keys(cx.now_ms);
        loop {
            for (bucket, weight) in limiter.take_opened() {
                self.bucket_opened(bucket, weight, limiter);
            }
            if let Some(channel) = self.to_offer.pop_front() {
                self.offer(channel, limiter, cx);
            } else if let Some((queue, parked)) = self.opened.pop_front() {
                self.serve_opened(queue, parked, limiter, cx);
            } else if let Some(queue) = self.resumed.pop_front() {
                let waiters = self.queue_firsts(queue).into_iter().collect();
                self.serve_in_turn(waiters, limiter, cx, |_| true);
            } else {
                return;
            }
        }
    }

    /// A bucket has room for items of this weight.
    fn bucket_opened(&mut self, bucket: willow_model::Id, weight: u64, limiter: &mut Limiter) {
        let Some(queues) = self.watchers.get(&(bucket, weight)) else { return };
        for queue in queues.clone() {
            self.open_set(queue, Parked::Limit { bucket, weight }, limiter);
        }
    }

    /// Offers one channel, item by item, until nobody wants it or something is in the way.
    fn offer(&mut self, slot: u32, limiter: &mut Limiter, cx: &mut Context) {
        while let Some(waiter) = self.first_who_fits(slot) {
            if !self.serve(waiter, limiter, cx) {
                return;
            }
        }
    }

    fn first_who_fits(&self, slot: u32) -> Option<WaiterId> {
        let channel = self.channels.get(slot)?;
        channel.live.placed?;
        let state = self.state(channel.queue);
        let searched = channel.parked.is_none_or(|parked| state.pools.is_open(parked));
        if !searched || self.queue_row(channel.queue).paused_whole(PauseKind::Dequeue) {
            return None;
        }
        state.groups.first_match(slot, channel, &state.index)
    }

    /// One opened set after the other goes to who waits longest, whichever queue they wait on, until
    /// the set is closed again or nobody who waits fits.
    fn serve_opened(&mut self, queue: u32, parked: Parked, limiter: &mut Limiter, cx: &mut Context) {
        let mut queues = vec![queue];
        self.opened.retain(|(other, of)| {
            let same = *of == parked;
            if same {
                queues.push(*other);
            }
            !same
        });
        let waiters = queues.iter().flat_map(|queue| self.queue_firsts(*queue)).collect();
        self.serve_in_turn(waiters, limiter, cx, |machine| {
            let mut live = queues_of(&machine.queues_live, &queues);
            live.any(|live| live.pools.is_open(parked))
        });
    }

    /// Goes on with a search that was cut short: for who waits longest first. Who did not want to wait is
    /// answered when it is done.
    pub(super) fn search(&mut self, queue: u32, limiter: &mut Limiter, cx: &mut Context) {
        let waiters = self.queue_firsts(queue).into_iter().collect();
        self.serve_in_turn(waiters, limiter, cx, |queues| queues.tries > 0);
        if self.tries == 0 {
            self.search_later(queue, cx);
        }
        if self.queue_row(queue).searching {
            return;
        }
        let is_try =
            |waiter: &WaiterId| self.consumers.by_key(waiter).is_some_and(|consumer| consumer.dequeue.wait_ms == 0);
        let tries: BTreeSet<WaiterId> = self.state(queue).groups.waiters().filter(is_try).collect();
        for waiter in tries {
            self.end_wait(waiter, Ok(super::Outcome::Dequeued(vec![]).into()), cx);
        }
    }

    fn queue_firsts(&self, queue: u32) -> Vec<WaiterId> {
        self.queues_live.get(queue as usize).and_then(Option::as_ref).map_or_else(Vec::new, |live| live.groups.firsts())
    }

    /// Serves the consumers named, the longest waiting first; who gets something is followed by the next
    /// who waits for the same. Ends when nobody is left, or when `goes_on` says no.
    fn serve_in_turn(
        &mut self,
        mut waiters: BTreeSet<WaiterId>,
        limiter: &mut Limiter,
        cx: &mut Context,
        goes_on: impl Fn(&Self) -> bool,
    ) {
        while let Some(waiter) = waiters.pop_first() {
            if !goes_on(self) {
                return;
            }
            let next = self
                .consumers
                .by_key(&waiter)
                .and_then(|consumer| self.state(consumer.queue).groups.next_of_group(waiter, &consumer.dequeue));
            if self.serve(waiter, limiter, cx) {
                waiters.extend(next);
            }
        }
    }

    /// Lets a waiting consumer take; true when it got something, which ends its wait.
    fn serve(&mut self, waiter: WaiterId, limiter: &mut Limiter, cx: &mut Context) -> bool {
        let Some(slot) = self.consumers.slot(&waiter) else { return false };
        let consumer = self.consumers.get(slot).expect("its slot was just found");
        let (queue, entropy, dequeue) = (consumer.queue, consumer.entropy, consumer.dequeue.clone());
        let entropy = super::items::mix(cx.entropy, entropy);
        let taken = self.take(queue, &dequeue, entropy, limiter, cx);
        if taken.is_empty() {
            return false;
        }
        self.end_wait(waiter, Ok(super::Outcome::Dequeued(taken).into()), cx);
        true
    }

    /// Forgets idempotency keys that are old, a bounded number at a time.
    fn forget_keys(&mut self, now_ms: u64) {
        for _ in 0..limits::ROWS_PER_STEP {
            match self.remembered_expiry.first() {
                Some((at_ms, _)) if *at_ms <= now_ms => self.forget_oldest_key(),
                _ => return,
            }
        }
    }

    pub(super) fn forget_oldest_key(&mut self) {
        if let Some((_, slot)) = self.remembered_expiry.pop_first() {
            self.remembered.remove(slot);
        }
    }
}

fn queues_of<'a>(live: &'a [Option<Box<QueueLive>>], queues: &'a [u32]) -> impl Iterator<Item = &'a QueueLive> {
    queues.iter().filter_map(|queue| live.get(*queue as usize)?.as_deref())
}
