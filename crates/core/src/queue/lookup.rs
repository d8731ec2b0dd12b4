//! Lookups over queues, channels and dead letters.

use willow_model::Id;
use willow_query::Query;

use super::{ChannelView, ItemView, QueueView, Queues};
use crate::{
    cursor,
    limiter::Selector,
    machine::{Collection, Listing, Lookup},
};

impl Queues {
    /// One page of the queues that match.
    ///
    /// # Errors
    /// When the page token is not of this query.
    pub fn query_queues(&self, query: &Query, lookup: Lookup<'_>) -> Result<Listing<QueueView>, willow_query::Error> {
        lookup.list(&self.index.0, query, b"queues", |slot| Some(self.queue_view(slot)))
    }

    /// One queue.
    #[must_use]
    pub fn queue(&self, queue: &Selector) -> Option<QueueView> {
        Some(self.queue_view(self.find(queue)?))
    }

    /// Queues, to count them all.
    pub fn all(&self) -> impl Iterator<Item = QueueView> {
        self.queues.iter().map(|(slot, _)| self.queue_view(slot))
    }

    /// One page of a queue's channels that match; `None` when there is no such queue.
    ///
    /// # Errors
    /// When the page token is not of this query.
    pub fn query_channels(
        &self,
        queue: &Selector,
        query: &Query,
        lookup: Lookup<'_>,
    ) -> Result<Option<Listing<ChannelView>>, willow_query::Error> {
        let Some(queue) = self.find(queue) else { return Ok(None) };
        let scope = scope(b"channels", self.queue_row(queue).id);
        let view = |slot| Some(self.channel_view(slot, lookup.now_ms));
        lookup.list(&self.state(queue).index, query, &scope, view).map(Some)
    }

    /// One channel.
    #[must_use]
    pub fn channel(&self, queue: &Selector, channel: Id, lookup: Lookup<'_>) -> Option<ChannelView> {
        let slot = self.channel_of(self.find(queue)?, channel)?;
        Some(self.channel_view(slot, lookup.now_ms))
    }

    /// One item, live or dead.
    #[must_use]
    pub fn item(&self, queue: &Selector, item: Id, lookup: Lookup<'_>) -> Option<ItemView> {
        let queue = self.find(queue)?;
        if let Some(slot) = self.item_slot(queue, item) {
            return Some(self.item_view(slot, lookup.now_ms));
        }
        let slot =
            self.dead.slot(&item).filter(|slot| self.dead.get(*slot).is_some_and(|letter| letter.queue == queue))?;
        self.dead_view(slot, lookup.now_ms)
    }

    /// One page of a queue's dead letters; `None` when there is no such queue.
    ///
    /// # Errors
    /// When the page token is not of this query.
    pub fn query_dead_letters(
        &self,
        queue: &Selector,
        query: &Query,
        lookup: Lookup<'_>,
    ) -> Result<Option<Listing<ItemView>>, willow_query::Error> {
        let Some(queue) = self.find(queue) else { return Ok(None) };
        let scope = scope(b"dead letters", self.queue_row(queue).id);
        let view = |slot| self.dead_view(slot, lookup.now_ms);
        lookup.list(&self.state(queue).dead_index, query, &scope, view).map(Some)
    }

    /// The next pick of a round-robin lookup: what it answers, and where its cursor then stands. Over
    /// items it goes from channel to channel and answers with the first item of each.
    pub(crate) fn next_after(
        &self,
        collection: &Collection,
        query: &Query,
        after: Option<Id>,
    ) -> Result<Option<(Id, Id)>, cursor::Error> {
        let live = |queue: &Id| {
            let slot = self.queues.slot(queue).ok_or_else(|| cursor::Error::NoSuchParent { what: "queue".into() })?;
            Ok(self.state(slot))
        };
        let itself = |id: Option<Id>| id.map(|id| (id, id));
        match collection {
            Collection::Queues => cursor::next_after(&self.index.0, query, after).map(itself),
            Collection::Channels(queue) => cursor::next_after(&live(queue)?.index, query, after).map(itself),
            Collection::DeadLetters(queue) => cursor::next_after(&live(queue)?.dead_index, query, after).map(itself),
            Collection::Items(queue) => self.next_item(&live(queue)?.index, query, after),
            Collection::Locks | Collection::Rules | Collection::Overrides(_) | Collection::Counters => Ok(None),
        }
    }

    fn next_item(
        &self,
        channels: &willow_query::Index,
        query: &Query,
        after: Option<Id>,
    ) -> Result<Option<(Id, Id)>, cursor::Error> {
        let mut at = after;
        // Channels without items, kept by their metadata, are passed over, once round at most.
        for _ in 0..=channels.len() {
            let Some(next) = cursor::next_after(channels, query, at)? else { return Ok(None) };
            let slot = self.channels.slot(&next).expect("an indexed channel is stored");
            if let Some(entry) = self.entries_after(slot, None).next() {
                return Ok(Some((self.item_row(entry.item).id, next)));
            }
            at = Some(next);
        }
        Ok(None)
    }

    /// The channel's row, if it is of this queue.
    pub(super) fn channel_of(&self, queue: u32, channel: Id) -> Option<u32> {
        self.channels.slot(&channel).filter(|slot| self.channel_row(*slot).queue == queue)
    }
}

/// What page tokens of a queue's parts belong to.
pub(super) fn scope(collection: &[u8], queue: Id) -> Vec<u8> {
    [collection, b" of ", queue.as_bytes()].concat()
}
