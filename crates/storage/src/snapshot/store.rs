//! The directory of snapshots.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::{self, MAX_META_BYTES, PARTIAL_SUFFIX, SUFFIX};
use super::reader::SnapshotReader;
use super::writer::SnapshotWriter;
use crate::error::{IoContext, IoError, OpenError, SnapshotError};
use crate::vfs::{LockGuard, Vfs};

/// Settings of a snapshot store.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotOptions {
    /// How many snapshots stay, at least 1. Two, so that there is one to fall back to.
    pub keep: usize,
    /// A snapshot is given up when less than this would stay free on the file system.
    pub min_free_bytes: u64,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self { keep: 2, min_free_bytes: 256 << 20 }
    }
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) dir: PathBuf,
    options: SnapshotOptions,
    next_id: AtomicU64,
    _lock: Box<dyn LockGuard>,
}

/// A directory of snapshots. Handles are cheap to clone.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    inner: Arc<Inner>,
}

/// What [`SnapshotStore::latest`] found.
#[derive(Debug)]
pub struct Latest {
    /// The newest intact snapshot.
    pub snapshot: Option<SnapshotReader>,
    /// Newer ones that are damaged, newest first. If the log was purged on the strength of one of
    /// them, the entries after the older snapshot may be gone: compare before going on.
    pub refused: Vec<SnapshotError>,
}

impl SnapshotStore {
    /// Opens the store in `dir`, creating it if need be, locks the directory, and removes what an
    /// unfinished snapshot left.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, options: SnapshotOptions) -> Result<Self, OpenError> {
        if options.keep == 0 {
            return Err(OpenError::Options("keep is 0; it must be at least 1".to_owned()));
        }
        vfs.create_dir_all(dir).context("create", dir)?;
        let lock = vfs.lock_dir(dir).map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                OpenError::Locked { dir: dir.to_owned() }
            } else {
                IoError::new("lock", dir, error).into()
            }
        })?;
        let mut last_id = 0;
        for file in vfs.list(dir).context("list", dir)? {
            if let Some(id) = format::parse_name(&file, PARTIAL_SUFFIX) {
                last_id = last_id.max(id);
                let path = dir.join(file);
                vfs.remove(&path).context("remove", &path)?;
            } else if let Some(id) = format::parse_name(&file, SUFFIX) {
                last_id = last_id.max(id);
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                vfs,
                dir: dir.to_owned(),
                options,
                next_id: AtomicU64::new(last_id.saturating_add(1)),
                _lock: lock,
            }),
        })
    }

    /// Starts a snapshot that carries `meta`, opaque here.
    pub fn create(&self, meta: &[u8]) -> Result<SnapshotWriter, SnapshotError> {
        if meta.len() > MAX_META_BYTES {
            return Err(SnapshotError::TooLarge { bytes: meta.len() as u64, max: MAX_META_BYTES as u64 });
        }
        self.inner.check_free()?;
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        SnapshotWriter::create(Arc::clone(&self.inner), id, meta)
    }

    /// The newest snapshot that is intact: read through and compared with its checksums before
    /// it is handed out. Damaged ones are passed over with a warning. A newest one of an unknown
    /// version is an error, since an older one would undo what a newer release did.
    pub fn latest(&self) -> Result<Latest, SnapshotError> {
        let mut latest = Latest { snapshot: None, refused: Vec::new() };
        for id in self.inner.ids()? {
            let opened = self.read(id).and_then(|mut reader| {
                reader.verify()?;
                Ok(reader)
            });
            match opened {
                Ok(reader) => {
                    latest.snapshot = Some(reader);
                    break;
                }
                Err(error @ SnapshotError::UnknownVersion { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!(id, %error, "snapshot passed over for an older one");
                    latest.refused.push(error);
                }
            }
        }
        Ok(latest)
    }

    /// Opens snapshot `id` without reading it through first; its chunks are still checked one by
    /// one.
    pub fn read(&self, id: u64) -> Result<SnapshotReader, SnapshotError> {
        let path = self.inner.dir.join(format::name(id, SUFFIX));
        SnapshotReader::open(&*self.inner.vfs, &path, id)
    }

    /// Numbers of the snapshots there are, newest first.
    pub fn ids(&self) -> Result<Vec<u64>, SnapshotError> {
        Ok(self.inner.ids()?)
    }
}

impl Inner {
    fn ids(&self) -> Result<Vec<u64>, IoError> {
        let files = self.vfs.list(&self.dir).context("list", &self.dir)?;
        let mut ids: Vec<u64> = files.iter().filter_map(|file| format::parse_name(file, SUFFIX)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids)
    }

    pub(super) fn check_free(&self) -> Result<(), SnapshotError> {
        let free = self.vfs.free_bytes(&self.dir).context("measure the free space of", &self.dir)?;
        let min = self.options.min_free_bytes;
        if free < min {
            let reason = format!("{free} bytes are free, and {min} are to stay free");
            return Err(SnapshotError::DiskFull { reason });
        }
        Ok(())
    }

    pub(super) fn sync_dir(&self) -> Result<(), IoError> {
        self.vfs.sync_dir(&self.dir).context("sync", &self.dir)
    }

    /// Removes the oldest snapshots that are too many. Failing is no harm: the next one tries
    /// again.
    pub(super) fn prune(&self) {
        let result = self.ids().and_then(|ids| {
            for id in ids.into_iter().skip(self.options.keep) {
                let path = self.dir.join(format::name(id, SUFFIX));
                self.vfs.remove(&path).context("remove", &path)?;
            }
            self.sync_dir()
        });
        if let Err(error) = result {
            tracing::warn!(%error, "old snapshots stay for now");
        }
    }
}
