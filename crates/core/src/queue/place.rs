//! Where a channel stands: in the pool, parked, or nowhere; and its life from first to last item.

use willow_model::{Id, KeyValues, Value, ValueRef, reserved};

use super::{
    Queues, Taint,
    groups::metadata_key,
    rows::{Channel, Live, OpenSet, Parked, Placed},
};
use crate::{Context, limiter::Limiter};

/// Parked sets that are searched beside the pool; past it the smallest is merged into the pool, so
/// that a dequeue looks at a bounded number of orders.
const OPEN_SETS: usize = 64;
/// A parked set of no more channels is merged into the pool when it opens: cheaper than searching it.
const MERGED: u64 = 4;

impl Queues {
    pub(super) fn channel_row(&self, slot: u32) -> &Channel {
        self.channels.get(slot).expect("an item's or an index's channel is stored")
    }

    pub(super) fn channel_mut(&mut self, slot: u32) -> &mut Channel {
        self.channels.get_mut(slot).expect("an item's or an index's channel is stored")
    }

    /// Stores a new channel, without items yet.
    pub(super) fn create_channel(&mut self, queue: u32, id: Id, key_values: KeyValues, cx: &mut Context) -> u32 {
        let slot = self.channels.insert(Channel {
            id,
            queue,
            key_values: key_values.clone(),
            meta: None,
            revision: cx.next_revision(),
            parked: None,
            delivered: willow_model::Revision(0),
            delivered_ms: 0,
            live: Live::default(),
        });
        self.state_mut(queue).index.insert(slot, id, &key_values, &[]);
        slot
    }

    /// Puts the channel where it belongs after a change, or ends it with its last item.
    pub(super) fn refresh(&mut self, slot: u32, limiter: &mut Limiter) {
        let channel = self.channel_row(slot);
        if channel.items() == 0 && channel.meta.is_none() {
            return self.end_channel(slot, limiter);
        }
        let wanted = self.eligible_head(slot);
        let parked = match (channel.parked, wanted) {
            (Some(Parked::Limit { weight, .. }), Some(placed)) if weight != u64::from(placed.weight) => None,
            (parked, Some(_)) => parked,
            (_, None) => None,
        };
        if (channel.live.placed, channel.parked) != (wanted, parked) {
            let news = channel.live.placed.is_none() || parked != channel.parked;
            self.place(slot, wanted, parked, limiter);
            if news {
                self.offer_later(slot);
            }
        }
    }

    /// What the orders go by, if the channel has an item that may go out.
    fn eligible_head(&self, slot: u32) -> Option<Placed> {
        let channel = self.channel_row(slot);
        let head = self.item_row(channel.live.waiting.first()?.item);
        // One updatable item of a channel runs at a time, and nothing runs beside it.
        if let Some(running) = channel.live.in_flight.first()
            && (head.options.updatable || self.item_row(running.item).options.updatable)
        {
            return None;
        }
        Some(Placed {
            priority: head.options.priority,
            sequence: head.sequence,
            delivered: channel.delivered,
            weight: head.options.weight,
        })
    }

    fn place(&mut self, slot: u32, wanted: Option<Placed>, parked: Option<Parked>, limiter: &mut Limiter) {
        self.unplace(slot, limiter);
        let channel = self.channels.get_mut(slot).expect("the caller's channel is stored");
        let queue = channel.queue;
        channel.parked = parked;
        channel.live.placed = wanted;
        let Some(placed) = wanted else { return };
        let taints: Vec<Taint> = channel.taints().to_vec();
        let super::QueueLive { pools, index, .. } = self.state_mut(queue);
        pools.insert(slot, &placed, &taints, parked, index);
        if let Some(parked) = parked
            && !pools.is_open(parked)
        {
            self.watch(queue, parked, limiter);
        }
    }

    /// Takes the channel out of its pool or set. What must not change while it stands there (taints,
    /// what it is parked under) may be changed until it is placed again.
    pub(super) fn unplace(&mut self, slot: u32, limiter: &mut Limiter) {
        let channel = self.channels.get_mut(slot).expect("the caller's channel is stored");
        let (queue, parked) = (channel.queue, channel.parked);
        let Some(placed) = channel.live.placed.take() else { return };
        let pools = &mut self.queues_live[queue as usize].as_mut().expect("a channel's queue is stored").pools;
        if let Some(emptied) = pools.remove(slot, &placed, channel.taints(), parked) {
            self.set_emptied(queue, emptied, limiter);
        }
    }

    /// The head was tried and this was in the way.
    pub(super) fn park(&mut self, slot: u32, parked: Parked, limiter: &mut Limiter) {
        let channel = self.channel_row(slot);
        let (queue, placed) = (channel.queue, channel.live.placed);
        if self.state(queue).pools.is_open(parked) {
            self.close(queue, parked, limiter);
        }
        if channel_is(self.channel_row(slot), parked) {
            return;
        }
        self.place(slot, placed, Some(parked), limiter);
    }

