//! An ordered set of `u32` items in a counted B+tree.
//!
//! An item's order is given from outside: a 64-bit word, kept in the tree so
//! that a search seldom leaves it, and a tie-break asked of a [`Probe`] when two
//! words are equal. One structure so serves both orders of the index: the values
//! of a key (word: the first bytes of the encoding) and the documents of a value
//! (word: the first half of the id).
//!
//! Every inner node counts the items below it, so `rank` and `select` cost a
//! descent; range estimates and sampling rest on them. Separators are always live
//! items: an item that is removed may be reused by its owner at once, and a tie
//! asked of a dead separator would read something else.

mod cursor;
mod search;

use std::cmp::Ordering;

use arrayvec::ArrayVec;
pub(crate) use cursor::Cursor;
use search::Span;
pub(crate) use search::lower_bound;

/// Most entries of a leaf: 1.5 KiB, of which an insertion moves half.
const LEAF_MAX: usize = 128;
/// Most children of an inner node.
const FAN_MAX: usize = 64;
/// A small leaf grows by this many entries at a time, so that the many small sets waste little; a larger
/// one takes all its room at once, which spares copies.
const LEAF_STEP: usize = 8;

/// An item with the first 64 bits of its order. Two halves keep it at 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    high: u32,
    low: u32,
    /// What the entry stands for: a document or a term.
    pub(crate) item: u32,
}

impl Entry {
    pub(crate) const fn new(word: u64, item: u32) -> Self {
        Self { high: (word >> 32) as u32, low: word as u32, item }
    }

    #[inline]
    pub(crate) const fn word(&self) -> u64 {
        (self.high as u64) << 32 | self.low as u64
    }
}

/// A position sought in a tree.
pub(crate) trait Probe {
    /// Whether words are spread evenly, like those of hashes: then a search starts where
    /// the probe's word lies between its neighbours above, which is mostly within a few
    /// entries, and spares the cache misses of halving.
    const EVEN: bool;

    /// The first 64 bits of the sought position.
    fn word(&self) -> u64;
    /// The sought position against `item`, whose word is equal.
    fn tie(&self, item: u32) -> Ordering;

    #[inline]
    fn compare(&self, entry: &Entry) -> Ordering {
        self.word().cmp(&entry.word()).then_with(|| self.tie(entry.item))
    }
}

#[derive(Debug)]
enum Node {
    Leaf(Vec<Entry>),
    Inner(Box<Inner>),
}

/// In one allocation: a descent costs cache and TLB misses more than anything else.
#[derive(Debug, Default)]
struct Inner {
    /// The least entry of each child but the first.
    separators: ArrayVec<Entry, FAN_MAX>,
    counts: ArrayVec<u32, { FAN_MAX + 1 }>,
    children: ArrayVec<Node, { FAN_MAX + 1 }>,
}

/// A counted B+tree; see the module.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Node,
    len: u32,
    size: Size,
}

/// What the tree holds allocated, kept as it changes.
#[derive(Debug, Default, Clone, Copy)]
struct Size {
    leaf_entries: usize,
    leaves: usize,
}

struct Inserted {
    added: bool,
    split: Option<(Entry, Node)>,
}

struct Removed {
    removed: bool,
    /// The least entry of the node, if that changed and the node is not empty.
    least: Option<Entry>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    pub(crate) const fn new() -> Self {
        Self { root: Node::Leaf(Vec::new()), len: 0, size: Size { leaf_entries: 0, leaves: 1 } }
    }

    /// A tree of entries that are already in order.
    pub(crate) fn from_sorted(entries: &[Entry]) -> Self {
        let mut nodes: Vec<(Entry, u32, Node)> = entries
            .chunks(LEAF_MAX * 3 / 4)
            .map(|chunk| (chunk[0], chunk.len() as u32, Node::Leaf(chunk.to_vec())))
            .collect();
        let size = Size { leaf_entries: entries.len(), leaves: nodes.len().max(1) };
        while nodes.len() > 1 {
            let mut parents = Vec::new();
            let mut rest = nodes.into_iter().peekable();
            while let Some(&(least, ..)) = rest.peek() {
                let mut inner = Inner::default();
                let mut total = 0;
                for (first, count, node) in rest.by_ref().take(FAN_MAX * 3 / 4) {
                    if !inner.children.is_empty() {
                        inner.separators.push(first);
                    }
                    inner.counts.push(count);
                    inner.children.push(node);
                    total += count;
                }
                parents.push((least, total, Node::Inner(Box::new(inner))));
            }
            nodes = parents;
        }
        let root = nodes.pop().map_or_else(|| Node::Leaf(Vec::new()), |(_, _, node)| node);
        Self { root, len: entries.len() as u32, size }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes allocated, near enough: leaves exactly, inner nodes by their number.
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.size.leaf_entries * size_of::<Entry>() + self.size.leaves * 64
    }

