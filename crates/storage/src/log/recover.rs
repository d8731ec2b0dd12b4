//! Opening a log: find the segments, replay their batches, decide what the end is.
//!
//! Batches are numbered, and one is written only after the one before it was synced. So:
//!
//! - A bad batch with an intact one of a later number anywhere after it was durable once and is
//!   damaged now: the log is not opened.
//! - A bad batch that nothing follows is the last write. If exactly one bit of it is wrong it was
//!   written whole, so it is damage too. Otherwise it is torn, never acknowledged, and cut off.
//! - Bytes of former lives of a recycled file carry another segment number, and bytes that a user
//!   stored carry no valid nonce, so neither is ever taken for a batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::flip;
use super::format::{BATCH_HEADER, BatchHeader, Decoded, Kind, RecordHeader, SECTOR, SEGMENT_HEADER, decode_record};
use super::index::{At, Slot};
use super::mark::{self, Marks};
use super::record::GroupId;
use super::segment::Segment;
use crate::bugs;
use crate::error::OpenError;

/// Segments are read in pieces of at least this size.
const READ_BYTES: usize = 1 << 20;

/// The tail that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// File name of the segment.
    pub segment: String,
    /// Where the cut is.
    pub offset: u64,
    /// Length that the torn batch says it had, if its header is there to say so.
    pub bytes: Option<u64>,
}

/// What the segments hold.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) marks: Marks,
    pub(crate) entries: BTreeMap<GroupId, BTreeMap<u64, Slot>>,
    /// Position in the list of segments of the one to go on in.
    pub(crate) tail: usize,
    /// Where in it.
    pub(crate) offset: u64,
    /// Number of the next batch.
    pub(crate) sequence: u64,
    pub(crate) sealed: bool,
    pub(crate) batches: u64,
    pub(crate) torn: Option<TornTail>,
    /// Where the last intact batch is: position of its segment, offset, length.
    last: Option<(usize, u64, u64)>,
}

/// What lies at a place where a batch may start.
enum Look {
    Batch(BatchHeader),
    /// The header is intact, what follows is not.
    Torn(BatchHeader),
    /// Exactly one bit is wrong.
    Flipped(BatchHeader),
    UnknownVersion(u16),
    /// Nothing of this log's.
    Nothing,
}

struct Scan<'a> {
    segments: &'a [Arc<Segment>],
    nonce: u64,
    window: Window,
    out: Replayed,
    /// Number of the next batch; any will do for the very first.
    expected: Option<u64>,
}

/// Replays the segments, which are numbered without gaps. Changes nothing on disk.
pub(crate) fn replay(segments: &[Arc<Segment>], nonce: u64) -> Result<Replayed, OpenError> {
    let mut scan = Scan {
        segments,
        nonce,
        window: Window::default(),
        expected: None,
        out: Replayed {
            marks: Marks::new(),
            entries: BTreeMap::new(),
            tail: 0,
            offset: SEGMENT_HEADER as u64,
            sequence: 1,
            sealed: true,
            batches: 0,
            torn: None,
            last: None,
        },
    };
    while scan.step()? {}
    scan.judge_end()?;
    scan.check_complete()?;
    Ok(scan.out)
}

