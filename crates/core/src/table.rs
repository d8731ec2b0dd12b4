//! Rows by dense slot and by key, with a copy-on-write hook so that a snapshot can be read between
//! applies while rows go on changing.
//!
//! A slot is the row's doc id in the query index. The lowest free slot is always taken first, so
//! that two replicas agree on slots, also when one was restored from a snapshot.

use std::{collections::BTreeMap, fmt::Debug, hash::Hash};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use roaring::RoaringBitmap;
use serde::{Serialize, de::DeserializeOwned};
use willow_model::bugs::{self, Bug};

/// Rows of one chunk of slots: growth never moves existing rows.
const CHUNK: usize = 1024;

/// What a table stores.
pub trait Row: Serialize + DeserializeOwned + Debug {
    /// What names the row among its kind.
    type Key: Clone + Eq + Hash + Debug;
    /// The row's name; never changes while the row is stored.
    fn key(&self) -> Self::Key;
}

/// Rows of one kind.
#[derive(Debug)]
pub struct Table<V: Row> {
    chunks: Vec<Vec<Option<V>>>,
    by_key: HashMap<V::Key, u32, FixedState>,
    free: RoaringBitmap,
    /// One past the highest slot ever used.
    end: u32,
    reading: Option<Reading>,
}

/// A snapshot being read.
#[derive(Debug)]
struct Reading {
    /// Slots below are read.
    next: u32,
    /// Slots at or above did not exist when reading began.
    end: u32,
    /// Images, as of the beginning, of slots changed before they were read; `None` is a vacant slot.
    saved: BTreeMap<u32, Option<Vec<u8>>>,
}

impl<V: Row> Default for Table<V> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            by_key: HashMap::with_hasher(FixedState::default()),
            free: RoaringBitmap::new(),
            end: 0,
            reading: None,
        }
    }
}

impl<V: Row> Table<V> {
    /// Stores a row and returns its slot.
    ///
    /// # Panics
    /// When the key is stored already, or 2^32 rows are: both are the caller's mistake.
    pub fn insert(&mut self, row: V) -> u32 {
        let slot = self.vacant();
        self.save_image(slot);
        let previous = self.by_key.insert(row.key(), slot);
        assert!(previous.is_none(), "a row with this key is stored already");
        if !self.free.remove(slot) {
            self.grow();
        }
        *self.cell(slot) = Some(row);
        slot
    }

    /// The slot that the next [`Table::insert`] takes.
    #[must_use]
    pub fn vacant(&self) -> u32 {
        self.free.min().unwrap_or(self.end)
    }

    /// Removes and returns the row at `slot`.
    pub fn remove(&mut self, slot: u32) -> Option<V> {
        self.get(slot)?;
        self.save_image(slot);
        let row = self.cell(slot).take()?;
        self.by_key.remove(&row.key());
        self.free.insert(slot);
        Some(row)
    }

    /// The row at `slot`.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&V> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)?.as_ref()
    }

    /// The row at `slot`, to change it. Its key must stay as it is.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut V> {
        self.get(slot)?;
        self.save_image(slot);
        self.cell(slot).as_mut()
    }

    /// The slot of the row with this key.
    #[must_use]
    pub fn slot(&self, key: &V::Key) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// The row with this key.
    #[must_use]
    pub fn by_key(&self, key: &V::Key) -> Option<&V> {
        self.get(self.slot(key)?)
    }

    /// Rows in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &V)> {
        (0..self.end).filter_map(|slot| Some((slot, self.get(slot)?)))
    }

    /// One past the last slot ever used: rows are below.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.end
    }

    /// How many rows are stored.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// True when nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    fn cell(&mut self, slot: u32) -> &mut Option<V> {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    fn grow(&mut self) {
        let index = self.end as usize;
        if index.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[index / CHUNK].push(None);
        self.end = self.end.checked_add(1).expect("fewer than 2^32 rows");
    }

    fn encode(row: &V) -> Vec<u8> {
        postcard::to_stdvec(row).expect("rows have no unsupported types")
    }

    /// Keeps what a snapshot being read has not read yet.
    fn save_image(&mut self, slot: u32) {
        let Some(reading) = &self.reading else { return };
        if bugs::is_on(Bug::SnapshotSeesChanges) {
            return;
        }
        if slot < reading.next || slot >= reading.end || reading.saved.contains_key(&slot) {
            return;
        }
        let image = self.get(slot).map(Self::encode);
        if let Some(reading) = &mut self.reading {
            reading.saved.insert(slot, image);
        }
    }
}

/// A row could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not a row of this version.
    #[error("row {slot} of the snapshot does not decode: {source}")]
    Decode {
        /// Where.
        slot: u32,
        /// Why.
        source: postcard::Error,
    },
    /// Two rows claim one key or slot.
    #[error("row {slot} of the snapshot repeats a key or a slot")]
    Repeated {
        /// Where.
        slot: u32,
    },
}

/// What a snapshot needs of a table, whatever its rows.
pub(crate) trait Snapshot {
    /// From here on, reads return rows as they are now.
    fn begin(&mut self);
    /// The next rows, about `bytes` of them; `None` when all are read, which ends the reading.
    fn read(&mut self, bytes: usize) -> Option<Vec<(u32, Vec<u8>)>>;
    /// Gives up a reading.
    fn abort(&mut self);
    /// Puts a row back where it was.
    fn restore(&mut self, slot: u32, bytes: &[u8]) -> Result<(), Error>;
    /// Calls `visit` with each row as it is now, in slot order.
    fn visit(&self, visit: &mut dyn FnMut(u32, &[u8]));
    /// Marks the holes between restored rows as free.
    fn finish_restore(&mut self);
}

impl<V: Row> Snapshot for Table<V> {
    fn begin(&mut self) {
        self.reading = Some(Reading { next: 0, end: self.end, saved: BTreeMap::new() });
    }

    fn read(&mut self, bytes: usize) -> Option<Vec<(u32, Vec<u8>)>> {
        let mut reading = self.reading.take()?;
        let mut rows = Vec::new();
        let mut size = 0;
        while reading.next < reading.end && size < bytes {
            let slot = reading.next;
            reading.next += 1;
            let image = match reading.saved.remove(&slot) {
                Some(saved) => saved,
                None => self.get(slot).map(Self::encode),
            };
            // A vacant slot costs a little too, so that a sparse table is read in bounded steps.
            size += image.as_ref().map_or(8, |image| image.len() + 8);
            rows.extend(image.map(|image| (slot, image)));
        }
        if reading.next >= reading.end && rows.is_empty() {
            return None;
        }
        self.reading = Some(reading);
        Some(rows)
    }

    fn abort(&mut self) {
        self.reading = None;
    }

    fn restore(&mut self, slot: u32, bytes: &[u8]) -> Result<(), Error> {
        let row: V = postcard::from_bytes(bytes).map_err(|source| Error::Decode { slot, source })?;
        while self.end <= slot {
            self.grow();
        }
        let repeated = self.by_key.insert(row.key(), slot).is_some();
        if self.cell(slot).replace(row).is_some() || repeated {
            return Err(Error::Repeated { slot });
        }
        Ok(())
    }

    fn visit(&self, visit: &mut dyn FnMut(u32, &[u8])) {
        for (slot, row) in self.iter() {
            visit(slot, &Self::encode(row));
        }
    }

    fn finish_restore(&mut self) {
        self.free = (0..self.end).filter(|slot| self.get(*slot).is_none()).collect();
    }
}

#[cfg(test)]
mod tests;
