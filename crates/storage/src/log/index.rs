//! What the log holds, in memory: per group where each entry lies, and the small state.
//!
//! The index runs ahead of the disk: a submission changes it at once, so that its records can be
//! read back before they are durable. Each change leaves an [`Undo`], kept until the change is
//! durable; a submission that had to be refused after all (no room for a segment) is taken back
//! with it, newest first. What a truncate or purge removed also stays in its undo, because only a
//! *durable* removal may give a segment free.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::format::RECORD_HEADER;
use super::mark::Mark;
use super::record::{Bounds, Entry, GroupId, Record, StateKey};
use super::segment::Segment;
use crate::error::WriteError;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Submitted, not yet durable. Tickets are never used twice.
    Pending { ticket: u64 },
    /// Record at this offset of this segment.
    Disk { segment: u64, offset: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) term: u64,
    pub(crate) at: At,
    /// Length of the payload.
    pub(crate) len: u32,
}

impl Slot {
    /// Bytes of the record on disk.
    pub(crate) fn record_len(&self) -> u64 {
        RECORD_HEADER as u64 + u64::from(self.len)
    }

    /// The segment that holds it, once it is durable.
    pub(crate) fn segment(&self) -> Option<u64> {
        match self.at {
            At::Disk { segment, .. } => Some(segment),
            At::Pending { .. } => None,
        }
    }
}

/// Log and state of one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) purged: Option<u64>,
    /// Index of the first entry; that of the next one when there is none.
    pub(crate) base: u64,
    pub(crate) entries: VecDeque<Slot>,
    /// Payloads of the last entries. Always covers the pending ones.
    tail: VecDeque<Bytes>,
    tail_bytes: u64,
    pub(crate) state: BTreeMap<StateKey, Bytes>,
}

impl Group {
    /// A group as recovery found it.
    pub(crate) fn recovered(mark: Mark, slots: impl Iterator<Item = Slot>) -> Self {
        Self {
            purged: if mark.purged { mark.base.checked_sub(1) } else { None },
            base: mark.base,
            entries: slots.collect(),
            state: mark.state,
            ..Self::default()
        }
    }

    pub(crate) fn next(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// Whether the group never held an entry that counts, so that any index may come first.
    fn accepts_any_index(&self) -> bool {
        self.entries.is_empty() && self.purged.is_none()
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        let at = index.checked_sub(self.base)?;
        self.entries.get_mut(usize::try_from(at).ok()?)
    }

    fn payload(&self, at: usize) -> Option<&Bytes> {
        let uncached = self.entries.len() - self.tail.len();
        self.tail.get(at.checked_sub(uncached)?)
    }

    fn push(&mut self, slot: Slot, payload: Bytes) {
        self.entries.push_back(slot);
        self.tail_bytes += payload.len() as u64;
        self.tail.push_back(payload);
    }

    fn pop_back(&mut self) -> Option<Removed> {
        let slot = self.entries.pop_back()?;
        let payload = self.tail.pop_back();
        self.tail_bytes -= payload.as_ref().map_or(0, Bytes::len) as u64;
        Some(Removed { slot, payload })
    }

    fn pop_front(&mut self) -> Option<Removed> {
        let cached = self.tail.len() == self.entries.len();
        let slot = self.entries.pop_front()?;
        let payload = if cached { self.tail.pop_front() } else { None };
        self.tail_bytes -= payload.as_ref().map_or(0, Bytes::len) as u64;
        Some(Removed { slot, payload })
    }

    fn unpop_back(&mut self, removed: Removed) {
        if let Some(payload) = removed.payload {
            self.push(removed.slot, payload);
        } else {
            debug_assert!(self.tail.is_empty(), "an uncached entry after a cached one");
            self.entries.push_back(removed.slot);
        }
    }

    fn unpop_front(&mut self, removed: Removed) {
        if let Some(payload) = removed.payload
            && self.tail.len() == self.entries.len()
        {
            self.tail_bytes += payload.len() as u64;
            self.tail.push_front(payload);
        }
        self.entries.push_front(removed.slot);
    }

    /// Drops cached payloads of durable entries, oldest first, down to `budget` bytes.
    fn evict(&mut self, budget: u64) {
        while self.tail_bytes > budget {
            let first = self.entries.len() - self.tail.len();
            if matches!(self.entries[first].at, At::Pending { .. }) {
                return;
            }
            let dropped = self.tail.pop_front().map_or(0, |payload| payload.len());
            self.tail_bytes -= dropped as u64;
        }
    }

    fn state_bytes(&self) -> u64 {
        let values: usize = self.state.values().map(Bytes::len).sum();
        (values + (1 + self.state.len()) * RECORD_HEADER) as u64
    }
}

/// An entry that a pending truncate or purge took out.
#[derive(Clone, Debug)]
pub(crate) struct Removed {
    pub(crate) slot: Slot,
    payload: Option<Bytes>,
}

/// How to take back one record's change, and what it removed.
#[derive(Debug)]
pub(crate) enum Undo {
    /// An entry was appended to a group that then had this base.
    Append { group: GroupId, base: u64 },
    /// Entries were cut off the end; newest first.
    Truncate { group: GroupId, removed: Vec<Removed> },
    /// Entries were taken off the front; oldest first.
    Purge { group: GroupId, purged: Option<u64>, base: u64, removed: Vec<Removed> },
    /// A value was replaced.
    State { group: GroupId, key: StateKey, before: Option<Bytes> },
    /// A group was forgotten.
    Forget { group: GroupId, before: Box<Group> },
    /// A group was met for the first time.
    Create { group: GroupId },
}

impl Undo {
    /// Every slot that the change removed.
    pub(crate) fn removed_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        let (cut, forgotten) = match self {
            Self::Truncate { removed, .. } | Self::Purge { removed, .. } => (Some(removed), None),
            Self::Forget { before, .. } => (None, Some(&mut before.entries)),
            Self::Append { .. } | Self::State { .. } | Self::Create { .. } => (None, None),
        };
        let cut = cut.into_iter().flatten().map(|removed| &mut removed.slot);
        cut.chain(forgotten.into_iter().flatten())
    }
}

