//! Reverse match: which stored patterns have every pair in some key values, equal or `any`.
//!
//! ```text
//! root ─(branch=main)─► node: patterns, each with the terms it still needs
//!      ─(os=any)──────► node ─(cpu=4:u8)─► node …
//! ```
//! A trie over terms (pairs of key and value, the value possibly `any`). Each pattern
//! hangs where its rarest terms lead, rarest first; a node with more than a few
//! patterns branches by their next term. A search follows only terms that the probe
//! has, so it visits prefixes of patterns that the probe contains and never one whose
//! rare pair it lacks. Each pattern is at one place only: no subset of the probe's
//! keys is enumerated. Every node also knows keys that *all* patterns below it need,
//! and is skipped when the probe lacks one.

use hashbrown::HashTable;
use willow_model::{KeyValues, encoding::ENCODED_ANY};

use crate::index::{Interner, Slab, in_tests};

/// Patterns a node holds before it branches.
const NODE_PATTERNS: usize = in_tests(2, 12);
/// Children in one sorted vector; more become a hash table.
const FEW_CHILDREN: usize = in_tests(3, 16);
const ROOT: u32 = 0;

/// Stored patterns, found by the key values they match.
///
/// A pattern is known by a number of the caller's choice, small and reused after
/// removal; two patterns may be equal.
#[derive(Debug)]
pub struct PatternTrie {
    names: Interner<(), ()>,
    trie: TermTrie,
}

impl Default for PatternTrie {
    fn default() -> Self {
        Self::new(0)
    }
}

impl PatternTrie {
    /// An empty trie; the seed is that of [`crate::index::Options::hash_seed`].
    #[must_use]
    pub fn new(hash_seed: u64) -> Self {
        Self { names: Interner::new(hash_seed), trie: TermTrie::default() }
    }

    /// Patterns in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.trie.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes it holds allocated, near enough.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.names.memory_bytes() + self.trie.memory_bytes()
    }

    /// Adds a pattern as `doc`. One that is there under this number must have been
    /// removed before; it is left as it is, and false returned.
    pub fn insert(&mut self, doc: u32, pattern: &KeyValues) -> bool {
        if self.trie.places.get(doc).is_some() {
            return false;
        }
        let mut terms = Vec::with_capacity(16);
        for (key, value) in pattern.encoded_pairs() {
            let key = self.names.intern_key(key);
            terms.push(self.names.intern_term(key, value).0);
        }
        self.trie.insert(doc, &terms, &self.names);
        true
    }

    /// Removes the pattern `doc`, which was added with these key values.
    pub fn remove(&mut self, doc: u32, pattern: &KeyValues) -> bool {
        if !self.trie.remove(doc) {
            return false;
        }
        for (key, value) in pattern.encoded_pairs() {
            let term = self.names.key(key).and_then(|key| self.names.term(key, value));
            if let Some(term) = term
                && self.names.release_term(term)
            {
                self.names.forget_term(term);
            }
        }
        true
    }

    /// Puts the numbers of all patterns that match `probe` into `out`, in order.
    pub fn matches(&self, probe: &KeyValues, out: &mut Vec<u32>) {
        self.trie.matches(probe, &self.names, out);
    }
}

/// The trie over terms that somebody else has numbered.
#[derive(Debug)]
pub(crate) struct TermTrie {
    nodes: Slab<Node>,
    /// The node that each pattern is in.
    places: Slab<u32>,
    allocated: usize,
}

#[derive(Debug, Default)]
struct Node {
    parent: u32,
    /// The term that leads here from the parent.
    term: u32,
    /// Keys that every pattern below needs, as bits of [`key_bit`].
    needs: u64,
    /// Patterns, each as its number, the count of terms it needs beyond the path, and
    /// these terms.
    patterns: Vec<u32>,
    children: Children,
}

/// Children by term.
#[derive(Debug, Default)]
enum Children {
    #[default]
    None,
    Few(Vec<(u32, u32)>),
    Many(Box<HashTable<(u32, u32)>>),
}

/// The terms of a probe, for quick membership.
struct Terms {
    list: Vec<u32>,
    keys: u64,
    /// An open hash table of at most a quarter full.
    table: Box<[u32; Self::SLOTS]>,
}

impl Default for TermTrie {
    fn default() -> Self {
        let mut nodes = Slab::default();
        nodes.put(ROOT, Node { needs: u64::MAX, ..Node::default() });
        Self { nodes, places: Slab::default(), allocated: 0 }
    }
}