    /// Adds `item` at the probe's place; false if an equal item is there.
    pub(crate) fn insert(&mut self, probe: &impl Probe, item: u32) -> bool {
        let inserted = self.root.insert(probe, item, Span::FULL, &mut self.size);
        if let Some((separator, right)) = inserted.split {
            let left = std::mem::replace(&mut self.root, Node::Leaf(Vec::new()));
            self.root = Node::Inner(Box::new(Inner {
                separators: [separator].into_iter().collect(),
                counts: [left.count(), right.count()].into_iter().collect(),
                children: [left, right].into_iter().collect(),
            }));
        }
        self.len += u32::from(inserted.added);
        inserted.added
    }

    /// Removes what is equal to the probe; false if nothing is.
    pub(crate) fn remove(&mut self, probe: &impl Probe) -> bool {
        let removed = self.root.remove(probe, Span::FULL, &mut self.size).removed;
        self.len -= u32::from(removed);
        while let Node::Inner(inner) = &mut self.root
            && inner.children.len() == 1
            && let Some(only) = inner.children.pop()
        {
            self.root = only;
        }
        removed
    }

    /// Items less than the probe.
    pub(crate) fn rank(&self, probe: &impl Probe) -> usize {
        let (mut node, mut before, mut span) = (&self.root, 0, Span::FULL);
        loop {
            match node {
                Node::Leaf(entries) => return before + span.lower_bound(entries, probe),
                Node::Inner(inner) => {
                    let at = span.child(&inner.separators, probe);
                    before += inner.counts[..at].iter().map(|&count| count as usize).sum::<usize>();
                    node = &inner.children[at];
                }
            }
        }
    }

    /// The item with `rank` items before it.
    pub(crate) fn select(&self, rank: usize) -> Option<u32> {
        let (mut node, mut rank) = (&self.root, rank);
        loop {
            match node {
                Node::Leaf(entries) => return entries.get(rank).map(|entry| entry.item),
                Node::Inner(inner) => {
                    let at = inner.counts.iter().position(|&count| {
                        let inside = rank < count as usize;
                        rank -= if inside { 0 } else { count as usize };
                        inside
                    })?;
                    node = &inner.children[at];
                }
            }
        }
    }

    /// A cursor before the first item not less than the probe.
    pub(crate) fn seek(&self, probe: &impl Probe) -> Cursor<'_> {
        let mut span = Span::FULL;
        let mut path = Vec::new();
        let mut node = &self.root;
        while let Node::Inner(inner) = node {
            let at = span.child(&inner.separators, probe);
            path.push((&**inner, at));
            node = &inner.children[at];
        }
        let leaf = node.entries();
        Cursor { path, leaf, at: span.lower_bound(leaf, probe) }
    }

    /// A cursor before the first item.
    pub(crate) fn first(&self) -> Cursor<'_> {
        let mut path = Vec::new();
        let mut node = &self.root;
        while let Node::Inner(inner) = node {
            path.push((&**inner, 0));
            node = &inner.children[0];
        }
        Cursor { path, leaf: node.entries(), at: 0 }
    }
}

impl Node {
    /// The entries of a leaf; a cursor only asks where the path ends.
    const fn entries(&self) -> &[Entry] {
        match self {
            Self::Leaf(entries) => entries.as_slice(),
            Self::Inner(_) => &[],
        }
    }

    fn count(&self) -> u32 {
        match self {
            Self::Leaf(entries) => entries.len() as u32,
            Self::Inner(inner) => inner.counts.iter().sum(),
        }
    }

    /// How full the node is, against [`Node::room`].
    const fn slots(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }

    const fn room(&self) -> usize {
        match self {
            Self::Leaf(_) => LEAF_MAX,
            Self::Inner(_) => FAN_MAX,
        }
    }

    fn insert(&mut self, probe: &impl Probe, item: u32, span: Span, size: &mut Size) -> Inserted {
        match self {
            Self::Leaf(entries) => {
                let at = span.lower_bound(entries, probe);
                if entries.get(at).is_some_and(|entry| probe.compare(entry) == Ordering::Equal) {
                    return Inserted { added: false, split: None };
                }
                let before = entries.capacity();
                let split = insert_in_leaf(entries, at, Entry::new(probe.word(), item));
                size.leaf_entries += entries.capacity();
                if let Some(right) = &split {
                    size.leaf_entries += right.capacity();
                    size.leaves += 1;
                }
                size.leaf_entries -= before;
                Inserted { added: true, split: split.map(|right| (right[0], Self::Leaf(right))) }
            }
            Self::Inner(inner) => inner.insert(probe, item, span, size),
        }
    }

    fn remove(&mut self, probe: &impl Probe, span: Span, size: &mut Size) -> Removed {
        match self {
            Self::Leaf(entries) => {
                let at = span.lower_bound(entries, probe);
                if entries.get(at).is_none_or(|entry| probe.compare(entry) != Ordering::Equal) {
                    return Removed { removed: false, least: None };
                }
                let before = entries.capacity();
                entries.remove(at);
                if entries.capacity() > 3 * entries.len() + LEAF_STEP {
                    entries.shrink_to(entries.len() + LEAF_STEP);
                }
                size.leaf_entries -= before - entries.capacity();
                Removed { removed: true, least: if at == 0 { entries.first().copied() } else { None } }
            }
            Self::Inner(inner) => inner.remove(probe, span, size),
        }
    }

