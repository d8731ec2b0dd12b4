//! The obvious implementation of queries: scan everything, sort everything. Tests hold the engine,
//! and whatever is built on it, to this.

use std::collections::BTreeMap;

use willow_model::{Id, Key, KeyValues, Value, ValueRef};

use crate::ast::Query;
use crate::eval::pattern_matches;
use crate::position::Position;

/// A document.
#[derive(Debug, Clone)]
pub struct Doc {
    /// Its id.
    pub id: Id,
    /// Its key values; the pattern, for a rule or an override.
    pub key_values: KeyValues,
    /// What else queries see of it: `metadata.<key>`, keys that are only in the index. No part of
    /// the key count or of the pattern.
    pub extra: BTreeMap<Key, Value>,
}

/// A page of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The documents' ids, in order.
    pub ids: Vec<Id>,
    /// The position of the last of them, if there are more after it.
    pub next: Option<Position>,
    /// How many match in all, on whatever page.
    pub total: usize,
}

impl Doc {
    /// A document without extra pairs.
    #[must_use]
    pub const fn new(id: Id, key_values: KeyValues) -> Self {
        Self { id, key_values, extra: BTreeMap::new() }
    }

    /// The value of a key, as queries see it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<ValueRef<'_>> {
        self.extra.get(key).map(Value::as_ref).or_else(|| self.key_values.get(key))
    }

    /// Whether it matches everything in the query but the page token, `pick` and the order's
    /// exclusions.
    #[must_use]
    pub fn matches(&self, query: &Query) -> bool {
        query.filter.matches(&|key: &str| self.get(key))
            && query.ids.as_ref().is_none_or(|ids| ids.contains(&self.id))
            && query.key_count.is_none_or(|count| count.contains(self.key_values.user_len()))
            && query.matching.as_ref().is_none_or(|probe| pattern_matches(&self.key_values, probe))
    }

    /// Its place in the query's order; `None` if that excludes it.
    #[must_use]
    pub fn position(&self, query: &Query) -> Option<Position> {
        let values: BTreeMap<&str, Vec<u8>> = query
            .order_by
            .iter()
            .filter_map(|order| Some((order.key.as_str(), self.get(&order.key)?.encode())))
            .collect();
        Position::of(&query.order_by, self.id, |key| values.get(key).map(Vec::as_slice))
    }
}

/// The positions of every document that matches, in order.
#[must_use]
pub fn all(docs: &[Doc], query: &Query) -> Vec<Position> {
    let matching = docs.iter().filter(|doc| doc.matches(query));
    let mut positions: Vec<_> = matching.filter_map(|doc| doc.position(query)).collect();
    positions.sort_by(|a, b| a.compare(b, &query.order_by));
    positions
}

/// The page after a position, or the first one.
#[must_use]
pub fn page(docs: &[Doc], query: &Query, after: Option<&Position>) -> Page {
    let all = all(docs, query);
    let is_before = |position: &Position| after.is_some_and(|after| position.compare(after, &query.order_by).is_le());
    let rest = &all[all.partition_point(is_before)..];
    let page = &rest[..rest.len().min(query.page_limit())];
    let next = if page.len() < rest.len() { page.last().cloned() } else { None };
    Page { ids: page.iter().map(|position| position.id).collect(), next, total: all.len() }
}

/// The first match after the cursor in the order of ids, wrapping once.
#[must_use]
pub fn round_robin(docs: &[Doc], query: &Query, cursor: Option<Id>) -> Option<Id> {
    let mut ids: Vec<_> = docs.iter().filter(|doc| doc.matches(query)).map(|doc| doc.id).collect();
    ids.sort_unstable();
    let after = ids.partition_point(|id| cursor.is_some_and(|cursor| *id <= cursor));
    ids.get(after).or_else(|| ids.first()).copied()
}