impl TermTrie {
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.nodes.memory_bytes() + self.places.memory_bytes() + self.allocated
    }

    /// Adds a pattern; `terms` are in use in `names`, once more for this pattern.
    pub(crate) fn insert<K: Default, P: Default>(&mut self, doc: u32, terms: &[u32], names: &Interner<K, P>) {
        let mut order = terms.to_vec();
        order.sort_unstable_by_key(|&term| (names.terms[term].uses, term));
        let needs = terms.iter().fold(0, |bits, &term| bits | key_bit(names.terms[term].key));
        self.place(ROOT, doc, &order, needs, &|term| key_bit(names.terms[term].key));
    }

    /// Removes a pattern; false if it is not there.
    pub(crate) fn remove(&mut self, doc: u32) -> bool {
        let Some(place) = self.places.take(doc) else {
            return false;
        };
        let node = &mut self.nodes[place];
        let mut at = 0;
        while at < node.patterns.len() && node.patterns[at] != doc {
            at += 2 + node.patterns[at + 1] as usize;
        }
        let before = node.patterns.capacity();
        let end = node.patterns.len().min(at + 2 + node.patterns.get(at + 1).map_or(0, |&len| len as usize));
        node.patterns.drain(at.min(end)..end);
        if node.patterns.capacity() > 2 * node.patterns.len() + 8 {
            node.patterns.shrink_to_fit();
        }
        self.allocated -= (before - node.patterns.capacity()) * 4;
        self.prune(place);
        true
    }

    /// Hangs a pattern below `node`, where it needs `terms` more.
    fn place(&mut self, mut node: u32, doc: u32, mut terms: &[u32], needs: u64, key_bit: &impl Fn(u32) -> u64) {
        loop {
            let here = &mut self.nodes[node];
            here.needs &= needs;
            let Some((&first, rest)) = terms.split_first() else {
                break;
            };
            if matches!(here.children, Children::None) {
                break;
            }
            node = here.children.get(first).unwrap_or_else(|| self.add_child(node, first));
            terms = rest;
        }
        let here = &mut self.nodes[node];
        let before = here.patterns.capacity();
        here.patterns.reserve_exact(2 + terms.len());
        here.patterns.extend([doc, terms.len() as u32]);
        here.patterns.extend_from_slice(terms);
        self.allocated += (here.patterns.capacity() - before) * 4;
        self.places.take(doc);
        self.places.put(doc, node);
        self.branch_if_full(node, key_bit);
    }

    fn add_child(&mut self, parent: u32, term: u32) -> u32 {
        let child = self.nodes.add(Node { parent, term, needs: u64::MAX, ..Node::default() });
        let children = &mut self.nodes[parent].children;
        let before = children.memory_bytes();
        children.insert(term, child);
        self.allocated = self.allocated + children.memory_bytes() - before;
        child
    }

    fn branch_if_full(&mut self, node: u32, key_bit: &impl Fn(u32) -> u64) {
        let here = &mut self.nodes[node];
        let open = Patterns(&here.patterns).filter(|(_, terms)| !terms.is_empty()).count();
        if open <= NODE_PATTERNS {
            return;
        }
        let path_needs = self.path_needs(node, key_bit);
        let here = &mut self.nodes[node];
        let patterns = std::mem::take(&mut here.patterns);
        self.allocated -= patterns.capacity() * 4;
        here.children = Children::Few(Vec::new());
        for (doc, terms) in Patterns(&patterns) {
            let needs = terms.iter().fold(path_needs, |bits, &term| bits | key_bit(term));
            self.place(node, doc, terms, needs, key_bit);
        }
    }

    /// Keys of the terms that lead to a node.
    fn path_needs(&self, mut node: u32, key_bit: &impl Fn(u32) -> u64) -> u64 {
        let mut needs = 0;
        while node != ROOT {
            needs |= key_bit(self.nodes[node].term);
            node = self.nodes[node].parent;
        }
        needs
    }

    /// Frees a node that became empty, and then its parents that did.
    fn prune(&mut self, mut node: u32) {
        while self.nodes[node].patterns.is_empty() && self.nodes[node].children.len() == 0 {
            self.allocated -= self.nodes[node].children.memory_bytes();
            self.nodes[node].children = Children::None;
            if node == ROOT {
                self.nodes[ROOT].needs = u64::MAX;
                return;
            }
            let Some(gone) = self.nodes.take(node) else {
                return;
            };
            let children = &mut self.nodes[gone.parent].children;
            let before = children.memory_bytes();
            children.remove(gone.term);
            self.allocated = self.allocated + children.memory_bytes() - before;
            node = gone.parent;
        }
    }

    /// Appends all patterns that match, then sorts `out`.
    pub(crate) fn matches<K: Default, P: Default>(
        &self,
        probe: &KeyValues,
        names: &Interner<K, P>,
        out: &mut Vec<u32>,
    ) {
        self.visit(&Terms::new(probe, names), out);
        out.sort_unstable();
    }

    /// Appends all patterns that match, in no order; how many nodes it looked at.
    fn visit(&self, terms: &Terms, out: &mut Vec<u32>) -> usize {
        let mut pending = vec![ROOT];
        let mut visited = 0;
        while let Some(node) = pending.pop() {
            let node = &self.nodes[node];
            visited += 1;
            if node.needs & !terms.keys != 0 {
                continue;
            }
            let matching =
                Patterns(&node.patterns).filter(|(_, needed)| needed.iter().all(|&term| terms.contains(term)));
            out.extend(matching.map(|(doc, _)| doc));
            node.children.find(terms, &mut pending);
        }
        visited
    }
}

