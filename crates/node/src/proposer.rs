//! Gathers commands into batches while the batches before are made durable: natural group commit.
//!
//! ```text
//!  callers ──push──► Queue ──take──► seal (stamp time) ──► consensus ──► log ──► apply ──► callers
//!                      ▲                                                           │
//!                      └────────────────── finished: the next may go ──────────────┘
//! ```

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use willow_core::command::CancelWait;

use crate::clock::{Entropy, LogClock};
use crate::proposal::{Proposal, Slot};
use crate::queue::{Bounds, Encoded, Queue, Ticket};
use crate::waiters::Cancel;
use crate::{Config, ProposeError};

/// The queue with its lock, clock and wake-ups.
#[derive(Debug)]
pub(crate) struct Proposer {
    queue: Mutex<Queue>,
    /// Wakes the task that proposes.
    work: Notify,
    /// Wakes who waits for the queue to drain.
    idle: Notify,
    /// Wakes who hands cancellations to the leader.
    cancelled: Notify,
    clock: Arc<LogClock>,
    entropy: Arc<dyn Entropy>,
    /// Stamp of the newest batch. Only the proposing task writes it.
    last_ms: Mutex<u64>,
}

impl Proposer {
    pub(crate) fn new(config: &Config, clock: Arc<LogClock>) -> Self {
        Self {
            queue: Mutex::new(Queue::new(Bounds::from(config))),
            work: Notify::new(),
            idle: Notify::new(),
            cancelled: Notify::new(),
            clock,
            entropy: Arc::clone(&config.entropy),
            last_ms: Mutex::new(0),
        }
    }

    /// This node leads, and has applied everything before: stamps go on from `time_ms`.
    pub(crate) fn lead(&self, time_ms: u64) {
        *self.last_ms.lock() = time_ms;
        self.queue(Queue::lead);
    }

    /// Another node leads, or nobody.
    pub(crate) fn follow(&self, unknown: &ProposeError) {
        self.queue.lock().follow(unknown);
        self.cancelled.notify_one();
        self.idle.notify_waiters();
    }

    /// Cancellations to be handed to the leader, once there are any.
    pub(crate) async fn cancels(&self) -> Vec<CancelWait> {
        loop {
            let cancels = self.queue.lock().take_cancels();
            if !cancels.is_empty() {
                return cancels;
            }
            self.cancelled.notified().await;
        }
    }

    /// Queues a caller's command, or says why not.
    pub(crate) fn push(&self, command: Encoded, slot: Slot) -> Result<(), ProposeError> {
        self.queue(|queue| queue.push(command, slot))
    }

    /// Asks for a batch to let time pass.
    pub(crate) fn tick(&self) {
        self.queue(Queue::want_tick);
    }

    /// Changes the queue, and wakes the proposing task if it has something to do now. If all batches that
    /// may be are in flight, the end of one wakes it.
    fn queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queue.lock();
        let changed = change(&mut queue);
        let is_ready = queue.is_ready();
        drop(queue);
        if is_ready {
            self.work.notify_one();
        }
        changed
    }

    /// The next batch to propose. Waits until there is one and it may go out. Just before taking it, asks
    /// whether the log `is_writable`; if not, the queue has been told so before the answer.
    pub(crate) async fn next(&self, mut is_writable: impl FnMut() -> bool) -> (Ticket, Proposal) {
        loop {
            if let Some(next) = self.try_next(&mut is_writable) {
                return next;
            }
            self.work.notified().await;
            // Callers of the batch just applied were woken before this task: let them queue what they
            // have next, or the batch would go out nearly empty.
            tokio::task::yield_now().await;
        }
    }

    fn try_next(&self, is_writable: &mut impl FnMut() -> bool) -> Option<(Ticket, Proposal)> {
        loop {
            if !self.queue.lock().is_ready() || !is_writable() {
                return None;
            }
            let (ticket, gathering) = self.queue.lock().take(|| self.entropy.draw())?;
            match gathering.seal(self.stamp()) {
                Ok(proposal) => {
                    if self.queue.lock().launch(ticket, &proposal) {
                        return Some((ticket, proposal));
                    }
                }
                // Its slots were dropped with it: the callers hear that the outcome is unknown.
                Err(error) => {
                    tracing::error!(%error, "a batch cannot be encoded");
                    self.finished(ticket);
                }
            }
        }
    }

    /// The one place that reads the clock for the log. A wall clock set back does not take the log's
    /// time back.
    fn stamp(&self) -> u64 {
        let mut last_ms = self.last_ms.lock();
        *last_ms = self.clock.now_ms().max(*last_ms);
        *last_ms
    }

    /// The batch of `ticket` is applied, or never will be.
    pub(crate) fn finished(&self, ticket: Ticket) {
        let is_idle = {
            let mut queue = self.queue.lock();
            queue.finish(ticket);
            queue.is_idle()
        };
        self.work.notify_one();
        if is_idle {
            self.idle.notify_waiters();
        }
    }

    /// Takes nothing more from callers.
    pub(crate) fn refuse(&self, error: ProposeError) {
        self.queue.lock().refuse(error);
    }

    /// The log cannot be written. See [`Queue::stall`].
    pub(crate) fn stall(&self, refusal: ProposeError, unknown: &ProposeError) {
        self.queue.lock().stall(refusal, unknown);
        self.idle.notify_waiters();
    }

    /// The log can be written again.
    pub(crate) fn resume(&self) {
        self.queue.lock().resume();
        self.work.notify_one();
    }

    /// Commands waiting to be proposed.
    pub(crate) fn depth(&self) -> usize {
        self.queue.lock().depth()
    }

    /// Ends when nothing is queued or in flight, or nothing can go out.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            {
                let queue = self.queue.lock();
                if queue.is_idle() || queue.is_stuck() {
                    return;
                }
            }
            idle.await;
        }
    }
}

