//! The segmented log. See the crate's head for the format.

mod compact;
mod flip;
mod format;
mod index;
mod mark;
mod open;
mod options;
mod record;
mod recover;
mod segment;
mod shared;
mod standby;
mod writer;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;

use self::format::RECORD_HEADER;
use self::index::Located;
use self::shared::{Done, Shared};
use self::standby::Standby;
use self::writer::{Writer, lock};
use crate::error::{IoError, ReadError, WriteError};

pub use self::open::Recovered;
pub use self::options::{Options, Pace, Threading};
pub use self::record::{Bounds, Entry, GroupId, Record, StateKey};
pub use self::recover::TornTail;
pub use self::shared::{Counters, OnDurable};

/// A log shared by the Raft groups of a node.
///
/// Handles are cheap to clone. When the last one goes, what is queued is still written, and the
/// log is closed. Writing happens in the order of [`Log::submit`]; whatever is queued when the
/// writer is free goes to disk in one write and one sync (group commit).
///
/// Records can be read as soon as they are submitted, before they are durable.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Mutex<Shared>>,
    /// Wakes the writer thread.
    work: Arc<Condvar>,
    standby: Arc<Standby>,
    options: Options,
    /// The writer, when there is no thread for it.
    inline: Option<Mutex<Writer>>,
    /// The writer has asked for a turn that has not come yet.
    has_asked: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// What the log takes and holds at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Running totals.
    pub counters: Counters,
    /// Segments in use.
    pub segments: u64,
    /// Bytes of the segments in use.
    pub segment_bytes: u64,
    /// Bytes of entries that nothing removed yet.
    pub live_bytes: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: u64,
    /// The failure that stopped writing, if one did.
    pub poisoned: Option<String>,
}

impl Log {
    /// Queues records, in order, and returns; `on_durable` is called once, with `Ok` when they
    /// are on disk, or with the reason when they will never be.
    ///
    /// All records of a submission become durable together if they fit
    /// [`Options::max_batch_bytes`]; more are split, and a crash may then leave the first part.
    /// The callback runs on the writer's thread (or inside this call with
    /// [`Threading::Inline`]), so it should only pass the word on; it may call the log.
    ///
    /// On an error, returned here or told to the callback, the log is as if the records had never
    /// been submitted — but after [`WriteError::Poisoned`] they may turn out to be durable when
    /// the log is opened again.
    pub fn submit(
        &self,
        records: Vec<Record>,
        on_durable: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) -> Result<(), WriteError> {
        let inner = &*self.inner;
        let bytes: u64 = records.iter().map(shared::encoded_len).sum();
        inner.standby.retry();
        let mut shared = lock(&inner.shared);
        shared.check_open()?;
        inner.check_room(&shared, &records, bytes)?;
        shared.enqueue(records, Box::new(on_durable), &inner.options).map_err(|(_, error)| error)?;
        drop(shared);
        match &inner.inline {
            None => inner.work.notify_one(),
            Some(writer) => match &inner.options.pace {
                None => inner.pump_inline(writer),
                Some(pace) => self.inner.ask_for_turn(pace.as_ref()),
            },
        }
        Ok(())
    }

    /// Submits records and waits until they are durable.
    pub fn append(&self, records: Vec<Record>) -> Result<(), WriteError> {
        let (tell, told) = mpsc::sync_channel(1);
        self.submit(records, move |result| {
            // The receiver is gone only if the caller is.
            drop(tell.send(result));
        })?;
        told.recv().unwrap_or(Err(WriteError::Closed))
    }

    /// Sets a small durable value of a group and waits until it is durable.
    pub fn save_state(&self, group: GroupId, key: StateKey, value: Bytes) -> Result<(), WriteError> {
        self.append(vec![Record::State { group, key, value }])
    }

    /// The value last submitted for a key of a group.
    pub fn load_state(&self, group: GroupId, key: StateKey) -> Option<Bytes> {
        lock(&self.inner.shared).index.state(group, key)
    }

    /// Ids of the groups that the log knows, in order.
    pub fn groups(&self) -> Vec<GroupId> {
        lock(&self.inner.shared).index.groups.keys().copied().collect()
    }

    /// What is held of a group; the default (all zero) for one never heard of.
    pub fn bounds(&self, group: GroupId) -> Bounds {
        lock(&self.inner.shared).index.bounds(group).unwrap_or_default()
    }

    /// Term of an entry that is held; needs no disk.
    pub fn term(&self, group: GroupId, index: u64) -> Option<u64> {
        lock(&self.inner.shared).index.term(group, index)
    }

    /// The entries of `range` that are held, in order. Stops before `max_bytes` of payload are
    /// exceeded, but never before the first entry, so that a caller always gets on.
    ///
    /// Does not block writing, and goes on after writing has failed.
    pub fn read(&self, group: GroupId, range: Range<u64>, max_bytes: u64) -> Result<Vec<Entry>, ReadError> {
        let located = lock(&self.inner.shared).index.locate(group, range, max_bytes);
        let mut entries = Vec::with_capacity(located.len());
        for place in located {
            entries.push(match place {
                Located::Memory(entry) => entry,
                Located::Disk { segment, offset, len, index, term } => {
                    let mut bytes = vec![0; RECORD_HEADER + len as usize];
                    let offset = u64::from(offset);
                    segment.read(&mut bytes, offset)?;
                    let payload = format::decode_entry(bytes.into(), group, index, term)
                        .ok_or_else(|| ReadError::Corrupt { path: segment.path.clone(), offset, group, index })?;
                    Entry { index, term, payload }
                }
            });
        }
        Ok(entries)
    }