    /// Takes over the right neighbour, whose least entry is `separator`.
    fn absorb(&mut self, separator: Entry, right: Self, size: &mut Size) {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => {
                let before = left.capacity() + right.capacity();
                left.reserve_exact(right.len());
                left.extend_from_slice(&right);
                size.leaf_entries = size.leaf_entries + left.capacity() - before;
                size.leaves -= 1;
            }
            (Self::Inner(left), Self::Inner(right)) => {
                left.separators.push(separator);
                left.separators.extend(right.separators);
                left.counts.extend(right.counts);
                left.children.extend(right.children);
            }
            _ => unreachable!("siblings have the same height"),
        }
    }
}

/// Inserts, splitting off the right part of a full leaf. A leaf that is filled
/// at its end (values that only grow) stays full.
fn insert_in_leaf(entries: &mut Vec<Entry>, at: usize, entry: Entry) -> Option<Vec<Entry>> {
    if entries.len() < LEAF_MAX {
        if entries.len() == entries.capacity() {
            entries.reserve_exact(if entries.len() < 4 * LEAF_STEP { LEAF_STEP } else { LEAF_MAX - entries.len() });
        }
        entries.insert(at, entry);
        return None;
    }
    if at == entries.len() {
        let mut right = Vec::with_capacity(LEAF_STEP);
        right.push(entry);
        return Some(right);
    }
    let half = LEAF_MAX / 2;
    let mut right = Vec::with_capacity(LEAF_MAX);
    right.extend_from_slice(&entries[half..]);
    entries.truncate(half);
    if at <= half {
        entries.insert(at, entry);
    } else {
        right.insert(at - half, entry);
    }
    Some(right)
}

impl Inner {
    fn insert(&mut self, probe: &impl Probe, item: u32, mut span: Span, size: &mut Size) -> Inserted {
        let at = span.child(&self.separators, probe);
        let below = self.children[at].insert(probe, item, span, size);
        self.counts[at] += u32::from(below.added);
        let Some((separator, right)) = below.split else {
            return Inserted { added: below.added, split: None };
        };
        let count = right.count();
        self.counts[at] -= count;
        self.separators.insert(at, separator);
        self.counts.insert(at + 1, count);
        self.children.insert(at + 1, right);
        let split = (self.children.len() > FAN_MAX).then(|| self.split(at + 2));
        Inserted { added: true, split }
    }

    /// Splits in half, or off the very end where values only grow.
    fn split(&mut self, grown: usize) -> (Entry, Node) {
        let half = if grown == self.children.len() { grown - 1 } else { self.children.len() / 2 };
        let right = Self {
            separators: self.separators.drain(half..).collect(),
            counts: self.counts.drain(half..).collect(),
            children: self.children.drain(half..).collect(),
        };
        let separator = self.separators.pop().expect("both halves have a child");
        (separator, Node::Inner(Box::new(right)))
    }

    fn remove(&mut self, probe: &impl Probe, mut span: Span, size: &mut Size) -> Removed {
        let at = span.child(&self.separators, probe);
        let below = self.children[at].remove(probe, span, size);
        if !below.removed {
            return below;
        }
        self.counts[at] -= 1;
        if self.counts[at] == 0 {
            return Removed { removed: true, least: self.drop_child(at, size) };
        }
        let least = match below.least {
            Some(entry) if at > 0 => {
                self.separators[at - 1] = entry;
                None
            }
            least => least,
        };
        if self.children[at].slots() < self.children[at].room() / 4 {
            self.merge(at, size);
        }
        Removed { removed: true, least }
    }

    /// Drops an empty child; the new least entry if it was the first.
    fn drop_child(&mut self, at: usize, size: &mut Size) -> Option<Entry> {
        if let Node::Leaf(entries) = self.children.remove(at) {
            size.leaf_entries -= entries.capacity();
            size.leaves -= 1;
        }
        self.counts.remove(at);
        if self.separators.is_empty() {
            return None;
        }
        let separator = self.separators.remove(at.saturating_sub(1));
        (at == 0).then_some(separator)
    }

    /// Joins a small child with a neighbour if that leaves room to grow.
    fn merge(&mut self, at: usize, size: &mut Size) {
        let left = if at + 1 < self.children.len() { at } else { at.saturating_sub(1) };
        let Some(right) = self.children.get(left + 1) else {
            return;
        };
        if self.children[left].slots() + right.slots() > right.room() * 3 / 4 {
            return;
        }
        let right = self.children.remove(left + 1);
        let separator = self.separators.remove(left);
        self.counts[left] += self.counts.remove(left + 1);
        self.children[left].absorb(separator, right, size);
    }
}

#[cfg(test)]
mod tests;
