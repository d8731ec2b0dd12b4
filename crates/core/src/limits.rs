//! Bounds of the machine, each with its reason. Bounds of keys, values and queries are in
//! [`willow_model::limits`].

/// Bytes of a client-chosen request id: enough for a UUID, a trace id or a path, small enough to keep a million.
pub const REQUEST_ID_BYTES: usize = 128;
/// How long a request id is remembered, ms: longer than any client retries one request.
pub const REQUEST_ID_RETENTION_MS: u64 = 10 * 60 * 1000;
/// Request ids remembered at once; the oldest leave first.
pub const REQUEST_IDS: usize = in_tests(2000, 1_000_000);
/// Named cursors of round robins kept at once, those of lookups and those of dequeues; those used longest ago
/// leave first, and begin anew if they come back.
pub const CURSORS: usize = in_tests(64, 100_000);
/// Timers fired by one batch; more make machine time wait, so that one entry never stops the machine for long.
pub const TIMERS_PER_BATCH: usize = 4096;
/// Channels that dequeues of one batch may find blocked; past it they go on in the background. A pause or a full
/// limit is found out channel by channel: without a bound, the first dequeue after a pause of a million channels
/// would stop the machine for seconds.
pub const TRIES_PER_BATCH: usize = 2_000;
/// Shortest lease, ms: below this a heartbeat at a third of it is lost in network jitter.
pub const LEASE_MIN_MS: u64 = 100;
/// Longest lease, ms (24 h): a lease is for liveness, not for keeping.
pub const LEASE_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// Lease where none is asked for, ms.
pub const LEASE_DEFAULT_MS: u64 = 30_000;
/// Longest wait of one request, ms (5 min): proxies cut longer ones anyway.
pub const WAIT_MAX_MS: u64 = 5 * 60 * 1000;
/// Waiting commands at once in one machine.
pub const WAITERS: usize = in_tests(500, 100_000);
/// Locks of one atomic acquire.
pub const LOCKS_PER_ACQUIRE: usize = 64;
/// Locks one session may hold or wait for: they are all given back in one apply when it ends.
pub const LOCKS_PER_SESSION: usize = 10_000;
/// Sessions of one machine: bounds its memory whatever clients do.
pub const SESSIONS: usize = in_tests(1000, 2_000_000);
/// Locks in use in one machine, for the same reason.
pub const LOCKS: usize = in_tests(300, 10_000_000);
/// Holders of one shared lock or semaphore; further requests wait in line. Letting go costs a move of
/// those behind it.
pub const HOLDERS_PER_LOCK: usize = 10_000;
/// Permits of a semaphore.
pub const PERMITS_MAX: u32 = 1_000_000;
/// Bytes of an owner, consumer, reason or content type.
pub const LABEL_BYTES: usize = 256;
/// Items of one batch call.
pub const BATCH_ITEMS: usize = 1000;
/// Longest delay, backoff or expiry of an item, ms (366 days).
pub const ITEM_DELAY_MAX_MS: u64 = 366 * 24 * 60 * 60 * 1000;
/// Standing pauses of one queue: each is evaluated for each new channel.
pub const PAUSES_PER_QUEUE: usize = 64;
/// Tolerations of one dequeue.
pub const TOLERATIONS: usize = 32;
/// Taints of one channel.
pub const TAINTS: usize = 32;
/// Metadata pairs of one channel.
pub const METADATA_PAIRS: usize = 32;
/// Rules of a machine.
pub const RULES: usize = in_tests(200, 1_000_000);
/// Overrides of a machine.
pub const OVERRIDES: usize = in_tests(100, 1_000_000);
/// Overrides of one rule. They all go with it in one apply, and counters move out of their buckets: about 18 µs
/// each. (In steps, a rule would be half deleted meanwhile: neither limiting nor gone.)
pub const OVERRIDES_PER_RULE: u64 = in_tests(40, 20_000) as u64;
/// Unsaved rules of one what-if explain.
pub const WHAT_IF_RULES: usize = 100;
/// Rows a background action (queue delete, purge, redrive) handles in one apply.
pub const ROWS_PER_STEP: usize = 1000;

/// Smaller in this crate's own tests, which fill what is bounded.
const fn in_tests(small: usize, real: usize) -> usize {
    if cfg!(test) { small } else { real }
}

#[cfg(test)]
mod tests;
