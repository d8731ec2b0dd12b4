//! The order of results, and a place in it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use willow_model::Id;

use crate::ast::{Direction, Missing, OrderBy};

/// The place of one document in the order of a query: its values for the keys to order by, and its
/// id. A keyset page starts after the position of the last document before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The encoded value for each key of `order_by`; `None` if the document has none.
    pub values: Vec<Option<Box<[u8]>>>,
    /// The document's id, which decides between equals, always ascending.
    pub id: Id,
}

impl Position {
    /// The position of a document whose encoded values `lookup` gives; `None` if `order_by`
    /// excludes it.
    pub fn of<'a>(order_by: &[OrderBy], id: Id, lookup: impl Fn(&str) -> Option<&'a [u8]>) -> Option<Self> {
        let value_of = |order: &OrderBy| match lookup(&order.key) {
            None if order.missing == Missing::Exclude => None,
            value => Some(value.map(Into::into)),
        };
        let values = order_by.iter().map(value_of).collect::<Option<_>>()?;
        Some(Self { values, id })
    }

    /// Compares two positions of the same `order_by`. No two documents have equal positions.
    #[must_use]
    pub fn compare(&self, other: &Self, order_by: &[OrderBy]) -> Ordering {
        let pairs = self.values.iter().zip(&other.values);
        order_by
            .iter()
            .zip(pairs)
            .map(|(order, (a, b))| order.compare(a.as_deref(), b.as_deref()))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| self.id.cmp(&other.id))
    }
}

impl OrderBy {
    /// Compares two encoded values of its key; `None` is an absent one. An absent value goes where
    /// `missing` says, whatever the direction.
    #[must_use]
    pub fn compare(&self, a: Option<&[u8]>, b: Option<&[u8]>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) => match self.direction {
                Direction::Asc => a.cmp(b),
                Direction::Desc => b.cmp(a),
            },
            (None, None) => Ordering::Equal,
            (a, _) => match (self.missing, a.is_none()) {
                (Missing::First, true) | (Missing::Last | Missing::Exclude, false) => Ordering::Less,
                (Missing::First, false) | (Missing::Last | Missing::Exclude, true) => Ordering::Greater,
            },
        }
    }
}
