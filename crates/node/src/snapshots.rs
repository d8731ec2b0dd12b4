//! The group's snapshots: written in chunks between applies, read back in chunks at start.
//!
//! ```text
//!  thread:  lock ► begin ► unlock     lock ► chunk ► unlock ► write     …    sync, rename
//!  apply:                         ▲▲▲▲                      ▲▲▲▲▲▲▲▲▲▲▲
//! ```
//! The machine copies what changes before it has been read, so the snapshot is of one moment, and an apply
//! never waits for more than one chunk.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use willow_core::snapshot::{Reader, Restore};
use willow_storage::snapshot::{SnapshotReader, SnapshotStore, SnapshotWriter};

use bytes::Bytes;

use crate::record::{self, EntryId, SnapshotHead};
use crate::replica::{Replica, State};
use crate::stats::{Cells, load, micros};
use crate::tasks::{Tasks, blocking, stepping};
use crate::{Config, GroupId, SnapshotError, StartError};

/// A transfer that brings nothing for this long, ms, does not keep this node from writing snapshots of its own.
const RECEIVE_IDLE_MS: u64 = 60_000;

/// Where a group's snapshots are.
pub(crate) fn dir(config: &Config, group: GroupId) -> PathBuf {
    config.data_dir.join("snapshots").join(group.to_string())
}

/// Where one group's snapshots are kept. Only the newest matters.
#[derive(Debug)]
pub(crate) struct Snapshots {
    group: GroupId,
    store: SnapshotStore,
    chunk_bytes: usize,
    stats: Arc<Cells>,
    latest: Mutex<Option<Kept>>,
    /// Held while one is written or put in place: the machine can be read by one at a time. See
    /// [`Snapshots::quiet`].
    busy: Arc<tokio::sync::Mutex<()>>,
    /// One that a leader is sending.
    receiving: Mutex<Option<Receiving>>,
    /// Names the next transfer.
    next_transfer: AtomicU64,
    /// The node stops: no more are written, and the one under way is given up.
    is_stopped: AtomicBool,
}

/// A snapshot in the store.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) id: u64,
    pub(crate) head: SnapshotHead,
}

/// A snapshot on its way in. While it is, this node writes none of its own: that would be older, and newer by
/// its number.
#[derive(Debug)]
struct Receiving {
    transfer: u64,
    head: SnapshotHead,
    writer: SnapshotWriter,
    /// Number of the next chunk.
    next: u64,
    /// When the last chunk came, monotonic ms.
    at_ms: u64,
}

/// A snapshot on its way out.
#[derive(Debug)]
pub(crate) struct Sending {
    reader: SnapshotReader,
    tasks: Arc<dyn Tasks>,
}

impl Sending {
    /// The head, as it is in the file.
    pub(crate) fn head(&self) -> &[u8] {
        self.reader.meta()
    }

    /// Further chunks of about `bytes`; none at the end.
    pub(crate) async fn next(self, bytes: usize) -> Result<(Self, Vec<Bytes>), String> {
        let Self { mut reader, tasks } = self;
        let reading = move || {
            let (mut chunks, mut size) = (Vec::new(), 0);
            while size < bytes {
                match reader.next_chunk() {
                    Ok(Some(chunk)) => {
                        size += chunk.len();
                        chunks.push(Bytes::from(chunk));
                    }
                    Ok(None) => break,
                    Err(error) => return Err(error.to_string()),
                }
            }
            Ok((reader, chunks))
        };
        let read = blocking(tasks.as_ref(), reading).await;
        let (reader, chunks) = read.unwrap_or_else(|| Err("the reader failed".to_owned()))?;
        Ok((Self { reader, tasks }, chunks))
    }
}

/// A snapshot being written: what it is of, and what it leaves behind.
struct Begun {
    reader: Reader,
    head: SnapshotHead,
    log_bytes: u64,
    log_commands: u64,
}

impl Snapshots {
    /// Opens the store and finds the newest intact snapshot.
    pub(crate) fn open(config: &Config, group: GroupId, stats: Arc<Cells>) -> Result<Self, StartError> {
        let store = SnapshotStore::open(Arc::clone(&config.vfs), &dir(config, group), config.snapshots)
            .map_err(|error| StartError::Storage(error.to_string()))?;
        let latest = match store.latest().map_err(failed)?.snapshot {
            None => None,
            Some(reader) => {
                stats.snapshot_bytes.store(reader.file_bytes(), Ordering::Relaxed);
                Some(Kept { id: reader.id(), head: record::decode(reader.meta())? })
            }
        };
        Ok(Self {
            group,
            store,
            chunk_bytes: config.snapshot_chunk_bytes,
            stats,
            latest: Mutex::new(latest),
            busy: Arc::default(),
            receiving: Mutex::new(None),
            next_transfer: AtomicU64::new(1),
            is_stopped: AtomicBool::new(false),
        })
    }

    /// Gives up what is being written, and writes no more.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// The newest snapshot.
    pub(crate) fn latest(&self) -> Option<Kept> {
        self.latest.lock().clone()
    }

