//! What can go wrong, one enum per operation. Every message says what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::log::GroupId;

/// A failed call of the file system: what was done, to which path, and why it failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct IoError {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// The operating system's reason. Shared, because one failure is told to many callers.
    pub source: Arc<io::Error>,
}

impl IoError {
    pub(crate) fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self { action, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether the disk or the quota was full.
    pub fn is_disk_full(&self) -> bool {
        crate::vfs::is_disk_full(&self.source)
    }
}

/// Adds the action and path to an [`io::Error`].
pub(crate) trait IoContext<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, IoError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, IoError> {
        self.map_err(|source| IoError::new(action, path, source))
    }
}

/// Why a log or a snapshot directory could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or handle) has the directory open.
    #[error("{} is in use by another process: stop it first, or use another data directory", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The options contradict each other.
    #[error("storage options: {0}")]
    Options(String),
    /// Acknowledged data is damaged. The log is left exactly as it was found.
    #[error(
        "{}, byte {offset}: {reason}. Acknowledged data is damaged, so this directory is not \
         opened and nothing in it was changed. In a cluster: remove this node, give it an empty \
         data directory and join it again. A single node: restore a backup, after checking the \
         disk", path.display()
    )]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Written by a newer release.
    #[error(
        "{} has format version {version}, which this release does not know: run the release that \
         wrote it, or a newer one", path.display()
    )]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// The disk is too full to start.
    #[error("disk full: {0}; free some space and start again")]
    DiskFull(IoError),
    /// The file system refused.
    #[error(transparent)]
    Io(IoError),
}

/// Why a record was not made durable. Whoever gets this must not acknowledge.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no room for another segment. Nothing was written, everything durable stays, and
    /// writing works again as soon as there is space: free some, or purge.
    #[error("disk full, write refused: {reason}; free disk space, writing then resumes by itself")]
    DiskFull {
        /// What ran out.
        reason: String,
    },
    /// The next segment could not be made, for another reason than space. Nothing was written,
    /// everything durable stays, and it is tried again.
    #[error("write refused, the next log segment cannot be made: {cause}; tried again by itself")]
    NoSegment {
        /// Why not.
        cause: IoError,
    },
    /// A write or sync failed earlier, so what the disk holds past that point is unknown; the log
    /// refuses every write until the process is started again. Reads go on.
    #[error("the log stopped writing after a failure: {cause}; check the disk, then restart")]
    Poisoned {
        /// The first failure.
        cause: IoError,
    },
    /// The log was closed before the record was durable.
    #[error("the log is closed")]
    Closed,
    /// A record can never fit into a segment.
    #[error("a record of {bytes} bytes is larger than the {max} bytes that a segment can take")]
    TooLarge {
        /// The record's payload.
        bytes: u64,
        /// The most there can be; see [`crate::log::Options::max_record_bytes`].
        max: u64,
    },
    /// The small durable values of all groups together are too large.
    #[error("durable state of {bytes} bytes is over the limit of {max} bytes")]
    StateTooLarge {
        /// What it would become.
        bytes: u64,
        /// The limit; see [`crate::log::Options::max_state_bytes`].
        max: u64,
    },
    /// Too much is waiting to be written; wait for some of it to become durable.
    #[error("{bytes} bytes wait to be written, more than {max}; retry when some are durable")]
    QueueFull {
        /// What waits.
        bytes: u64,
        /// The limit; see [`crate::log::Options::max_queued_bytes`].
        max: u64,
    },
    /// The records do not follow on from what the group holds. A bug of the caller.
    #[error("group {group}: {reason}")]
    OutOfOrder {
        /// The group.
        group: GroupId,
        /// What does not fit.
        reason: String,
    },
}

/// Why entries could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes on disk are not what was written.
    #[error(
        "{}, byte {offset}: entry {index} of group {group} is damaged on disk; check the disk, \
         and restore this node from its peers or a backup", path.display()
    )]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// The group.
        group: GroupId,
        /// The entry.
        index: u64,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// Why a snapshot could not be written or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no room for it. The partial file is removed.
    #[error("disk full, snapshot given up: {reason}; free disk space")]
    DiskFull {
        /// What ran out.
        reason: String,
    },
    /// The bytes on disk are not what was written.
    #[error("{}, byte {offset}: {reason}; this snapshot cannot be used", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// Written by a newer release.
    #[error(
        "{} has format version {version}, which this release does not know: run the release that \
         wrote it, or a newer one", path.display()
    )]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// A chunk or the meta bytes are larger than the format allows.
    #[error("{bytes} bytes are more than the {max} that a snapshot chunk may have")]
    TooLarge {
        /// The size given.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(IoError),
}

impl From<IoError> for OpenError {
    fn from(error: IoError) -> Self {
        if error.is_disk_full() { Self::DiskFull(error) } else { Self::Io(error) }
    }
}

impl From<IoError> for SnapshotError {
    fn from(error: IoError) -> Self {
        if error.is_disk_full() { Self::DiskFull { reason: error.to_string() } } else { Self::Io(error) }
    }
}
