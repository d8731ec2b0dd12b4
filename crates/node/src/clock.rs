//! The only clocks and dice of the system: everything below gets time and entropy with the command.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Longest single sleep. A wall clock may be set back or forward; looking at it at least this often
/// bounds how late a deadline is noticed.
const SLEEP_MAX_MS: u64 = 1_000;

/// A future that ends when a clock reaches some time.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Wall clock, milliseconds since the Unix epoch. The machine never reads it; the proposer stamps it
/// into batches and the timer waits for deadlines on it.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Now, ms since the Unix epoch.
    fn now_ms(&self) -> u64;

    /// Ends once [`Clock::now_ms`] is at or past `at_ms`.
    fn sleep_until(&self, at_ms: u64) -> Sleep<'_>;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, at_ms: u64) -> Sleep<'_> {
        Box::pin(async move {
            loop {
                let now_ms = self.now_ms();
                if now_ms >= at_ms {
                    return;
                }
                tokio::time::sleep(Duration::from_millis((at_ms - now_ms).min(SLEEP_MAX_MS))).await;
            }
        })
    }
}

/// A clock that moves only when told to, for tests and simulation.
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

    fn sleep_until(&self, at_ms: u64) -> Sleep<'_> {
        let mut now_ms = self.now_ms.subscribe();
        Box::pin(async move {
            // The sender lives in `self`, which outlives this future, so the channel cannot close.
            let _reached = now_ms.wait_for(|now_ms| *now_ms >= at_ms).await;
        })
    }
}

/// Where the random bits of an [`willow_core::Envelope`] come from.
pub trait Entropy: Debug + Send + Sync + 'static {
    /// 128 fresh random bits.
    fn draw(&self) -> u128;
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
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_it_passes_them() {
        let clock = ManualClock::new(10);
        clock.sleep_until(10).await;
        let mut later = clock.sleep_until(25);
        let mut poll = || futures_util::FutureExt::now_or_never(&mut later);
        assert!(poll().is_none());
        clock.advance(14);
        assert!(poll().is_none());
        clock.advance(1);
        assert!(poll().is_some());
        assert_eq!(clock.now_ms(), 25);
    }

    #[tokio::test]
    async fn the_system_clock_does_not_wait_for_the_past() {
        SystemClock.sleep_until(SystemClock.now_ms().saturating_sub(5)).await;
        assert!(SystemClock.now_ms() > 1_700_000_000_000);
    }
}
