//! Slots numbered by dense `u32`s, in chunks that are given back when empty.
//!
//! Unlike a `Vec` it never moves what it holds: growth neither stalls nor doubles.
//! The lowest free slot is taken first, so that high chunks drain and are freed.

use roaring::RoaringBitmap;

/// Slots of a chunk.
const CHUNK: usize = 1024;
const WORDS: usize = CHUNK / 64;

/// See the module. A vacant slot holds `T::default()`.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Box<[T]>>,
    used: Vec<[u64; WORDS]>,
    /// Chunks with a vacant slot.
    open: RoaringBitmap,
    len: usize,
    allocated: usize,
    /// A chunk that became empty, all vacant: kept so that one item that comes and goes at the edge of
    /// a chunk does not cost an allocation each time.
    spare: Box<[T]>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            used: Vec::new(),
            open: RoaringBitmap::new(),
            len: 0,
            allocated: 0,
            spare: Box::default(),
        }
    }
}

impl<T: Default> Slab<T> {
    /// Occupied slots.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the chunks; what the items own is the caller's to count.
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.allocated * CHUNK * size_of::<T>() + self.chunks.len() * (16 + CHUNK / 8)
    }

    /// Puts `item` into the lowest vacant slot.
    pub(crate) fn add(&mut self, item: T) -> u32 {
        let chunk = self.open.min().unwrap_or(self.chunks.len() as u32) as usize;
        let vacant = self
            .used
            .get(chunk)
            .and_then(|used| used.iter().position(|&word| word != u64::MAX));
        let (word, bit) = vacant.map_or((0, 0), |word| {
            (word, self.used[chunk][word].trailing_ones() as usize)
        });
        let slot = (chunk * CHUNK + word * 64 + bit) as u32;
        self.put(slot, item);
        slot
    }

    /// Puts `item` into `slot`; false, and nothing changed, if it is taken.
    pub(crate) fn put(&mut self, slot: u32, item: T) -> bool {
        let (chunk, at) = (slot as usize / CHUNK, slot as usize % CHUNK);
        while self.chunks.len() <= chunk {
            self.open.insert(self.chunks.len() as u32);
            self.chunks.push(Box::default());
            self.used.push([0; WORDS]);
        }
        if self.chunks[chunk].is_empty() {
            self.chunks[chunk] = std::mem::take(&mut self.spare);
        }
        if self.chunks[chunk].is_empty() {
            self.allocated += 1;
            self.chunks[chunk] = std::iter::repeat_with(T::default).take(CHUNK).collect();
        }
        let used = &mut self.used[chunk];
        if used[at / 64] & (1 << (at % 64)) != 0 {
            return false;
        }
        used[at / 64] |= 1 << (at % 64);
        if *used == [u64::MAX; WORDS] {
            self.open.remove(chunk as u32);
        }
        self.chunks[chunk][at] = item;
        self.len += 1;
        true
    }

    /// Empties a slot; what it held.
    pub(crate) fn take(&mut self, slot: u32) -> Option<T> {
        let (chunk, at) = (slot as usize / CHUNK, slot as usize % CHUNK);
        let used = self.used.get_mut(chunk)?;
        if used[at / 64] & (1 << (at % 64)) == 0 {
            return None;
        }
        if *used == [u64::MAX; WORDS] {
            self.open.insert(chunk as u32);
        }
        used[at / 64] &= !(1 << (at % 64));
        self.len -= 1;
        let item = std::mem::take(&mut self.chunks[chunk][at]);
        if *used == [0; WORDS] {
            self.release(chunk);
        }
        Some(item)
    }

    /// Frees an empty chunk, and the numbers of the empty chunks at the end.
    fn release(&mut self, chunk: usize) {
        let empty = std::mem::take(&mut self.chunks[chunk]);
        if self.spare.is_empty() {
            self.spare = empty;
        } else {
            self.allocated -= 1;
        }
        while self.chunks.last().is_some_and(|chunk| chunk.is_empty()) {
            self.chunks.pop();
            self.used.pop();
            self.open.remove(self.chunks.len() as u32);
        }
    }

    /// The item of an occupied slot; `None` for a vacant one.
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        let (chunk, at) = (slot as usize / CHUNK, slot as usize % CHUNK);
        let used = self.used.get(chunk)?;
        (used[at / 64] & (1 << (at % 64)) != 0).then(|| &self.chunks[chunk][at])
    }
}

/// A slot known to be occupied: the index keeps only numbers that are.
impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: u32) -> &T {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Slab};

    #[test]
    fn takes_the_lowest_free_slot_and_frees_chunks() {
        let mut slab = Slab::default();
        let count = 4 * CHUNK as u32;
        for item in 0..count {
            assert_eq!(slab.add(item), item);
        }
        assert_eq!(slab.take(700), Some(700));
        assert_eq!(slab.take(700), None);
        assert_eq!(slab.take(3), Some(3));
        assert_eq!((slab.add(1), slab.add(2), slab.add(3)), (3, 700, count));
        let full = slab.memory_bytes();
        for slot in 10..=count {
            slab.take(slot);
        }
        assert_eq!((slab.len(), slab.chunks.len()), (10, 1));
        assert!(slab.memory_bytes() < full / 2);
        assert_eq!(
            (slab.get(3), slab.get(10), slab.get(u32::MAX)),
            (Some(&1), None, None)
        );
    }

    #[test]
    fn a_slot_can_be_chosen() {
        let mut slab = Slab::default();
        assert!(slab.put(5_000, 'a'));
        assert!(!slab.put(5_000, 'b'));
        assert_eq!((slab.add('c'), slab[5_000], slab.len()), (0, 'a', 2));
        assert_eq!(slab.take(5_000), Some('a'));
        assert_eq!(slab.chunks.len(), 1);
    }
}
