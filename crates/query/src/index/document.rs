//! What is kept per document: one cache line.

use std::cmp::Ordering;

use super::slab::Slab;
use super::tree::Probe;

/// Id and terms of a document, in 64 bytes: evaluating a filter is one memory access
/// for most documents, wherever an index has led to it.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub(crate) struct Document {
    pub(crate) id: u128,
    /// The terms, or the slot of the overflow that holds them when there are more.
    pub(crate) terms: [u32; Self::INLINE],
    /// The low byte of each term's key.
    tags: [u8; Self::INLINE],
    /// Terms in all.
    pub(crate) len: u8,
    /// Terms of the document's own key values; the rest are extra.
    pub(crate) own: u8,
    /// Terms whose key is the user's.
    pub(crate) user: u8,
}

impl Document {
    pub(crate) const INLINE: usize = 9;
    pub(crate) const TERMS_MAX: usize = u8::MAX as usize;

    pub(crate) fn new(id: u128) -> Self {
        Self { id, ..Self::default() }
    }

    /// The terms, or the overflow slot they are in.
    #[inline]
    pub(crate) fn inline_terms(&self) -> Result<&[u32], u32> {
        self.terms.get(..usize::from(self.len)).ok_or(self.terms[0])
    }

    pub(crate) const fn set(&mut self, at: usize, term: u32, key: u32) {
        self.terms[at] = term;
        self.tags[at] = key as u8;
    }

    /// Places of inline terms that may be of the key.
    #[inline]
    pub(crate) fn candidates(&self, key: u32) -> impl Iterator<Item = usize> + '_ {
        let tags = &self.tags[..usize::from(self.len).min(Self::INLINE)];
        tags.iter().enumerate().filter(move |&(_, &tag)| tag == key as u8).map(|(at, _)| at)
    }
}

/// A document's place in id order.
pub(crate) struct IdProbe<'a> {
    id: u128,
    documents: &'a Slab<Document>,
}

impl<'a> IdProbe<'a> {
    pub(crate) const fn new(id: u128, documents: &'a Slab<Document>) -> Self {
        Self { id, documents }
    }
}

impl Probe for IdProbe<'_> {
    const EVEN: bool = true;

    #[inline]
    fn word(&self) -> u64 {
        (self.id >> 64) as u64
    }
    #[inline]
    fn tie(&self, item: u32) -> Ordering {
        self.id.cmp(&self.documents[item].id)
    }
}
