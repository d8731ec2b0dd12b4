//! Settings and bounds of a node, each with its reason.

use std::path::PathBuf;
use std::sync::Arc;

use willow_storage::snapshot::SnapshotOptions;
use willow_storage::vfs::{StdVfs, Vfs};

use crate::StartError;
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::cluster::Peering;
use crate::tasks::RuntimeKind;

/// Bytes of one encoded command. A batch call carries up to 1000 items; past this a single entry would
/// hold up every other caller for longer than a client should wait.
pub const COMMAND_BYTES: usize = 16 * 1024 * 1024;

/// Bytes that a snapshot leaves free. Less than the log does: when the log finds the disk full, a snapshot
/// that takes its place is what makes room.
const SNAPSHOT_MIN_FREE_BYTES: u64 = 64 * 1024 * 1024;

/// How a node runs. [`Config::new`] gives defaults that suit a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where log and snapshots live. Created when missing.
    pub data_dir: PathBuf,
    /// How this node takes part in a cluster of several; `None` is a cluster of one.
    pub peering: Option<Peering>,
    /// What it runs on.
    pub runtime: RuntimeKind,
    /// Commands in one log entry. Bounds how long one apply keeps readers out (about 10 µs a command).
    pub batch_commands: usize,
    /// Bytes in one log entry; a single larger command still gets an entry of its own.
    pub batch_bytes: usize,
    /// Entries between being proposed and being applied. Two keep the disk busy while the last entry is
    /// applied; more only splits the same commands over more entries.
    pub batches_in_flight: usize,
    /// Commands waiting to be proposed. Beyond, callers get [`crate::ProposeError::Overloaded`].
    pub queue_commands: usize,
    /// Bytes of commands waiting to be proposed.
    pub queue_bytes: usize,
    /// A snapshot is due once this many bytes of log follow the last one (or as many as the last snapshot
    /// has, when that is more: writing snapshots then never costs more than writing the log).
    pub snapshot_log_bytes: u64,
    /// A snapshot is due once this many commands follow the last one: bounds replay at start.
    pub snapshot_commands: u64,
    /// Bytes of one snapshot chunk: what is read from the machine between two applies.
    pub snapshot_chunk_bytes: usize,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Random bits.
    pub entropy: Arc<dyn Entropy>,
    /// How the log is written.
    pub log: willow_storage::log::Options,
    /// How snapshots are kept.
    pub snapshots: SnapshotOptions,
    /// The file system.
    pub vfs: Arc<dyn Vfs>,
}

impl Config {
    /// The defaults, for a node that keeps its data in `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            peering: None,
            runtime: RuntimeKind::default(),
            batch_commands: 512,
            batch_bytes: 4 * 1024 * 1024,
            batches_in_flight: 2,
            queue_commands: 20_000,
            queue_bytes: 128 * 1024 * 1024,
            snapshot_log_bytes: 128 * 1024 * 1024,
            snapshot_commands: 1_000_000,
            snapshot_chunk_bytes: 64 * 1024,
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(SystemEntropy),
            log: willow_storage::log::Options::default(),
            snapshots: SnapshotOptions { min_free_bytes: SNAPSHOT_MIN_FREE_BYTES, ..SnapshotOptions::default() },
            vfs: Arc::new(StdVfs),
        }
    }

    /// Refuses settings under which the node could not work.
    pub(crate) fn validate(&self) -> Result<(), StartError> {
        let positive = [
            ("batch_commands", self.batch_commands),
            ("batch_bytes", self.batch_bytes),
            ("batches_in_flight", self.batches_in_flight),
            ("queue_commands", self.queue_commands),
            ("queue_bytes", self.queue_bytes),
            ("snapshot_chunk_bytes", self.snapshot_chunk_bytes),
        ];
        for (name, value) in positive {
            if value == 0 {
                return Err(StartError::Config(format!("{name} must be at least 1")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_refused_by_name() {
        let mut config = Config::new("data");
        assert!(config.validate().is_ok());
        config.batches_in_flight = 0;
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("batches_in_flight"), "{error}");
    }
}