impl Cancel for Proposer {
    fn cancel(&self, cancel: CancelWait) {
        self.queue(|queue| queue.push_cancel(cancel));
        self.cancelled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use willow_core::WaiterId;

    use super::*;
    use crate::clock::ManualClock;
    use crate::record::decode_batch;

    fn proposer() -> Proposer {
        let config = Config::new("unused");
        let clock = Arc::new(LogClock::new(Arc::clone(&config.clock)));
        Proposer::new(&config, clock)
    }

    #[tokio::test]
    async fn stamps_never_go_back_and_begin_where_the_log_ends() {
        let clock = Arc::new(ManualClock::new(100));
        let config = Config::new("unused");
        let log_clock = Arc::new(LogClock::new(Arc::clone(&clock) as _));
        let proposer = Proposer::new(&config, Arc::clone(&log_clock));
        proposer.lead(120);
        let mut stamps = Vec::new();
        for pass_ms in [0, 30, 0, 1] {
            clock.advance(pass_ms);
            proposer.tick();
            let (ticket, proposal) = proposer.next(|| true).await;
            stamps.push(decode_batch(proposal.encoded()).unwrap().time_ms);
            proposer.finished(ticket);
        }
        assert_eq!(stamps, [120, 130, 130, 131]);
    }

    #[tokio::test]
    async fn who_does_not_lead_proposes_nothing_and_hands_cancellations_on() {
        let proposer = proposer();
        proposer.follow(&ProposeError::ShuttingDown);
        proposer.tick();
        assert!(proposer.next(|| true).now_or_never().is_none());
        assert!(proposer.cancels().now_or_never().is_none());
        let cancel = CancelWait { waiter: WaiterId(1), undelivered: None };
        Cancel::cancel(&proposer, cancel.clone());
        assert_eq!(proposer.cancels().await, [cancel]);
        proposer.lead(0);
        assert!(proposer.next(|| true).now_or_never().is_some(), "the tick goes out now");
    }

    #[tokio::test]
    async fn drained_waits_for_what_is_queued_and_in_flight() {
        let proposer = proposer();
        proposer.drained().await;
        proposer.cancel(CancelWait { waiter: WaiterId(1), undelivered: None });
        let mut drained = std::pin::pin!(proposer.drained());
        assert!(drained.as_mut().now_or_never().is_none());
        let (ticket, _proposal) = proposer.next(|| true).await;
        assert!(drained.as_mut().now_or_never().is_none());
        proposer.finished(ticket);
        drained.await;
        assert_eq!(proposer.depth(), 0);
    }

    #[tokio::test]
    async fn nothing_goes_out_while_the_log_is_not_writable() {
        let proposer = proposer();
        proposer.tick();
        let mut asked = 0;
        let next = proposer.next(|| {
            asked += 1;
            false
        });
        assert!(next.now_or_never().is_none());
        assert!(asked > 0);
        assert!(proposer.try_next(&mut || true).is_some());
    }
}
