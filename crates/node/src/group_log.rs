//! One group's part of the node's log, and what happens when it cannot be written.
//!
//! ```text
//!  write ──► storage ──durable──► done()
//!     │         │
//!     └─────────┴─ no room ─► parked ──(room again: retry, oldest first)──► storage
//! ```
//!
//! The consensus library takes any failed write for the end of the node. A full disk is not: the write is
//! kept here, unacknowledged, while the node refuses new ones, and is tried again. A failed sync is not
//! tried again (what it left on disk is unknown): its `done` is never called, so nothing that depends on it
//! is ever acknowledged, and the node goes on serving reads of what is applied.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use willow_storage::WriteError;
use willow_storage::log::{Bounds, Entry, Log, Record};

use crate::stats::Cells;
use crate::{GroupId, Unavailable};

/// Names of the small durable values of a group.
pub(crate) mod key {
    /// [`crate::record::VoteRecord`].
    pub(crate) const VOTE: u16 = 1;
    /// [`crate::record::EntryId`] of the last entry purged.
    pub(crate) const PURGED: u16 = 2;
    /// [`crate::record::EntryId`] of an entry known to be committed.
    pub(crate) const COMMITTED: u16 = 3;
    /// [`crate::record::Members`] of the newest membership entry in the log; empty when unknown.
    pub(crate) const MEMBERS: u16 = 4;
}

/// Hears when the log stops and starts taking writes.
pub(crate) trait LogEvents: Send + Sync {
    /// Writes wait, or, after a failed sync, will never be made. May be told more than once.
    fn log_stalled(&self, why: Unavailable);
    /// All that waited is durable.
    fn log_resumed(&self);
}

/// Called once the records are durable; dropped if they never will be.
pub(crate) type Done = Box<dyn FnOnce() + Send>;

struct Write {
    records: Vec<Record>,
    done: Done,
}

#[derive(Default)]
struct Parked {
    /// By the number of the write.
    writes: BTreeMap<u64, Write>,
    /// Writes handed to storage that it has not answered.
    outstanding: usize,
    /// Number of the next write.
    next: u64,
    /// New writes are parked behind the others.
    is_stalled: bool,
    /// A write is lost for good: the stall never ends.
    is_dead: bool,
    /// Everyone concerned has been told of the stall.
    is_told: bool,
}

/// One group's log.
pub(crate) struct GroupLog {
    group: GroupId,
    log: Log,
    parked: Mutex<Parked>,
    events: Arc<dyn LogEvents>,
    stats: Arc<Cells>,
}

impl GroupLog {
    pub(crate) fn new(group: GroupId, log: Log, events: Arc<dyn LogEvents>, stats: Arc<Cells>) -> Arc<Self> {
        Arc::new(Self { group, log, parked: Mutex::default(), events, stats })
    }

    /// The group, as storage names it.
    pub(crate) fn group(&self) -> u32 {
        self.group.0
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.log.bounds(self.group())
    }

