//! How many documents match.

use serde::{Deserialize, Serialize};

use super::bind::Bound;
use crate::index::Index;
use crate::sample::Rng;

/// Documents tested to estimate a count that is too expensive to take.
const SAMPLE: usize = 4_096;

/// A total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many match; about so many, if not exact.
    pub value: u64,
    /// Whether it is.
    pub exact: bool,
}

impl Index {
    /// Counts what matches: from the indexes' own sizes, from bitmaps, or by looking at
    /// candidates, whichever is least work. Past the budget it estimates.
    pub(crate) fn count(&self, bound: &Bound<'_>, budget: usize) -> Count {
        if let Some(value) = self.known_count(bound) {
            return Count { value: value as u64, exact: true };
        }
        let driver = self.driver(bound);
        // Counting an intersection makes no new bitmap: a sixteenth of the work, measured.
        let bitmap_rows = self.bitmap_rows(bound).map_or(usize::MAX, |rows| rows / 16);
        if bitmap_rows.min(driver.rows) > budget {
            return self.estimate(bound);
        }
        let value = match self.bitmap_count(bound).filter(|_| bitmap_rows <= driver.rows) {
            Some(value) => value,
            None => {
                let docs = self.collect(&driver);
                docs.into_iter().filter(|&doc| self.holds(bound, doc)).count() as u64
            }
        };
        Count { value, exact: true }
    }

    /// A count that an index keeps.
    fn known_count(&self, bound: &Bound<'_>) -> Option<usize> {
        Some(match bound {
            Bound::Const(true) => self.len(),
            Bound::Const(false) => 0,
            Bound::Terms { rows, .. } => *rows,
            Bound::Range { rows, test, .. } if test.is_any() => *rows,
            Bound::Absent { key } => self.len() - self.names.keys[*key].payload.len as usize,
            Bound::KeyCount(count) => self.key_count_rows(*count),
            Bound::Not(part) => self.len() - self.known_count(part)?,
            Bound::All(_) | Bound::Any(_) | Bound::Range { .. } | Bound::Docs(..) | Bound::Matching(_) => return None,
        })
    }

    fn bitmap_count(&self, bound: &Bound<'_>) -> Option<u64> {
        if let Bound::All(parts) = bound
            && let [a, b] = &parts[..]
        {
            return Some(self.bitmap(a)?.intersection_len(&*self.bitmap(b)?));
        }
        Some(self.bitmap(bound)?.len())
    }

    /// The share of matches in a sample of the smallest set with a known size.
    fn estimate(&self, bound: &Bound<'_>) -> Count {
        let (pool, size) = self.pool(bound);
        let mut rng = Rng::new(size as u64);
        let mut hits = 0;
        for _ in 0..SAMPLE {
            let doc = self.draw(&pool, rng.below(size.max(1) as u64) as usize);
            hits += u64::from(doc.is_some_and(|doc| self.contains(doc) && self.holds(bound, doc)));
        }
        Count { value: (size as u128 * u128::from(hits) / SAMPLE as u128) as u64, exact: false }
    }
}