    /// Marks the channel to be offered to who waits, when the command is done.
    pub(super) fn offer_later(&mut self, slot: u32) {
        let Some(channel) = self.channels.get(slot) else { return };
        if self.state(channel.queue).groups.waiting() > 0 {
            self.to_offer.push_back(slot);
        }
    }

    fn end_channel(&mut self, slot: u32, limiter: &mut Limiter) {
        self.unplace(slot, limiter);
        if let Some(channel) = self.channels.remove(slot) {
            self.state_mut(channel.queue).index.remove(slot);
        }
    }

    fn watch(&mut self, queue: u32, parked: Parked, limiter: &mut Limiter) {
        let Parked::Limit { bucket, weight } = parked else { return };
        let watchers = self.watchers.entry((bucket, weight)).or_default();
        if watchers.is_empty() {
            limiter.watch(bucket, weight);
        }
        watchers.insert(queue);
    }

    fn unwatch(&mut self, queue: u32, parked: Parked, limiter: &mut Limiter) {
        let Parked::Limit { bucket, weight } = parked else { return };
        let Some(watchers) = self.watchers.get_mut(&(bucket, weight)) else { return };
        watchers.remove(&queue);
        if watchers.is_empty() {
            self.watchers.remove(&(bucket, weight));
            limiter.unwatch(bucket, weight);
        }
    }

    /// The last channel left a parked set.
    fn set_emptied(&mut self, queue: u32, parked: Parked, limiter: &mut Limiter) {
        if self.state(queue).pools.is_open(parked) {
            self.forget_open(queue, parked);
        } else {
            self.unwatch(queue, parked, limiter);
        }
    }

    fn forget_open(&mut self, queue: u32, parked: Parked) {
        self.state_mut(queue).pools.set_open(parked, false);
        if let Some(slot) = self.open.slot(&(queue, parked)) {
            self.open.remove(slot);
        }
    }

    /// What blocked an open set blocks again.
    fn close(&mut self, queue: u32, parked: Parked, limiter: &mut Limiter) {
        self.forget_open(queue, parked);
        self.watch(queue, parked, limiter);
    }

    /// What blocked a parked set may have passed: from now on it is searched.
    pub(super) fn open_set(&mut self, queue: u32, parked: Parked, limiter: &mut Limiter) {
        self.unwatch(queue, parked, limiter);
        let pools = &mut self.state_mut(queue).pools;
        let Some(len) = pools.set(parked).map(super::pool::ByTaints::len) else { return };
        pools.set_open(parked, true);
        if self.open.slot(&(queue, parked)).is_none() {
            self.open.insert(OpenSet { queue, parked });
        }
        if len <= MERGED {
            return self.merge(queue, parked, limiter);
        }
        self.opened.push_back((queue, parked));
        let pools = &self.state(queue).pools;
        if pools.open_len() > OPEN_SETS {
            let smallest = pools.open().map(|(parked, set)| (set.len(), parked)).min();
            if let Some((_, smallest)) = smallest {
                self.merge(queue, smallest, limiter);
            }
        }
    }

    /// Moves an open set into the pool.
    fn merge(&mut self, queue: u32, parked: Parked, limiter: &mut Limiter) {
        let Some(set) = self.state(queue).pools.set(parked) else { return };
        let mut channels: Vec<u32> = set.pools().flat_map(|(_, pool)| &pool.members).collect();
        channels.sort_unstable_by_key(|slot| self.channel_row(*slot).live.placed.map(|placed| placed.sequence));
        for slot in channels {
            let placed = self.channel_row(slot).live.placed;
            self.place(slot, placed, None, limiter);
            self.offer_later(slot);
        }
    }

    /// Indexes one changed pair of metadata.
    pub(super) fn index_metadata(&mut self, slot: u32, key: &str, value: Option<&Value>) {
        let queue = self.channel_row(slot).queue;
        self.state_mut(queue).index.set_extra(slot, &metadata_key(key), value.map(Value::as_ref));
    }

    /// The key values of the counter of a channel's claims.
    pub(super) fn counter_of(&self, slot: u32) -> KeyValues {
        let channel = self.channel_row(slot);
        let name = &*self.queue_row(channel.queue).name;
        channel
            .key_values
            .with_reserved(reserved::QUEUE_NAME, name)
            .expect("a channel's key values leave room for the queue's name")
    }
}

fn channel_is(channel: &Channel, parked: Parked) -> bool {
    channel.parked == Some(parked)
}

/// A channel's value for a key of a query.
pub(super) fn value_of<'a>(key_values: &'a KeyValues, channel: Option<&'a Channel>, key: &str) -> Option<ValueRef<'a>> {
    match key.strip_prefix(willow_model::METADATA_PREFIX) {
        Some(key) => channel?.meta.as_ref()?.pairs.get(key).map(Value::as_ref),
        None => key_values.get(key),
    }
}
