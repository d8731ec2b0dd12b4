//! Matches in order, from a position on: by walking an index in that order, or by
//! sorting candidates, whichever is estimated to look at fewer documents.
//!
//! A walk goes through the values of the first key to order by; within each, through
//! those of the next key; and within the last, through the documents by id. Each level
//! again may sort instead when few documents are left. A walk can stop anywhere and be
//! taken up from the position of the last document it looked at: so it keeps to a
//! work budget, and gives way to sorting when its estimate proves wrong.

mod walk;

use std::ops::ControlFlow;

use willow_model::Id;

use super::bind::Bound;
use super::driver::{Driver, Set};
use super::top::Top;
use crate::ast::{Direction, Missing, OrderBy};
use crate::index::{Document, Index, in_tests};
use crate::plan::compile::Test;
use crate::position::Position;

/// Documents tested at a time: enough for memory accesses to overlap.
const BATCH: usize = in_tests(3, 128);
/// A group of equal values this small is sorted whatever the estimates say.
const SORT_ALWAYS: usize = in_tests(3, 512);
/// Sorting a candidate costs this much more than walking past one, in halves.
const SORT_COST_HALVES: usize = 3;

/// Why a walk ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// As many found as wanted.
    Full,
    /// The work budget is used up.
    Spent,
}

/// What to find.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub(crate) bound: &'a Bound<'a>,
    pub(crate) order_by: &'a [OrderBy],
    pub(crate) after: Option<Position>,
    pub(crate) want: usize,
    pub(crate) budget: usize,
}

/// What was found, and how.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) docs: Vec<u32>,
    /// If the budget ended the search: everything up to this position is dealt with.
    pub(crate) stopped_at: Option<Position>,
    pub(crate) walked: bool,
    pub(crate) sorted: bool,
    pub(crate) estimate: usize,
    pub(crate) examined: usize,
}

struct Level<'a> {
    order: &'a OrderBy,
    key: Option<u32>,
    /// What the filter demands of this key anyway.
    test: Option<&'a Test>,
    rows: usize,
}

/// What the outer levels of a walk have fixed.
#[derive(Clone, Copy)]
enum Scope {
    Term(u32),
    /// The key is absent; it has no number if no document has it.
    Absent(Option<u32>),
}

struct Search<'a> {
    index: &'a Index,
    bound: &'a Bound<'a>,
    driver: Driver<'a>,
    /// Matches expected in all.
    matches: f64,
    levels: Vec<Level<'a>>,
    after: Option<Position>,
    want: usize,
    /// Rows that may be looked at, in all and before a walk gives way to sorting.
    budget: usize,
    allowance: usize,
    scope: Vec<Scope>,
    batch: Vec<u32>,
    out: Vec<u32>,
    examined: usize,
    /// The last document looked at, and the scope it was looked at in.
    last: Option<(u32, Vec<Scope>)>,
    sorted: bool,
}

impl Index {
    /// The first `want` matches after a position.
    pub(crate) fn ordered(&self, task: Task<'_>) -> Found {
        let mut search = Search::new(self, task);
        let candidates = search.driver.rows;
        let walk = search.walk_rows(0);
        let sortable = candidates <= search.budget;
        let estimate = walk.min(candidates);
        if sortable && prefer_sort(candidates, walk) {
            let _full = search.sort_all();
            return search.found(false, estimate, None);
        }
        if sortable {
            search.allowance = (2 * walk).max(2 * candidates);
        }
        let mut flow = search.level(0, search.after.is_some());
        if flow == ControlFlow::Break(Stop::Spent) && search.examined < search.budget && sortable {
            search.after = search.last_position();
            let _full = search.sort_all();
            flow = ControlFlow::Continue(());
        }
        let spent = flow == ControlFlow::Break(Stop::Spent);
        let stopped_at = if spent { search.last_position() } else { None };
        search.found(true, estimate, stopped_at)
    }

    /// The position of a document in an order; absent keys count as such.
    #[must_use]
    pub fn position(&self, doc: u32, order_by: &[OrderBy]) -> Position {
        let document = &self.documents[doc];
        let values = order_by.iter().map(|order| {
            let term = self.names.key(order.key.as_str()).and_then(|key| self.term_of(document, key))?;
            Some(self.names.terms[term].value.as_slice().into())
        });
        Position { values: values.collect(), id: Id::from_u128(document.id) }
    }
}

