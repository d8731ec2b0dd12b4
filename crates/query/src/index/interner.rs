//! Keys and key-value pairs as small numbers, counted, and forgotten when unused.
//!
//! A *term* is one pair: a key and one encoded value. What an index keeps per term
//! is its payload; without one the interner serves the pattern trie alone.

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::slab::Slab;

/// The hash table of terms is split, so that growing one part stalls nobody.
const SHARDS: usize = 64;

/// Bytes of an encoded value; short ones without an allocation.
#[derive(Debug)]
pub(crate) enum Bytes {
    Inline(u8, [u8; Self::INLINE]),
    Heap(Box<[u8]>),
}

impl Bytes {
    const INLINE: usize = 22;

    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut inline = [0; Self::INLINE];
        match inline.get_mut(..bytes.len()) {
            Some(start) => {
                start.copy_from_slice(bytes);
                Self::Inline(bytes.len() as u8, inline)
            }
            None => Self::Heap(bytes.into()),
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }

    const fn memory_bytes(&self) -> usize {
        match self {
            Self::Inline(..) => 0,
            Self::Heap(bytes) => bytes.len() + 16,
        }
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self::Inline(0, [0; Self::INLINE])
    }
}

/// One pair of key and value, and what is kept for it.
#[derive(Debug, Default)]
pub(crate) struct Term<P> {
    pub(crate) value: Bytes,
    pub(crate) key: u32,
    /// Times it is in use.
    pub(crate) uses: u32,
    pub(crate) payload: P,
}

/// A key's name, and what is kept for it.
#[derive(Debug, Default)]
pub(crate) struct Key<K> {
    pub(crate) name: Box<str>,
    /// Distinct values in use.
    pub(crate) terms: u32,
    pub(crate) payload: K,
}

/// See the module.
pub(crate) struct Interner<K, P> {
    pub(crate) keys: Slab<Key<K>>,
    pub(crate) terms: Slab<Term<P>>,
    key_numbers: HashTable<(u32, u32)>,
    /// Hash and number of each term; the hash spares most looks at a term.
    term_numbers: Vec<HashTable<(u32, u32)>>,
    hasher: SeedableRandomState,
    heap_bytes: usize,
    /// Grows whenever a key is numbered or forgotten.
    pub(crate) key_epoch: u64,
}

impl<K, P> std::fmt::Debug for Interner<K, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interner").field("epoch", &self.key_epoch).finish_non_exhaustive()
    }
}

impl<K: Default, P: Default> Interner<K, P> {
    /// `seed` only decides the hashes; nothing an outcome depends on.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            keys: Slab::default(),
            terms: Slab::default(),
            key_numbers: HashTable::new(),
            term_numbers: std::iter::repeat_with(HashTable::new).take(SHARDS).collect(),
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            heap_bytes: 0,
            key_epoch: 0,
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let tables = self.key_numbers.capacity() + self.term_numbers.iter().map(HashTable::capacity).sum::<usize>();
        self.keys.memory_bytes() + self.terms.memory_bytes() + self.heap_bytes + tables * 10
    }

    /// The number of a key in use.
    pub(crate) fn key(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name) as u32;
        let found = self.key_numbers.find(mix(hash), |&(other, key)| other == hash && &*self.keys[key].name == name);
        found.map(|&(_, key)| key)
    }

    /// The number of a pair in use.
    pub(crate) fn term(&self, key: u32, value: &[u8]) -> Option<u32> {
        let (shard, hash) = self.term_hash(key, value);
        self.find_term(shard, hash, key, value)
    }

    /// Takes a key into use; call [`Self::release_key`] if no term follows.
    pub(crate) fn intern_key(&mut self, name: &str) -> u32 {
        if let Some(key) = self.key(name) {
            return key;
        }
        let hash = self.hasher.hash_one(name) as u32;
        let key = self.keys.add(Key { name: name.into(), terms: 0, payload: K::default() });
        self.key_numbers.insert_unique(mix(hash), (hash, key), |&(hash, _)| mix(hash));
        self.heap_bytes += name.len() + 16;
        self.key_epoch += 1;
        key
    }

    /// Counts one more use of a pair; its number, and whether it is new.
    pub(crate) fn intern_term(&mut self, key: u32, value: &[u8]) -> (u32, bool) {
        let (shard, hash) = self.term_hash(key, value);
        if let Some(term) = self.find_term(shard, hash, key, value) {
            self.terms[term].uses += 1;
            return (term, false);
        }
        let value = Bytes::new(value);
        self.heap_bytes += value.memory_bytes();
        let term = self.terms.add(Term { value, key, uses: 1, payload: P::default() });
        self.keys[key].terms += 1;
        self.term_numbers[shard].insert_unique(mix(hash), (hash, term), |&(hash, _)| mix(hash));
        (term, true)
    }

    /// Counts one use less; true if the term is unused now, to be forgotten with
    /// [`Self::forget_term`] once whatever refers to it is gone.
    pub(crate) fn release_term(&mut self, term: u32) -> bool {
        let uses = &mut self.terms[term].uses;
        *uses = uses.saturating_sub(1);
        *uses == 0
    }

    /// Drops an unused term, and its key if that was the key's last.
    pub(crate) fn forget_term(&mut self, term: u32) {
        let Some(gone) = self.terms.take(term) else {
            return;
        };
        let (shard, hash) = self.term_hash(gone.key, gone.value.as_slice());
        remove(&mut self.term_numbers[shard], hash, term);
        self.heap_bytes -= gone.value.memory_bytes();
        self.keys[gone.key].terms -= 1;
        self.release_key(gone.key);
    }

    /// Forgets a key without terms.
    pub(crate) fn release_key(&mut self, key: u32) {
        if self.keys[key].terms > 0 {
            return;
        }
        let Some(gone) = self.keys.take(key) else {
            return;
        };
        let hash = self.hasher.hash_one(&*gone.name) as u32;
        remove(&mut self.key_numbers, hash, key);
        self.heap_bytes -= gone.name.len() + 16;
        self.key_epoch += 1;
    }

    fn term_hash(&self, key: u32, value: &[u8]) -> (usize, u32) {
        let hash = self.hasher.hash_one((key, value));
        ((hash >> 32) as usize % SHARDS, hash as u32)
    }

    fn find_term(&self, shard: usize, hash: u32, key: u32, value: &[u8]) -> Option<u32> {
        let same = |&(other, term): &(u32, u32)| {
            other == hash && {
                let term = &self.terms[term];
                term.key == key && term.value.as_slice() == value
            }
        };
        self.term_numbers[shard].find(mix(hash), same).map(|&(_, term)| term)
    }
}

/// The table takes its control bits from the top of 64: spread 32 bits over them.
const fn mix(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Removes an entry, and the room it needed once most of it is unused.
fn remove(table: &mut HashTable<(u32, u32)>, hash: u32, number: u32) {
    if let Ok(entry) = table.find_entry(mix(hash), |&(_, other)| other == number) {
        entry.remove();
    }
    if table.capacity() > 64 && table.len() * 4 < table.capacity() {
        table.shrink_to(table.len() * 2, |&(hash, _)| mix(hash));
    }
}
