//! Enqueue: new items, and updates in place.

use std::sync::Arc;

use willow_model::{Id, Kind};

use super::{
    Enqueue, Enqueued, Error, How, ItemOptions, NewItem, Outcome, PauseKind, Position, Queues,
    items::place,
    pause,
    rows::{Item, Remembered, State},
    validate,
};
use crate::{Context, Reply, limiter::Limiter, limits};

impl Queues {
    pub(super) fn enqueue(&mut self, command: Enqueue, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        let queue = self.active(&command.queue)?;
        validate::batch("items", command.items.len())?;
        let answers = command.items.into_iter().map(|item| self.enqueue_one(queue, item, limiter, cx));
        Ok(Outcome::Enqueued(answers.collect()).into())
    }

    fn enqueue_one(
        &mut self,
        queue: u32,
        new: NewItem,
        limiter: &mut Limiter,
        cx: &mut Context,
    ) -> Result<Enqueued, Error> {
        validate::item(&new)?;
        let options = self.options_of(queue, &new)?;
        if let Some(key) = &new.idempotency_key
            && let Some(known) = self.remembered.by_key(&(self.queue_row(queue).created, key.clone()))
            && known.expires_ms > cx.now_ms
        {
            return Ok(Enqueued { how: How::Duplicate, ..known.enqueued.clone() });
        }
        let id = Id::derive(Kind::Channel, Some(self.queue_row(queue).id), new.key_values.as_bytes());
        let channel = self.channels.slot(&id);
        if self.is_draining(queue, id, channel, &new) {
            return Err(Error::Draining);
        }
        let key = new.idempotency_key.clone();
        let updated = channel.and_then(|channel| self.channel_row(channel).live.updatable);
        let enqueued = match updated {
            Some(slot) => self.update(slot, new, options, cx),
            None => self.add(queue, id, channel, new, options, cx)?,
        };
        let slot = self.items.slot(&enqueued.item).map(|slot| self.item_row(slot).channel);
        if let Some(channel) = slot {
            self.refresh(channel, limiter);
        }
        if let Some(key) = key {
            self.remember(queue, key, enqueued.clone(), cx);
        }
        Ok(enqueued)
    }

    /// Replaces a waiting updatable item's data and options. It keeps its id, its place and its age.
    fn update(&mut self, slot: u32, new: NewItem, options: Arc<ItemOptions>, cx: &mut Context) -> Enqueued {
        let content_type =
            self.shared_content_type(self.channel_row(self.item_row(slot).channel).queue, &new.content_type);
        let channel = self.item_row(slot).channel;
        self.unlink(slot, cx);
        let revision = cx.next_revision();
        let item = self.item_mut(slot);
        let expired_before = item.expires_ms;
        item.revision = revision;
        item.attempts = 0;
        item.reason = None;
        item.data = new.data;
        item.content_type = content_type;
        item.options = options;
        item.state = state(new.delay_ms, cx);
        item.expires_ms = new.expires_in_ms.map(|ms| cx.after(ms));
        let (id, expires_ms) = (item.id, item.expires_ms);
        let timer = crate::timer::Timer::ItemExpiry(slot);
        if let Some(at_ms) = expired_before {
            cx.timers.clear(at_ms, timer);
        }
        if let Some(at_ms) = expires_ms {
            cx.timers.set(at_ms, timer);
        }
        self.link(slot, cx);
        Enqueued { item: id, channel: self.channel_row(channel).id, revision, how: How::Updated }
    }

    fn add(
        &mut self,
        queue: u32,
        id: Id,
        channel: Option<u32>,
        new: NewItem,
        options: Arc<ItemOptions>,
        cx: &mut Context,
    ) -> Result<Enqueued, Error> {
        let counts = self.state(queue).counts;
        if let Some(max_items) = self.queue_row(queue).config.max_items
            && counts.waiting + counts.delayed + counts.in_flight >= max_items
        {
            return Err(Error::QueueFull { max_items });
        }
        let channel = match channel {
            Some(channel) => channel,
            None => self.create_channel(queue, id, new.key_values, cx),
        };
        let revision = cx.next_revision();
        let item_id = Id::derive(Kind::Item, Some(id), &revision.0.to_be_bytes());
        let content_type = self.shared_content_type(queue, &new.content_type);
        self.insert_item(
            Item {
                id: item_id,
                channel,
                attempts: 0,
                sequence: revision,
                position: place(Position::Back, revision),
                revision,
                enqueued_ms: cx.now_ms,
                expires_ms: new.expires_in_ms.map(|ms| cx.after(ms)),
                expired: false,
                state: state(new.delay_ms, cx),
                data: new.data,
                content_type,
                options,
                reason: None,
            },
            cx,
        );
        Ok(Enqueued { item: item_id, channel: id, revision, how: How::Created })
    }

    fn is_draining(&self, queue: u32, id: Id, channel: Option<u32>, new: &NewItem) -> bool {
        let mut pauses = self.queue_row(queue).pauses.iter().filter(|pause| pause.kind == PauseKind::Enqueue);
        let channel = channel.map(|slot| self.channel_row(slot));
        pauses.any(|pause| pause.query.as_ref().is_none_or(|query| pause::holds(query, id, &new.key_values, channel)))
    }

    /// The item's options: the queue's defaults, but for what it says itself.
    fn options_of(&mut self, queue: u32, new: &NewItem) -> Result<Arc<ItemOptions>, Error> {
        let defaults = &self.queue_row(queue).config.defaults;
        let options = ItemOptions {
            updatable: new.updatable.unwrap_or(defaults.updatable),
            max_attempts: new.max_attempts.unwrap_or(defaults.max_attempts),
            backoff: new.backoff.unwrap_or(defaults.backoff),
            retry_position: new.retry_position.unwrap_or(defaults.retry_position),
            lease_ms: new.lease_ms.unwrap_or(defaults.lease_ms),
            priority: new.priority.unwrap_or(defaults.priority),
            weight: new.weight.unwrap_or(defaults.weight),
        };
        validate::options(&options)?;
        let live = self.state_mut(queue);
        if *live.last_options != options {
            live.last_options = Arc::new(options);
        }
        Ok(Arc::clone(&live.last_options))
    }

    fn shared_content_type(&mut self, queue: u32, content_type: &str) -> Arc<str> {
        let live = self.state_mut(queue);
        if &*live.last_content_type != content_type {
            live.last_content_type = content_type.into();
        }
        Arc::clone(&live.last_content_type)
    }

    fn remember(&mut self, queue: u32, name: Box<str>, enqueued: Enqueued, cx: &Context) {
        let queue = self.queue_row(queue).created;
        if let Some(slot) = self.remembered.slot(&(queue, name.clone())) {
            // It is old: an unexpired one would have been answered from.
            if let Some(old) = self.remembered.remove(slot) {
                self.remembered_expiry.remove(&(old.expires_ms, slot));
            }
        }
        if self.remembered.len() >= limits::REQUEST_IDS {
            self.forget_oldest_key();
        }
        let expires_ms = cx.after(limits::REQUEST_ID_RETENTION_MS);
        let slot = self.remembered.insert(Remembered { queue, name, enqueued, expires_ms });
        self.remembered_expiry.insert((expires_ms, slot));
    }
}

fn state(delay_ms: u64, cx: &Context) -> State {
    if delay_ms == 0 { State::Waiting } else { State::Delayed { due_ms: cx.after(delay_ms) } }
}