    /// What the newest snapshot is of.
    pub(crate) fn latest_head(&self) -> Option<SnapshotHead> {
        self.latest().map(|kept| kept.head)
    }

    /// Opens snapshot `id` to be sent. Blocks.
    pub(crate) fn send(&self, id: u64, tasks: Arc<dyn Tasks>) -> Result<Sending, SnapshotError> {
        Ok(Sending { reader: self.store.read(id).map_err(failed)?, tasks })
    }

    /// Begins to take in a snapshot; one that was on its way in before is given up. Answers with the name of
    /// the transfer. Blocks; see [`Snapshots::quiet`].
    pub(crate) fn receive(&self, head: &[u8], now_ms: u64) -> Result<u64, SnapshotError> {
        let parsed: SnapshotHead = record::decode(head).map_err(failed)?;
        if parsed.group != self.group.0 {
            return Err(failed(format!("it is of group {}", parsed.group)));
        }
        let mut receiving = self.receiving.lock();
        // The writer of the one before removes what it wrote.
        *receiving = None;
        let writer = self.store.create(head).map_err(failed)?;
        let transfer = self.next_transfer.fetch_add(1, Ordering::Relaxed);
        *receiving = Some(Receiving { transfer, head: parsed, writer, next: 0, at_ms: now_ms });
        Ok(transfer)
    }

    /// Takes chunks in. Blocks.
    pub(crate) fn take(&self, transfer: u64, first: u64, chunks: &[Bytes], now_ms: u64) -> Result<(), SnapshotError> {
        let mut slot = self.receiving.lock();
        let receiving = slot.as_mut().filter(|receiving| receiving.transfer == transfer);
        let receiving = receiving.ok_or_else(|| failed("another transfer took its place; begin again"))?;
        if receiving.next != first {
            return Err(failed(format!("chunk {first} came, but {} is next", receiving.next)));
        }
        receiving.at_ms = now_ms;
        for chunk in chunks {
            receiving.writer.write_chunk(chunk).map_err(failed)?;
            receiving.next += 1;
        }
        Ok(())
    }

    /// All chunks are there: the snapshot becomes the newest, unless this node's state is as new already; then
    /// there is nothing to install. Blocks; see [`Snapshots::quiet`].
    pub(crate) fn received(
        &self,
        transfer: u64,
        chunks: u64,
        applied: Option<EntryId>,
    ) -> Result<Option<Kept>, SnapshotError> {
        let receiving = self.receiving.lock().take_if(|receiving| receiving.transfer == transfer);
        let Receiving { head, writer, next, .. } =
            receiving.ok_or_else(|| failed("another transfer took its place; begin again"))?;
        if next != chunks {
            return Err(failed(format!("{next} chunks came of {chunks}")));
        }
        let index = |id: Option<EntryId>| id.map(|id| id.index);
        if index(head.last) <= index(applied) {
            return Ok(None);
        }
        let info = writer.finish().map_err(failed)?;
        let kept = Kept { id: info.id, head };
        *self.latest.lock() = Some(kept.clone());
        self.stats.snapshot_bytes.store(info.bytes, Ordering::Relaxed);
        tracing::info!(group = %self.group, bytes = info.bytes, "a snapshot came from the leader");
        Ok(Some(kept))
    }

    /// Copies snapshot `id` of another store in this process, which becomes the newest here. Blocks.
    pub(crate) fn import(&self, from: &Self, id: u64) -> Result<(), SnapshotError> {
        let mut reader = from.store.read(id).map_err(failed)?;
        let transfer = self.receive(reader.meta(), 0)?;
        let mut chunks = 0;
        while let Some(chunk) = reader.next_chunk().map_err(failed)? {
            self.take(transfer, chunks, &[Bytes::from(chunk)], 0)?;
            chunks += 1;
        }
        self.received(transfer, chunks, None).map(|_kept| ())
    }

    fn is_receiving(&self, now_ms: u64) -> bool {
        let mut receiving = self.receiving.lock();
        // A leader that died while sending does not come back to this transfer.
        receiving.take_if(|receiving| now_ms.saturating_sub(receiving.at_ms) > RECEIVE_IDLE_MS);
        receiving.is_some()
    }

    /// Puts the state of the newest snapshot, if there is one, in place of what `replica` has. Blocks for
    /// as long as reading it takes; see [`Snapshots::quiet`].
    pub(crate) fn restore(&self, replica: &Replica) -> Result<(), SnapshotError> {
        let Some(Kept { id, head }) = self.latest() else { return Ok(()) };
        let mut reader = self.store.read(id).map_err(failed)?;
        let mut restore = Restore::default();
        while let Some(chunk) = reader.next_chunk().map_err(failed)? {
            restore.push(&chunk).map_err(failed)?;
        }
        let machine = restore.finish().map_err(failed)?;
        let SnapshotHead { last, members_at, members, .. } = head;
        replica.install(State { machine, applied: last, members_at, members });
        Ok(())
    }