    /// Whether new work should be taken on. Turns to an error while there is still room for what
    /// is on its way, so that the caller can refuse before anything was proposed.
    pub fn writable(&self) -> Result<(), WriteError> {
        let inner = &*self.inner;
        inner.standby.retry();
        let shared = lock(&inner.shared);
        shared.check_open()?;
        inner.check_reserve(&shared, inner.options.reserve_bytes.saturating_mul(2))
    }

    /// Figures for metrics.
    pub fn stats(&self) -> Stats {
        let shared = lock(&self.inner.shared);
        let held = shared.index.segments.values();
        Stats {
            counters: shared.counters,
            segments: shared.index.segments.len() as u64,
            segment_bytes: held.clone().map(|held| held.segment.bytes).sum(),
            live_bytes: held.map(|held| held.live).sum(),
            queued_bytes: shared.queued_bytes,
            poisoned: shared.poisoned.as_ref().map(ToString::to_string),
        }
    }

    /// Writes what is queued, marks the log as complete and ends the threads. Later submissions
    /// get [`WriteError::Closed`]; reads go on.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn check_room(&self, shared: &Shared, records: &[Record], bytes: u64) -> Result<(), WriteError> {
        let max = self.options.max_queued_bytes;
        let queued = shared.queued_bytes.saturating_add(bytes);
        if queued > max {
            return Err(WriteError::QueueFull { bytes: queued, max });
        }
        let adds = records.iter().any(|record| matches!(record, Record::Entry { .. }));
        let reserve = if adds { self.options.reserve_bytes } else { 0 };
        // Twice, for headers and padding of small batches.
        self.check_reserve(shared, reserve.saturating_add(bytes.saturating_mul(2)))
    }

    /// Refuses when no further segment can be had and less than `reserve` is left in this one.
    fn check_reserve(&self, shared: &Shared, reserve: u64) -> Result<(), WriteError> {
        match self.standby.failure() {
            Some(cause) if shared.remaining < shared.queued_bytes.saturating_add(reserve) => {
                Err(writer::no_segment(&cause))
            }
            _ => Ok(()),
        }
    }

    /// Has the queue written when the pace says so. What is submitted until then goes along.
    fn ask_for_turn(self: &Arc<Self>, pace: &dyn Pace) {
        if self.has_asked.swap(true, Ordering::Relaxed) {
            return;
        }
        // A log that is closed meanwhile has written what was queued.
        let this = Arc::downgrade(self);
        pace.turn(Box::new(move || {
            let Some(inner) = this.upgrade() else { return };
            inner.has_asked.store(false, Ordering::Relaxed);
            let Some(writer) = &inner.inline else { return };
            while inner.commit_inline(writer) && lock(&inner.shared).queue.is_empty() {}
            if let Some(pace) = &inner.options.pace
                && !lock(&inner.shared).queue.is_empty()
            {
                inner.ask_for_turn(pace.as_ref());
            }
        }));
    }

    fn pump_inline(&self, writer: &Mutex<Writer>) {
        while self.commit_inline(writer) {}
    }

    /// Commits one batch and tidies up a little. False when there was nothing to do.
    fn commit_inline(&self, writer: &Mutex<Writer>) -> bool {
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let committed = writer.commit(&self.shared);
        let tidied = writer.maintain(&self.shared);
        drop(writer);
        let worked = committed.is_some() || tidied.more;
        run(committed.unwrap_or_default());
        run(tidied.done);
        worked
    }

    fn close(&self) {
        lock(&self.shared).closed = true;
        self.work.notify_all();
        if let Some(writer) = &self.inline {
            self.pump_inline(writer);
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            run(writer.seal(&self.shared));
        }
        let threads = {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *threads)
        };
        // The last handle may go inside a callback, on the writer's own thread, which then ends
        // by itself.
        let own = std::thread::current().id();
        if threads.iter().any(|thread| thread.thread().id() == own) {
            return;
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a log thread panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(done: Vec<Done>) {
    for (callback, result) in done {
        callback(result);
    }
}

/// Ends what depends on the writer's thread when that ends, also by a panic.
struct WriterEnds {
    shared: Arc<Mutex<Shared>>,
    standby: Arc<Standby>,
}

impl Drop for WriterEnds {
    fn drop(&mut self) {
        self.standby.stop();
        if !std::thread::panicking() {
            return;
        }
        let error = io::Error::other("the writer of the log panicked");
        let cause = IoError::new("write", Path::new("the log"), error);
        let done = {
            let mut shared = lock(&self.shared);
            shared.poisoned = Some(cause.clone());
            shared.fail_all(&WriteError::Poisoned { cause })
        };
        run(done);
    }
}

/// The writer's thread: commit what is queued, tidy up, wait for more.
fn run_writer(mut writer: Writer, shared: Arc<Mutex<Shared>>, work: &Condvar) {
    let idle = writer.options.idle_seal;
    let _ends = WriterEnds { shared: Arc::clone(&shared), standby: Arc::clone(&writer.standby) };
    loop {
        let done = writer.commit(&shared);
        let worked = done.is_some();
        run(done.unwrap_or_default());
        let tidied = writer.maintain(&shared);
        run(tidied.done);
        if worked || tidied.more {
            continue;
        }
        let guard = lock(&shared);
        if !guard.queue.is_empty() {
            continue;
        }
        if guard.closed {
            drop(guard);
            run(writer.seal(&shared));
            return;
        }
        let timed_out = match idle.filter(|_| !writer.sealed) {
            None => {
                drop(work.wait(guard).unwrap_or_else(PoisonError::into_inner));
                false
            }
            Some(idle) => {
                let (guard, result) = work.wait_timeout(guard, idle).unwrap_or_else(PoisonError::into_inner);
                result.timed_out() && guard.queue.is_empty()
            }
        };
        if timed_out {
            run(writer.seal(&shared));
        }
    }
}
