//! Lookups by query, the same for every collection.

use serde::Serialize;
use willow_api::{Consistency, Page};
use willow_core::{
    Command, Machine, Outcome,
    cursor::AdvanceCursor,
    machine::{Collection, Listing, Lookup},
};
use willow_query::{Pick, Query};

use crate::{
    app::App,
    convert, refusal,
    reply::{self, Answer, Failure},
};

/// A page, an error of the query, or `None` when the collection's parent is not there.
pub(crate) type Found<V> = Result<Option<Listing<V>>, willow_query::Error>;

/// One kind of lookup.
pub(crate) struct Look<C, R, T> {
    /// The collection, to name a cursor in; `None` when its parent is not there.
    pub(crate) collection: C,
    /// Reads one page.
    pub(crate) read: R,
    /// Converts one row.
    pub(crate) item: T,
    /// What to answer when the parent is not there.
    pub(crate) missing: fn() -> Failure,
}

/// Answers one page.
pub(crate) async fn answer<V, W, C, R, T>(
    app: &App,
    consistency: Consistency,
    query: Query,
    mut look: Look<C, R, T>,
) -> Answer
where
    V: Send,
    W: Serialize,
    C: FnOnce(&Machine) -> Option<Collection> + Send,
    R: Fn(&Machine, &Query, Lookup<'_>) -> Found<V> + Send + Sync,
    T: FnMut(V) -> W,
{
    let page = if let Some(Pick::RoundRobin { .. }) = query.pick {
        let collection = app.read(Consistency::Linearizable, |machine, _| (look.collection)(machine)).await?;
        let collection = collection.ok_or_else(look.missing)?;
        next_of_cursor(app, collection, query, &look.read, &mut look.item, look.missing).await?
    } else {
        one_page(app, consistency, &query, &look.read, &mut look.item, look.missing).await?
    };
    Ok(reply::json(&page))
}

async fn one_page<V: Send, W>(
    app: &App,
    consistency: Consistency,
    query: &Query,
    read: &(impl Fn(&Machine, &Query, Lookup<'_>) -> Found<V> + Send + Sync),
    item: &mut impl FnMut(V) -> W,
    missing: fn() -> Failure,
) -> Result<Page<W>, Failure> {
    let found = app.read(consistency, |machine, lookup| read(machine, query, lookup)).await?;
    let listing = found.map_err(|error| refusal::query(&error, ""))?.ok_or_else(missing)?;
    Ok(convert::page(listing, item))
}

/// Moves the cursor, which is a command, and reads where it stands.
async fn next_of_cursor<V: Send, W>(
    app: &App,
    collection: Collection,
    query: Query,
    read: &(impl Fn(&Machine, &Query, Lookup<'_>) -> Found<V> + Send + Sync),
    item: &mut impl FnMut(V) -> W,
    missing: fn() -> Failure,
) -> Result<Page<W>, Failure> {
    let advance = AdvanceCursor { collection, query: query.clone() };
    let advanced = match app.propose(Command::AdvanceCursor(advance), None).await? {
        Outcome::Cursor(advanced) => advanced,
        other => return Err(Failure::unexpected(&other)),
    };
    let mut page = Page { items: Vec::new(), next_page_token: None, count: None, plan: None };
    if let Some(id) = advanced.id {
        let only = Query { ids: Some(vec![id]), limit: 1, ..Query::default() };
        page.items = one_page(app, Consistency::Linearizable, &only, read, item, missing).await?.items;
    }
    if query.count {
        let counting = Query { pick: None, limit: 1, ..query };
        page.count = one_page(app, Consistency::Linearizable, &counting, read, item, missing).await?.count;
    }
    Ok(page)
}
