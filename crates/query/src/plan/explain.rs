//! How a query was answered, for people.

use serde::{Deserialize, Serialize};

use super::bind::Bound;
use super::driver::{Driver, Set};
use crate::ast::{Direction, OrderBy};
use crate::index::Index;

/// How a query was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What was done.
    pub access: Access,
    /// The index that led to the documents.
    pub driver: String,
    /// Documents that were expected to be looked at.
    pub estimated_rows: u64,
    /// Documents that were.
    pub actual_rows: u64,
    /// Matches expected in all, as far as the indexes tell.
    pub estimated_matches: u64,
    /// Matches found for this page.
    pub found: u64,
    /// Whether the work budget cut the page short.
    pub budget_spent: bool,
    /// The conditions, each with what its index knows.
    pub conditions: Vec<Condition>,
}

/// The ways to get at results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// An index in the wanted order was walked.
    Walk,
    /// Candidates were enumerated, tested and sorted.
    Sort,
    /// A walk found too little and gave way to sorting, or sorted within equal values.
    WalkThenSort,
    /// Documents were drawn at random.
    Sample,
}

/// One condition, and how many documents it holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The index that knows.
    pub index: String,
    /// How many documents it holds for.
    pub rows: u64,
    /// Whether that is exact or an estimate.
    pub exact: bool,
}

impl Index {
    /// Describes the conditions that all must hold.
    pub(crate) fn conditions(&self, bound: &Bound<'_>) -> Vec<Condition> {
        let parts = bound.conjuncts().iter().filter(|part| !matches!(part, Bound::Const(true)));
        parts
            .map(|part| {
                let driver = self.driver(part);
                let rows = (self.share(part) * self.len() as f64).round() as u64;
                let exact = !matches!(part, Bound::All(_) | Bound::Any(_) | Bound::Not(_) | Bound::Matching(_))
                    && !matches!(part, Bound::Range { test, .. } if !test.is_any());
                Condition { index: self.driver_name(&driver), rows, exact }
            })
            .collect()
    }

    /// Names the source of candidates.
    pub(crate) fn driver_name(&self, driver: &Driver<'_>) -> String {
        let key = |key: u32| self.names.keys[key].name.to_string();
        match &driver.set {
            Set::Nothing => "nothing can match".to_owned(),
            Set::Everything => "all by id".to_owned(),
            Set::Term(term) => format!("value of {}", key(self.names.terms[*term].key)),
            Set::Terms(terms) => match terms.first() {
                Some(term) => format!("{} value(s) of {}", terms.len(), key(self.names.terms[*term].key)),
                None => "nothing can match".to_owned(),
            },
            Set::Range { key: of, test } if test.is_any() => format!("presence of {}", key(*of)),
            Set::Range { key: of, .. } => format!("range of {}", key(*of)),
            Set::Absent(of) => format!("absence of {}", key(*of)),
            Set::KeyCount(_) => "key count".to_owned(),
            Set::Docs(_, name) => (*name).to_owned(),
            Set::Union(parts) => {
                let names: Vec<_> = parts.iter().map(|part| self.driver_name(part)).collect();
                format!("union of ({})", names.join(", "))
            }
            Set::Except(_) => "all but a bitmap".to_owned(),
            Set::Intersection(parts) => {
                let names: Vec<_> = parts.iter().map(|part| self.driver_name(&self.driver(part))).collect();
                format!("intersection of ({})", names.join(", "))
            }
        }
    }
}

/// Names the order that was walked.
pub(crate) fn order_name(order_by: &[OrderBy]) -> String {
    let mut names: Vec<String> = order_by
        .iter()
        .map(|order| {
            let direction = if order.direction == Direction::Asc { "asc" } else { "desc" };
            format!("{} {direction}", order.key)
        })
        .collect();
    names.push("id asc".to_owned());
    names.join(", ")
}
