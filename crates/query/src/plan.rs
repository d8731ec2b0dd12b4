//! From a query to its results.
//!
//! ```text
//! Query ── compile ──► Compiled: ranges of encodings per key       (reusable)
//!       ── bind ─────► Bound: terms, bitmaps, counts               (on the index as it is)
//!       ── driver ───► the cheapest superset of the matches
//!       ── ordered ──► walk the order, or sort the driver's documents
//!          sample, next_by_id, count: the other ways to answer
//! ```
//! Each condition is exact once bound, so whatever drives, the same test of a document
//! decides; plans differ in cost only.

mod bind;
mod compile;
mod count;
mod driver;
mod explain;
mod ordered;
mod select;
mod top;

use roaring::RoaringBitmap;
use willow_model::Id;

pub(crate) use bind::Bound;
pub use compile::Compiled;
pub use count::Count;
pub use explain::{Access, Condition, Plan};

use crate::ast::{Pick, Query};
use crate::index::Index;
use crate::page_token::{PageTokenError, PageTokens, Secret};
use ordered::{Found, Task};

/// Documents that a lookup may look at before its page ends short: some tens of
/// milliseconds.
pub const BUDGET_DEFAULT: usize = 250_000;

/// What a lookup needs beside the query.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The secret of page tokens.
    pub secret: &'a Secret,
    /// What is queried, for page tokens: the collection and its parent.
    pub scope: &'a [u8],
    /// Decides `pick: random`.
    pub seed: u64,
    /// The id where the named cursor of `pick: round_robin` stands.
    pub cursor: Option<Id>,
    /// Only these documents.
    pub restrict: Option<&'a RoaringBitmap>,
    /// Documents that may be looked at; see [`BUDGET_DEFAULT`]. Past it the page ends
    /// short, possibly empty, with a token to go on from; a random pick is exempt.
    pub budget: usize,
}

impl<'a> Run<'a> {
    /// A lookup without anything particular.
    #[must_use]
    pub const fn new(secret: &'a Secret, scope: &'a [u8]) -> Self {
        Self { secret, scope, seed: 0, cursor: None, restrict: None, budget: BUDGET_DEFAULT }
    }
}

/// The answer to a lookup.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The documents, in order.
    pub docs: Vec<u32>,
    /// Where to go on; `None` at the end, and only there.
    pub next_page_token: Option<String>,
    /// If asked for: how many match in all, on whatever page.
    pub count: Option<Count>,
    /// If asked for: how it was answered.
    pub plan: Option<Plan>,
    /// After a `pick: round_robin`: where its cursor stands now.
    pub next_cursor: Option<Id>,
}

impl Index {
    /// Answers a lookup.
    ///
    /// # Errors
    /// A page token that is not of this query.
    pub fn run(&self, query: &Query, run: &Run<'_>) -> Result<Page, PageTokenError> {
        let compiled = self.compile(query);
        let bound = self.bind(&compiled, run.restrict);
        let mut page = match &query.pick {
            None => self.run_ordered(query, run, &bound)?,
            Some(Pick::Random) => self.run_random(query, run, &bound),
            Some(Pick::RoundRobin { .. }) => self.run_round_robin(query, run, &bound),
        };
        if query.count {
            page.count = Some(self.count(&bound, run.budget));
        }
        Ok(page)
    }

    fn run_ordered(&self, query: &Query, run: &Run<'_>, bound: &Bound<'_>) -> Result<Page, PageTokenError> {
        let tokens = PageTokens::new(run.secret, run.scope, query);
        let after = query.page_token.as_ref().map(|token| tokens.open(token)).transpose()?;
        let limit = query.page_limit();
        let order_by = &query.order_by;
        // One more than the page tells whether there is another.
        let task = Task { bound, order_by, after, want: limit + 1, budget: run.budget };
        let mut found = self.ordered(task);
        let more = found.docs.len() > limit;
        found.docs.truncate(limit);
        let next = match found.docs.last().filter(|_| more) {
            Some(&last) => Some(self.position(last, order_by)),
            None => found.stopped_at.take(),
        };
        let next_page_token = next.as_ref().map(|position| tokens.seal(position));
        let plan = query.explain.then(|| {
            let driver =
                if found.walked { explain::order_name(order_by) } else { self.driver_name(&self.driver(bound)) };
            let budget_spent = next.is_some() && !more;
            Plan { driver, budget_spent, ..self.plan(bound, &found) }
        });
        Ok(Page { docs: found.docs, next_page_token, plan, ..Page::default() })
    }

    fn plan(&self, bound: &Bound<'_>, found: &Found) -> Plan {
        let access = match (found.walked, found.sorted) {
            (true, false) => Access::Walk,
            (true, true) => Access::WalkThenSort,
            (false, _) => Access::Sort,
        };
        Plan {
            access,
            driver: String::new(),
            estimated_rows: found.estimate as u64,
            actual_rows: found.examined as u64,
            estimated_matches: (self.share(bound) * self.len() as f64).round() as u64,
            found: found.docs.len() as u64,
            budget_spent: false,
            conditions: self.conditions(bound),
        }
    }

    fn run_random(&self, query: &Query, run: &Run<'_>, bound: &Bound<'_>) -> Page {
        let (docs, examined) = self.sample(bound, query.page_limit(), run.seed);
        let plan = query.explain.then(|| {
            let driver = self.driver(bound);
            let found = Found {
                docs: docs.clone(),
                stopped_at: None,
                walked: false,
                sorted: false,
                estimate: driver.rows,
                examined,
            };
            Plan { access: Access::Sample, driver: self.driver_name(&driver), ..self.plan(bound, &found) }
        });
        Page { docs, plan, ..Page::default() }
    }

    fn run_round_robin(&self, query: &Query, run: &Run<'_>, bound: &Bound<'_>) -> Page {
        let (doc, examined) = self.next_by_id(bound, run.cursor, usize::MAX);
        let docs: Vec<u32> = doc.into_iter().collect();
        let next_cursor = doc.and_then(|doc| self.id(doc)).or(run.cursor);
        let plan = query.explain.then(|| {
            let found = Found {
                docs: docs.clone(),
                stopped_at: None,
                walked: true,
                sorted: false,
                estimate: examined,
                examined,
            };
            Plan { driver: explain::order_name(&[]), ..self.plan(bound, &found) }
        });
        Page { docs, plan, next_cursor, ..Page::default() }
    }
}

#[cfg(test)]
mod tests;
