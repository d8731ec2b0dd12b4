//! Writing a snapshot.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{self, Footer, MAX_CHUNK_BYTES, PARTIAL_SUFFIX, SUFFIX};
use super::store::Inner;
use crate::error::{IoContext, IoError, SnapshotError};
use crate::vfs::{OpenMode, VfsFile};

/// What is written is synced in steps of this size, so that a large snapshot does not flood the
/// disk's queue at its end, in front of the log's syncs.
const SYNC_BYTES: u64 = 8 << 20;

/// A snapshot that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its number; later snapshots have higher ones.
    pub id: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Bytes in the chunks.
    pub bytes: u64,
}

/// Writes one snapshot, chunk by chunk. It exists only after [`SnapshotWriter::finish`]; dropped
/// before, nothing of it stays.
#[derive(Debug)]
pub struct SnapshotWriter {
    store: Arc<Inner>,
    id: u64,
    path: PathBuf,
    file: Box<dyn VfsFile>,
    offset: u64,
    unsynced: u64,
    chunks: u64,
    bytes: u64,
    hasher: blake3::Hasher,
    finished: bool,
}

impl SnapshotWriter {
    pub(super) fn create(store: Arc<Inner>, id: u64, meta: &[u8]) -> Result<Self, SnapshotError> {
        let path = store.dir.join(format::name(id, PARTIAL_SUFFIX));
        let file = store.vfs.open(&path, OpenMode::CreateNew).context("create", &path)?;
        let mut writer = Self {
            store,
            id,
            path,
            file,
            offset: 0,
            unsynced: 0,
            chunks: 0,
            bytes: 0,
            hasher: blake3::Hasher::new(),
            finished: false,
        };
        writer.write(&format::encode_header(id, meta))?;
        Ok(writer)
    }

    /// Appends a chunk of at most [`MAX_CHUNK_BYTES`]. An empty one is left out.
    pub fn write_chunk(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if bytes.len() > MAX_CHUNK_BYTES {
            return Err(SnapshotError::TooLarge { bytes: bytes.len() as u64, max: MAX_CHUNK_BYTES as u64 });
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.write(&format::chunk_header(self.chunks, bytes))?;
        self.write(bytes)?;
        self.chunks += 1;
        self.bytes += bytes.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            self.store.check_free()?;
            self.sync()?;
        }
        Ok(())
    }

    /// Completes the snapshot, makes it durable, and removes those that are too many.
    pub fn finish(mut self) -> Result<SnapshotInfo, SnapshotError> {
        let footer = Footer { chunks: self.chunks, bytes: self.bytes, hash: *self.hasher.finalize().as_bytes() };
        self.write(&footer.encode())?;
        self.sync()?;
        let path = self.store.dir.join(format::name(self.id, SUFFIX));
        self.store.vfs.rename(&self.path, &path).context("rename", &self.path)?;
        self.finished = true;
        self.store.sync_dir()?;
        self.store.prune();
        Ok(SnapshotInfo { id: self.id, chunks: self.chunks, bytes: self.bytes })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        self.file.write_all_at(bytes, self.offset).context("write", &self.path)?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), IoError> {
        self.file.sync_data().context("sync", &self.path)?;
        self.unsynced = 0;
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished {
            remove_partial(&self.store, &self.path);
        }
    }
}

/// Best effort: what stays is removed when the store is opened next.
fn remove_partial(store: &Inner, path: &Path) {
    if let Err(error) = store.vfs.remove(path) {
        tracing::debug!(path = %path.display(), %error, "partial snapshot not removed");
    }
}
