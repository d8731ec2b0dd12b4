//! The only door to the file system.
//!
//! Everything this crate does to a disk goes through [`Vfs`] and [`VfsFile`], so that tests and
//! simulations can put [`FaultVfs`] in the place of [`StdVfs`] and lose, tear, flip or refuse
//! writes at any chosen operation.

mod disk;
mod fault;

use std::fmt::Debug;
use std::io;
use std::path::Path;

pub use disk::StdVfs;
pub use fault::{CrashMode, FaultVfs, Op};

/// How [`Vfs::open`] treats a file that does or does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must not exist yet.
    CreateNew,
    /// The file must exist; it is opened for reading and writing.
    ReadWrite,
    /// The file must exist; it is opened for reading.
    Read,
}

/// Releases a directory lock when dropped.
pub trait LockGuard: Debug + Send + Sync {}

/// A file system, as narrow as this crate needs it.
pub trait Vfs: Debug + Send + Sync {
    /// Creates a directory and its missing parents.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names (not paths) of the files directly in `dir`, in no particular order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn VfsFile>>;
    /// Renames a file within one directory; durable only after [`Vfs::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; durable only after [`Vfs::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes an ordinary process may still write on the file system that holds `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
    /// Takes the exclusive lock of `dir`. Fails with [`io::ErrorKind::WouldBlock`] when another
    /// process (or another handle in this one) holds it.
    fn lock_dir(&self, dir: &Path) -> io::Result<Box<dyn LockGuard>>;
}

/// An open file, read and written at explicit offsets so that readers need no lock.
pub trait VfsFile: Debug + Send + Sync {
    /// Fills `buf` from `offset`; fails with [`io::ErrorKind::UnexpectedEof`] past the end.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `buf` at `offset`; durable only after [`VfsFile::sync_data`].
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the file's data and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file holds no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Whether an error says that the disk (or the quota) is full.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
