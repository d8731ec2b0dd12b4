//! Walks over pages.

use std::{collections::VecDeque, future::Future, pin::Pin};

use willow_api::{Page, page::Query};

use crate::Error;

type Fetched<T> = Pin<Box<dyn Future<Output = Result<Page<T>, Error>> + Send>>;

/// All results of a query, page by page. Every resource that is there throughout comes exactly once.
pub struct Pages<T> {
    fetch: Box<dyn Fn(Query) -> Fetched<T> + Send + Sync>,
    query: Option<Query>,
    ready: VecDeque<T>,
}

impl<T> std::fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("query", &self.query).field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

impl<T> Pages<T> {
    pub(crate) fn new<F>(query: Query, fetch: impl Fn(Query) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Page<T>, Error>> + Send + 'static,
    {
        Self { fetch: Box::new(move |query| Box::pin(fetch(query))), query: Some(query), ready: VecDeque::new() }
    }

    /// The next result; `None` at the end.
    ///
    /// # Errors
    /// As the query; the walk can go on with another call.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            let Some(query) = &mut self.query else {
                return Ok(None);
            };
            let page = (self.fetch)(query.clone()).await?;
            self.ready.extend(page.items);
            match page.next_page_token {
                Some(token) => query.page_token = Some(token),
                None => self.query = None,
            }
        }
    }

    /// All that is left.
    ///
    /// # Errors
    /// As the query.
    pub async fn collect(mut self) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await? {
            all.push(item);
        }
        Ok(all)
    }
}