/// One of 64 bits for a key; keys may share one, which only costs a look.
const fn key_bit(key: u32) -> u64 {
    1 << (key % 64)
}

/// Splits a node's patterns into numbers and terms.
struct Patterns<'a>(&'a [u32]);

impl<'a> Iterator for Patterns<'a> {
    type Item = (u32, &'a [u32]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let [doc, len, rest @ ..] = self.0 else {
            return None;
        };
        let (terms, rest) = rest.split_at_checked(*len as usize)?;
        self.0 = rest;
        Some((*doc, terms))
    }
}

impl Children {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Few(list) => list.len(),
            Self::Many(table) => table.len(),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Few(list) => list.capacity() * 8 + 16,
            Self::Many(table) => table.capacity() * 10 + 64,
        }
    }

    #[inline]
    fn get(&self, term: u32) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Few(list) => list.iter().find(|(other, _)| *other == term).map(|&(_, child)| child),
            Self::Many(table) => table.find(hash(term), |(other, _)| *other == term).map(|&(_, child)| child),
        }
    }

    fn insert(&mut self, term: u32, child: u32) {
        match self {
            Self::None => *self = Self::Few(vec![(term, child)]),
            Self::Few(list) => {
                list.push((term, child));
                if list.len() > FEW_CHILDREN {
                    let mut table = HashTable::with_capacity(2 * FEW_CHILDREN);
                    for &entry in &*list {
                        table.insert_unique(hash(entry.0), entry, |&(term, _)| hash(term));
                    }
                    *self = Self::Many(Box::new(table));
                }
            }
            Self::Many(table) => {
                table.insert_unique(hash(term), (term, child), |&(term, _)| hash(term));
            }
        }
    }

    fn remove(&mut self, term: u32) {
        match self {
            Self::None => {}
            Self::Few(list) => list.retain(|(other, _)| *other != term),
            Self::Many(table) => {
                if let Ok(entry) = table.find_entry(hash(term), |(other, _)| *other == term) {
                    entry.remove();
                }
                if table.len() * 4 < table.capacity() {
                    table.shrink_to(table.len() * 2, |&(term, _)| hash(term));
                }
            }
        }
    }

    /// Adds the children that the terms lead to, whichever are fewer to look at.
    fn find(&self, terms: &Terms, out: &mut Vec<u32>) {
        match self {
            Self::None => {}
            Self::Few(list) => {
                out.extend(list.iter().filter(|(term, _)| terms.contains(*term)).map(|&(_, child)| child))
            }
            Self::Many(_) => out.extend(terms.list.iter().filter_map(|&term| self.get(term))),
        }
    }
}

const fn hash(term: u32) -> u64 {
    (term as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Terms {
    /// Four times what 40 keys with two terms each need.
    const SLOTS: usize = 512;
    const EMPTY: u32 = u32::MAX;

    fn new<K: Default, P: Default>(probe: &KeyValues, names: &Interner<K, P>) -> Self {
        let mut terms = Self { list: Vec::with_capacity(64), keys: 0, table: Box::new([Self::EMPTY; Self::SLOTS]) };
        for (name, value) in probe.encoded_pairs() {
            let Some(key) = names.key(name) else { continue };
            terms.keys |= key_bit(key);
            let literal = names.term(key, value);
            let any = (value != ENCODED_ANY).then(|| names.term(key, ENCODED_ANY)).flatten();
            for term in [literal, any].into_iter().flatten() {
                terms.list.push(term);
                let mut slot = Self::slot(term);
                while terms.table[slot] != Self::EMPTY {
                    slot = (slot + 1) % Self::SLOTS;
                }
                terms.table[slot] = term;
            }
        }
        terms
    }

    const fn slot(term: u32) -> usize {
        (hash(term) >> 55) as usize
    }

    #[inline]
    fn contains(&self, term: u32) -> bool {
        let mut slot = Self::slot(term);
        loop {
            let found = self.table[slot];
            if found == term {
                return true;
            }
            if found == Self::EMPTY {
                return false;
            }
            slot = (slot + 1) % Self::SLOTS;
        }
    }
}

#[cfg(test)]
mod tests;
