//! Action queries: one document to act on, among those the caller holds eligible.
//!
//! Their cost depends on how many documents are eligible, not on how many there are;
//! and their answer on the documents alone, not on the plan: replicas agree.

use std::cell::Cell;

use roaring::RoaringBitmap;
use willow_model::Id;

use super::bind::Bound;
use super::compile::{Compiled, Node};
use super::ordered::Task;
use crate::ast::Query;
use crate::index::{Document, Index, in_tests};
use crate::position::Position;

/// Documents of the caller's order that are tried before the alternative is weighed.
const TRIED_FIRST: usize = in_tests(2, 32);

impl Index {
    /// Makes a query's conditions ready for repeated use. Order, limit, page and pick
    /// are the caller's, except that a document which the order excludes does not match.
    #[must_use]
    pub fn compile(&self, query: &Query) -> Compiled {
        Compiled::new(query, self.names.key_epoch, |key| self.names.key(key))
    }

    /// Whether a document is in the index and matches.
    #[must_use]
    pub fn matches(&self, doc: u32, compiled: &Compiled) -> bool {
        let Some(document) = self.documents.get(doc) else {
            return false;
        };
        let id = || Id::from_u128(document.id);
        compiled.ids.as_ref().is_none_or(|ids| ids.binary_search(&id()).is_ok())
            && compiled.key_count.is_none_or(|count| count.contains(document.user.into()))
            && self.node_matches(&compiled.root, document, compiled.key_epoch == self.names.key_epoch)
            && compiled.matching.as_ref().is_none_or(|probe| self.pattern_matches(document, probe))
    }

    fn node_matches(&self, node: &Node, document: &Document, numbered: bool) -> bool {
        match node {
            Node::All(parts) => parts.iter().all(|part| self.node_matches(part, document, numbered)),
            Node::Any(parts) => parts.iter().any(|part| self.node_matches(part, document, numbered)),
            Node::Not(part) => !self.node_matches(part, document, numbered),
            Node::Absent(key) => {
                let key = self.number(key, numbered);
                key.and_then(|key| self.term_of(document, key)).is_none()
            }
            Node::Present(key, test) => {
                let key = self.number(key, numbered);
                let term = key.and_then(|key| self.term_of(document, key));
                term.is_some_and(|term| test.passes(self.names.terms[term].value.as_slice()))
            }
        }
    }

    /// The match of least rank among the eligible documents `restrict`, and how many documents were
    /// looked at.
    ///
    /// `ordered` yields the eligible documents by rank, at least from the first match on, and `rank`
    /// gives it for one. Either the order is walked until something matches, or the matches are found
    /// by an index and the least taken: never more than about twice the lesser work.
    pub fn select_best<R: Ord>(
        &self,
        compiled: &Compiled,
        restrict: &RoaringBitmap,
        ordered: impl IntoIterator<Item = u32>,
        rank: impl Fn(u32) -> R,
    ) -> (Option<u32>, usize) {
        let tried = Cell::new(0);
        let mut ordered = ordered.into_iter().inspect(|_| tried.set(tried.get() + 1));
        let found = ordered.by_ref().take(TRIED_FIRST).find(|&doc| self.matches(doc, compiled));
        if found.is_some() || tried.get() < TRIED_FIRST {
            return (found, tried.get());
        }
        let bound = self.bind(compiled, Some(restrict));
        let driver = self.driver(&bound);
        let found = ordered.take(driver.rows).find(|&doc| self.holds_in(&bound, doc));
        if found.is_some() || tried.get() < TRIED_FIRST + driver.rows {
            return (found, tried.get());
        }
        let candidates = self.collect(&driver);
        let looked_at = tried.get() + candidates.len();
        let matches = candidates.into_iter().filter(|&doc| driver.exact || self.holds(&bound, doc));
        (matches.min_by_key(|&doc| rank(doc)), looked_at)
    }

    fn holds_in(&self, bound: &Bound<'_>, doc: u32) -> bool {
        self.contains(doc) && self.holds(bound, doc)
    }

    /// The first match within `restrict` whose id comes after the cursor, or else the
    /// first of all; and its id, which is the next cursor.
    #[must_use]
    pub fn select_next(&self, compiled: &Compiled, restrict: &RoaringBitmap, after: Option<Id>) -> Option<(u32, Id)> {
        let bound = self.bind(compiled, Some(restrict));
        let doc = self.next_by_id(&bound, after, usize::MAX).0?;
        Some((doc, self.id(doc)?))
    }

    /// The first match after an id, wrapping once; and how many were looked at.
    pub(crate) fn next_by_id(&self, bound: &Bound<'_>, after: Option<Id>, budget: usize) -> (Option<u32>, usize) {
        let after = after.map(|id| Position { values: Vec::new(), id });
        let wraps = after.is_some();
        let task = |after| Task { bound, order_by: &[], after, want: 1, budget };
        let found = self.ordered(task(after));
        if !found.docs.is_empty() || !wraps {
            return (found.docs.first().copied(), found.examined);
        }
        let again = self.ordered(task(None));
        (again.docs.first().copied(), found.examined + again.examined)
    }
}