impl Scan<'_> {
    /// Applies the next batch. False at the end.
    fn step(&mut self) -> Result<bool, OpenError> {
        let (tail, offset) = (self.out.tail, self.out.offset);
        if self.try_batch(tail, offset)? {
            return Ok(true);
        }
        let may_roll = self.expected.is_some() && tail + 1 < self.segments.len();
        Ok(may_roll && self.try_batch(tail + 1, SEGMENT_HEADER as u64)?)
    }

    fn try_batch(&mut self, at: usize, offset: u64) -> Result<bool, OpenError> {
        let header = match self.look(at, offset)? {
            Look::Batch(header) => header,
            Look::UnknownVersion(version) => {
                return Err(OpenError::UnknownVersion { path: self.segments[at].path.clone(), version });
            }
            Look::Torn(_) | Look::Flipped(_) | Look::Nothing => return Ok(false),
        };
        let first_of_segment = offset == SEGMENT_HEADER as u64;
        let expected = self.expected.is_none_or(|next| next == header.sequence);
        if !expected || header.flags.is_checkpoint() != first_of_segment {
            return Ok(false);
        }
        self.apply(at, offset, &header)?;
        self.expected = Some(header.sequence + 1);
        self.out.sequence = header.sequence + 1;
        self.out.tail = at;
        self.out.offset = offset + header.disk_len();
        self.out.sealed = header.records == 0;
        self.out.batches += 1;
        self.out.last = Some((at, offset, header.disk_len()));
        Ok(true)
    }

    fn look(&mut self, at: usize, offset: u64) -> Result<Look, OpenError> {
        let segment = &self.segments[at];
        if offset + SECTOR as u64 > segment.bytes {
            return Ok(Look::Nothing);
        }
        let sector = self.window.get(segment, offset, SECTOR)?;
        let ours = |header: &BatchHeader| {
            header.nonce == self.nonce
                && header.segment == segment.number
                && offset + header.disk_len() <= segment.bytes
        };
        let header = match BatchHeader::decode(sector) {
            Decoded::Valid(header) if ours(&header) => header,
            Decoded::Valid(_) => return Ok(Look::Nothing),
            Decoded::UnknownVersion(version) => return Ok(Look::UnknownVersion(version)),
            Decoded::Invalid => {
                let repaired = flip::header_but_one_bit(sector).filter(ours);
                return Ok(repaired.map_or(Look::Nothing, Look::Flipped));
            }
        };
        let len = BATCH_HEADER + header.payload_len as usize;
        let payload = &self.window.get(segment, offset, len)?[BATCH_HEADER..];
        if crc32fast::hash(payload) == header.payload_crc {
            return Ok(Look::Batch(header));
        }
        if bugs::accepts_torn_tails() {
            return Ok(Look::Batch(header));
        }
        Ok(match flip::single_bit(payload, header.payload_crc) {
            Some((byte, mask)) if is_whole_but_for(payload, byte, mask, header.records) => Look::Flipped(header),
            _ => Look::Torn(header),
        })
    }

    fn apply(&mut self, at: usize, offset: u64, header: &BatchHeader) -> Result<(), OpenError> {
        let segment = &self.segments[at];
        let len = BATCH_HEADER + header.payload_len as usize;
        let batch = self.window.get(segment, offset, len)?;
        let corrupt = |at: usize, reason: &str| OpenError::Corrupt {
            path: segment.path.clone(),
            offset: offset + at as u64,
            reason: reason.to_owned(),
        };
        let mut checkpoint = header.flags.is_checkpoint().then(Marks::new);
        let first = self.expected.is_none();
        let mut at = BATCH_HEADER;
        for _ in 0..header.records {
            let Some((record, payload, used)) = decode_record(&batch[at..]) else {
                if bugs::accepts_torn_tails() {
                    return Ok(());
                }
                return Err(corrupt(at, "a record in an intact batch is damaged"));
            };
            let place = At::Disk {
                segment: segment.number,
                offset: u32::try_from(offset + at as u64).map_err(|_| corrupt(at, "the segment is too long"))?,
            };
            let leads = matches!(record.kind, Kind::Mark | Kind::MarkState);
            if leads && let Some(marks) = &mut checkpoint {
                read_mark(marks, &record, payload).map_err(|why| corrupt(at, why))?;
            } else {
                if let Some(marks) = checkpoint.take() {
                    adopt(&mut self.out.marks, marks, first).map_err(|why| corrupt(at, why))?;
                }
                self.out.record(&record, payload, place).map_err(|why| corrupt(at, why))?;
            }
            at += used;
        }
        if let Some(marks) = checkpoint {
            adopt(&mut self.out.marks, marks, first).map_err(|why| corrupt(at, why))?;
        }
        if at != len {
            return Err(corrupt(at, "an intact batch has bytes after its records"));
        }
        Ok(())
    }

    /// Decides whether what lies past the last batch taken is a torn tail or damage.
    fn judge_end(&mut self) -> Result<(), OpenError> {
        let (tail, offset) = (self.out.tail, self.out.offset);
        let mut starts = vec![(tail, offset)];
        if tail + 1 < self.segments.len() {
            starts.push((tail + 1, SEGMENT_HEADER as u64));
        }
        for &(at, offset) in &starts {
            match self.look(at, offset)? {
                Look::Flipped(header) if self.expected.is_none_or(|n| n == header.sequence) => {
                    return Err(self.corrupt(
                        at,
                        offset,
                        "exactly one bit of the last batch is wrong, so it was written whole and \
                         damaged later",
                    ));
                }
                Look::Torn(header) if self.expected.is_none_or(|n| n == header.sequence) => {
                    self.out.torn = Some(TornTail {
                        segment: file_name(&self.segments[at]),
                        offset,
                        bytes: Some(header.disk_len()),
                    });
                }
                _ => {}
            }
        }
        for at in tail..self.segments.len() {
            let from = if at == tail { offset } else { SEGMENT_HEADER as u64 };
            self.refuse_later_batch(at, from, &starts)?;
        }
        Ok(())
    }

    /// Looks for the header of a batch that can only have been written after the one that is
    /// missing was durable.
    fn refuse_later_batch(&mut self, at: usize, from: u64, starts: &[(usize, u64)]) -> Result<(), OpenError> {
        let segment = &self.segments[at];
        let mut offset = from;
        while offset + SECTOR as u64 <= segment.bytes {
            let sector = self.window.get(segment, offset, SECTOR)?;
            if let Decoded::Valid(header) = BatchHeader::decode(sector)
                && header.nonce == self.nonce
                && header.segment == segment.number
            {
                let next = self.expected.unwrap_or(0);
                let torn_itself =
                    starts.contains(&(at, offset)) && self.expected.is_none_or(|next| next == header.sequence);
                if header.sequence >= next && !torn_itself {
                    let (tail, start) = (self.out.tail, self.out.offset);
                    let reason = format!(
                        "no intact batch {next} is here, but batch {} follows in {} at byte \
                         {offset}",
                        header.sequence,
                        file_name(segment),
                    );
                    return Err(self.corrupt(tail, start, &reason));
                }
            }
            offset += SECTOR as u64;
        }
        Ok(())
    }

    fn corrupt(&self, at: usize, offset: u64, reason: &str) -> OpenError {
        OpenError::Corrupt { path: self.segments[at].path.clone(), offset, reason: reason.to_owned() }
    }

    /// Every entry between a group's marks must have been found.
    fn check_complete(&self) -> Result<(), OpenError> {
        for (group, mark) in &self.out.marks {
            let found = self.out.entries.get(group).map_or(0, BTreeMap::len) as u64;
            let held = mark.next - mark.base;
            if found != held {
                let reason = format!(
                    "{} of the {held} entries of group {group} are missing, an older segment must \
                     be lost",
                    held.abs_diff(found)
                );
                return Err(self.corrupt(0, 0, &reason));
            }
        }
        Ok(())
    }
}

