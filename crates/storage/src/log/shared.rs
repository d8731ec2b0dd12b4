//! What the callers of the log and its writer share, under one lock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::format::RECORD_HEADER;
use super::index::{At, Index, Undo};
use super::options::Options;
use super::record::Record;
use crate::error::{IoError, WriteError};

/// Called once, when the records of a submission are durable or will never be.
pub type OnDurable = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// A callback with what to tell it; run without holding any lock.
pub(crate) type Done = (OnDurable, Result<(), WriteError>);

/// Records that go to disk together.
pub(crate) struct Item {
    pub(crate) records: Arc<[Record]>,
    /// Ticket of the first entry among the records; the others follow in order.
    pub(crate) first_ticket: u64,
    /// Encoded length.
    pub(crate) bytes: u64,
    /// How to take the records back, oldest first.
    pub(crate) undo: Vec<Undo>,
    pub(crate) done: Option<OnDurable>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("records", &self.records.len()).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Encoded length of a record.
pub(crate) fn encoded_len(record: &Record) -> u64 {
    let payload = match record {
        Record::Entry { payload, .. } => payload.len(),
        Record::State { value, .. } => value.len(),
        Record::Truncate { .. } | Record::Purge { .. } | Record::Forget { .. } => 0,
    };
    (RECORD_HEADER + payload) as u64
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) index: Index,
    /// Submitted, not yet taken by the writer.
    pub(crate) queue: VecDeque<Item>,
    /// Taken by the writer, not yet durable.
    pub(crate) inflight: VecDeque<Item>,
    /// Bytes in `queue`.
    pub(crate) queued_bytes: u64,
    /// Room left in the current segment.
    pub(crate) remaining: u64,
    pub(crate) poisoned: Option<IoError>,
    pub(crate) closed: bool,
    pub(crate) counters: Counters,
}

/// Running totals since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches made durable, one sync each.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of records in them.
    pub bytes: u64,
    /// Entries written again so that an old segment could be dropped.
    pub moved: u64,
    /// Segments recycled or removed.
    pub dropped_segments: u64,
}

impl Shared {
    /// Why nothing can be written any more, if so.
    pub(crate) fn check_open(&self) -> Result<(), WriteError> {
        if let Some(cause) = &self.poisoned {
            return Err(WriteError::Poisoned { cause: cause.clone() });
        }
        if self.closed {
            return Err(WriteError::Closed);
        }
        Ok(())
    }

    /// Applies records to the index and queues them, split into items that fit a batch; or
    /// changes nothing and says why.
    pub(crate) fn enqueue(
        &mut self,
        records: Vec<Record>,
        done: OnDurable,
        options: &Options,
    ) -> Result<(), (OnDurable, WriteError)> {
        let mut items: Vec<Item> = Vec::new();
        let mut rest = records.into_iter().peekable();
        let mut failed = None;
        while failed.is_none() && (rest.peek().is_some() || items.is_empty()) {
            let mut part = Vec::new();
            let mut bytes = 0;
            while let Some(record) =
                rest.next_if(|record| part.is_empty() || bytes + encoded_len(record) <= options.max_batch_bytes)
            {
                bytes += encoded_len(&record);
                part.push(record);
            }
            let mut item = Item {
                records: part.into(),
                first_ticket: self.index.next_ticket(),
                bytes,
                undo: Vec::new(),
                done: None,
            };
            failed = self.apply(&mut item, options).err();
            items.push(item);
        }
        if let Some(error) = failed {
            for item in items.into_iter().rev() {
                self.take_back(item);
            }
            return Err((done, error));
        }
        if let Some(last) = items.last_mut() {
            last.done = Some(done);
        }
        self.queued_bytes += items.iter().map(|item| item.bytes).sum::<u64>();
        self.queue.extend(items);
        Ok(())
    }

    fn apply(&mut self, item: &mut Item, options: &Options) -> Result<(), WriteError> {
        let max = options.max_record_bytes();
        for record in item.records.iter() {
            let bytes = encoded_len(record) - RECORD_HEADER as u64;
            if bytes > max {
                return Err(WriteError::TooLarge { bytes, max });
            }
            self.index.apply(record, &mut item.undo)?;
            let bytes = self.index.state_bytes();
            let max = options.max_state_bytes;
            if bytes > max {
                return Err(WriteError::StateTooLarge { bytes, max });
            }
        }
        Ok(())
    }

    /// Takes an item's changes back out of the index.
    fn take_back(&mut self, item: Item) {
        for undo in item.undo.into_iter().rev() {
            self.index.undo(undo);
        }
    }

    /// Moves queued items to `inflight`, as many as go into one batch. False if there are none.
    pub(crate) fn take_batch(&mut self, max_bytes: u64) -> bool {
        let mut bytes = 0;
        while let Some(item) = self.queue.front() {
            bytes += item.bytes;
            if bytes > max_bytes && !self.inflight.is_empty() {
                break;
            }
            self.queued_bytes -= item.bytes;
            self.inflight.extend(self.queue.pop_front());
        }
        !self.inflight.is_empty()
    }

    /// Takes back everything that is not durable, newest first, and says so to its owners.
    pub(crate) fn fail_all(&mut self, error: &WriteError) -> Vec<Done> {
        let mut items: Vec<Item> = self.inflight.drain(..).collect();
        items.extend(self.queue.drain(..));
        self.queued_bytes = 0;
        let mut done = Vec::new();
        while let Some(mut item) = items.pop() {
            done.extend(item.done.take().map(|done| (done, Err(error.clone()))));
            self.take_back(item);
        }
        done.reverse();
        done
    }

    /// Notes that an entry moved on disk, wherever its slot is now: in the index, or removed by a
    /// record that is not durable yet.
    pub(crate) fn relocate(&mut self, entry: &Relocation) {
        let found = self.index.replace(entry.group, entry.index, entry.from, entry.to);
        if found {
            return;
        }
        let pending = self.inflight.iter_mut().chain(self.queue.iter_mut());
        let removed = pending.flat_map(|item| item.undo.iter_mut()).flat_map(Undo::removed_mut);
        for slot in removed {
            if slot.at == entry.from {
                slot.at = entry.to;
                return;
            }
        }
        debug_assert!(false, "an entry that became durable is nowhere");
    }

    /// Adds to the live bytes of the segment that holds `at`.
    pub(crate) fn add_live(&mut self, at: At, bytes: u64) {
        if let At::Disk { segment, .. } = at
            && let Some(held) = self.index.segments.get_mut(&segment)
        {
            held.live += bytes;
        }
    }

    /// Takes bytes off the live ones of the segment that holds `at`.
    pub(crate) fn remove_live(&mut self, at: At, bytes: u64) {
        let At::Disk { segment, .. } = at else {
            debug_assert!(false, "only what is durable is live");
            return;
        };
        if let Some(held) = self.index.segments.get_mut(&segment) {
            held.live -= bytes;
        }
    }

    /// Takes what durable records removed off the live bytes of its segments, and collects the
    /// callbacks of everything in flight.
    pub(crate) fn settle(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        for mut item in std::mem::take(&mut self.inflight) {
            for slot in item.undo.iter_mut().flat_map(Undo::removed_mut) {
                self.remove_live(slot.at, slot.record_len());
            }
            done.extend(item.done.take().map(|done| (done, Ok(()))));
        }
        done
    }
}

/// An entry whose place changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relocation {
    pub(crate) group: u32,
    pub(crate) index: u64,
    pub(crate) from: At,
    pub(crate) to: At,
    /// Bytes of the record.
    pub(crate) len: u64,
}
