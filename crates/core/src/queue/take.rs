//! Taking items: the action query.
//!
//! It picks the best candidate of the consumer's order, claims its limits, and on a denial parks the
//! channel and picks again: so it ends with items, or with nothing eligible left that matches. Each
//! failed try takes a channel out of the pool or closes a parked set, so tries are paid for by what
//! made the channel eligible.

use willow_model::Id;
use willow_query::{Compiled, Query, Run};

use super::{
    Delivery, Dequeue, Order, PauseKind, QueueLive, Queues,
    front::Wanted,
    groups::{condition, tolerates},
    items::mix,
    pool::Sort,
    rows::{Cursor, Item, Parked, State},
};
use crate::{Context, limiter::Limiter, limits};

/// One dequeue under way.
#[derive(Debug)]
struct Picker<'a> {
    queue: u32,
    dequeue: &'a Dequeue,
    query: Query,
    compiled: Compiled,
    entropy: u64,
    /// Where the round-robin cursor stands.
    cursor: Option<Id>,
    tries: u64,
}

/// Bytes of data after which one dequeue takes no more items: an answer is held in memory as a whole, and
/// 1000 items of 1 MiB would be a gigabyte of it.
const DEQUEUE_BYTES: usize = 16 * 1024 * 1024;

impl Queues {
    /// Takes up to `max_items` items; fewer, or none, when nothing more is eligible, or when those taken
    /// already have as many bytes as one answer should, or when so many channels were blocked that the search
    /// goes on later: the queue is then marked.
    pub(super) fn take(
        &mut self,
        queue: u32,
        dequeue: &Dequeue,
        entropy: u64,
        limiter: &mut Limiter,
        cx: &mut Context,
    ) -> Vec<Delivery> {
        let mut taken: Vec<Delivery> = Vec::new();
        let mut bytes = 0;
        if self.queue_row(queue).paused_whole(PauseKind::Dequeue) {
            return taken;
        }
        let state = self.state(queue);
        let query = condition(dequeue);
        let compiled = state.index.compile(&query);
        let cursor = self.cursor(queue, &dequeue.order);
        let mut picker = Picker { queue, dequeue, query, compiled, entropy, cursor, tries: 0 };
        self.keep_tree(queue, &dequeue.order);
        while taken.len() < dequeue.max_items as usize && bytes < DEQUEUE_BYTES {
            let Some(channel) = self.pick(&picker) else { break };
            if self.tries == 0 {
                self.search_later(queue, cx);
                break;
            }
            picker.tries += 1;
            let counter = match self.claim(channel, limiter, cx) {
                Ok(counter) => counter,
                Err(parked) => {
                    self.tries -= 1;
                    self.park(channel, parked, limiter);
                    continue;
                }
            };
            self.channel_mut(channel).live.counter = Some(counter);
            picker.cursor = Some(self.channel_row(channel).id);
            let nonce = mix(u128::from(entropy), picker.tries);
            let Some(item) = self.lease_head(channel, dequeue.lease_ms, dequeue.consumer.clone(), nonce, cx) else {
                debug_assert!(false, "a channel in the pool has a due head");
                break;
            };
            self.refresh(channel, limiter);
            taken.extend(self.delivery_view(item, cx));
            bytes += taken.last().map_or(0, |delivery| delivery.data.len());
        }
        if !taken.is_empty() {
            self.move_cursor(&picker, cx);
        }
        taken
    }

    /// The search for something eligible goes on in the queue's next step.
    pub(super) fn search_later(&mut self, queue: u32, cx: &mut Context) {
        if !self.queue_row(queue).searching {
            self.queue_mut(queue).searching = true;
        }
        self.schedule_step(queue, cx);
    }

    /// Makes the claim of the channel's head, or says what is in the way.
    fn claim(&self, slot: u32, limiter: &mut Limiter, cx: &mut Context) -> Result<willow_model::KeyValues, Parked> {
        let channel = self.channel_row(slot);
        let pauses = self.queue_row(channel.queue).pauses.iter().filter(|pause| pause.kind == PauseKind::Dequeue);
        for pause in pauses {
            if pause.query.as_ref().is_some_and(|query| self.holds_for(query, slot)) {
                return Err(Parked::Pause(pause.id));
            }
        }
        let counter = channel.live.counter.clone().unwrap_or_else(|| self.counter_of(slot));
        let weight = channel.live.placed.map_or(1, |placed| u64::from(placed.weight));
        match limiter.claim(&counter, weight, cx) {
            Ok(()) => Ok(counter),
            Err(bucket) => Err(Parked::Limit { bucket, weight }),
        }
    }