impl Replayed {
    /// Applies one record that lies at `place`.
    fn record(&mut self, record: &RecordHeader, payload: &[u8], place: At) -> Result<(), &'static str> {
        let value = match record.kind {
            Kind::State => Bytes::copy_from_slice(payload),
            _ => Bytes::new(),
        };
        mark::apply(&mut self.marks, record, value)?;
        match record.kind {
            Kind::Entry | Kind::Moved => {
                let slot = Slot {
                    term: record.term,
                    at: place,
                    len: u32::try_from(payload.len()).map_err(|_| "an entry is too long")?,
                };
                let entries = self.entries.entry(record.group).or_default();
                entries.insert(record.index, slot);
            }
            Kind::Truncate => {
                if let Some(entries) = self.entries.get_mut(&record.group) {
                    entries.split_off(&record.index);
                }
            }
            Kind::Purge => {
                let base = self.marks[&record.group].base;
                if let Some(entries) = self.entries.get_mut(&record.group) {
                    *entries = entries.split_off(&base);
                }
            }
            Kind::Forget => {
                self.entries.remove(&record.group);
            }
            Kind::State | Kind::Mark | Kind::MarkState => {}
        }
        Ok(())
    }
}

/// Takes over the first checkpoint; compares a later one with what was replayed up to it.
fn adopt(marks: &mut Marks, checkpoint: Marks, first: bool) -> Result<(), &'static str> {
    if first {
        *marks = checkpoint;
    } else if *marks != checkpoint {
        return Err("the checkpoint contradicts the segments before it");
    }
    Ok(())
}

