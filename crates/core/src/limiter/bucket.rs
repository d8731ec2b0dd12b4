//! Buckets: what a limit counts for each tuple of values, kept as counters change.
//!
//! All of this is derived. A bucket lives while something is counted in it, somebody stands in line
//! for it, or somebody watches it.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, Hasher},
};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use willow_model::KeyValues;

use super::BucketId;
use crate::WaiterId;

/// A rule's own limit, or an override's: by slot. The order is that in which limits are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum LimitRef {
    /// A rule's.
    Rule(u32),
    /// An override's.
    Override(u32),
}

impl LimitRef {
    /// 0 for a rule, 1 for an override; and its slot.
    const fn parts(self) -> (usize, usize) {
        match self {
            Self::Rule(slot) => (0, slot as usize),
            Self::Override(slot) => (1, slot as usize),
        }
    }
}

/// One bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    /// The sum over its counters. Wider than a counter, so that no sum leaves it.
    pub(super) used: u128,
    pub(super) limit: LimitRef,
    /// The counters' values for the limit's keys; see [`values_of`].
    pub(super) values: Box<[u8]>,
    pub(super) crowd: Option<Box<Crowd>>,
}

/// Who cares about a bucket.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Waiting increments by age, with their slot.
    pub(super) line: BTreeMap<WaiterId, u32>,
    /// Those that want more than the limit allows at all. They wait for the limit to change and
    /// keep nobody else from passing.
    pub(super) stuck: BTreeMap<WaiterId, u32>,
    /// Weights that the queue waits for.
    pub(super) watches: BTreeSet<u64>,
    /// What the queue calls it.
    pub(super) name: Option<BucketId>,
    /// Whether the queue will hear of it at the next chance.
    pub(super) touched: bool,
}

impl Crowd {
    fn is_idle(&self) -> bool {
        self.line.is_empty() && self.stuck.is_empty() && self.watches.is_empty()
    }
}

impl Bucket {
    /// Callers in line.
    pub(super) fn waiting(&self) -> usize {
        self.crowd.as_ref().map_or(0, |crowd| crowd.line.len())
    }

    /// Does somebody older stand in line?
    pub(super) fn is_behind(&self, waiter: WaiterId) -> bool {
        self.crowd.as_ref().and_then(|crowd| crowd.line.first_key_value()).is_some_and(|(first, _)| *first < waiter)
    }
}

/// All buckets, by slot and by what they stand for.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    slots: Vec<Option<Bucket>>,
    free: Vec<u32>,
    by_values: HashTable<u32>,
    /// Buckets with a crowd, in an order that does not depend on slots, which are not replicated.
    crowded: BTreeMap<(LimitRef, Box<[u8]>), u32>,
    /// How many buckets of each rule, and of each override, count something: by slot.
    counting: [Vec<u32>; 2],
}

fn hash(limit: LimitRef, values: &[u8]) -> u64 {
    let (kind, slot) = limit.parts();
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u64((kind as u64) << 32 | slot as u64);
    hasher.write(values);
    hasher.finish()
}

impl Buckets {
    pub(super) fn get(&self, slot: u32) -> &Bucket {
        self.slots[slot as usize].as_ref().expect("a bucket lives as long as something refers to it")
    }

    fn get_mut(&mut self, slot: u32) -> &mut Bucket {
        self.slots[slot as usize].as_mut().expect("a bucket lives as long as something refers to it")
    }

    pub(super) fn find(&self, limit: LimitRef, values: &[u8]) -> Option<u32> {
        let same = |slot: &u32| {
            let bucket = self.get(*slot);
            bucket.limit == limit && *bucket.values == *values
        };
        self.by_values.find(hash(limit, values), same).copied()
    }

    pub(super) fn find_or_create(&mut self, limit: LimitRef, values: &[u8]) -> u32 {
        self.find(limit, values).unwrap_or_else(|| self.create(limit, values))
    }

