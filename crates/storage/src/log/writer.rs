//! The one writer of the log: batches to bytes, bytes to disk, and only then the callbacks.
//!
//! There is never more than one batch that was written and not synced. That is what lets
//! recovery tell a torn tail from damage: whatever precedes an intact batch was durable.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::format::{
    BATCH_HEADER, BatchFlags, BatchHeader, Kind, PAGE, RecordHeader, SEGMENT_HEADER, encode_record, padded,
};
use super::index::{At, Held};
use super::mark::{self, Mark};
use super::options::Options;
use super::record::{GroupId, Record, StateKey};
use super::segment::Segment;
use super::shared::{Done, Relocation, Shared};
use super::standby::Standby;
use crate::error::{IoError, WriteError};
use crate::vfs::{LockGuard, Vfs};

/// Why a batch was not written.
pub(crate) enum Refusal {
    /// There is no segment for it; nothing was written.
    NoSegment(IoError),
    /// Part of it may be on disk.
    Failed(IoError),
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) nonce: u64,
    pub(crate) current: Arc<Segment>,
    /// Where the next batch goes in `current`.
    pub(crate) offset: u64,
    /// Number of the next batch.
    pub(crate) sequence: u64,
    pub(crate) durable: BTreeMap<GroupId, Mark>,
    pub(crate) standby: Arc<Standby>,
    /// Whether the last batch is a seal (or there is none), so that another would say nothing.
    pub(crate) sealed: bool,
    pub(crate) buffer: Vec<u8>,
    /// Set when the oldest segment holds an entry that cannot be read; it then stays.
    pub(crate) stuck_segment: Option<u64>,
    /// Held as long as the log is open.
    pub(crate) _lock: Box<dyn LockGuard>,
}

/// Locks the shared part. A panic elsewhere while it was held cannot have left it half changed in
/// a way that reaches the disk, so the lock's poison is ignored.
pub(crate) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Commits one batch of what is queued. `None` when nothing was.
    pub(crate) fn commit(&mut self, shared: &Mutex<Shared>) -> Option<Vec<Done>> {
        let batch: Vec<(Arc<[Record]>, u64)> = {
            let mut shared = lock(shared);
            if !shared.take_batch(self.options.max_batch_bytes) {
                return None;
            }
            let items = shared.inflight.iter();
            items.map(|item| (Arc::clone(&item.records), item.first_ticket)).collect()
        };
        Some(match self.write_batch(&batch, shared) {
            Ok(relocations) => publish(&relocations, shared),
            Err(refusal) => refuse(refusal, shared),
        })
    }

    /// Writes and syncs the records; answers where each entry now is.
    fn write_batch(
        &mut self,
        batch: &[(Arc<[Record]>, u64)],
        shared: &Mutex<Shared>,
    ) -> Result<Vec<Relocation>, Refusal> {
        let records = || batch.iter().flat_map(|(records, _)| records.iter());
        let len: u64 = records().map(super::shared::encoded_len).sum();
        let count = self.start_batch(len, shared)?;
        let mut relocations = Vec::new();
        for (records, first_ticket) in batch {
            let mut ticket = *first_ticket;
            for record in records.iter() {
                let offset = self.buffer.len() as u64;
                let (header, payload) = split(record);
                encode_record(&header, payload, &mut self.buffer);
                if header.kind == Kind::Entry {
                    relocations.push(Relocation {
                        group: header.group,
                        index: header.index,
                        from: At::Pending { ticket },
                        to: self.place(offset),
                        len: self.buffer.len() as u64 - offset,
                    });
                    ticket += 1;
                }
            }
        }
        self.finish_batch(BatchFlags::NONE, count + records().count(), shared)?;
        for record in records() {
            let (header, _) = split(record);
            let value = match record {
                Record::State { value, .. } => value.clone(),
                _ => Bytes::new(),
            };
            mark::apply(&mut self.durable, &header, value).expect("the index refused what does not follow");
        }
        Ok(relocations)
    }

    /// Where a record at `offset` of the buffer will be.
    pub(crate) fn place(&self, offset: u64) -> At {
        At::Disk {
            segment: self.current.number,
            offset: u32::try_from(self.offset + offset).expect("segments end below 4 GiB"),
        }
    }

    /// Makes room for a batch with `len` bytes of records, rolling over if need be, and starts
    /// the buffer: room for the header and, in a fresh segment, the checkpoint. Answers the
    /// number of records the checkpoint has.
    pub(crate) fn start_batch(&mut self, len: u64, shared: &Mutex<Shared>) -> Result<usize, Refusal> {
        let total = padded(BATCH_HEADER as u64 + len);
        if self.offset + total > self.current.bytes {
            self.roll(shared)?;
        }
        self.buffer.clear();
        self.buffer.resize(BATCH_HEADER, 0);
        if self.offset != SEGMENT_HEADER as u64 {
            return Ok(0);
        }
        let mut count = 0;
        for (group, mark) in &self.durable {
            let header = RecordHeader {
                kind: Kind::Mark,
                aux: u16::from(mark.purged),
                group: *group,
                index: mark.base,
                term: mark.next,
            };
            encode_record(&header, &[], &mut self.buffer);
            for (key, value) in &mark.state {
                let header = RecordHeader { kind: Kind::MarkState, ..state_header(*group, *key) };
                encode_record(&header, value, &mut self.buffer);
            }
            count += 1 + mark.state.len();
        }
        Ok(count)
    }

    /// Completes the header, writes and syncs the buffer.
    pub(crate) fn finish_batch(
        &mut self,
        flags: BatchFlags,
        records: usize,
        shared: &Mutex<Shared>,
    ) -> Result<(), Refusal> {
        let checkpoint = self.offset == SEGMENT_HEADER as u64;
        let payload = &self.buffer[BATCH_HEADER..];
        let header = BatchHeader {
            flags: if checkpoint { BatchFlags::CHECKPOINT } else { flags },
            nonce: self.nonce,
            segment: self.current.number,
            sequence: self.sequence,
            payload_len: u32::try_from(payload.len()).expect("segments end below 4 GiB"),
            records: u32::try_from(records).expect("a record takes at least its header"),
            payload_crc: crc32fast::hash(payload),
        };
        self.buffer[..BATCH_HEADER].copy_from_slice(&header.encode());
        let end = self.offset + header.disk_len();
        if end > self.current.bytes {
            // Limits on records and state make this impossible; refusing is still better than
            // writing past the segment.
            let error = std::io::Error::other("a batch is larger than a segment");
            return Err(Refusal::Failed(IoError::new("write", &self.current.path, error)));
        }
        let full_pages = end.next_multiple_of(PAGE as u64) - self.offset;
        self.buffer.resize(full_pages as usize, 0);
        let written = self.current.write(&self.buffer, self.offset);
        written.and_then(|()| self.current.sync()).map_err(Refusal::Failed)?;
        self.offset = end;
        self.sequence += 1;
        self.sealed = flags == BatchFlags::SEAL;
        let mut shared = lock(shared);
        shared.remaining = self.current.bytes - end;
        shared.counters.batches += 1;
        shared.counters.records += records as u64;
        shared.counters.bytes += u64::from(header.payload_len);
        Ok(())
    }

    /// Goes on in the next segment.
    fn roll(&mut self, shared: &Mutex<Shared>) -> Result<(), Refusal> {
        let segment = Arc::new(self.standby.take().map_err(Refusal::NoSegment)?);
        self.standby.request(segment.number + 1);
        let mut shared = lock(shared);
        shared.remaining = segment.bytes - SEGMENT_HEADER as u64;
        let held = Held { segment: Arc::clone(&segment), live: 0 };
        shared.index.segments.insert(segment.number, held);
        drop(shared);
        self.current = segment;
        self.offset = SEGMENT_HEADER as u64;
        Ok(())
    }

    /// Writes an empty batch that proves the one before it durable.
    pub(crate) fn seal(&mut self, shared: &Mutex<Shared>) -> Vec<Done> {
        let fits = self.offset + padded(BATCH_HEADER as u64) <= self.current.bytes;
        let has_room = fits || self.standby.failure().is_none();
        if self.sealed || !has_room || lock(shared).poisoned.is_some() {
            return Vec::new();
        }
        let sealed = self.start_batch(0, shared).and_then(|count| self.finish_batch(BatchFlags::SEAL, count, shared));
        match sealed {
            // Nothing of anybody's was to be written, so nobody needs to hear of a full disk.
            Ok(()) | Err(Refusal::NoSegment(_)) => Vec::new(),
            Err(refusal) => refuse(refusal, shared),
        }
    }
}

