//! Named round-robin cursors of lookups: the only lookup that changes state, hence a command.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use willow_model::{Id, Revision};
use willow_query::{Index, Pick, Query, Run};

use crate::{
    Context, limits,
    machine::Collection,
    table::{Row, Table},
};

/// Returns the first match after the named cursor, wrapping once, and moves the cursor there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdvanceCursor {
    /// Over what.
    pub collection: Collection,
    /// With `pick: round_robin`.
    pub query: Query,
}

/// Where the cursor stands now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advanced {
    /// The pick, if anything matches.
    pub id: Option<Id>,
}

/// Why a lookup in the log was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// The query does not pick by round robin, or cannot be used here.
    #[error("the query was refused: {reason}")]
    BadQuery {
        /// Why.
        reason: Box<str>,
    },
    /// The collection's parent is not there.
    #[error("no such {what}")]
    NoSuchParent {
        /// The kind of parent.
        what: Box<str>,
    },
}

/// The cursor that a query names.
pub(crate) fn name(query: &Query) -> Result<Box<str>, Error> {
    match &query.pick {
        Some(Pick::RoundRobin { cursor }) => Ok(cursor.clone()),
        _ => Err(Error::BadQuery { reason: "it does not pick by round robin".into() }),
    }
}

/// The first match after the cursor in id order, wrapping once.
///
/// # Errors
/// When the query does not pick by round robin.
pub(crate) fn next_after(index: &Index, query: &Query, after: Option<Id>) -> Result<Option<Id>, Error> {
    name(query)?;
    // No page, so no token and no secret; and no budget, for every replica must find the same.
    let run = Run { cursor: after, budget: usize::MAX, ..Run::new(&[0; 32], b"") };
    let page = index.run(query, &run).map_err(|error| Error::BadQuery { reason: error.to_string().into() })?;
    Ok(page.next_cursor)
}

/// Where a cursor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    /// At this resource; over items, in this channel.
    pub(crate) id: Id,
    /// Over items: the last one's inverse priority and position, for it may be gone by the next time.
    pub(crate) place: Option<(i32, i64)>,
}

impl Stop {
    pub(crate) const fn at(id: Id) -> Self {
        Self { id, place: None }
    }
}

/// A stored cursor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    name: CursorName,
    last: Stop,
    used: Revision,
}

/// A cursor's name, within its collection.
pub type CursorName = (Collection, Box<str>);

impl Row for Cursor {
    type Key = CursorName;
    fn key(&self) -> CursorName {
        self.name.clone()
    }
}

/// All cursors.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    pub(crate) rows: Table<Cursor>,
    /// Derived: least recently used first.
    by_use: BTreeSet<(Revision, u32)>,
}

impl Cursors {
    pub(crate) fn last(&self, name: &CursorName) -> Option<Stop> {
        self.rows.by_key(name).map(|cursor| cursor.last)
    }

    pub(crate) fn advance(&mut self, name: CursorName, last: Stop, cx: &mut Context) {
        let used = cx.next_revision();
        if let Some(slot) = self.rows.slot(&name) {
            let cursor = self.rows.get_mut(slot).expect("its slot was just found");
            self.by_use.remove(&(cursor.used, slot));
            (cursor.last, cursor.used) = (last, used);
            self.by_use.insert((used, slot));
            return;
        }
        if self.rows.len() >= limits::CURSORS
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.rows.remove(oldest);
        }
        let slot = self.rows.insert(Cursor { name, last, used });
        self.by_use.insert((used, slot));
    }

    pub(crate) fn rebuild(&mut self) {
        self.by_use = self.rows.iter().map(|(slot, cursor)| (cursor.used, slot)).collect();
    }
}
