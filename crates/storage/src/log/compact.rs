//! Giving space back: old segments without live entries go; entries that keep an old segment
//! alive are written again further on when too much is wasted.
//!
//! Segments leave oldest first only, because a later one may hold the truncation that an earlier
//! one needs. So one slow group could keep every segment behind its oldest entry. Against that,
//! when the segments in use exceed twice the live bytes plus some slack, the oldest segment's
//! live entries are appended again as [`Kind::Moved`]. One round through the log then writes at
//! most the live bytes, and frees at least as much, which bounds both the disk and the extra
//! writing (Rosenblum & Ousterhout, "The Design and Implementation of a Log-Structured File
//! System", 1992, §3).

use std::sync::{Arc, Mutex};

use super::format::{BATCH_HEADER, BatchFlags, Kind, RECORD_HEADER, RecordHeader, decode_entry, encode_record, padded};
use super::index::Slot;
use super::record::GroupId;
use super::segment::{Segment, spare_path};
use super::shared::{Done, Relocation, Shared};
use super::writer::{Refusal, Writer, lock, refuse};
use crate::error::{IoContext, IoError};

/// Moving goes in steps of this size, so that commits in between wait little.
const MOVE_BYTES: u64 = 1 << 20;

/// What tidying up came to.
#[derive(Default)]
pub(crate) struct Tidied {
    /// There is more to do.
    pub(crate) more: bool,
    /// Callbacks of submissions that failed with it.
    pub(crate) done: Vec<Done>,
}

/// An entry to move, and the segment it lies in.
struct Candidate {
    group: GroupId,
    index: u64,
    slot: Slot,
}

impl Writer {
    /// Drops what can be dropped, and moves one step's worth of entries if need be.
    pub(crate) fn maintain(&mut self, shared: &Mutex<Shared>) -> Tidied {
        if lock(shared).poisoned.is_some() {
            return Tidied::default();
        }
        while let Some(segment) = self.droppable(shared) {
            if let Err(error) = self.drop_segment(segment, shared) {
                tracing::warn!(%error, "an old log segment stays for now");
                return Tidied::default();
            }
        }
        let Some(victim) = self.victim(shared) else {
            return Tidied::default();
        };
        match self.move_some(&victim, shared) {
            Ok(more) => Tidied { more, done: Vec::new() },
            // Nothing was written; there will be another chance.
            Err(Refusal::NoSegment(_)) => Tidied::default(),
            Err(failed) => Tidied { more: false, done: refuse(failed, shared) },
        }
    }

    fn droppable(&self, shared: &Mutex<Shared>) -> Option<Arc<Segment>> {
        let shared = lock(shared);
        let (number, held) = shared.index.segments.first_key_value()?;
        (*number != self.current.number && held.live == 0).then(|| Arc::clone(&held.segment))
    }

