//! Lookups: one page of a collection, read without changing anything.

use roaring::RoaringBitmap;
use willow_model::Revision;
use willow_query::{Count, Index, Page, Plan, Query, Run};

/// One page of a lookup.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing<T> {
    /// In the query's order.
    pub items: Vec<T>,
    /// Absent at the end, and only there.
    pub next_page_token: Option<String>,
    /// When the query asked for it.
    pub count: Option<Count>,
    /// When the query asked for it.
    pub plan: Option<Plan>,
}

/// What a lookup needs beside the query.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// Key of the page tokens' MAC.
    pub secret: &'a [u8; 32],
    /// Random bits for `pick: random`, drawn by the edge.
    pub seed: u64,
    /// What time it is, to turn deadlines into durations: machine time, until [`Lookup::at`] says better.
    pub now_ms: u64,
    /// The newest revision given out: what the lookup saw.
    pub revision: Revision,
}

impl Lookup<'_> {
    /// The same at a later time. Machine time stands at the last command, which may be long ago.
    #[must_use]
    pub fn at(self, clock_ms: u64) -> Self {
        Self { now_ms: self.now_ms.max(clock_ms), ..self }
    }

    /// Runs the query on an index; `scope` names the collection and its parent, `view` shows a row.
    ///
    /// # Errors
    /// When the page token is not of this query; the error's path is then `page_token`.
    pub(crate) fn list<T>(
        self,
        index: &Index,
        query: &Query,
        scope: &[u8],
        view: impl FnMut(u32) -> Option<T>,
    ) -> Result<Listing<T>, willow_query::Error> {
        let Page { docs, next_page_token, count, plan, next_cursor: _ } = self.page(index, query, scope)?;
        Ok(Listing { items: docs.into_iter().filter_map(view).collect(), next_page_token, count, plan })
    }

    /// The same among some rows only.
    ///
    /// # Errors
    /// As [`Lookup::list`].
    pub(crate) fn list_within<T>(
        self,
        index: &Index,
        query: &Query,
        scope: &[u8],
        within: &RoaringBitmap,
        view: impl FnMut(u32) -> Option<T>,
    ) -> Result<Listing<T>, willow_query::Error> {
        let run = Run { seed: self.seed, restrict: Some(within), ..Run::new(self.secret, scope) };
        let Page { docs, next_page_token, count, plan, next_cursor: _ } = run_page(index, query, &run)?;
        Ok(Listing { items: docs.into_iter().filter_map(view).collect(), next_page_token, count, plan })
    }

    /// The rows alone.
    ///
    /// # Errors
    /// As [`Lookup::list`].
    pub(crate) fn page(self, index: &Index, query: &Query, scope: &[u8]) -> Result<Page, willow_query::Error> {
        let run = Run { seed: self.seed, ..Run::new(self.secret, scope) };
        run_page(index, query, &run)
    }
}

fn run_page(index: &Index, query: &Query, run: &Run<'_>) -> Result<Page, willow_query::Error> {
    index
        .run(query, run)
        .map_err(|error| willow_query::Error { path: "page_token".to_owned(), reason: error.to_string() })
}
