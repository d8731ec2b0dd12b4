//! Slots numbered by dense `u32`s, in chunks that are given back when empty.
//!
//! Unlike a `Vec` it never moves all it holds: growth neither stalls nor doubles. A
//! chunk with few items keeps just these, so that an index whose documents are
//! scattered over the caller's table (the channels of one queue among those of all) is
//! as small as they are few. The lowest free slot is taken first: high chunks drain.

use roaring::RoaringBitmap;

/// Slots of a chunk.
const CHUNK: usize = 1024;
const WORDS: usize = CHUNK / 64;
/// Items of a chunk that are kept as a sorted list; it becomes one again at a third.
const FEW_MAX: usize = 64;

/// See the module. A vacant slot holds `T::default()`.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// Chunks with a vacant slot.
    open: RoaringBitmap,
    len: usize,
    full_chunks: usize,
    few_items: usize,
}

#[derive(Debug)]
enum Chunk<T> {
    Few(Option<Box<Few<T>>>),
    Full { items: Box<[T]>, used: Box<Used> },
}

/// The items of a chunk by their place in it, in order.
#[derive(Debug)]
struct Few<T> {
    places: Vec<u16>,
    items: Vec<T>,
}

#[derive(Debug)]
struct Used {
    bits: [u64; WORDS],
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), open: RoaringBitmap::new(), len: 0, full_chunks: 0, few_items: 0 }
    }
}

const fn split(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}

impl<T: Default> Slab<T> {
    /// Occupied slots.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the chunks; what the items own is the caller's to count.
    pub(crate) const fn memory_bytes(&self) -> usize {
        let full = self.full_chunks * (CHUNK * size_of::<T>() + size_of::<Used>() + 32);
        // A list has about a third of its room to spare.
        full + self.few_items * (size_of::<T>() + 2) * 4 / 3 + self.chunks.len() * size_of::<Chunk<T>>()
    }

    /// Puts `item` into the lowest vacant slot.
    pub(crate) fn add(&mut self, item: T) -> u32 {
        let chunk = self.open.min().unwrap_or(self.chunks.len() as u32) as usize;
        let place = self.chunks.get(chunk).map_or(0, Chunk::vacant);
        let slot = (chunk * CHUNK + place) as u32;
        self.put(slot, item);
        slot
    }

    /// Puts `item` into `slot`; false, and nothing changed, if it is taken.
    pub(crate) fn put(&mut self, slot: u32, item: T) -> bool {
        let (chunk, place) = split(slot);
        while self.chunks.len() <= chunk {
            self.open.insert(self.chunks.len() as u32);
            self.chunks.push(Chunk::Few(None));
        }
        let into = &mut self.chunks[chunk];
        match into {
            Chunk::Few(few) => {
                let few = few.get_or_insert_with(|| Box::new(Few { places: Vec::new(), items: Vec::new() }));
                let Err(at) = few.places.binary_search(&(place as u16)) else {
                    return false;
                };
                few.places.insert(at, place as u16);
                few.items.insert(at, item);
                self.few_items += 1;
                if few.places.len() > FEW_MAX {
                    self.few_items -= few.places.len();
                    self.full_chunks += 1;
                    into.fill();
                }
            }
            Chunk::Full { items, used } => {
                if !used.set(place) {
                    return false;
                }
                items[place] = item;
                if used.len == CHUNK {
                    self.open.remove(chunk as u32);
                }
            }
        }
        self.len += 1;
        true
    }

    /// Empties a slot; what it held.
    pub(crate) fn take(&mut self, slot: u32) -> Option<T> {
        let (chunk, place) = split(slot);
        let from = self.chunks.get_mut(chunk)?;
        let item = match from {
            Chunk::Few(few) => {
                let list = few.as_deref_mut()?;
                let at = list.places.binary_search(&(place as u16)).ok()?;
                list.places.remove(at);
                let item = list.items.remove(at);
                self.few_items -= 1;
                if list.places.is_empty() {
                    *few = None;
                    self.trim();
                }
                item
            }
            Chunk::Full { items, used } => {
                if !used.clear(place) {
                    return None;
                }
                let item = std::mem::take(&mut items[place]);
                if used.len + 1 == CHUNK {
                    self.open.insert(chunk as u32);
                }
                if used.len < FEW_MAX / 3 {
                    self.full_chunks -= 1;
                    self.few_items += used.len;
                    from.thin();
                }
                item
            }
        };
        self.len -= 1;
        Some(item)
    }

    /// Forgets the numbers of the empty chunks at the end.
    fn trim(&mut self) {
        while matches!(self.chunks.last(), Some(Chunk::Few(None))) {
            self.chunks.pop();
            self.open.remove(self.chunks.len() as u32);
        }
    }

    /// The item of an occupied slot; `None` for a vacant one.
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        let (chunk, place) = split(slot);
        match self.chunks.get(chunk)? {
            Chunk::Full { items, used } => used.has(place).then(|| &items[place]),
            Chunk::Few(few) => few.as_ref()?.get(place),
        }
    }
}

