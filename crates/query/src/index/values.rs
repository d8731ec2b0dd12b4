//! The values of one key in order.

use std::cmp::Ordering;

use super::in_tests;
use super::interner::Term;
use super::slab::Slab;
use super::tree::{Cursor, Entry, Probe, Tree};

/// Sizes at which the shared start of the values is looked at anew.
const REVIEW_FIRST: usize = in_tests(4, 64);
const REVIEW_FACTOR: usize = 8;
/// No review beyond, so that none takes more than some milliseconds.
const REVIEW_LAST: usize = 1 << 15;

/// A key's terms by encoded value.
///
/// Values of a key often start alike (`build-`, `https://`), and then the first eight
/// bytes tell nothing. So the tree's words are taken from behind the start that most
/// values share; a value without it sorts by its own first bytes, below or above.
#[derive(Debug)]
pub(crate) struct Values {
    tree: Tree,
    shared: Box<[u8]>,
    review_at: usize,
}

impl Default for Values {
    fn default() -> Self {
        Self { tree: Tree::new(), shared: Box::default(), review_at: REVIEW_FIRST }
    }
}

impl Values {
    pub(crate) const fn len(&self) -> usize {
        self.tree.len()
    }

    pub(crate) const fn memory_bytes(&self) -> usize {
        self.tree.memory_bytes() + self.shared.len()
    }

    /// Adds a term, whose value is not there yet.
    pub(crate) fn insert<P>(&mut self, value: &[u8], term: u32, terms: &Slab<Term<P>>) {
        self.tree.insert(&self.probe(value, terms), term);
        if self.tree.len() == self.review_at {
            self.review(terms);
        }
    }

    /// Removes the term of a value.
    pub(crate) fn remove<P>(&mut self, value: &[u8], terms: &Slab<Term<P>>) {
        self.tree.remove(&self.probe(value, terms));
    }

    /// Values less than `value`.
    pub(crate) fn rank<P>(&self, value: &[u8], terms: &Slab<Term<P>>) -> usize {
        self.tree.rank(&self.probe(value, terms))
    }

    /// The term with `rank` values before its own.
    pub(crate) fn select(&self, rank: usize) -> Option<u32> {
        self.tree.select(rank)
    }

    /// A cursor before the first value not less than `value`.
    pub(crate) fn seek<P>(&self, value: &[u8], terms: &Slab<Term<P>>) -> Cursor<'_> {
        self.tree.seek(&self.probe(value, terms))
    }

    /// A number that orders most values of the key.
    #[inline]
    pub(crate) fn word(&self, value: &[u8]) -> u64 {
        let shared = &*self.shared;
        if shared.is_empty() {
            return word(value);
        }
        let start = &value[..value.len().min(shared.len())];
        match start.cmp(shared) {
            Ordering::Less => word(value) >> 2,
            Ordering::Equal => (1 << 62) + (word(&value[shared.len()..]) >> 1),
            Ordering::Greater => 3 << 62 | word(value) >> 2,
        }
    }

    fn probe<'a, P>(&self, value: &'a [u8], terms: &'a Slab<Term<P>>) -> ValueProbe<'a, P> {
        ValueProbe { word: self.word(value), value, terms }
    }

    /// Takes up the start that all values share now, if that is another.
    fn review<P>(&mut self, terms: &Slab<Term<P>>) {
        let next = self.review_at * REVIEW_FACTOR;
        self.review_at = if next > REVIEW_LAST { usize::MAX } else { next };
        let mut items = Vec::with_capacity(self.tree.len());
        let mut cursor = self.tree.first();
        while let Some(entry) = cursor.next() {
            items.push(entry.item);
        }
        let value = |item: &u32| terms[*item].value.as_slice();
        let ends = items.first().map(value).zip(items.last().map(value));
        let Some((first, last)) = ends else { return };
        let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        if first[..shared] == *self.shared {
            return;
        }
        self.shared = first[..shared].into();
        let entries: Vec<Entry> = items.iter().map(|item| Entry::new(self.word(value(item)), *item)).collect();
        self.tree = Tree::from_sorted(&entries);
    }
}

struct ValueProbe<'a, P> {
    word: u64,
    value: &'a [u8],
    terms: &'a Slab<Term<P>>,
}

impl<P> Probe for ValueProbe<'_, P> {
    const EVEN: bool = false;

    #[inline]
    fn word(&self) -> u64 {
        self.word
    }
    #[inline]
    fn tie(&self, item: u32) -> Ordering {
        self.value.cmp(self.terms[item].value.as_slice())
    }
}

/// The first eight bytes as a number of the same order.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    if let Some(start) = bytes.first_chunk() {
        return u64::from_be_bytes(*start);
    }
    bytes.iter().rev().fold(0, |word, &byte| word >> 8 | u64::from(byte) << 56)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::interner::Bytes;

    /// Values that share a start, then some that do not: always in order, and found.
    #[test]
    fn keeps_order_whatever_starts_the_values_share() {
        let mut texts: Vec<String> = (0..40).map(|number| format!("build-{number:02}")).collect();
        texts.extend(["", "a", "build", "build-", "build-1x", "builds", "z"].map(String::from));
        texts.extend((0..300).map(|number| format!("c{number}")));
        let (mut terms, mut values) = (Slab::default(), Values::default());
        let mut sorted: Vec<&str> = Vec::new();
        for text in &texts {
            let term = terms.add(Term { value: Bytes::new(text.as_bytes()), ..Term::<()>::default() });
            values.insert(text.as_bytes(), term, &terms);
            sorted.push(text);
            sorted.sort_unstable();
            for (rank, text) in sorted.iter().enumerate() {
                assert_eq!(values.rank(text.as_bytes(), &terms), rank);
            }
        }
        let mut cursor = values.seek(b"", &terms);
        for text in &sorted {
            let entry = cursor.next().expect("as many as were added");
            assert_eq!(terms[entry.item].value.as_slice(), text.as_bytes());
        }
        for text in &texts {
            values.remove(text.as_bytes(), &terms);
        }
        assert_eq!(values.len(), 0);
    }
}
