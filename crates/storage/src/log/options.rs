//! Settings of the log, each with its reason.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::format::{BATCH_HEADER, PAGE, RECORD_HEADER, SECTOR, SEGMENT_HEADER};
use crate::error::OpenError;

/// Smallest segment that leaves room for headers, a checkpoint and a record.
const MIN_SEGMENT_BYTES: u64 = 32 * 1024;
/// Offsets in a segment are `u32`.
const MAX_SEGMENT_BYTES: u64 = 1 << 31;

/// Who does the writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threading {
    /// A writer thread commits whatever is queued at once, another prepares the next segment.
    Threads,
    /// The caller of [`crate::log::Log::submit`] writes and syncs, and runs the callback, before
    /// `submit` returns. Deterministic: for simulations, tests and tools.
    Inline,
}

/// When a writer without a thread of its own writes: for simulations of slow disks.
pub trait Pace: fmt::Debug + Send + Sync {
    /// Calls `turn` once, now or later. It writes and syncs what is queued then, and runs the callbacks.
    fn turn(&self, turn: Box<dyn FnOnce() + Send>);
}

/// Settings of the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of a segment file, a multiple of 4 KiB from 32 KiB to 2 GiB. 64 MiB: large enough
    /// that rolling is rare, small enough that the space of purged entries returns soon.
    pub segment_bytes: u64,
    /// The most that one write and sync take from the queue (one larger record still goes, by
    /// itself). Bounds the write buffer, and how long the first in a batch waits for the last.
    pub max_batch_bytes: u64,
    /// The most that may wait to be written before submissions are refused.
    pub max_queued_bytes: u64,
    /// The most that the small durable values of all groups may take, record headers included.
    /// They are repeated at the start of every segment.
    pub max_state_bytes: u64,
    /// Payloads of recent entries kept in memory for readers, over all groups.
    pub cache_bytes: u64,
    /// When no further segment can be had and less room than this is left in the current one,
    /// entries are refused; [`crate::log::Log::writable`] says so at twice as much. The rest is
    /// kept for what gives space back: purges, truncations, state.
    pub reserve_bytes: u64,
    /// No new segment is made when less than this would stay free on the file system.
    pub min_free_bytes: u64,
    /// Segments beyond twice the live data that may be in use before the entries that keep the
    /// oldest one alive are written again further on.
    pub slack_segments: u64,
    /// After this long without work, a mark is written that proves the last batch durable, so
    /// that later damage to it is told from a torn write. `None`: only when the log is closed.
    pub idle_seal: Option<Duration>,
    /// How often to try again to make a segment after that failed.
    pub retry_interval: Duration,
    /// Who does the writing.
    pub threading: Threading,
    /// With [`Threading::Inline`], when the caller's turn to write comes; at once if `None`.
    pub pace: Option<Arc<dyn Pace>>,
    /// Binds the bytes to this log when it is created; random if `None`.
    pub nonce: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_batch_bytes: 8 << 20,
            max_queued_bytes: 256 << 20,
            max_state_bytes: 1 << 20,
            cache_bytes: 64 << 20,
            reserve_bytes: 8 << 20,
            min_free_bytes: 256 << 20,
            slack_segments: 8,
            idle_seal: Some(Duration::from_secs(1)),
            retry_interval: Duration::from_secs(1),
            threading: Threading::Threads,
            pace: None,
            nonce: None,
        }
    }
}

impl Options {
    /// Small and deterministic: 64 KiB segments, written by the caller.
    pub fn small_inline() -> Self {
        Self {
            segment_bytes: 64 << 10,
            max_batch_bytes: 16 << 10,
            max_queued_bytes: 16 << 20,
            max_state_bytes: 8 << 10,
            cache_bytes: 16 << 10,
            reserve_bytes: 8 << 10,
            min_free_bytes: 0,
            slack_segments: 2,
            idle_seal: None,
            threading: Threading::Inline,
            nonce: Some(0x5EED),
            ..Self::default()
        }
    }

    /// The largest payload of one entry.
    pub fn max_record_bytes(&self) -> u64 {
        let overhead = (SEGMENT_HEADER + BATCH_HEADER + RECORD_HEADER + SECTOR) as u64;
        self.segment_bytes.saturating_sub(overhead + self.max_state_bytes)
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let refuse = |reason: String| Err(OpenError::Options(reason));
        let segment = self.segment_bytes;
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&segment) || !segment.is_multiple_of(PAGE as u64) {
            return refuse(format!(
                "segment_bytes is {segment}; it must be a multiple of {PAGE} from \
                 {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES}"
            ));
        }
        if self.max_state_bytes > segment / 4 {
            return refuse(format!(
                "max_state_bytes is {}; it may be at most a quarter of segment_bytes",
                self.max_state_bytes
            ));
        }
        if self.max_batch_bytes == 0 || self.max_batch_bytes > self.max_record_bytes() {
            return refuse(format!(
                "max_batch_bytes is {}; it must be from 1 to {}",
                self.max_batch_bytes,
                self.max_record_bytes()
            ));
        }
        if self.reserve_bytes > segment / 4 {
            return refuse(format!(
                "reserve_bytes is {}; it may be at most a quarter of segment_bytes",
                self.reserve_bytes
            ));
        }
        Ok(())
    }
}