/// Tells the index where the entries are, and frees what the batch removed.
fn publish(relocations: &[Relocation], shared: &Mutex<Shared>) -> Vec<Done> {
    let mut shared = lock(shared);
    for entry in relocations {
        shared.relocate(entry);
        shared.add_live(entry.to, entry.len);
    }
    shared.settle()
}

/// Takes back what could not be written. If bytes may have reached the disk, the log is done.
pub(crate) fn refuse(refusal: Refusal, shared: &Mutex<Shared>) -> Vec<Done> {
    let mut shared = lock(shared);
    let error = match refusal {
        Refusal::NoSegment(cause) => no_segment(&cause),
        Refusal::Failed(cause) => {
            tracing::error!(error = %cause, "the log stops writing until it is opened again");
            shared.poisoned = Some(cause.clone());
            WriteError::Poisoned { cause }
        }
    };
    shared.fail_all(&error)
}

/// The error for a submission that would need a segment that cannot be made.
pub(crate) fn no_segment(cause: &IoError) -> WriteError {
    if cause.is_disk_full() {
        WriteError::DiskFull { reason: cause.to_string() }
    } else {
        WriteError::NoSegment { cause: cause.clone() }
    }
}

fn state_header(group: GroupId, key: StateKey) -> RecordHeader {
    RecordHeader { kind: Kind::State, aux: key, group, index: 0, term: 0 }
}

/// A record as header and payload.
fn split(record: &Record) -> (RecordHeader, &[u8]) {
    let header = |kind, group, index, term| RecordHeader { kind, aux: 0, group, index, term };
    match record {
        Record::Entry { group, index, term, payload } => (header(Kind::Entry, *group, *index, *term), payload),
        Record::Truncate { group, from } => (header(Kind::Truncate, *group, *from, 0), &[]),
        Record::Purge { group, up_to } => (header(Kind::Purge, *group, *up_to, 0), &[]),
        Record::State { group, key, value } => (state_header(*group, *key), value),
        Record::Forget { group } => (header(Kind::Forget, *group, 0, 0), &[]),
    }
}
