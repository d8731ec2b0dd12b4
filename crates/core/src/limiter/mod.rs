//! Limiter: rules with `any`, overrides, counters, holds, and the reason for every verdict.

mod command;
mod error;
mod outcome;

pub use command::*;
pub use error::Error;
pub use outcome::*;

use willow_model::{Id, KeyValues};
use willow_query::Query;

use crate::{Context, Reply, command::CancelWait, cursor, machine::{Collection, Listing, Lookup}, table::Snapshot};

/// Names a bucket: derived from its rule or override and the values it stands for.
pub type BucketId = Id;

/// All rules, overrides, counters, buckets and lines of one machine.
#[derive(Debug, Default)]
pub struct Limiter {}

impl Limiter {
    pub(crate) fn apply(&mut self, _command: Command, _cx: &mut Context) -> Reply {
        Err(Error::NoSuchRule.into())
    }
    /// The hold in this row has lived out its lease.
    pub(crate) fn hold_expired(&mut self, _slot: u32, _cx: &mut Context) {}
    /// The waiter in this row has waited long enough.
    pub(crate) fn wait_expired(&mut self, _slot: u32, _cx: &mut Context) {}
    /// Ends a wait whose caller is gone, or undoes what it was granted; nothing if it is not ours.
    pub(crate) fn cancel_wait(&mut self, _command: &CancelWait, _cx: &mut Context) {}
    pub(crate) fn next_after(
        &self,
        _collection: &Collection,
        _query: &Query,
        _after: Option<Id>,
    ) -> Result<Option<Id>, cursor::Error> {
        Ok(None)
    }
    pub(crate) fn tables(&mut self) -> Vec<(u8, &mut dyn Snapshot)> {
        vec![]
    }
    pub(crate) fn rebuild(&mut self, _cx: &mut Context) {}

    // What the Queue uses, within its own apply.

    // FOUNDER'S NOTE (delete when read): items have a `weight` since 08:44; hence the amounts here.

    /// Counts an item of this weight in flight on the counter of these key values (the channel's,
    /// plus `_willow_queue_name`), if every bucket allows; else names the bucket to park under: the
    /// first that has no room for the weight, or has a line. Never waits. The amount is part of
    /// `CounterView::held`.
    pub(crate) fn claim(&mut self, _key_values: &KeyValues, _weight: u64, _cx: &mut Context) -> Result<(), BucketId> {
        Ok(())
    }
    /// Takes the weight of an item in flight off again, then serves whoever waits for the room.
    pub(crate) fn unclaim(&mut self, _key_values: &KeyValues, _weight: u64, _cx: &mut Context) {}
    /// All that would deny a claim of this weight, to explain.
    pub(crate) fn blocking(&self, _key_values: &KeyValues, _weight: u64, _now_ms: u64) -> Vec<Blocking> {
        vec![]
    }
    /// From now on, tell when this bucket has room for `weight` (or vanishes, or loses its line).
    /// A bucket may be watched for several weights at once; each (bucket, weight) is one watch.
    pub(crate) fn watch(&mut self, _bucket: BucketId, _weight: u64) {}
    /// No longer.
    pub(crate) fn unwatch(&mut self, _bucket: BucketId, _weight: u64) {}
    /// Would a claim of this weight pass this bucket? True for a bucket that is not there.
    pub(crate) fn has_room(&self, _bucket: BucketId, _weight: u64) -> bool {
        true
    }
    /// Watches whose bucket got room for their weight since the last call, in the order they did,
    /// each once (of one bucket: larger weights first, so that they are not starved).
    pub(crate) fn take_opened(&mut self) -> Vec<(BucketId, u64)> {
        vec![]
    }

    /// One page of the rules that match.
    ///
    /// # Errors
    /// When the query cannot be used here.
    pub fn query_rules(&self, _query: &Query, _lookup: Lookup<'_>) -> Result<Listing<RuleView>, willow_query::Error> {
        Ok(Listing { items: vec![], next_page_token: None, count: None, plan: None })
    }

    /// One page of a rule's overrides that match; `None` when there is no such rule.
    ///
    /// # Errors
    /// When the query cannot be used here.
    pub fn query_overrides(
        &self,
        _rule: &Selector,
        _query: &Query,
        _lookup: Lookup<'_>,
    ) -> Result<Option<Listing<OverrideView>>, willow_query::Error> {
        Ok(None)
    }

    /// One page of the counters that match.
    ///
    /// # Errors
    /// When the query cannot be used here.
    pub fn query_counters(
        &self,
        _query: &Query,
        _lookup: Lookup<'_>,
    ) -> Result<Listing<CounterView>, willow_query::Error> {
        Ok(Listing { items: vec![], next_page_token: None, count: None, plan: None })
    }

    /// One rule.
    #[must_use]
    pub fn rule(&self, _rule: &Selector) -> Option<RuleView> {
        None
    }

    /// One override.
    #[must_use]
    pub fn override_(&self, _rule: &Selector, _override: &Selector) -> Option<OverrideView> {
        None
    }

    /// Why would an increment pass or not? `what_if` are unsaved rules (an unsaved one with the name
    /// of a stored one stands in for it).
    #[must_use]
    pub fn explain(&self, _key_values: &KeyValues, _amount: u64, _what_if: &[CreateRule], _cx: Lookup<'_>) -> Explanation {
        Explanation {
            revision: willow_model::Revision(0),
            allowed: true,
            rules: vec![],
            truncated: false,
            denied_by: vec![],
        }
    }
}
