//! The group's snapshots: written in chunks between applies, read back in chunks at start.
//!
//! ```text
//!  thread:  lock ► begin ► unlock     lock ► chunk ► unlock ► write     …    sync, rename
//!  apply:                         ▲▲▲▲                      ▲▲▲▲▲▲▲▲▲▲▲
//! ```
//! The machine copies what changes before it has been read, so the snapshot is of one moment, and an apply
//! never waits for more than one chunk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use willow_core::snapshot::{Reader, Restore};
use willow_storage::snapshot::{SnapshotInfo, SnapshotStore, SnapshotWriter};

use crate::record::{self, SnapshotHead};
use crate::replica::{Replica, State};
use crate::stats::{Cells, load, micros};
use crate::{Config, GroupId, SnapshotError, StartError};

/// Where one group's snapshots are kept. Only the newest matters.
#[derive(Debug)]
pub(crate) struct Snapshots {
    group: GroupId,
    store: SnapshotStore,
    chunk_bytes: usize,
    stats: Arc<Cells>,
    latest: Mutex<Option<Kept>>,
    /// Held while one is written or put in place: the machine can be read by one at a time.
    busy: Mutex<()>,
    /// The node stops: no more are written, and the one under way is given up.
    is_stopped: AtomicBool,
}

/// A snapshot in the store.
#[derive(Clone, Debug)]
struct Kept {
    id: u64,
    head: SnapshotHead,
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
        let dir = config.data_dir.join("snapshots").join(group.to_string());
        let store = SnapshotStore::open(Arc::clone(&config.vfs), &dir, config.snapshots)
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
            busy: Mutex::new(()),
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

    /// What the newest snapshot is of.
    pub(crate) fn latest(&self) -> Option<SnapshotHead> {
        self.latest.lock().as_ref().map(|kept| kept.head.clone())
    }

    /// Puts the state of the newest snapshot, if there is one, in place of what `replica` has. Blocks for
    /// as long as reading it takes.
    pub(crate) fn restore(&self, replica: &Replica) -> Result<(), SnapshotError> {
        let _busy = self.busy.lock();
        let Some(Kept { id, head }) = self.latest.lock().clone() else { return Ok(()) };
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

    /// Writes a snapshot of what `replica` has now. Blocks for as long as that takes; applies go on
    /// meanwhile. Nothing happens if the newest snapshot is of the same state.
    pub(crate) fn write(&self, replica: &Replica) -> Result<(), SnapshotError> {
        let _busy = self.busy.lock();
        let started = Instant::now();
        let Some(mut begun) = self.begin(replica) else { return Ok(()) };
        let written = self.stream(replica, &mut begun);
        let Begun { reader, head, log_bytes, log_commands } = begun;
        let info = match written {
            Ok(info) => info,
            Err(error) => {
                replica.with(|state| state.machine.snapshot_abort(reader));
                self.stats.snapshots_failed.fetch_add(1, Ordering::Relaxed);
                return Err(error);
            }
        };
        *self.latest.lock() = Some(Kept { id: info.id, head });
        let stats = &*self.stats;
        stats.log_bytes.fetch_sub(log_bytes, Ordering::Relaxed);
        stats.log_commands.fetch_sub(log_commands, Ordering::Relaxed);
        stats.snapshots.fetch_add(1, Ordering::Relaxed);
        stats.snapshot_bytes.store(info.bytes, Ordering::Relaxed);
        stats.snapshot_us.store(micros(started.elapsed()), Ordering::Relaxed);
        tracing::info!(group = %self.group, bytes = info.bytes, took = ?started.elapsed(), "snapshot written");
        Ok(())
    }

    /// Copies the newest snapshot of another node's store, which becomes the newest here.
    pub(crate) fn import(&self, from: &Self) -> Result<(), SnapshotError> {
        let _busy = self.busy.lock();
        let Some(Kept { id, head }) = from.latest.lock().clone() else { return Ok(()) };
        let mut reader = from.store.read(id).map_err(failed)?;
        let mut writer = self.store.create(reader.meta()).map_err(failed)?;
        while let Some(chunk) = reader.next_chunk().map_err(failed)? {
            writer.write_chunk(&chunk).map_err(failed)?;
        }
        let info = writer.finish().map_err(failed)?;
        *self.latest.lock() = Some(Kept { id: info.id, head });
        Ok(())
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

    fn stream(&self, replica: &Replica, begun: &mut Begun) -> Result<SnapshotInfo, SnapshotError> {
        let meta = record::encode(&begun.head).map_err(failed)?;
        let mut writer: SnapshotWriter = self.store.create(&meta).map_err(failed)?;
        let mut longest = Duration::ZERO;
        loop {
            if self.is_stopped() {
                return Err(failed("given up, the node stops"));
            }
            let (chunk, took) = replica.with(|state| {
                let started = Instant::now();
                let chunk = state.machine.snapshot_next(&mut begun.reader, self.chunk_bytes);
                (chunk, started.elapsed())
            });
            longest = longest.max(took);
            let Some(chunk) = chunk else { break };
            writer.write_chunk(&chunk).map_err(failed)?;
        }
        self.stats.snapshot_chunk_max_us.store(micros(longest), Ordering::Relaxed);
        writer.finish().map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> SnapshotError {
    SnapshotError(error.to_string())
}