const fn prefer_sort(candidates: usize, walk: usize) -> bool {
    candidates <= SORT_ALWAYS || candidates * SORT_COST_HALVES / 2 < walk
}

/// Rows to walk past until `want` matches are found among `rows`.
fn rows_until(rows: usize, matches: f64, want: usize) -> usize {
    let want = want as f64;
    if matches <= want { rows } else { (rows as f64 * want / matches) as usize + 1 }
}

impl<'a> Search<'a> {
    fn new(index: &'a Index, task: Task<'a>) -> Self {
        let Task { bound, order_by, after, want, budget } = task;
        let levels = order_by.iter().map(|order| {
            let key = index.names.key(order.key.as_str());
            let of_key = bound.conjuncts().iter().find_map(|part| match part {
                Bound::Range { key: other, test, rows } if Some(*other) == key => Some((*test, *rows)),
                Bound::Terms { key: other, test, rows, .. } if Some(*other) == key => Some((*test, *rows)),
                _ => None,
            });
            let rows = match (of_key, key) {
                (Some((_, rows)), _) => rows,
                (None, Some(_)) if order.missing == Missing::Exclude => {
                    key.map_or(0, |key| index.names.keys[key].payload.len as usize)
                }
                (None, _) => index.len(),
            };
            Level { order, key, test: of_key.map(|(test, _)| test), rows }
        });
        Self {
            index,
            bound,
            driver: index.driver(bound),
            matches: index.share(bound) * index.len() as f64,
            levels: levels.collect(),
            after,
            want,
            budget: budget.max(1),
            allowance: usize::MAX,
            scope: Vec::new(),
            batch: Vec::with_capacity(BATCH),
            out: Vec::new(),
            examined: 0,
            last: None,
            sorted: false,
        }
    }

    fn found(self, walked: bool, estimate: usize, stopped_at: Option<Position>) -> Found {
        let Self { out: docs, sorted, examined, .. } = self;
        Found { docs, stopped_at, walked, sorted, estimate, examined }
    }

    /// The position up to which everything is dealt with. A document that was looked
    /// at in some scope may itself be outside it: what the scope fixes comes from there.
    fn last_position(&self) -> Option<Position> {
        let (doc, scope) = self.last.as_ref()?;
        let document = &self.index.documents[*doc];
        let values = self.levels.iter().enumerate().map(|(depth, level)| {
            let value = match scope.get(depth) {
                Some(Scope::Term(term)) => Some(self.index.names.terms[*term].value.as_slice()),
                Some(Scope::Absent(_)) => None,
                None => self.value_of(level, document),
            };
            value.map(Into::into)
        });
        Some(Position { values: values.collect(), id: Id::from_u128(document.id) })
    }

    fn missing_wanted(&self) -> usize {
        self.want - self.out.len()
    }

    /// Rows that walking the level within the scope would look at.
    fn walk_rows(&self, depth: usize) -> usize {
        let matches = self.matches * self.scope_share();
        let rows = match self.levels.get(depth) {
            Some(level) => level.rows,
            None => self.id_source().map_or(self.index.len(), |posting| posting.len()),
        };
        rows_until(rows, matches, self.missing_wanted())
    }

    fn scope_share(&self) -> f64 {
        let all = self.index.len().max(1) as f64;
        let share = |scope: &Scope| match *scope {
            Scope::Term(term) => self.index.names.terms[term].payload.len() as f64 / all,
            Scope::Absent(_) => self.absent_rows(scope) as f64 / all,
        };
        self.scope.iter().map(share).product()
    }

    fn absent_rows(&self, scope: &Scope) -> usize {
        match *scope {
            Scope::Absent(Some(key)) => self.index.len() - self.index.names.keys[key].payload.len as usize,
            Scope::Term(_) | Scope::Absent(None) => self.index.len(),
        }
    }