impl<T: Default> Chunk<T> {
    /// The lowest vacant place; 0 if there is none.
    fn vacant(&self) -> usize {
        match self {
            Self::Few(None) => 0,
            Self::Few(Some(few)) => {
                let gap = few.places.iter().enumerate().position(|(at, &place)| at != usize::from(place));
                gap.unwrap_or(few.places.len())
            }
            Self::Full { used, .. } => {
                let word = used.bits.iter().position(|&word| word != u64::MAX);
                word.map_or(0, |word| word * 64 + used.bits[word].trailing_ones() as usize)
            }
        }
    }

    /// Makes a list an array.
    fn fill(&mut self) {
        let Self::Few(Some(few)) = self else { return };
        let mut items: Box<[T]> = std::iter::repeat_with(T::default).take(CHUNK).collect();
        let mut used = Box::new(Used { bits: [0; WORDS], len: 0 });
        for (place, item) in few.places.drain(..).zip(few.items.drain(..)) {
            used.set(usize::from(place));
            items[usize::from(place)] = item;
        }
        *self = Self::Full { items, used };
    }

    /// Makes an array a list.
    fn thin(&mut self) {
        let Self::Full { items, used } = self else {
            return;
        };
        let places: Vec<u16> = (0..CHUNK).filter(|&place| used.has(place)).map(|place| place as u16).collect();
        let items = places.iter().map(|&place| std::mem::take(&mut items[usize::from(place)])).collect();
        *self = Self::Few(Some(Box::new(Few { places, items })));
    }
}

impl<T> Few<T> {
    fn get(&self, place: usize) -> Option<&T> {
        let at = self.places.binary_search(&(place as u16)).ok()?;
        self.items.get(at)
    }
}

impl Used {
    #[inline]
    const fn has(&self, place: usize) -> bool {
        self.bits[place / 64] & (1 << (place % 64)) != 0
    }

    const fn set(&mut self, place: usize) -> bool {
        let vacant = !self.has(place);
        self.bits[place / 64] |= 1 << (place % 64);
        self.len += vacant as usize;
        vacant
    }

    const fn clear(&mut self, place: usize) -> bool {
        let taken = self.has(place);
        self.bits[place / 64] &= !(1 << (place % 64));
        self.len -= taken as usize;
        taken
    }
}

/// A slot known to be occupied: the index keeps only numbers that are.
impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: u32) -> &T {
        let (chunk, place) = split(slot);
        match &self.chunks[chunk] {
            Chunk::Full { items, .. } => &items[place],
            Chunk::Few(few) => few.as_ref().and_then(|few| few.get(place)).expect("only numbers in use are kept"),
        }
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut T {
        let (chunk, place) = split(slot);
        match &mut self.chunks[chunk] {
            Chunk::Full { items, .. } => &mut items[place],
            Chunk::Few(few) => {
                let few = few.as_mut().expect("only numbers in use are kept");
                let at = few.places.binary_search(&(place as u16));
                &mut few.items[at.expect("only numbers in use are kept")]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
        for slot in 10..=count {
            slab.take(slot);
        }
        assert_eq!((slab.len(), slab.chunks.len()), (10, 1));
        assert!(slab.memory_bytes() < 200, "{} bytes", slab.memory_bytes());
        assert_eq!((slab.get(3), slab.get(10), slab.get(u32::MAX)), (Some(&1), None, None));
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

    #[test]
    fn scattered_items_take_little() {
        let mut slab = Slab::default();
        for slot in (0..1_000_000).step_by(1_000) {
            slab.put(slot, [1_u64; 8]);
        }
        assert!(slab.memory_bytes() < 1_000 * 64 * 2, "{} bytes", slab.memory_bytes());
    }

    #[test]
    fn agrees_with_a_map() {
        let (mut slab, mut map) = (Slab::default(), BTreeMap::new());
        let mut state = 1_u64;
        for round in 0..60_000_u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let slot = (state >> 40) as u32 % 3_000;
            let grow = (round / 15_000) % 2 == 0;
            match (state >> 33) % 4 {
                0 if grow => {
                    let lowest = (0..).find(|slot| !map.contains_key(slot)).expect("one is free");
                    assert_eq!(slab.add(round), lowest);
                    map.insert(lowest, round);
                }
                1 if grow => {
                    assert_eq!(slab.put(slot, round), !map.contains_key(&slot));
                    map.entry(slot).or_insert(round);
                }
                2 => {
                    if let Some(item) = map.get_mut(&slot) {
                        slab[slot] = round;
                        *item = round;
                    }
                    assert_eq!(slab.get(slot), map.get(&slot));
                }
                _ => assert_eq!(slab.take(slot), map.remove(&slot)),
            }
            assert_eq!(slab.len(), map.len());
        }
        for (slot, item) in map {
            assert_eq!(slab[slot], item);
            assert_eq!(slab.take(slot), Some(item));
        }
        assert!(slab.chunks.is_empty() && slab.memory_bytes() == 0);
    }
}
