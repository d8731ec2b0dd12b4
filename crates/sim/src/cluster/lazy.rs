//! A disk to which syncs of the log's writes mean nothing: what `Bug::AckBeforeSync` is seen by.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use willow_storage::vfs::{FaultVfs, LockGuard, OpenMode, Vfs, VfsFile};

/// The file system, without syncs of files.
#[derive(Debug)]
pub(super) struct LazyVfs(pub(super) FaultVfs);

impl Vfs for LazyVfs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn VfsFile>> {
        let file = self.0.open(path, mode)?;
        // Only the log acknowledges; the rest is written as ever.
        let is_log = path.extension().is_none_or(|extension| extension != "json" && extension != "partial");
        Ok(if is_log { Box::new(LazyFile { file, is_made: AtomicBool::new(false) }) } else { file })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.0.free_bytes(dir)
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.0.lock_dir(dir)
    }
}

#[derive(Debug)]
struct LazyFile {
    file: Box<dyn VfsFile>,
    /// Its beginning was written since the last sync: a segment is being made, which nobody waits for.
    is_made: AtomicBool,
}

impl VfsFile for LazyFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        // What the write before left behind is on disk by now: only the last one is not.
        self.file.sync_data()?;
        self.is_made.fetch_or(offset == 0, Ordering::Relaxed);
        self.file.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.is_made.swap(false, Ordering::Relaxed) { self.file.sync_data() } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
