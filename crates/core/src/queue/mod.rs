//! Queue: channels of items by key values, dequeued by query, within the Limiter's limits.

mod command;
mod error;
mod outcome;

pub use command::*;
pub use error::Error;
pub use outcome::*;

use willow_query::Query as WillowQuery;
use willow_model::Id;

use crate::{
    Context, Reply,
    command::CancelWait,
    cursor,
    limiter::{Limiter, Selector},
    machine::{Collection, Listing, Lookup},
    table::Snapshot,
};

// FOUNDER'S NOTE (delete when read): items have a `weight` (see command.rs; DESIGN is silent, users
// of weighted limits expect it). A channel is parked under (bucket, weight of its head item): a set
// opens when the bucket has room for that weight; see Limiter::{claim, watch, take_opened}.

/// All queues, channels, items and waiting consumers of one machine.
#[derive(Debug, Default)]
pub struct Queues {}

impl Queues {
    pub(crate) fn apply(&mut self, _command: Command, _limiter: &mut Limiter, _cx: &mut Context) -> Reply {
        Err(Error::NoSuchQueue.into())
    }
    /// The delivery in this row has lived out its lease.
    pub(crate) fn lease_expired(&mut self, _slot: u32, _limiter: &mut Limiter, _cx: &mut Context) {}
    /// The delayed item in this row is due.
    pub(crate) fn item_due(&mut self, _slot: u32, _limiter: &mut Limiter, _cx: &mut Context) {}
    /// The item in this row has lived out its time.
    pub(crate) fn item_expired(&mut self, _slot: u32, _limiter: &mut Limiter, _cx: &mut Context) {}
    /// The consumer in this row has waited long enough.
    pub(crate) fn wait_expired(&mut self, _slot: u32, _cx: &mut Context) {}
    /// The next step of a background action on the queue in this row.
    pub(crate) fn step(&mut self, _slot: u32, _limiter: &mut Limiter, _cx: &mut Context) {}
    /// Offers channels under the buckets that gained room to waiting consumers.
    pub(crate) fn settle(&mut self, _limiter: &mut Limiter, _cx: &mut Context) {}
    /// Puts the bytes of items back in a recorded answer; drops deliveries whose lease has ended.
    pub(crate) fn refill(&self, _outcome: &mut crate::Outcome, _now_ms: u64) {}
    /// Ends a wait whose caller is gone, or hands back what it was given; nothing if it is not ours.
    pub(crate) fn cancel_wait(&mut self, _command: &CancelWait, _limiter: &mut Limiter, _cx: &mut Context) {}
    pub(crate) fn next_after(
        &self,
        _collection: &Collection,
        _query: &WillowQuery,
        _after: Option<Id>,
    ) -> Result<Option<Id>, cursor::Error> {
        Ok(None)
    }
    pub(crate) fn tables(&mut self) -> Vec<(u8, &mut dyn Snapshot)> {
        vec![]
    }
    pub(crate) fn rebuild(&mut self, _limiter: &mut Limiter, _cx: &mut Context) {}

    /// One page of the queues that match.
    ///
    /// # Errors
    /// When the query cannot be used here.
    pub fn query_queues(&self, _query: &WillowQuery, _lookup: Lookup<'_>) -> Result<Listing<QueueView>, willow_query::Error> {
        Ok(Listing { items: vec![], next_page_token: None, count: None, plan: None })
    }

    /// One queue.
    #[must_use]
    pub fn queue(&self, _queue: &Selector) -> Option<QueueView> {
        None
    }

    /// One page of a queue's channels that match; `None` when there is no such queue.
    ///
    /// # Errors
    /// When the query cannot be used here.
    pub fn query_channels(
        &self,
        _queue: &Selector,
        _query: &WillowQuery,
        _lookup: Lookup<'_>,
    ) -> Result<Option<Listing<ChannelView>>, willow_query::Error> {
        Ok(None)
    }

    /// One channel.
    #[must_use]
    pub fn channel(&self, _queue: &Selector, _channel: Id, _lookup: Lookup<'_>) -> Option<ChannelView> {
        None
    }

    /// One page of a queue's live items in the given states (none named: all) whose channel's key
    /// values match. Ties of the order break by channel id, then place in the channel.
    ///
    /// # Errors
    /// When the query cannot be used here.
    pub fn query_items(
        &self,
        _queue: &Selector,
        _query: &WillowQuery,
        _states: &[ItemState],
        _lookup: Lookup<'_>,
    ) -> Result<Option<Listing<ItemView>>, willow_query::Error> {
        Ok(None)
    }

    /// One item, live or dead.
    #[must_use]
    pub fn item(&self, _queue: &Selector, _item: Id, _lookup: Lookup<'_>) -> Option<ItemView> {
        None
    }

    /// One page of a queue's dead letters.
    ///
    /// # Errors
    /// When the query cannot be used here.
    pub fn query_dead_letters(
        &self,
        _queue: &Selector,
        _query: &WillowQuery,
        _lookup: Lookup<'_>,
    ) -> Result<Option<Listing<ItemView>>, willow_query::Error> {
        Ok(None)
    }

    /// Why is the channel not running?
    #[must_use]
    pub fn explain(
        &self,
        _queue: &Selector,
        _channel: Id,
        _limiter: &Limiter,
        _lookup: Lookup<'_>,
    ) -> Option<ChannelExplanation> {
        None
    }
}
