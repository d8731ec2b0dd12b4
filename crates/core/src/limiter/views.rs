//! How rules, overrides and counters look to a reader, and lookups of them.

use roaring::RoaringBitmap;
use willow_model::{Id, Key, KeyValues, ValueRef};
use willow_query::{Filter, Index, Op, Query, Run, TypeSet};

use super::{CounterView, Limiter, OverrideView, RuleView, Selector, bucket::LimitRef};
use crate::{
    cursor,
    machine::{Collection, Listing, Lookup},
};

/// Overlapping overrides that a creation names.
const OVERLAPS: u32 = 100;

impl Limiter {
    pub(super) fn rule_view(&self, slot: u32) -> RuleView {
        let rule = self.catalogue.rule(slot);
        let overrides = self.catalogue.children(slot).map_or(0, RoaringBitmap::len);
        RuleView {
            id: rule.id,
            name: rule.name.clone(),
            key_values: rule.key_values.clone(),
            limit: rule.limit,
            mode: rule.mode,
            revision: rule.revision,
            overrides: u32::try_from(overrides).unwrap_or(u32::MAX),
            buckets: self.buckets.counting(LimitRef::Rule(slot)),
            shadow_denials: rule.shadow_denials,
        }
    }

    pub(super) fn override_view(&self, slot: u32) -> OverrideView {
        let override_ = self.catalogue.override_(slot);
        OverrideView {
            id: override_.id,
            rule: self.catalogue.rule(override_.rule).id,
            name: override_.name.clone(),
            key_values: override_.key_values.clone(),
            limit: override_.limit,
            revision: override_.revision,
            overlaps: Vec::new(),
        }
    }

    /// Names of the rule's overrides that may match a counter which these key values match, too.
    pub(super) fn overlaps(&self, rule: u32, key_values: &KeyValues) -> Vec<Box<str>> {
        let Some(children) = self.catalogue.children(rule) else { return Vec::new() };
        let concrete = key_values.iter().filter(|(_, value)| *value != ValueRef::Any);
        let filter = Filter::and(concrete.filter_map(|(key, value)| may_be(key, value)));
        let query = Query { limit: OVERLAPS, ..Query::of(filter) };
        // Without a budget, for every replica must find the same.
        let run = Run { restrict: Some(children), budget: usize::MAX, ..Run::new(&[0; 32], b"") };
        let found = self.catalogue.override_index.run(&query, &run).map_or_else(|_| Vec::new(), |page| page.docs);
        found.into_iter().map(|slot| self.catalogue.override_(slot).name.clone()).collect()
    }

    /// One page of the rules that match.
    ///
    /// # Errors
    /// When the page token is not of this query.
    pub fn query_rules(&self, query: &Query, lookup: Lookup<'_>) -> Result<Listing<RuleView>, willow_query::Error> {
        lookup.list(&self.catalogue.rule_index, query, b"rules", |slot| Some(self.rule_view(slot)))
    }

    /// One page of a rule's overrides that match; `None` when there is no such rule.
    ///
    /// # Errors
    /// When the page token is not of this query.
    pub fn query_overrides(
        &self,
        rule: &Selector,
        query: &Query,
        lookup: Lookup<'_>,
    ) -> Result<Option<Listing<OverrideView>>, willow_query::Error> {
        let Some(rule) = self.catalogue.find_rule(rule) else { return Ok(None) };
        let none = RoaringBitmap::new();
        let children = self.catalogue.children(rule).unwrap_or(&none);
        let scope = [b"overrides".as_slice(), self.catalogue.rule(rule).id.as_bytes()].concat();
        let index = &self.catalogue.override_index;
        let listing = lookup.list_within(index, query, &scope, children, |slot| Some(self.override_view(slot)));
        listing.map(Some)
    }

    /// One page of the counters that match.
    ///
    /// # Errors
    /// When the page token is not of this query.
    pub fn query_counters(
        &self,
        query: &Query,
        lookup: Lookup<'_>,
    ) -> Result<Listing<CounterView>, willow_query::Error> {
        lookup.list(&self.counters.index, query, b"counters", |slot| Some(self.counter_view(slot)))
    }

    /// One rule.
    #[must_use]
    pub fn rule(&self, rule: &Selector) -> Option<RuleView> {
        self.catalogue.find_rule(rule).map(|slot| self.rule_view(slot))
    }

    /// One override, with those it overlaps.
    #[must_use]
    pub fn override_(&self, rule: &Selector, override_: &Selector) -> Option<OverrideView> {
        let rule = self.catalogue.find_rule(rule)?;
        let slot = self.catalogue.find_override(rule, override_)?;
        let mut view = self.override_view(slot);
        view.overlaps = self.overlaps(rule, &view.key_values);
        view.overlaps.retain(|name| *name != view.name);
        Some(view)
    }

    /// The next match of a round-robin lookup.
    pub(crate) fn next_after(
        &self,
        collection: &Collection,
        query: &Query,
        after: Option<Id>,
    ) -> Result<Option<Id>, cursor::Error> {
        match collection {
            Collection::Rules => cursor::next_after(&self.catalogue.rule_index, query, after),
            Collection::Counters => cursor::next_after(&self.counters.index, query, after),
            Collection::Overrides(rule) => {
                let rule = self
                    .catalogue
                    .rules
                    .slot(rule)
                    .ok_or_else(|| cursor::Error::NoSuchParent { what: "rule".into() })?;
                let none = RoaringBitmap::new();
                let children = self.catalogue.children(rule).unwrap_or(&none);
                next_within(&self.catalogue.override_index, query, after, children)
            }
            Collection::Locks
            | Collection::Queues
            | Collection::Channels(_)
            | Collection::Items { .. }
            | Collection::DeadLetters(_) => Ok(None),
        }
    }
}

/// A stored pattern is compatible with this value: it has it, has `any`, or lacks the key.
fn may_be(key: &str, value: ValueRef<'_>) -> Option<Filter> {
    let key = Key::new(key).ok()?;
    let same = Filter::and([
        Filter::term(key.clone(), Op::Eq(value.to_value())),
        Filter::term(key.clone(), Op::Types(TypeSet::new([value.value_type()])?)),
    ]);
    Some(Filter::or([same, Filter::term(key.clone(), Op::IsAny), Filter::term(key, Op::Exists(false))]))
}

fn next_within(
    index: &Index,
    query: &Query,
    after: Option<Id>,
    within: &RoaringBitmap,
) -> Result<Option<Id>, cursor::Error> {
    cursor::name(query)?;
    let run = Run { cursor: after, restrict: Some(within), budget: usize::MAX, ..Run::new(&[0; 32], b"") };
    let page = index.run(query, &run).map_err(|error| cursor::Error::BadQuery { reason: error.to_string().into() })?;
    Ok(page.next_cursor)
}