/// A segment that is part of the log.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) segment: Arc<Segment>,
    /// Bytes of entry records in it that no durable record removed.
    pub(crate) live: u64,
}

/// Where [`Index::locate`] found an entry.
#[derive(Debug)]
pub(crate) enum Located {
    Memory(Entry),
    Disk { segment: Arc<Segment>, offset: u32, len: u32, index: u64, term: u64 },
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) segments: BTreeMap<u64, Held>,
    next_ticket: u64,
    cache_bytes: u64,
    /// Each group's part of `cache_bytes`.
    cache_share: u64,
    state_bytes: u64,
}

impl Index {
    pub(crate) fn new(groups: BTreeMap<GroupId, Group>, segments: BTreeMap<u64, Held>, cache_bytes: u64) -> Self {
        let state_bytes = groups.values().map(Group::state_bytes).sum();
        Self { groups, segments, next_ticket: 0, cache_bytes, cache_share: cache_bytes, state_bytes }
    }

    /// The ticket that the next appended entry gets.
    pub(crate) fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// What a checkpoint of every group's marks and state takes.
    pub(crate) fn state_bytes(&self) -> u64 {
        self.state_bytes
    }

    /// Applies one record and notes in `undo` how to take it back; on an error, too, what is in
    /// `undo` must be taken back.
    pub(crate) fn apply(&mut self, record: &Record, undo: &mut Vec<Undo>) -> Result<(), WriteError> {
        let id = record.group();
        if let Record::Forget { .. } = record {
            if let Some(before) = self.groups.remove(&id) {
                self.state_bytes -= before.state_bytes();
                undo.push(Undo::Forget { group: id, before: Box::new(before) });
            }
            return Ok(());
        }
        if !self.groups.contains_key(&id) {
            self.add_group(id, Group::default());
            undo.push(Undo::Create { group: id });
        }
        let group = self.groups.get_mut(&id).expect("added above");
        match record {
            Record::Entry { index, term, payload, .. } => {
                let base = group.base;
                append(group, id, *index)?;
                let slot = Slot {
                    term: *term,
                    at: At::Pending { ticket: self.next_ticket },
                    len: u32::try_from(payload.len()).expect("checked against the segment"),
                };
                self.next_ticket += 1;
                group.push(slot, payload.clone());
                group.evict(self.cache_share);
                undo.push(Undo::Append { group: id, base });
            }
            Record::Truncate { from, .. } => undo.push(truncate(group, id, *from)?),
            Record::Purge { up_to, .. } => undo.extend(purge(group, id, *up_to)?),
            Record::State { key, value, .. } => {
                let old = group.state_bytes();
                let before = group.state.insert(*key, value.clone());
                self.state_bytes = self.state_bytes - old + group.state_bytes();
                undo.push(Undo::State { group: id, key: *key, before });
            }
            Record::Forget { .. } => {}
        }
        Ok(())
    }

