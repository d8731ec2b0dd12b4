//! How queues, channels and items look to a reader. Lease tokens never leave.

use super::{
    ChannelView, Counts, ItemState, ItemView, QueueView, Queues,
    rows::{Channel, Item, State},
};

/// Items looked at for the age of the oldest: a channel of more is in order of age nearly always.
const OLDEST_LOOKED_AT: usize = 1000;

impl Queues {
    pub(super) fn queue_view(&self, slot: u32) -> QueueView {
        let (row, live) = (self.queue_row(slot), self.state(slot));
        QueueView {
            id: row.id,
            name: row.name.clone(),
            key_values: row.key_values.clone(),
            config: row.config.clone(),
            revision: row.revision,
            deleting: row.deleting,
            pauses: row.pauses.iter().map(|pause| (pause.kind, pause.query.clone())).collect(),
            counts: live.counts,
            channels: live.index.len() as u64,
            dead_letters: live.dead_order.len() as u64,
            consumers_waiting: live.groups.waiting() as u64,
        }
    }

    pub(super) fn channel_view(&self, slot: u32, now_ms: u64) -> ChannelView {
        let channel = self.channel_row(slot);
        let live = &channel.live;
        let waiting = live.waiting.iter().take(OLDEST_LOOKED_AT).map(|entry| self.item_row(entry.item).enqueued_ms);
        let delivered = (channel.delivered.0 > 0).then_some(channel.delivered_ms);
        ChannelView {
            id: channel.id,
            key_values: channel.key_values.clone(),
            metadata: channel.metadata(),
            taints: channel.taints().to_vec(),
            revision: channel.revision,
            counts: Counts {
                waiting: live.waiting.len() as u64,
                delayed: live.delayed.len() as u64,
                in_flight: live.in_flight.len() as u64,
            },
            oldest_waiting_ms: waiting.min().map(|at_ms| now_ms.saturating_sub(at_ms)),
            idle_ms: delivered.map(|at_ms| now_ms.saturating_sub(at_ms)),
        }
    }

    pub(super) fn item_view(&self, slot: u32, now_ms: u64) -> ItemView {
        let item = self.item_row(slot);
        let Channel { id, key_values, .. } = self.channel_row(item.channel);
        let view = show(item, now_ms);
        ItemView { channel: *id, key_values: key_values.clone(), ..view }
    }

    pub(super) fn dead_view(&self, slot: u32, now_ms: u64) -> Option<ItemView> {
        let letter = self.dead.get(slot)?;
        let view = show(&letter.item, now_ms);
        let (channel, key_values) = (letter.channel, letter.key_values.clone());
        // Its expiry has passed or no longer matters.
        Some(ItemView {
            channel,
            key_values,
            state: ItemState::Dead,
            death: Some(letter.death),
            expires_in_ms: None,
            ..view
        })
    }
}

pub(super) fn state_of(item: &Item) -> ItemState {
    match item.state {
        State::Waiting => ItemState::Waiting,
        State::Delayed { .. } => ItemState::Delayed,
        State::InFlight(_) => ItemState::InFlight,
    }
}

/// All but what its channel says.
fn show(item: &Item, now_ms: u64) -> ItemView {
    let (due_ms, lease) = match &item.state {
        State::Waiting => (None, None),
        State::Delayed { due_ms } => (Some(*due_ms), None),
        State::InFlight(lease) => (None, Some(lease)),
    };
    let left = |at_ms: u64| at_ms.saturating_sub(now_ms);
    ItemView {
        id: item.id,
        channel: item.id,
        key_values: willow_model::KeyValues::none(),
        state: state_of(item),
        data: item.data.clone(),
        content_type: (&*item.content_type).into(),
        revision: item.revision,
        updatable: item.options.updatable,
        attempts: item.attempts,
        max_attempts: item.options.max_attempts,
        backoff: item.options.backoff,
        retry_position: item.options.retry_position,
        lease_ms: item.options.lease_ms,
        priority: item.options.priority,
        weight: item.options.weight,
        age_ms: now_ms.saturating_sub(item.enqueued_ms),
        due_in_ms: due_ms.map(left),
        expires_in_ms: item.expires_ms.map(left),
        lease_expires_in_ms: lease.map(|lease| left(lease.expires_ms)),
        consumer: lease.and_then(|lease| lease.consumer.clone()),
        reason: item.reason.clone(),
        death: None,
    }
}