    /// The smallest set that the scope is in.
    fn scope_driver(&self) -> Driver<'a> {
        let sets = self.scope.iter().map(|scope| match *scope {
            Scope::Term(term) => (Set::Term(term), self.index.names.terms[term].payload.len()),
            Scope::Absent(Some(key)) => (Set::Absent(key), self.absent_rows(scope) + self.index.len() / 512),
            Scope::Absent(None) => (Set::Everything, self.index.len()),
        });
        let least = sets.min_by_key(|(_, rows)| *rows);
        let (set, rows) = least.unwrap_or((Set::Everything, usize::MAX));
        Driver { set, rows, exact: false }
    }

    /// Sorts all candidates after the position.
    fn sort_all(&mut self) -> ControlFlow<Stop> {
        self.scope.clear();
        self.batch.clear();
        let docs = self.index.collect(&self.driver);
        self.sort(0, &docs, self.after.is_some())
    }

    /// Adds the matches among `docs` in the order of the levels from `depth` on.
    fn sort(&mut self, depth: usize, docs: &[u32], resuming: bool) -> ControlFlow<Stop> {
        self.sorted = true;
        self.examined += docs.len();
        let mut top = Top::new(self.missing_wanted());
        let matches_all = self.driver.exact && self.scope.is_empty();
        for &doc in docs {
            if (matches_all || self.passes(doc)) && (!resuming || self.is_after(doc)) {
                top.push(self.head(depth, doc), doc, |a, b| self.compare(depth, a, b));
            }
        }
        let found = top.into_sorted(|a, b| self.compare(depth, a, b));
        self.out.extend(found);
        if self.out.len() >= self.want {
            return ControlFlow::Break(Stop::Full);
        }
        if self.examined >= self.limit() {
            // The group is dealt with, also its documents that do not match.
            let in_scope = docs.iter().copied().filter(|&doc| self.in_scope(&self.index.documents[doc]));
            let last = in_scope.max_by(|&a, &b| self.compare(depth, a, b));
            // All of a group that is taken up may lie before the position: that is no
            // progress, and a page must make some.
            if let Some(doc) = last.filter(|&doc| self.is_after(doc)) {
                self.last = Some((doc, self.scope.clone()));
            }
        }
        self.spent()
    }

    #[inline]
    fn passes(&self, doc: u32) -> bool {
        self.index.holds(self.bound, doc) && (self.scope.is_empty() || self.in_scope(&self.index.documents[doc]))
    }

    fn in_scope(&self, document: &Document) -> bool {
        self.scope.iter().all(|scope| match *scope {
            Scope::Term(term) => self.index.terms_of(document).contains(&term),
            Scope::Absent(key) => key.is_none_or(|key| self.index.term_of(document, key).is_none()),
        })
    }

    fn value_of(&self, level: &Level<'_>, document: &Document) -> Option<&'a [u8]> {
        let term = self.index.term_of(document, level.key?)?;
        Some(self.index.names.terms[term].value.as_slice())
    }

    /// The start of a document's order from `depth` on, as a number.
    fn head(&self, depth: usize, doc: u32) -> u128 {
        let document = &self.index.documents[doc];
        let Some(level) = self.levels.get(depth) else {
            return document.id;
        };
        let Some(value) = self.value_of(level, document) else {
            return if level.order.missing == Missing::First { 0 } else { 2 << 64 };
        };
        let word = level.key.map_or(0, |key| self.index.names.keys[key].payload.values.word(value));
        1 << 64 | u128::from(if level.order.direction == Direction::Asc { word } else { !word })
    }

    fn compare(&self, depth: usize, a: u32, b: u32) -> std::cmp::Ordering {
        let (a, b) = (&self.index.documents[a], &self.index.documents[b]);
        let levels = self.levels.iter().skip(depth);
        let orders = levels.map(|level| level.order.compare(self.value_of(level, a), self.value_of(level, b)));
        orders.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.id.cmp(&b.id))
    }

    /// Whether a document comes after the position that the page before ended at.
    fn is_after(&self, doc: u32) -> bool {
        let Some(after) = &self.after else {
            return true;
        };
        let document = &self.index.documents[doc];
        let pairs = self.levels.iter().zip(&after.values);
        let mut orders =
            pairs.map(|(level, value)| level.order.compare(self.value_of(level, document), value.as_deref()));
        orders.find(|order| order.is_ne()).unwrap_or_else(|| document.id.cmp(&after.id.to_u128())).is_gt()
    }
}