    /// Takes back a change. Changes must be taken back newest first.
    pub(crate) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Append { group, base } => {
                let group = self.group_mut(group);
                group.pop_back();
                group.base = base;
            }
            Undo::Truncate { group, removed } => {
                let group = self.group_mut(group);
                removed.into_iter().rev().for_each(|one| group.unpop_back(one));
            }
            Undo::Purge { group, purged, base, removed } => {
                let group = self.group_mut(group);
                removed.into_iter().rev().for_each(|one| group.unpop_front(one));
                group.purged = purged;
                group.base = base;
            }
            Undo::State { group, key, before } => {
                let group = self.groups.get_mut(&group).expect("undo newest first");
                let old = group.state_bytes();
                match before {
                    Some(value) => group.state.insert(key, value),
                    None => group.state.remove(&key),
                };
                self.state_bytes = self.state_bytes - old + group.state_bytes();
            }
            Undo::Forget { group, before } => {
                self.add_group(group, *before);
            }
            Undo::Create { group } => {
                if let Some(group) = self.groups.remove(&group) {
                    self.state_bytes -= group.state_bytes();
                }
            }
        }
    }

    fn group_mut(&mut self, group: GroupId) -> &mut Group {
        self.groups.get_mut(&group).expect("undo newest first")
    }

    fn add_group(&mut self, id: GroupId, group: Group) {
        self.state_bytes += group.state_bytes();
        self.groups.insert(id, group);
        self.cache_share = self.cache_bytes / self.groups.len() as u64;
        for group in self.groups.values_mut() {
            group.evict(self.cache_share);
        }
    }

    /// Changes where an entry is, if it is still where the caller thinks.
    pub(crate) fn replace(&mut self, group: GroupId, index: u64, from: At, to: At) -> bool {
        let slot = self.groups.get_mut(&group).and_then(|group| group.slot_mut(index));
        match slot {
            Some(slot) if slot.at == from => {
                slot.at = to;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn bounds(&self, group: GroupId) -> Option<Bounds> {
        self.groups.get(&group).map(|group| Bounds {
            first: group.base,
            next: group.next(),
            last_term: group.entries.back().map(|slot| slot.term),
            purged: group.purged,
        })
    }

    pub(crate) fn term(&self, group: GroupId, index: u64) -> Option<u64> {
        let group = self.groups.get(&group)?;
        let at = usize::try_from(index.checked_sub(group.base)?).ok()?;
        group.entries.get(at).map(|slot| slot.term)
    }

    pub(crate) fn state(&self, group: GroupId, key: StateKey) -> Option<Bytes> {
        self.groups.get(&group)?.state.get(&key).cloned()
    }

    /// The entries of `range` that are held, from its start, stopping before `max_bytes` of
    /// payload are exceeded, but never before the first.
    pub(crate) fn locate(&self, group: GroupId, range: Range<u64>, max_bytes: u64) -> Vec<Located> {
        let Some(group) = self.groups.get(&group) else {
            return Vec::new();
        };
        let start = range.start.max(group.base);
        let end = range.end.min(group.next());
        let mut found = Vec::new();
        let mut bytes = 0;
        for index in start..end {
            let at = (index - group.base) as usize;
            let slot = group.entries[at];
            bytes += u64::from(slot.len);
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(match (group.payload(at), slot.at) {
                (Some(payload), _) => Located::Memory(Entry { index, term: slot.term, payload: payload.clone() }),
                (None, At::Disk { segment, offset }) => Located::Disk {
                    segment: Arc::clone(&self.segments[&segment].segment),
                    offset,
                    len: slot.len,
                    index,
                    term: slot.term,
                },
                (None, At::Pending { .. }) => {
                    unreachable!("pending entries are never evicted")
                }
            });
        }
        found
    }
}

/// Checks that entry `index` may come next.
fn append(group: &mut Group, id: GroupId, index: u64) -> Result<(), WriteError> {
    let refuse = |reason| Err(WriteError::OutOfOrder { group: id, reason });
    if index == u64::MAX {
        return refuse("the index is exhausted".to_owned());
    }
    if group.accepts_any_index() {
        group.base = index;
    } else if index != group.next() {
        return refuse(format!("entry {index} where {} comes next", group.next()));
    }
    Ok(())
}

fn truncate(group: &mut Group, id: GroupId, from: u64) -> Result<Undo, WriteError> {
    if let Some(purged) = group.purged.filter(|purged| from <= *purged) {
        return Err(WriteError::OutOfOrder {
            group: id,
            reason: format!("truncate from {from}, but up to {purged} is purged"),
        });
    }
    let mut removed = Vec::new();
    while group.next() > from
        && let Some(one) = group.pop_back()
    {
        removed.push(one);
    }
    Ok(Undo::Truncate { group: id, removed })
}

fn purge(group: &mut Group, id: GroupId, up_to: u64) -> Result<Option<Undo>, WriteError> {
    let Some(after) = up_to.checked_add(1) else {
        return Err(WriteError::OutOfOrder { group: id, reason: "the index is exhausted".to_owned() });
    };
    if after < group.base && !group.accepts_any_index() {
        return Ok(None);
    }
    let (purged, base) = (group.purged, group.base);
    let mut removed = Vec::new();
    while group.base < after
        && let Some(one) = group.pop_front()
    {
        removed.push(one);
        group.base += 1;
    }
    group.base = after;
    group.purged = Some(up_to);
    Ok(Some(Undo::Purge { group: id, purged, base, removed }))
}