    /// Waits until no other snapshot is written, taken in or restored; none is for as long as the guard is kept.
    /// Whoever does one of these has it.
    pub(crate) async fn quiet(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.busy).lock_owned().await
    }

    /// Writes a snapshot of what `replica` has now; applies go on meanwhile. Nothing happens if the newest snapshot
    /// is of the same state, or a newer one comes in. `now_ms` is monotonic.
    pub(crate) async fn write(
        self: &Arc<Self>,
        replica: &Arc<Replica>,
        now_ms: u64,
        tasks: &dyn Tasks,
    ) -> Result<(), SnapshotError> {
        let busy = self.quiet().await;
        if self.is_receiving(now_ms) {
            return Ok(());
        }
        let mut writing = Writing::new(Arc::clone(self), Arc::clone(replica), busy);
        let written = stepping(tasks, move || writing.step()).await;
        written.unwrap_or_else(|| Err(failed("the writer failed")))
    }

    fn begin(&self, replica: &Replica) -> Option<Begun> {
        let newest = self.latest.lock().as_ref().map(|kept| kept.head.last);
        replica.with(|state| {
            (newest != Some(state.applied)).then(|| Begun {
                reader: state.machine.snapshot_begin(),
                head: SnapshotHead {
                    group: self.group.0,
                    last: state.applied,
                    members_at: state.members_at,
                    members: state.members.clone(),
                },
                log_bytes: load(&self.stats.log_bytes),
                log_commands: load(&self.stats.log_commands),
            })
        })
    }
}

/// A snapshot being written. Blocks in each step.
struct Writing {
    snapshots: Arc<Snapshots>,
    replica: Arc<Replica>,
    started: Instant,
    /// What is read and where it goes; none before the first step and after the last.
    begun: Option<(Begun, SnapshotWriter)>,
    /// The longest that applies had to wait.
    longest: Duration,
    /// Also if nobody waits for the end any more.
    _busy: OwnedMutexGuard<()>,
}

impl Writing {
    fn new(snapshots: Arc<Snapshots>, replica: Arc<Replica>, busy: OwnedMutexGuard<()>) -> Self {
        Self { snapshots, replica, started: Instant::now(), begun: None, longest: Duration::ZERO, _busy: busy }
    }

    /// Goes a step further; breaks at the end.
    fn step(&mut self) -> ControlFlow<Result<(), SnapshotError>> {
        match self.advance() {
            Ok(flow) => flow.map_break(Ok),
            Err(error) => {
                self.snapshots.stats.snapshots_failed.fetch_add(1, Ordering::Relaxed);
                ControlFlow::Break(Err(error))
            }
        }
    }

    fn advance(&mut self) -> Result<ControlFlow<()>, SnapshotError> {
        let snapshots = &*self.snapshots;
        let Some((begun, writer)) = &mut self.begun else {
            let Some(begun) = snapshots.begin(&self.replica) else { return Ok(ControlFlow::Break(())) };
            let created = record::encode(&begun.head)
                .map_err(failed)
                .and_then(|meta| snapshots.store.create(&meta).map_err(failed));
            match created {
                Ok(writer) => self.begun = Some((begun, writer)),
                Err(error) => {
                    self.replica.with(|state| state.machine.snapshot_abort(begun.reader));
                    return Err(error);
                }
            }
            return Ok(ControlFlow::Continue(()));
        };
        if snapshots.is_stopped() {
            return Err(failed("given up, the node stops"));
        }
        let (chunk, took) = self.replica.with(|state| {
            let started = Instant::now();
            let chunk = state.machine.snapshot_next(&mut begun.reader, snapshots.chunk_bytes);
            (chunk, started.elapsed())
        });
        self.longest = self.longest.max(took);
        match chunk {
            Some(chunk) => writer.write_chunk(&chunk).map_err(failed).map(ControlFlow::Continue),
            None => self.finish().map(ControlFlow::Break),
        }
    }

    fn finish(&mut self) -> Result<(), SnapshotError> {
        let Some((begun, writer)) = self.begun.take() else { return Ok(()) };
        let Begun { head, log_bytes, log_commands, .. } = begun;
        let info = writer.finish().map_err(failed)?;
        let (snapshots, stats) = (&*self.snapshots, &*self.snapshots.stats);
        *snapshots.latest.lock() = Some(Kept { id: info.id, head });
        stats.log_bytes.fetch_sub(log_bytes, Ordering::Relaxed);
        stats.log_commands.fetch_sub(log_commands, Ordering::Relaxed);
        stats.snapshots.fetch_add(1, Ordering::Relaxed);
        stats.snapshot_bytes.store(info.bytes, Ordering::Relaxed);
        stats.snapshot_us.store(micros(self.started.elapsed()), Ordering::Relaxed);
        stats.snapshot_chunk_max_us.store(micros(self.longest), Ordering::Relaxed);
        let took = self.started.elapsed();
        tracing::info!(group = %snapshots.group, bytes = info.bytes, ?took, "snapshot written");
        Ok(())
    }
}

/// What was not read to its end is given up.
impl Drop for Writing {
    fn drop(&mut self) {
        if let Some((Begun { reader, .. }, _writer)) = self.begun.take() {
            self.replica.with(|state| state.machine.snapshot_abort(reader));
        }
    }
}

fn failed(error: impl std::fmt::Display) -> SnapshotError {
    SnapshotError(error.to_string())
}
