//! The only clocks and dice of the system: everything below gets time and entropy with the command.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::watch;
use willow_model::bugs::{self, Bug};

/// Longest single sleep. A wall clock may be set back or forward; looking at it at least this often
/// bounds how late a deadline is noticed.
const SLEEP_MAX_MS: u64 = 1_000;

/// A clock this far behind the log is worth a warning: it is, or was, set wrong.
const BEHIND_MS: u64 = 10_000;

/// How much faster than real time the log's may run to catch up with the leader's wall clock: one part in
/// this many. A lease is at most that much shorter than it was granted for, which is less than what its holder
/// keeps as a margin.
const SLEW: u64 = 200;
/// The most that a leader makes up at once, ms: a wall clock that jumps must not take the log's time along.
const SLEW_MAX_MS: u64 = 1;

/// A future that ends after a sleep.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What a computer knows of time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall clock, ms since the Unix epoch. May be wrong, and may be set at any time.
    fn now_ms(&self) -> u64;

    /// Milliseconds since some moment of this process's life. Never goes back, never jumps.
    fn monotonic_ms(&self) -> u64;

    /// Ends when [`Clock::monotonic_ms`] is `ms` further.
    fn sleep(&self, ms: u64) -> Sleep<'_>;
}

/// The computer's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
    }

    fn monotonic_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    fn sleep(&self, ms: u64) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(Duration::from_millis(ms)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that moves only when told to, for tests.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: watch::Sender<u64>,
}

impl ManualClock {
    /// A clock that shows `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self { now_ms: watch::Sender::new(now_ms) }
    }

    /// Moves the clock forward and wakes who waited for that.
    pub fn advance(&self, ms: u64) {
        self.now_ms.send_modify(|now_ms| *now_ms = now_ms.saturating_add(ms));
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        *self.now_ms.borrow()
    }

    fn monotonic_ms(&self) -> u64 {
        *self.now_ms.borrow()
    }

    fn sleep(&self, ms: u64) -> Sleep<'_> {
        let mut now_ms = self.now_ms.subscribe();
        let at_ms = self.now_ms().saturating_add(ms);
        Box::pin(async move {
            // The sender lives in `self`, which outlives this future, so the channel cannot close.
            let _reached = now_ms.wait_for(|now_ms| *now_ms >= at_ms).await;
        })
    }
}

/// The time of one group's log, ms since the Unix epoch: what a leader stamps into batches, what deadlines
/// count in.
///
/// It goes on from the last batch applied, by what has passed on this computer since. A new leader therefore
/// carries on where the old one was, less the time the batch took to get here: leases last a little longer for a
/// fail-over, never shorter, however wrong its wall clock is. While nobody leads, time stands still. A leader
/// lets it run a little fast towards its wall clock, so that it does not stay behind for ever.
///
/// The only voter of a group has nobody to disagree with: it follows its own wall clock forward, so that a
/// restart sees what passed meanwhile.
#[derive(Debug)]
pub(crate) struct LogClock {
    clock: Arc<dyn Clock>,
    /// When time was last told or taken from the log, and what it was.
    anchor: Mutex<Anchor>,
    is_alone: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Anchor {
    monotonic_ms: u64,
    log_ms: u64,
    /// What has passed without being made use of to catch up, ms.
    unused_ms: u64,
}

impl LogClock {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let anchor = Anchor { monotonic_ms: clock.monotonic_ms(), ..Anchor::default() };
        Self { clock, anchor: Mutex::new(anchor), is_alone: AtomicBool::new(false) }
    }

    /// Whether this node is the group's only voter. Until that is known it is not: a member that comes back must not
    /// take up its own wall clock.
    pub(crate) fn set_alone(&self, is_alone: bool) {
        if self.is_alone.load(Ordering::Relaxed) && !is_alone {
            // What it said while it was alone stays said.
            self.now_ms();
        }
        self.is_alone.store(is_alone, Ordering::Relaxed);
    }

    /// Now, in the log.
    pub(crate) fn now_ms(&self) -> u64 {
        self.at(self.clock.monotonic_ms(), self.clock.now_ms())
    }

    fn at(&self, monotonic_ms: u64, wall_ms: u64) -> u64 {
        let mut anchor = self.anchor.lock();
        let passed_ms = monotonic_ms.saturating_sub(anchor.monotonic_ms);
        let steady_ms = anchor.log_ms.saturating_add(passed_ms);
        let behind_ms = wall_ms.saturating_sub(steady_ms);
        // A log without a batch has no time yet.
        let is_free =
            self.is_alone.load(Ordering::Relaxed) || anchor.log_ms == 0 || bugs::is_on(Bug::LeaseShortenedOnFailover);
        let unused_ms = anchor.unused_ms.saturating_add(passed_ms).min(SLEW * SLEW_MAX_MS);
        let caught_up_ms = if is_free { behind_ms } else { behind_ms.min(unused_ms / SLEW) };
        let unused_ms = unused_ms.saturating_sub(caught_up_ms.saturating_mul(SLEW));
        *anchor = Anchor { monotonic_ms, log_ms: steady_ms.saturating_add(caught_up_ms), unused_ms };
        anchor.log_ms
    }

    /// A batch of another node, or of an earlier life, was stamped `log_ms`.
    pub(crate) fn observe(&self, log_ms: u64) {
        let (monotonic_ms, wall_ms) = (self.clock.monotonic_ms(), self.clock.now_ms());
        if self.is_alone.load(Ordering::Relaxed) {
            let behind_ms = log_ms.saturating_sub(self.at(monotonic_ms, wall_ms));
            if behind_ms == 0 {
                return;
            }
            if behind_ms > BEHIND_MS {
                tracing::warn!(behind_ms, "this computer's clock is behind the log, whose time goes on from there");
            }
        }
        *self.anchor.lock() = Anchor { monotonic_ms, log_ms, unused_ms: 0 };
    }

    /// Ends once [`LogClock::now_ms`] is at or past `at_ms`.
    pub(crate) async fn sleep_until(&self, at_ms: u64) {
        loop {
            let now_ms = self.now_ms();
            if now_ms >= at_ms {
                return;
            }
            self.clock.sleep((at_ms - now_ms).min(SLEEP_MAX_MS)).await;
        }
    }

    /// Ends `ms` from now.
    pub(crate) async fn sleep(&self, ms: u64) {
        self.clock.sleep(ms).await;
    }

    /// See [`Clock::monotonic_ms`].
    pub(crate) fn monotonic_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }
}

/// Where the random bits of an [`willow_core::Envelope`] come from.
pub trait Entropy: Debug + Send + Sync + 'static {
    /// 128 fresh random bits.
    fn draw(&self) -> u128;
}

/// 256 fresh random bits.
pub(crate) fn secret(entropy: &dyn Entropy) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[..16].copy_from_slice(&entropy.draw().to_le_bytes());
    secret[16..].copy_from_slice(&entropy.draw().to_le_bytes());
    secret
}

/// Cryptographically strong bits of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn draw(&self) -> u128 {
        rand::random()
    }
}

#[cfg(test)]
mod tests;
