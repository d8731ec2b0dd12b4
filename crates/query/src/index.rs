//! The index of one collection: which documents carry which pairs, in which order.
//!
//! ```text
//! document ── id, terms ─────────────┐            key ── name, documents with it (bitmap)
//!   (a slot of the caller's table)   │             └── values: tree of terms by encoded value
//! by id: tree of documents           └──► term ── key, encoded value
//! by number of user keys: bitmaps           └── posting: documents by id (+ bitmap when many)
//! ```
//! A *term* is one key with one value. A key's tree of terms, each with its documents
//! in id order, is the ordered index on (value, id) that serves equality, ranges,
//! prefixes and sorting alike. Nothing is kept per document but its id and terms.
//!
//! Numbers of keys and terms depend on what was inserted and removed before; answers
//! never do.

mod document;
mod interner;
mod matched;
mod posting;
mod slab;
mod tree;
mod values;

use roaring::RoaringBitmap;
use willow_model::{Id, KeyValues, ValueRef, is_reserved, limits};

pub(crate) use document::{Document, IdProbe};
pub(crate) use interner::Interner;
pub(crate) use posting::Posting;
pub(crate) use slab::Slab;
pub(crate) use tree::{Cursor, Entry, Probe, Tree};
use values::Values;

use crate::trie::TermTrie;

/// A threshold that is small in unit tests, so that small data reach what lies beyond it.
pub(crate) const fn in_tests(test: usize, otherwise: usize) -> usize {
    if cfg!(test) { test } else { otherwise }
}

/// How an [`Index`] is set up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Keep a trie of the documents' key values as patterns, so that `matching` is
    /// answered without looking at patterns that cannot match.
    pub reverse: bool,
    /// Seeds the hashes of keys and values. A secret seed keeps users from choosing
    /// values that collide; no answer depends on it.
    pub hash_seed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Index {
    pub(crate) documents: Slab<Document>,
    /// Terms of documents with more than fit into a [`Document`].
    overflow: Slab<Box<[u32]>>,
    pub(crate) by_id: Tree,
    pub(crate) all: RoaringBitmap,
    /// Documents by their number of user pairs.
    pub(crate) by_key_count: Vec<RoaringBitmap>,
    pub(crate) names: Interner<KeyDocuments, Posting>,
    pub(crate) patterns: Option<TermTrie>,
    /// Bytes of the postings and value trees, kept as they change.
    postings_bytes: usize,
    overflow_bytes: usize,
    scratch: Vec<u8>,
}

/// What is kept per key.
#[derive(Debug, Default)]
pub(crate) struct KeyDocuments {
    /// The key's terms by value.
    pub(crate) values: Values,
    /// The documents with the key.
    pub(crate) documents: RoaringBitmap,
    pub(crate) len: u32,
}

impl Index {
    /// An empty index.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            documents: Slab::default(),
            overflow: Slab::default(),
            by_id: Tree::new(),
            all: RoaringBitmap::new(),
            by_key_count: vec![RoaringBitmap::new(); limits::PAIRS + 1],
            names: Interner::new(options.hash_seed),
            patterns: options.reverse.then(TermTrie::default),
            postings_bytes: 0,
            overflow_bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// Documents in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `doc` is in it.
    #[must_use]
    pub fn contains(&self, doc: u32) -> bool {
        self.documents.get(doc).is_some()
    }

    /// The id of a document.
    #[must_use]
    pub fn id(&self, doc: u32) -> Option<Id> {
        self.documents.get(doc).map(|document| Id::from_u128(document.id))
    }

