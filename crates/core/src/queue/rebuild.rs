//! Everything derived, from the rows of a snapshot.

use std::sync::Arc;

use willow_model::Value;

use super::Queues;
use crate::{Context, limiter::Limiter, timer::Timer};

impl Queues {
    pub(crate) fn rebuild(&mut self, limiter: &mut Limiter, cx: &mut Context) {
        for slot in slots(self.queues.iter()) {
            self.link_queue(slot, cx);
        }
        for slot in slots(self.channels.iter()) {
            self.index_channel(slot);
        }
        for slot in slots(self.items.iter()) {
            self.share(slot);
            let item = self.item_row(slot);
            if let Some(at_ms) = item.expires_ms.filter(|_| !item.expired) {
                cx.timers.set(at_ms, Timer::ItemExpiry(slot));
            }
            self.link(slot, cx);
        }
        for (slot, letter) in self.dead.iter() {
            let live = self.queues_live[letter.queue as usize].as_mut().expect("a dead letter's queue is stored");
            live.dead_index.insert(slot, letter.item.id, &letter.key_values, &[]);
            live.dead_order.insert((letter.died, slot));
        }
        for slot in slots(self.consumers.iter()) {
            self.link_consumer(slot, cx);
            cx.waiters += 1;
        }
        for (_, set) in self.open.iter() {
            let live = self.queues_live[set.queue as usize].as_mut().expect("an open set's queue is stored");
            live.pools.set_open(set.parked, true);
        }
        for slot in slots(self.channels.iter()) {
            self.refresh(slot, limiter);
        }
        self.to_offer.clear();
        self.remembered_expiry = self.remembered.iter().map(|(slot, row)| (row.expires_ms, slot)).collect();
        self.cursors_by_use = self.cursors.iter().map(|(slot, row)| (row.used, slot)).collect();
    }

    fn index_channel(&mut self, slot: u32) {
        let channel = self.channel_row(slot);
        let (queue, id, key_values) = (channel.queue, channel.id, channel.key_values.clone());
        let pairs: Vec<(String, Value)> = channel
            .meta
            .iter()
            .flat_map(|meta| &meta.pairs)
            .map(|(key, value)| (super::groups::metadata_key(key), value.clone()))
            .collect();
        let extra: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_ref())).collect();
        self.state_mut(queue).index.insert(slot, id, &key_values, &extra);
    }

    /// Shares options and content type with the item before, as they were when it was enqueued.
    fn share(&mut self, slot: u32) {
        let item = self.items.get_mut(slot).expect("the caller's item is stored");
        let queue = self.channels.get(item.channel).expect("an item's channel is stored").queue;
        let live = self.queues_live[queue as usize].as_mut().expect("a channel's queue is stored");
        if live.last_options == item.options {
            item.options = Arc::clone(&live.last_options);
        } else {
            live.last_options = Arc::clone(&item.options);
        }
        if live.last_content_type == item.content_type {
            item.content_type = Arc::clone(&live.last_content_type);
        } else {
            live.last_content_type = Arc::clone(&item.content_type);
        }
    }
}

fn slots<'a, T: 'a>(rows: impl Iterator<Item = (u32, &'a T)>) -> Vec<u32> {
    rows.map(|(slot, _)| slot).collect()
}
