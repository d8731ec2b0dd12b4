//! The only clocks and dice of the system: everything below gets time and entropy with the command.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::watch;

/// Longest single sleep. A wall clock may be set back or forward; looking at it at least this often
/// bounds how late a deadline is noticed.
const SLEEP_MAX_MS: u64 = 1_000;

/// A clock this far behind the log is worth a warning: it is, or was, set wrong.
const BEHIND_MS: u64 = 10_000;

/// A future that ends when a clock reaches some time.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Milliseconds since the Unix epoch. The machine never reads it; the proposer stamps it into batches and
/// the timer waits for deadlines on it.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Now, ms since the Unix epoch.
    fn now_ms(&self) -> u64;

    /// Goes on from `at_ms`, if that is ahead: what the log says it is already.
    fn not_before(&self, at_ms: u64);

    /// Ends once [`Clock::now_ms`] is at or past `at_ms`.
    fn sleep_until(&self, at_ms: u64) -> Sleep<'_>;
}

/// The computer's clock, where it can be trusted: it never goes back, and never stands still. A wall clock
/// that was far ahead when the log was written, or is set back while this runs, would otherwise stop time
/// until it has caught up, and with it every lease and every wait.
#[derive(Debug, Default)]
pub struct SystemClock {
    /// When time was last taken from the wall clock or from the log, and what it was.
    anchor: Mutex<Option<(Instant, u64)>>,
}

impl SystemClock {
    /// `wall_ms`, or what has passed since the anchor if that is later.
    fn at(&self, now: Instant, wall_ms: u64) -> u64 {
        let mut anchor = self.anchor.lock();
        if let Some((since, from_ms)) = *anchor {
            let passed_ms = u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
            let steady_ms = from_ms.saturating_add(passed_ms);
            if wall_ms <= steady_ms {
                return steady_ms;
            }
        }
        *anchor = Some((now, wall_ms));
        wall_ms
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.at(Instant::now(), u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn not_before(&self, at_ms: u64) {
        let behind_ms = at_ms.saturating_sub(self.now_ms());
        if behind_ms == 0 {
            return;
        }
        if behind_ms > BEHIND_MS {
            tracing::warn!(behind_ms, "this computer's clock is behind the time in the log, which goes on from there");
        }
        *self.anchor.lock() = Some((Instant::now(), at_ms));
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

    /// Left as it is: tests say what time it is.
    fn not_before(&self, _at_ms: u64) {}

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
        let clock = SystemClock::default();
        clock.sleep_until(clock.now_ms().saturating_sub(5)).await;
        assert!(clock.now_ms() > 1_700_000_000_000);
    }

    /// The log was once written with a clock ten years ahead.
    #[test]
    fn a_system_clock_behind_the_log_goes_on_from_there() {
        let clock = SystemClock::default();
        let ahead_ms = clock.now_ms() + 10 * 365 * 24 * 60 * 60 * 1000;
        clock.not_before(ahead_ms);
        let begun = Instant::now();
        while clock.now_ms() < ahead_ms + 2 {
            assert!(begun.elapsed() < Duration::from_secs(60), "time stands still");
            std::thread::yield_now();
        }
        clock.not_before(5);
        assert!(clock.now_ms() >= ahead_ms + 2);
    }

    #[test]
    fn a_wall_clock_set_back_does_not_stop_time_and_one_set_forward_is_followed() {
        let clock = SystemClock::default();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(clock.at(after(0), 1000), 1000);
        assert_eq!(clock.at(after(10), 1010), 1010);
        // An hour back, as it were.
        assert_eq!(clock.at(after(20), 3), 1020);
        assert_eq!(clock.at(after(500), 483), 1500);
        // Asked often, nothing is lost to rounding.
        for micros in 500_000..503_000 {
            clock.at(start + Duration::from_micros(micros), 483);
        }
        assert_eq!(clock.at(after(503), 486), 1503);
        assert_eq!(clock.at(after(504), 5000), 5000);
        assert_eq!(clock.at(after(506), 4000), 5002);
    }
}
