//! Turns deadlines of the machine into log entries. Nothing expires here: when a deadline has passed, an
//! empty batch is proposed, and applying it lets the machine's time pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::clock::LogClock;
use crate::proposer::Proposer;

/// "No deadline".
const NEVER: u64 = u64::MAX;
/// How long to leave a proposed tick alone before proposing another for the same deadline: it may be lost
/// when leadership moves, or wait for a full disk.
const TICK_RETRY_MS: u64 = 100;

/// The machine's next deadline, as the last apply left it.
#[derive(Debug)]
pub(crate) struct Timer {
    next_ms: AtomicU64,
    /// What the task sleeps for. An apply that moves the deadline later need not wake it.
    armed_ms: AtomicU64,
    /// Counts applies, to see whether a tick has been applied.
    applies: AtomicU64,
    /// A tick is out: the next apply wakes the task, whatever the deadline.
    tick_is_out: AtomicBool,
    changed: Notify,
}

impl Timer {
    pub(crate) fn new() -> Self {
        Self {
            next_ms: AtomicU64::new(NEVER),
            armed_ms: AtomicU64::new(NEVER),
            applies: AtomicU64::new(0),
            tick_is_out: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Notes the machine's next deadline after an apply.
    pub(crate) fn set(&self, next_ms: Option<u64>) {
        let next_ms = next_ms.unwrap_or(NEVER);
        // Sequentially consistent, with the same order reversed in `run`: either this sees what the task
        // armed, or the task sees this deadline before it sleeps.
        self.next_ms.store(next_ms, Ordering::SeqCst);
        self.applies.fetch_add(1, Ordering::SeqCst);
        let is_earlier = next_ms < self.armed_ms.load(Ordering::SeqCst);
        if is_earlier || self.tick_is_out.load(Ordering::SeqCst) {
            self.changed.notify_one();
        }
    }

    /// Proposes a tick whenever a deadline passes, for ever.
    pub(crate) async fn run(self: Arc<Self>, clock: Arc<LogClock>, proposer: Arc<Proposer>) {
        loop {
            let applies = self.applies.load(Ordering::SeqCst);
            let next_ms = self.next_ms.load(Ordering::SeqCst);
            if next_ms <= clock.now_ms() {
                self.tick_is_out.store(true, Ordering::SeqCst);
                proposer.tick();
                self.applied_since(applies, &clock).await;
                self.tick_is_out.store(false, Ordering::SeqCst);
                continue;
            }
            self.armed_ms.store(next_ms, Ordering::SeqCst);
            if self.next_ms.load(Ordering::SeqCst) < next_ms {
                continue;
            }
            if next_ms == NEVER {
                self.changed.notified().await;
            } else {
                tokio::select! {
                    biased;
                    () = clock.sleep_until(next_ms) => {}
                    () = self.changed.notified() => {}
                }
            }
        }
    }

    /// Waits until something was applied after `applies`, or for so long that it may have been lost.
    async fn applied_since(&self, applies: u64, clock: &LogClock) {
        let give_up = clock.sleep(TICK_RETRY_MS);
        tokio::pin!(give_up);
        while self.applies.load(Ordering::SeqCst) == applies {
            tokio::select! {
                    biased;
                () = &mut give_up => return,
                () = self.changed.notified() => {}
            }
        }
    }
}