    /// Makes a bucket that is not there.
    pub(super) fn create(&mut self, limit: LimitRef, values: &[u8]) -> u32 {
        debug_assert!(self.find(limit, values).is_none(), "a bucket is made once");
        let bucket = Some(Bucket { used: 0, limit, values: values.into(), crowd: None });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = bucket;
                slot
            }
            None => {
                self.slots.push(bucket);
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 buckets")
            }
        };
        let rehash = |slot: &u32| {
            let bucket = self.slots[*slot as usize].as_ref().expect("only live buckets are in the table");
            hash(bucket.limit, &bucket.values)
        };
        self.by_values.insert_unique(hash(limit, values), slot, rehash);
        slot
    }

    pub(super) fn add(&mut self, slot: u32, amount: u64) {
        let bucket = self.get_mut(slot);
        let first = bucket.used == 0 && amount > 0;
        bucket.used += u128::from(amount);
        if first {
            let limit = bucket.limit;
            *self.counting_mut(limit) += 1;
        }
    }

    /// Takes off what was added before. The caller retires the bucket afterwards.
    pub(super) fn take(&mut self, slot: u32, amount: u64) {
        let bucket = self.get_mut(slot);
        debug_assert!(bucket.used >= u128::from(amount), "more is taken off a bucket than was added");
        let before = bucket.used;
        bucket.used = before.saturating_sub(u128::from(amount));
        if before > 0 && bucket.used == 0 {
            let limit = bucket.limit;
            *self.counting_mut(limit) -= 1;
        }
    }

    fn counting_mut(&mut self, limit: LimitRef) -> &mut u32 {
        let (kind, slot) = limit.parts();
        let counting = &mut self.counting[kind];
        if counting.len() <= slot {
            counting.resize(slot + 1, 0);
        }
        &mut counting[slot]
    }

    /// How many buckets of a limit count something.
    pub(super) fn counting(&self, limit: LimitRef) -> u32 {
        let (kind, slot) = limit.parts();
        self.counting[kind].get(slot).copied().unwrap_or(0)
    }

    /// Forgets the crowd when nobody is left in it, and the bucket when nothing is counted either.
    /// Returns the name it had.
    pub(super) fn retire(&mut self, slot: u32) -> Option<BucketId> {
        let bucket = self.slots.get_mut(slot as usize)?.as_mut()?;
        let mut name = None;
        if let Some(crowd) = &bucket.crowd {
            if !crowd.is_idle() {
                return None;
            }
            name = crowd.name;
            bucket.crowd = None;
            self.crowded.remove(&(bucket.limit, bucket.values.clone()));
        }
        if bucket.used == 0 {
            let hash = hash(bucket.limit, &bucket.values);
            if let Ok(entry) = self.by_values.find_entry(hash, |other| *other == slot) {
                entry.remove();
            }
            self.slots[slot as usize] = None;
            self.free.push(slot);
        }
        name
    }

    pub(super) fn is_crowded(&self, slot: u32) -> bool {
        self.get(slot).crowd.is_some()
    }

    /// The bucket's crowd, to change it.
    pub(super) fn crowd(&mut self, slot: u32) -> &mut Crowd {
        let bucket = self.slots[slot as usize].as_mut().expect("a bucket lives as long as something refers to it");
        if bucket.crowd.is_none() {
            self.crowded.insert((bucket.limit, bucket.values.clone()), slot);
        }
        bucket.crowd.get_or_insert_default()
    }

    /// Buckets of one limit with a crowd, in a replicated order.
    pub(super) fn crowded_of(&self, limit: LimitRef) -> impl Iterator<Item = u32> {
        self.crowded
            .range((limit, Box::default())..)
            .take_while(move |((of, _), _)| *of == limit)
            .map(|(_, slot)| *slot)
    }

    /// Buckets of overrides with a crowd, in a replicated order.
    pub(super) fn crowded_of_overrides(&self) -> impl Iterator<Item = (u32, u32)> {
        self.crowded.range((LimitRef::Override(0), Box::default())..).filter_map(|((limit, _), slot)| match limit {
            LimitRef::Override(override_) => Some((*override_, *slot)),
            LimitRef::Rule(_) => None,
        })
    }

    /// All buckets with their slots, in no replicated order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Bucket)> {
        (0..).zip(&self.slots).filter_map(|(slot, bucket)| Some((slot, bucket.as_ref()?)))
    }
}

/// A counter's pairs, split once for all the limits it falls under.
pub(super) type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// The pairs of key values, in their order.
pub(super) fn pairs(key_values: &KeyValues) -> Pairs<'_> {
    key_values.byte_pairs().collect()
}

/// Appends the values that `pairs` have for the keys of `pattern` to `out`, each after its length:
/// with the limit, that is what a bucket stands for. The pattern must match.
pub(super) fn values_of(pattern: &KeyValues, pairs: &[(&[u8], &[u8])], out: &mut Vec<u8>) {
    let mut rest = pairs.iter();
    for (key, _) in pattern.byte_pairs() {
        let Some((_, value)) = rest.find(|(other, _)| *other == key) else {
            debug_assert!(false, "{pattern} does not match");
            return;
        };
        let len = u16::try_from(value.len()).expect("an encoded value has at most 4097 bytes");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(value);
    }
}

/// The reverse of [`values_of`]: the encoded values, in the order of the pattern's keys.
pub(super) fn split_values(mut values: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = values.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        values = rest;
        Some(value)
    })
}
