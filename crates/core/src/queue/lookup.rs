//! Lookups over queues, channels and dead letters.

use willow_model::Id;
use willow_query::Query;

use super::{ChannelView, ItemView, QueueView, Queues, lookup_items::Selection};
use crate::{
    cursor::{self, Stop},
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

    /// The next pick of a round-robin lookup: what it answers, and where its cursor then stands.
    pub(crate) fn next_after(
        &self,
        collection: &Collection,
        query: &Query,
        last: Option<&Stop>,
    ) -> Result<Option<(Id, Stop)>, cursor::Error> {
        let find =
            |queue: &Id| self.queues.slot(queue).ok_or_else(|| cursor::Error::NoSuchParent { what: "queue".into() });
        let index = match collection {
            Collection::Queues => &self.index.0,
            Collection::Channels(queue) => &self.state(find(queue)?).index,
            Collection::DeadLetters(queue) => &self.state(find(queue)?).dead_index,
            Collection::Items { queue, states } => {
                cursor::name(query)?;
                let selection = Selection::new(find(queue)?, query, states);
                return Ok(self.item_after(&selection, last));
            }
            Collection::Locks | Collection::Rules | Collection::Overrides(_) | Collection::Counters => return Ok(None),
        };
        let next = cursor::next_after(index, query, last.map(|last| last.id))?;
        Ok(next.map(|id| (id, Stop::at(id))))
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
