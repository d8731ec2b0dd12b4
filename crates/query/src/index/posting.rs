//! The documents that carry one key-value pair, in id order.

use roaring::RoaringBitmap;

use super::in_tests;
use super::tree::{Cursor, Entry, Probe, Tree, lower_bound};

/// Documents kept in one sorted vector; more become a tree.
const FEW_MAX: usize = in_tests(4, 64);
/// A set this large also keeps a bitmap, for intersections and counts. A smaller
/// one is as quickly looked up in the documents, and its bitmap would be mostly overhead.
const BITS_MIN: usize = in_tests(12, 4096);

/// See the module. Most pairs of a key like a name or a time have one document.
#[derive(Debug, Default)]
pub(crate) enum Posting {
    #[default]
    Empty,
    One(Entry),
    Few(Vec<Entry>),
    Many(Box<Many>),
}

#[derive(Debug)]
pub(crate) struct Many {
    tree: Tree,
    bits: Option<RoaringBitmap>,
}

impl Posting {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Few(entries) => entries.len(),
            Self::Many(many) => many.tree.len(),
        }
    }

    /// Bytes allocated, near enough.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Empty | Self::One(_) => 0,
            Self::Few(entries) => entries.capacity() * size_of::<Entry>() + 16,
            Self::Many(many) => {
                let bits = if many.bits.is_some() { many.tree.len() * 2 } else { 0 };
                size_of::<Many>() + 16 + many.tree.memory_bytes() + bits
            }
        }
    }

    /// The documents as a bitmap, where one is kept.
    pub(crate) const fn bits(&self) -> Option<&RoaringBitmap> {
        match self {
            Self::Many(many) => many.bits.as_ref(),
            _ => None,
        }
    }

    /// Adds `doc` at the probe's place, which is not taken.
    pub(crate) fn insert(&mut self, probe: &impl Probe, doc: u32) {
        let entry = Entry::new(probe.word(), doc);
        match self {
            Self::Empty => *self = Self::One(entry),
            Self::One(first) => {
                let pair = [*first, entry];
                *self = Self::Few(if probe.compare(first).is_lt() { vec![entry, pair[0]] } else { pair.to_vec() });
            }
            Self::Few(entries) => {
                let at = lower_bound(entries, probe);
                if entries.len() == entries.capacity() {
                    entries.reserve_exact(1 + entries.len() / 4);
                }
                entries.insert(at, entry);
                if entries.len() > FEW_MAX {
                    *self = Self::Many(Box::new(Many { tree: Tree::from_sorted(entries), bits: None }));
                }
            }
            Self::Many(many) => many.insert(probe, doc),
        }
    }

    /// Removes `doc`, which is at the probe's place.
    pub(crate) fn remove(&mut self, probe: &impl Probe, doc: u32) {
        match self {
            Self::Empty => {}
            Self::One(_) => *self = Self::Empty,
            Self::Few(entries) => {
                let at = lower_bound(entries, probe);
                if entries.get(at).is_some_and(|entry| entry.item == doc) {
                    entries.remove(at);
                }
                if entries.capacity() > 4 + entries.len() * 2 {
                    entries.shrink_to(entries.len() + 1);
                }
                if let [only] = entries[..] {
                    *self = Self::One(only);
                }
            }
            Self::Many(many) => {
                many.remove(probe, doc);
                if many.tree.len() < FEW_MAX / 2 {
                    let mut cursor = many.tree.first();
                    *self = Self::Few(std::iter::from_fn(|| cursor.next()).collect());
                }
            }
        }
    }

    /// The document with `rank` before it in id order.
    pub(crate) fn select(&self, rank: usize) -> Option<u32> {
        match self {
            Self::Many(many) => many.tree.select(rank),
            small => small.small().get(rank).map(|entry| entry.item),
        }
    }

    /// Calls `each` with every document in id order.
    pub(crate) fn each(&self, mut each: impl FnMut(u32)) {
        let mut cursor = self.first();
        while let Some(run) = cursor.next_run(usize::MAX) {
            run.iter().for_each(|entry| each(entry.item));
        }
    }

    /// A cursor over the documents in id order.
    pub(crate) fn first(&self) -> Cursor<'_> {
        match self {
            Self::Many(many) => many.tree.first(),
            small => Cursor::over(small.small(), 0),
        }
    }

    /// A cursor before the first document not less than the probe.
    pub(crate) fn seek(&self, probe: &impl Probe) -> Cursor<'_> {
        match self {
            Self::Many(many) => many.tree.seek(probe),
            small => Cursor::over(small.small(), lower_bound(small.small(), probe)),
        }
    }

    /// All documents, unless they are too many to be one slice.
    pub(crate) const fn few(&self) -> Option<&[Entry]> {
        if matches!(self, Self::Many(_)) { None } else { Some(self.small()) }
    }

    /// The entries of a posting that is no tree.
    const fn small(&self) -> &[Entry] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Few(entries) => entries.as_slice(),
            Self::Empty | Self::Many(_) => &[],
        }
    }
}

impl Many {
    fn insert(&mut self, probe: &impl Probe, doc: u32) {
        self.tree.insert(probe, doc);
        if let Some(bits) = &mut self.bits {
            bits.insert(doc);
        } else if self.tree.len() >= BITS_MIN {
            let mut cursor = self.tree.first();
            let mut docs: Vec<u32> = std::iter::from_fn(|| cursor.next().map(|entry| entry.item)).collect();
            docs.sort_unstable();
            self.bits = Some(docs.into_iter().collect());
        }
    }

    fn remove(&mut self, probe: &impl Probe, doc: u32) {
        self.tree.remove(probe);
        if let Some(bits) = &mut self.bits {
            bits.remove(doc);
            if self.tree.len() < BITS_MIN / 2 {
                self.bits = None;
            }
        }
    }
}
