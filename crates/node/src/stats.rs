//! Cheap counters of what the node does, for metrics. Reading them takes no lock that matters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the histogram buckets, in µs: from a fast NVMe sync to a disk that hangs.
pub const LATENCY_BOUNDS_US: [u64; 14] =
    [50, 100, 200, 300, 500, 750, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000];

/// Upper bounds of the batch size histogram, in commands.
pub const BATCH_BOUNDS: [u64; 10] = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256];

/// A histogram with fixed bounds; the last bucket has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Upper bounds, inclusive.
    pub bounds: &'static [u64],
    /// Observations per bucket, one more than there are bounds. Not cumulative.
    pub buckets: Vec<u64>,
    /// Sum of all observations.
    pub sum: u64,
}

impl Histogram {
    /// Number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// What a node did so far and how it stands, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Index of the last entry applied.
    pub applied_index: u64,
    /// Batches applied since the start, ticks included; what was read back from the log is not.
    pub batches: u64,
    /// Commands in them.
    pub commands: u64,
    /// Commands of each batch applied.
    pub batch_commands: Histogram,
    /// From handing a batch to the log until it was durable, µs.
    pub durable_us: Histogram,
    /// From having a batch durable and committed until it was applied and answered, µs.
    pub apply_us: Histogram,
    /// Commands waiting to be proposed.
    pub queue_depth: u64,
    /// Callers waiting for a wait to end.
    pub waiters: u64,
    /// Proposals refused because the queue was full.
    pub overloaded: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Snapshots that could not be written.
    pub snapshots_failed: u64,
    /// How long the last snapshot took, µs.
    pub snapshot_us: u64,
    /// Longest time that one chunk of the last snapshot kept the machine, µs.
    pub snapshot_chunk_max_us: u64,
    /// Bytes of the last snapshot.
    pub snapshot_bytes: u64,
    /// Bytes of log since the last snapshot.
    pub log_bytes: u64,
    /// Bytes of the log's files.
    pub log_disk_bytes: u64,
}

#[derive(Debug)]
pub(crate) struct HistogramCells<const N: usize> {
    bounds: &'static [u64; N],
    buckets: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> HistogramCells<N> {
    const fn new(bounds: &'static [u64; N]) -> Self {
        Self { bounds, buckets: [const { AtomicU64::new(0) }; N], above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.buckets.get(at).unwrap_or(&self.above).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn observe_us(&self, took: Duration) {
        self.observe(micros(took));
    }

    fn read(&self) -> Histogram {
        let buckets = self.buckets.iter().chain([&self.above]).map(load).collect();
        Histogram { bounds: self.bounds, buckets, sum: load(&self.sum) }
    }
}

/// The counters behind [`Stats`].
#[derive(Debug)]
pub(crate) struct Cells {
    pub(crate) applied_index: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) batch_commands: HistogramCells<10>,
    pub(crate) durable_us: HistogramCells<14>,
    pub(crate) apply_us: HistogramCells<14>,
    pub(crate) overloaded: AtomicU64,
    pub(crate) snapshots: AtomicU64,
    pub(crate) snapshots_failed: AtomicU64,
    pub(crate) snapshot_us: AtomicU64,
    pub(crate) snapshot_chunk_max_us: AtomicU64,
    pub(crate) snapshot_bytes: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    /// Commands applied since the last snapshot.
    pub(crate) log_commands: AtomicU64,
}

impl Cells {
    pub(crate) const fn new() -> Self {
        Self {
            applied_index: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            batch_commands: HistogramCells::new(&BATCH_BOUNDS),
            durable_us: HistogramCells::new(&LATENCY_BOUNDS_US),
            apply_us: HistogramCells::new(&LATENCY_BOUNDS_US),
            overloaded: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            snapshots_failed: AtomicU64::new(0),
            snapshot_us: AtomicU64::new(0),
            snapshot_chunk_max_us: AtomicU64::new(0),
            snapshot_bytes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            log_commands: AtomicU64::new(0),
        }
    }

    /// Everything at this moment; what the cells do not hold comes in.
    pub(crate) fn read(&self, queue_depth: usize, waiters: usize) -> Stats {
        let batch_commands = self.batch_commands.read();
        Stats {
            applied_index: load(&self.applied_index),
            batches: batch_commands.count(),
            commands: load(&self.commands),
            batch_commands,
            durable_us: self.durable_us.read(),
            apply_us: self.apply_us.read(),
            queue_depth: count(queue_depth),
            waiters: count(waiters),
            overloaded: load(&self.overloaded),
            snapshots: load(&self.snapshots),
            snapshots_failed: load(&self.snapshots_failed),
            snapshot_us: load(&self.snapshot_us),
            snapshot_chunk_max_us: load(&self.snapshot_chunk_max_us),
            snapshot_bytes: load(&self.snapshot_bytes),
            log_bytes: load(&self.log_bytes),
            log_disk_bytes: 0,
        }
    }
}

pub(crate) fn load(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}

pub(crate) fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

pub(crate) fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_first_bucket_that_holds_it() {
        let cells = HistogramCells::new(&BATCH_BOUNDS);
        for value in [0, 1, 2, 3, 4, 256, 257] {
            cells.observe(value);
        }
        let histogram = cells.read();
        assert_eq!(histogram.buckets, [1, 1, 1, 2, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((histogram.count(), histogram.sum), (7, 523));
    }
}