    /// Bytes it holds allocated: trees, tables and values as counted, bitmaps and
    /// allocator overhead by estimate.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let bitmaps = bitmap_bytes(&self.all) + self.by_key_count.iter().map(bitmap_bytes).sum::<usize>();
        let patterns = self.patterns.as_ref().map_or(0, TermTrie::memory_bytes);
        self.documents.memory_bytes()
            + self.overflow.memory_bytes()
            + self.overflow_bytes
            + self.by_id.memory_bytes()
            + self.names.memory_bytes()
            + self.postings_bytes
            + bitmaps
            + patterns
    }

    /// Adds a document in the caller's slot `doc`; one that is there is replaced.
    ///
    /// `extra` are pairs that Willow adds: they can be queried like the others, but
    /// do not count as keys and are no part of the pattern that `matching` matches.
    /// One whose key is among `pairs` is left out.
    pub fn insert(&mut self, doc: u32, id: Id, pairs: &KeyValues, extra: &[(&str, ValueRef<'_>)]) {
        self.remove(doc);
        let mut document = Document::new(id.to_u128());
        self.documents.put(doc, document);
        let mut terms = Vec::with_capacity(16);
        for (key, value) in pairs.encoded_pairs() {
            document.user += u8::from(!is_reserved(key));
            terms.push(self.add_pair(doc, document.id, key, value));
        }
        document.own = terms.len() as u8;
        for &(key, value) in extra {
            if terms.len() < Document::TERMS_MAX && !terms.iter().any(|&term| self.key_is(term, key)) {
                let mut bytes = std::mem::take(&mut self.scratch);
                bytes.clear();
                value.encode_into(&mut bytes);
                terms.push(self.add_pair(doc, document.id, key, &bytes));
                self.scratch = bytes;
            }
        }
        self.store_terms(doc, &mut document, &terms);
        self.by_id.insert(&IdProbe::new(document.id, &self.documents), doc);
        self.all.insert(doc);
        if let Some(count) = self.by_key_count.get_mut(usize::from(document.user)) {
            count.insert(doc);
        }
        if let Some(patterns) = &mut self.patterns {
            patterns.insert(doc, &terms[..usize::from(document.own)], &self.names);
        }
    }

    /// Removes a document, if it is there.
    pub fn remove(&mut self, doc: u32) {
        let Some(&document) = self.documents.get(doc) else {
            return;
        };
        let terms: Vec<u32> = self.terms_of(&document).to_vec();
        if let Some(patterns) = &mut self.patterns {
            patterns.remove(doc);
        }
        for term in terms {
            self.remove_pair(doc, document.id, term);
        }
        self.by_id.remove(&IdProbe::new(document.id, &self.documents));
        self.all.remove(doc);
        if let Some(count) = self.by_key_count.get_mut(usize::from(document.user)) {
            count.remove(doc);
        }
        self.drop_overflow(&document);
        self.documents.take(doc);
    }

    /// Sets, changes or (with `None`) removes one extra pair of a document; only this
    /// pair is indexed anew. A key among the document's own pairs is left alone.
    pub fn set_extra(&mut self, doc: u32, key: &str, value: Option<ValueRef<'_>>) {
        let Some(&document) = self.documents.get(doc) else {
            return;
        };
        let mut terms = self.terms_of(&document).to_vec();
        let at = terms.iter().position(|&term| self.key_is(term, key));
        if at.is_some_and(|at| at < usize::from(document.own)) {
            return;
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        if let Some(value) = value {
            value.encode_into(&mut bytes);
        }
        let unchanged = at.is_some_and(|at| value.is_some() && self.names.terms[terms[at]].value.as_slice() == bytes);
        if !unchanged {
            if let Some(at) = at {
                self.remove_pair(doc, document.id, terms.remove(at));
            }
            if value.is_some() && terms.len() < Document::TERMS_MAX {
                terms.push(self.add_pair(doc, document.id, key, &bytes));
            }
            self.drop_overflow(&document);
            let mut changed = document;
            self.store_terms(doc, &mut changed, &terms);
        }
        self.scratch = bytes;
    }

    /// The document's terms: first those of its key values by key, then the extra ones.
    #[inline]
    pub(crate) fn terms_of<'a>(&'a self, document: &'a Document) -> &'a [u32] {
        document.inline_terms().unwrap_or_else(|slot| &self.overflow[slot])
    }

    /// The document's term for a key.
    #[inline]
    pub(crate) fn term_of(&self, document: &Document, key: u32) -> Option<u32> {
        let terms = self.terms_of(document);
        if terms.len() > Document::INLINE {
            return terms.iter().copied().find(|&term| self.names.terms[term].key == key);
        }
        document.candidates(key).map(|at| terms[at]).find(|&term| self.names.terms[term].key == key)
    }

    fn key_is(&self, term: u32, name: &str) -> bool {
        &*self.names.keys[self.names.terms[term].key].name == name
    }

    fn store_terms(&mut self, doc: u32, document: &mut Document, terms: &[u32]) {
        document.len = terms.len() as u8;
        if terms.len() > Document::INLINE {
            document.terms[0] = self.overflow.add(terms.into());
            self.overflow_bytes += terms.len() * 4 + 16;
        } else {
            for (at, &term) in terms.iter().enumerate() {
                document.set(at, term, self.names.terms[term].key);
            }
        }
        self.documents[doc] = *document;
    }

    fn drop_overflow(&mut self, document: &Document) {
        if let Err(slot) = document.inline_terms() {
            self.overflow.take(slot);
            self.overflow_bytes -= usize::from(document.len) * 4 + 16;
        }
    }

    fn add_pair(&mut self, doc: u32, id: u128, key: &str, value: &[u8]) -> u32 {
        let key = self.names.intern_key(key);
        let (term, new) = self.names.intern_term(key, value);
        let of_key = &mut self.names.keys[key].payload;
        if new {
            let before = of_key.values.memory_bytes();
            of_key.values.insert(value, term, &self.names.terms);
            self.postings_bytes = self.postings_bytes + of_key.values.memory_bytes() - before;
        }
        of_key.documents.insert(doc);
        of_key.len += 1;
        let posting = &mut self.names.terms[term].payload;
        let before = posting.memory_bytes();
        posting.insert(&IdProbe::new(id, &self.documents), doc);
        // The key's bitmap takes two bytes at most for a document that is not alone.
        self.postings_bytes = self.postings_bytes + posting.memory_bytes() + 2 - before;
        term
    }

    fn remove_pair(&mut self, doc: u32, id: u128, term: u32) {
        let of_term = &mut self.names.terms[term];
        let key = of_term.key;
        let posting = &mut of_term.payload;
        let before = posting.memory_bytes();
        posting.remove(&IdProbe::new(id, &self.documents), doc);
        self.postings_bytes = self.postings_bytes + posting.memory_bytes() - before - 2;
        let of_key = &mut self.names.keys[key].payload;
        of_key.documents.remove(doc);
        of_key.len -= 1;
        if self.names.release_term(term) {
            let of_key = &mut self.names.keys[key].payload;
            let before = of_key.values.memory_bytes();
            let value = self.names.terms[term].value.as_slice();
            of_key.values.remove(value, &self.names.terms);
            self.postings_bytes = self.postings_bytes + of_key.values.memory_bytes() - before;
            self.names.forget_term(term);
        }
    }
}

/// An upper bound for a bitmap's containers, without walking them.
fn bitmap_bytes(bitmap: &RoaringBitmap) -> usize {
    let span = bitmap.max().map_or(0, |max| max as usize / 8 + 64);
    span.min(bitmap.len() as usize * 2 + 64)
}