    /// Recycles or removes the oldest segment. The directory is synced before the next one goes,
    /// so that segments always disappear oldest first.
    fn drop_segment(&mut self, segment: Arc<Segment>, shared: &Mutex<Shared>) -> Result<(), IoError> {
        let number = segment.number;
        // No reader comes to a segment without live entries, so the count cannot go up again.
        // Two are here: ours and the index's.
        let unread = Arc::strong_count(&segment) == 2;
        let fits = segment.bytes == self.options.segment_bytes;
        let spare = (unread && fits && self.standby.wants_spare()).then(|| spare_path(&self.dir, number));
        let gone = match &spare {
            Some(spare) => self.vfs.rename(&segment.path, spare),
            None => self.vfs.remove(&segment.path),
        };
        match gone {
            // An earlier try may have got this far, and failed at the sync.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
        .context("recycle", &segment.path)?;
        self.vfs.sync_dir(&self.dir).context("sync", &self.dir)?;
        let mut shared = lock(shared);
        shared.index.segments.remove(&number);
        shared.counters.dropped_segments += 1;
        drop(shared);
        if let Some(spare) = spare {
            self.standby.add_spare(spare);
        }
        Ok(())
    }

    /// The oldest segment, if so much is wasted that its entries should move.
    fn victim(&self, shared: &Mutex<Shared>) -> Option<Arc<Segment>> {
        let shared = lock(shared);
        let held = shared.index.segments.values();
        let used: u64 = held.clone().map(|held| held.segment.bytes).sum();
        let live: u64 = held.map(|held| held.live).sum();
        let slack = self.options.slack_segments * self.options.segment_bytes;
        let (number, oldest) = shared.index.segments.first_key_value()?;
        let wanted = used > live.saturating_mul(2).saturating_add(slack)
            && *number != self.current.number
            && self.stuck_segment != Some(*number);
        wanted.then(|| Arc::clone(&oldest.segment))
    }

    /// Writes some of the victim's entries again. False when there are none to move now.
    fn move_some(&mut self, victim: &Arc<Segment>, shared: &Mutex<Shared>) -> Result<bool, Refusal> {
        let candidates = self.candidates(victim.number, shared);
        let len = candidates.iter().map(|entry| entry.slot.record_len()).sum();
        if candidates.is_empty() {
            return Ok(false);
        }
        let fits = self.offset + padded(BATCH_HEADER as u64 + len) <= self.current.bytes;
        if !fits && let Some(cause) = self.standby.failure() {
            return Err(Refusal::NoSegment(cause));
        }
        let mut payloads = Vec::with_capacity(candidates.len());
        for entry in &candidates {
            match read_entry(victim, entry) {
                Ok(payload) => payloads.push(payload),
                Err(reason) => {
                    tracing::error!(
                        segment = %victim.path.display(),
                        group = entry.group,
                        index = entry.index,
                        reason,
                        "an entry cannot be read, so its segment stays"
                    );
                    self.stuck_segment = Some(victim.number);
                    return Ok(false);
                }
            }
        }
        let count = self.start_batch(len, shared)?;
        let mut relocations = Vec::with_capacity(candidates.len());
        for (entry, payload) in candidates.iter().zip(&payloads) {
            let offset = self.buffer.len() as u64;
            let header = RecordHeader {
                kind: Kind::Moved,
                aux: 0,
                group: entry.group,
                index: entry.index,
                term: entry.slot.term,
            };
            encode_record(&header, payload, &mut self.buffer);
            relocations.push(Relocation {
                group: entry.group,
                index: entry.index,
                from: entry.slot.at,
                to: self.place(offset),
                len: entry.slot.record_len(),
            });
        }
        self.finish_batch(BatchFlags::NONE, count + candidates.len(), shared)?;
        let mut shared = lock(shared);
        shared.counters.moved += relocations.len() as u64;
        for entry in &relocations {
            shared.relocate(entry);
            shared.add_live(entry.to, entry.len);
            shared.remove_live(entry.from, entry.len);
        }
        Ok(true)
    }

    fn candidates(&self, victim: u64, shared: &Mutex<Shared>) -> Vec<Candidate> {
        let shared = lock(shared);
        let mut bytes = 0;
        let mut found: Vec<Candidate> = Vec::new();
        let budget = MOVE_BYTES.min(self.options.max_batch_bytes);
        for (id, group) in &shared.index.groups {
            for (index, slot) in (group.base..).zip(&group.entries) {
                if slot.segment() != Some(victim) {
                    continue;
                }
                bytes += slot.record_len();
                if bytes > budget && !found.is_empty() {
                    return found;
                }
                found.push(Candidate { group: *id, index, slot: *slot });
            }
        }
        found
    }
}

fn read_entry(segment: &Segment, entry: &Candidate) -> Result<bytes::Bytes, String> {
    let super::index::At::Disk { offset, .. } = entry.slot.at else {
        return Err("it is not on disk".to_owned());
    };
    let mut bytes = vec![0; RECORD_HEADER + entry.slot.len as usize];
    segment.read(&mut bytes, u64::from(offset)).map_err(|error| error.to_string())?;
    decode_entry(bytes.into(), entry.group, entry.index, entry.slot.term)
        .ok_or_else(|| format!("it is damaged at byte {offset}"))
}