fn read_mark(marks: &mut Marks, record: &RecordHeader, payload: &[u8]) -> Result<(), &'static str> {
    let mark = marks.entry(record.group).or_default();
    if record.kind == Kind::Mark {
        if record.term < record.index {
            return Err("a mark ends before it starts");
        }
        mark.base = record.index;
        mark.next = record.term;
        mark.purged = record.aux & 1 == 1;
    } else {
        let value = Bytes::copy_from_slice(payload);
        mark.state.insert(record.aux, value);
    }
    Ok(())
}

/// Whether a batch is intact once one bit is set right: its records then are, too.
fn is_whole_but_for(payload: &[u8], byte: usize, mask: u8, records: u32) -> bool {
    let mut repaired = payload.to_vec();
    repaired[byte] ^= mask;
    let mut at = 0;
    for _ in 0..records {
        let Some((_, _, used)) = decode_record(&repaired[at..]) else {
            return false;
        };
        at += used;
    }
    at == repaired.len()
}

fn file_name(segment: &Segment) -> String {
    segment.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A piece of a segment, kept to serve small reads that lie close together.
#[derive(Debug, Default)]
struct Window {
    segment: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn get(&mut self, segment: &Segment, offset: u64, len: usize) -> Result<&[u8], OpenError> {
        let end = self.start + self.bytes.len() as u64;
        let held = self.segment == segment.number && offset >= self.start && offset + len as u64 <= end;
        if !held {
            let rest = segment.bytes.saturating_sub(offset);
            let take = (len.max(READ_BYTES) as u64).min(rest).max(len as u64);
            self.bytes.clear();
            self.bytes.resize(take as usize, 0);
            segment.read(&mut self.bytes, offset)?;
            self.segment = segment.number;
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        Ok(&self.bytes[at..at + len])
    }
}

/// Makes the end fit to go on from: the last batch is written again, because after a failed sync
/// the kernel may hold it in memory as clean without its ever having reached the disk; and where
/// the next batch may start, what a torn one left is wiped, so that it can never pass for a batch
/// together with parts of a later write.
pub(crate) fn mend(segments: &[Arc<Segment>], replayed: &Replayed) -> Result<(), OpenError> {
    let mut touched = Vec::new();
    if let Some((at, offset, len)) = replayed.last {
        let mut batch = vec![0; len as usize];
        segments[at].read(&mut batch, offset)?;
        segments[at].write(&batch, offset)?;
        touched.push(at);
    }
    let mut starts = vec![(replayed.tail, replayed.offset)];
    if replayed.tail + 1 < segments.len() {
        starts.push((replayed.tail + 1, SEGMENT_HEADER as u64));
    }
    for (at, offset) in starts {
        if offset + SECTOR as u64 > segments[at].bytes {
            continue;
        }
        let mut sector = [0; SECTOR];
        segments[at].read(&mut sector, offset)?;
        if sector != [0; SECTOR] {
            segments[at].write(&[0; SECTOR], offset)?;
            touched.push(at);
        }
    }
    touched.dedup();
    for at in touched {
        segments[at].sync()?;
    }
    Ok(())
}