    /// Bytes of the files of all groups' log.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.log.stats().segment_bytes
    }

    pub(crate) fn state(&self, key: u16) -> Option<Bytes> {
        self.log.load_state(self.group(), key)
    }

    /// Entries of `range` that are held, at least one if there is any, and no more than `max_bytes`.
    pub(crate) fn read(&self, range: Range<u64>, max_bytes: u64) -> std::io::Result<Vec<Entry>> {
        self.log.read(self.group(), range, max_bytes).map_err(std::io::Error::other)
    }

    /// Writes `records` after everything written before, and calls `done` once they are durable.
    pub(crate) fn write(self: &Arc<Self>, records: Vec<Record>, done: Done) {
        let write = Write { records, done };
        let number = {
            let mut parked = self.parked.lock();
            let number = parked.next;
            parked.next += 1;
            if parked.is_stalled {
                parked.writes.insert(number, write);
                return;
            }
            parked.outstanding += 1;
            number
        };
        self.submit(number, write);
    }

    /// Writes records that only make room or spare work later: nobody waits, and a failure is harmless.
    pub(crate) fn write_if_possible(&self, records: Vec<Record>, what: &'static str) {
        let group = self.group;
        let told = move |result: Result<(), WriteError>| {
            if let Err(error) = result {
                tracing::warn!(%group, %error, what, "not written, will be tried again later");
            }
        };
        if let Err(error) = self.log.submit(records, told) {
            tracing::warn!(%group, %error, what, "not written, will be tried again later");
        }
    }

    /// Whether new work can be taken on; if not, everyone concerned is told before this returns.
    pub(crate) fn check_writable(&self) -> bool {
        match self.log.writable() {
            Ok(()) => true,
            Err(error) => {
                self.parked.lock().stall();
                self.events.log_stalled(unavailable(&error));
                false
            }
        }
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.parked.lock().is_stalled
    }

    fn submit(self: &Arc<Self>, number: u64, write: Write) {
        // Payloads are shared, not copied.
        let records = write.records.clone();
        // The write is needed here if storage refuses it at once, and in the callback if it fails later.
        let cell = Arc::new(Mutex::new(Some(write)));
        let told = {
            let (this, cell, started) = (Arc::clone(self), Arc::clone(&cell), Instant::now());
            move |result| {
                if let Some(write) = cell.lock().take() {
                    this.told(number, write, started, result);
                }
            }
        };
        if let Err(error) = self.log.submit(records, told)
            && let Some(write) = cell.lock().take()
        {
            self.failed(number, write, &error);
        }
    }

    fn told(&self, number: u64, write: Write, started: Instant, result: Result<(), WriteError>) {
        if let Err(error) = result {
            return self.failed(number, write, &error);
        }
        self.stats.durable_us.observe_us(started.elapsed());
        let (is_over, is_lost) = {
            let mut parked = self.parked.lock();
            parked.outstanding -= 1;
            let is_lost = parked.is_stalled && !parked.is_told && parked.outstanding == 0;
            if is_lost {
                parked.stall();
            }
            (parked.is_over(), is_lost)
        };
        (write.done)();
        if is_over {
            self.events.log_resumed();
        } else if is_lost {
            self.events.log_stalled(Unavailable::Storage("a write came before the one it follows".to_owned()));
        }
    }

    fn failed(&self, number: u64, write: Write, error: &WriteError) {
        let (is_final, is_told) = {
            let mut parked = self.parked.lock();
            parked.outstanding -= 1;
            // This one overtook an earlier write, and follows when that one has landed. The earlier one is parked,
            // or has failed and word of that is on its way: whoever brings it tells.
            let has_overtaken =
                matches!(error, WriteError::OutOfOrder { .. }) && (parked.is_stalled || parked.outstanding > 0);
            let is_final = !has_overtaken && is_final(error);
            if has_overtaken {
                parked.is_stalled = true;
            } else {
                parked.stall();
            }
            parked.is_dead |= is_final;
            if !is_final {
                parked.writes.insert(number, write);
            }
            (is_final, !has_overtaken)
        };
        tracing::warn!(group = %self.group, number, %error, is_final, "a write of the log failed");
        if is_told {
            self.events.log_stalled(unavailable(error));
        }
    }

    /// Leaves out what a snapshot that came in meanwhile has moved the log past: as good as written, and storage would
    /// never take it.
    fn drop_superseded(&self, write: &mut Write) {
        let first = self.bounds().purged.map_or(0, |purged| purged.saturating_add(1));
        write.records.retain(|record| match record {
            Record::Entry { index, .. } => *index >= first,
            Record::Truncate { from, .. } => *from >= first,
            _ => true,
        });
    }

    /// Tries what is parked again, oldest first, if there is room.
    pub(crate) fn retry(self: &Arc<Self>) {
        if self.log.writable().is_err() {
            return;
        }
        let (writes, is_over) = {
            let mut parked = self.parked.lock();
            let writes = std::mem::take(&mut parked.writes);
            parked.outstanding += writes.len();
            // Nothing was on its way when it stalled.
            let is_over = parked.is_over();
            (writes, is_over)
        };
        for (number, mut write) in writes {
            self.drop_superseded(&mut write);
            if write.records.is_empty() {
                self.told(number, write, Instant::now(), Ok(()));
            } else {
                self.submit(number, write);
            }
        }
        if is_over {
            self.events.log_resumed();
        }
    }
}

impl Parked {
    /// Writes wait from now on, and everyone concerned is about to be told.
    fn stall(&mut self) {
        self.is_stalled = true;
        self.is_told = true;
    }

    /// Whether a stall ends now: nothing waits any more. Ends it, if so.
    fn is_over(&mut self) -> bool {
        let is_over = self.is_stalled && !self.is_dead && self.writes.is_empty() && self.outstanding == 0;
        self.is_stalled &= !is_over;
        self.is_told &= !is_over;
        is_over
    }
}

/// Whether trying again cannot help.
fn is_final(error: &WriteError) -> bool {
    match error {
        WriteError::DiskFull { .. } | WriteError::NoSegment { .. } | WriteError::QueueFull { .. } => false,
        WriteError::OutOfOrder { .. }
        | WriteError::Poisoned { .. }
        | WriteError::Closed
        | WriteError::TooLarge { .. }
        | WriteError::StateTooLarge { .. } => true,
    }
}

fn unavailable(error: &WriteError) -> Unavailable {
    match error {
        WriteError::DiskFull { .. } => Unavailable::DiskFull,
        error => Unavailable::Storage(error.to_string()),
    }
}

impl std::fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupLog").field("group", &self.group).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