    fn pick(&mut self, picker: &Picker<'_>) -> Option<u32> {
        let sort = match &picker.dequeue.order {
            Order::Oldest => Some(Sort::Oldest),
            Order::Priority => Some(Sort::Priority),
            Order::LongestIdle => Some(Sort::Idle),
            Order::RoundRobin { .. } | Order::Random | Order::By(_) => None,
        };
        if let Some(sort) = sort {
            return self.pick_ranked(picker, sort);
        }
        let QueueLive { pools, index, .. } = self.state(picker.queue);
        let members = pools.union(|taints| tolerates(&picker.dequeue.tolerations, taints));
        if members.is_empty() {
            return None;
        }
        match &picker.dequeue.order {
            Order::RoundRobin { .. } => {
                index.select_next(&picker.compiled, &members, picker.cursor).map(|(channel, _)| channel)
            }
            Order::Random => {
                index.select_random(&picker.compiled, &members, mix(u128::from(picker.entropy), !picker.tries))
            }
            Order::Oldest | Order::Priority | Order::LongestIdle | Order::By(_) => {
                let run = Run { restrict: Some(&members), budget: usize::MAX, ..Run::new(&[0; 32], &[]) };
                index.run(&picker.query, &run).ok()?.docs.first().copied()
            }
        }
    }

    fn pick_ranked(&mut self, picker: &Picker<'_>, sort: Sort) -> Option<u32> {
        let live = self.queues_live[picker.queue as usize].as_mut().expect("a stored queue has derived state");
        let QueueLive { pools, index, .. } = &mut **live;
        let channels = &self.channels;
        let rank = |slot: u32| {
            let placed = channels.get(slot).and_then(|channel| channel.live.placed);
            placed.map_or((u64::MAX, u64::MAX, slot), |placed| sort.rank(&placed, slot))
        };
        let wanted = Wanted { sort, query: &picker.query, compiled: &picker.compiled, index };
        let best = pools.best(&wanted, |taints| tolerates(&picker.dequeue.tolerations, taints), rank);
        best.map(|(.., channel)| channel)
    }

    /// The first dequeue by an order builds its trees.
    fn keep_tree(&mut self, queue: u32, order: &Order) {
        let sort = match order {
            Order::Oldest => Sort::Oldest,
            Order::Priority => Sort::Priority,
            Order::LongestIdle => Sort::Idle,
            Order::RoundRobin { .. } | Order::Random | Order::By(_) => return,
        };
        let state = self.queues_live[queue as usize].as_mut().expect("a stored queue has derived state");
        if !state.pools.keeps(sort) {
            let channels = &self.channels;
            state.pools.keep(sort, |slot| channels.get(slot)?.live.placed);
        }
    }

    fn cursor(&self, queue: u32, order: &Order) -> Option<Id> {
        let Order::RoundRobin { cursor } = order else { return None };
        self.cursors.by_key(&(self.queue_row(queue).created, cursor.clone())).map(|cursor| cursor.last)
    }

    fn move_cursor(&mut self, picker: &Picker<'_>, cx: &mut Context) {
        let (Order::RoundRobin { cursor: name }, Some(last)) = (&picker.dequeue.order, picker.cursor) else { return };
        let used = cx.next_revision();
        let queue = self.queue_row(picker.queue).created;
        if let Some(slot) = self.cursors.slot(&(queue, name.clone())) {
            let cursor = self.cursors.get_mut(slot).expect("its slot was just found");
            self.cursors_by_use.remove(&(cursor.used, slot));
            (cursor.last, cursor.used) = (last, used);
            self.cursors_by_use.insert((used, slot));
            return;
        }
        if self.cursors.len() >= limits::CURSORS
            && let Some((_, oldest)) = self.cursors_by_use.pop_first()
        {
            self.cursors.remove(oldest);
        }
        let slot = self.cursors.insert(Cursor { queue, name: name.clone(), last, used });
        self.cursors_by_use.insert((used, slot));
    }

    /// Does a query hold for the channel as it is now?
    pub(super) fn holds_for(&self, query: &Query, slot: u32) -> bool {
        let channel = self.channel_row(slot);
        super::pause::holds(query, channel.id, &channel.key_values, Some(channel))
    }

    /// An item in flight as its consumer sees it.
    pub(super) fn delivery_view(&self, slot: u32, cx: &Context) -> Option<Delivery> {
        let item @ Item { state: State::InFlight(lease), .. } = self.item_row(slot) else { return None };
        let channel = self.channel_row(item.channel);
        Some(Delivery {
            item: item.id,
            channel: channel.id,
            key_values: channel.key_values.clone(),
            data: item.data.clone(),
            content_type: (&*item.content_type).into(),
            attempt: item.attempts,
            revision: item.revision,
            token: lease.token,
            expires_in_ms: lease.expires_ms.saturating_sub(cx.clock_ms),
            priority: item.options.priority,
            age_ms: cx.now_ms.saturating_sub(item.enqueued_ms),
        })
    }
}
