//! Items of one channel in the order in which they go out.

use std::collections::BTreeSet;

/// An item's place: larger priorities first, then by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// `!priority`, so that the largest priority sorts first.
    pub(super) inverse_priority: i32,
    /// Revision at which it was put at the back, or minus that at which it was put in front.
    pub(super) position: i64,
    /// Its row.
    pub(super) item: u32,
}

/// Most channels hold an item or two, some hold a million.
#[derive(Debug, Default)]
pub(super) enum Line {
    #[default]
    Empty,
    One(Entry),
    Many(BTreeSet<Entry>),
}

impl Line {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Many(entries) => entries.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) fn first(&self) -> Option<Entry> {
        match self {
            Self::Empty => None,
            Self::One(entry) => Some(*entry),
            Self::Many(entries) => entries.first().copied(),
        }
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        match self {
            Self::Empty => *self = Self::One(entry),
            Self::One(other) => *self = Self::Many(BTreeSet::from([*other, entry])),
            Self::Many(entries) => {
                entries.insert(entry);
            }
        }
    }

    pub(super) fn remove(&mut self, entry: Entry) {
        match self {
            Self::One(other) if *other == entry => *self = Self::Empty,
            Self::Many(entries) => {
                let was_there = entries.remove(&entry);
                debug_assert!(was_there, "an item is in the line of its state");
                if let (1, Some(last)) = (entries.len(), entries.first()) {
                    *self = Self::One(*last);
                }
            }
            Self::Empty | Self::One(_) => debug_assert!(false, "an item is in the line of its state"),
        }
    }

    /// Entries in order, after `after`.
    pub(super) fn after(&self, after: Option<Entry>) -> Box<dyn Iterator<Item = Entry> + '_> {
        use std::ops::Bound::{Excluded, Unbounded};
        match self {
            Self::Empty => Box::new(std::iter::empty()),
            Self::One(entry) => {
                Box::new(std::iter::once(*entry).filter(move |entry| after.is_none_or(|after| *entry > after)))
            }
            Self::Many(entries) => {
                let start = after.map_or(Unbounded, Excluded);
                Box::new(entries.range((start, Unbounded)).copied())
            }
        }
    }

    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = Entry> + '_> {
        self.after(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(priority: i32, position: i64) -> Entry {
        Entry { inverse_priority: !priority, position, item: position.unsigned_abs() as u32 }
    }

    #[test]
    fn larger_priority_first_then_front_then_back() {
        let mut line = Line::default();
        for (priority, position) in [(0, 7), (i32::MIN, 1), (0, -8), (0, 5), (i32::MAX, 9)] {
            line.insert(entry(priority, position));
        }
        let order: Vec<i64> = line.iter().map(|entry| entry.position).collect();
        assert_eq!(order, [9, -8, 5, 7, 1]);
        let rest: Vec<i64> = line.after(Some(entry(0, 5))).map(|entry| entry.position).collect();
        assert_eq!(rest, [7, 1]);
        for position in [9, -8, 7, 1] {
            let found = line.iter().find(|entry| entry.position == position).unwrap();
            line.remove(found);
        }
        assert!(matches!(line, Line::One(Entry { position: 5, .. })));
        line.remove(entry(0, 5));
        assert!(line.is_empty());
    }
}
