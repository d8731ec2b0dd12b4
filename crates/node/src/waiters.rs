//! Who waits for which waiting command. Waits are replicated state; the callers are not: here the two meet.
//!
//! A waiter is registered from inside the apply that answered `Waiting`, before the effects of that apply
//! are handed out, so no [`Effect::Resolve`](willow_core::Effect::Resolve) can pass between the two.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use willow_core::command::CancelWait;
use willow_core::{Outcome, Reply, WaiterId};

use crate::ProposeError;
use crate::proposal::{Answer, Slot};

/// Takes the cancellations of waits that nobody is left to hear about.
pub(crate) trait Cancel: Send + Sync {
    /// Gets `cancel` into the log, sooner or later.
    fn cancel(&self, cancel: CancelWait);
}

/// Registered callers, by the wait they wait for.
pub(crate) struct Waiters {
    open: Mutex<Open>,
    cancel: Arc<dyn Cancel>,
}

#[derive(Default)]
struct Open {
    by_wait: BTreeMap<WaiterId, Vec<Entry>>,
    /// Distinguishes callers of one wait.
    next_key: u64,
    /// Set when the node stops: whoever comes now is sent away.
    stopping: bool,
}

struct Entry {
    key: u64,
    answer: oneshot::Sender<Result<Reply, ProposeError>>,
    cancel_on_drop: bool,
}

impl Waiters {
    pub(crate) fn new(cancel: Arc<dyn Cancel>) -> Self {
        Self { open: Mutex::default(), cancel }
    }

    /// Callers waiting now.
    pub(crate) fn len(&self) -> usize {
        self.open.lock().by_wait.values().map(Vec::len).sum()
    }

    /// Makes the caller of `slot` wait for `wait`. A second caller for the same wait (a repeat of a
    /// request while the first still hangs) waits beside the first.
    pub(crate) fn register(self: &Arc<Self>, wait: WaiterId, slot: Slot) {
        let Slot { answer, cancel_on_drop } = slot;
        let (sender, receiver) = oneshot::channel();
        let key = {
            let mut open = self.open.lock();
            if open.stopping {
                drop(open);
                self.send_away(wait, cancel_on_drop);
                let _gone = answer.send(Answer::Failed(ProposeError::ShuttingDown));
                return;
            }
            open.next_key += 1;
            let key = open.next_key;
            open.by_wait.entry(wait).or_default().push(Entry { key, answer: sender, cancel_on_drop });
            key
        };
        let waiter = Waiter { wait, key, receiver, cancel_on_drop, settled: false, waiters: Arc::downgrade(self) };
        // If the caller went away the handle comes back, or is dropped with the channel: either way its
        // drop cancels the wait.
        let _gone = answer.send(Answer::Waiting(waiter));
    }

    /// Hands `reply` to everyone who waits for `wait`. Nobody may: the caller was another node's, or
    /// belongs to a life of this node before a restart.
    pub(crate) fn resolve(&self, wait: WaiterId, reply: Reply) {
        let Some(mut entries) = self.open.lock().by_wait.remove(&wait) else { return };
        // Replies may be large, and nearly always there is one caller: only further ones get a copy.
        let Some(last) = entries.pop() else { return };
        for entry in entries {
            self.hand_over(wait, entry, reply.clone());
        }
        self.hand_over(wait, last, reply);
    }

    fn hand_over(&self, wait: WaiterId, entry: Entry, reply: Reply) {
        let Entry { answer, cancel_on_drop, .. } = entry;
        if let Err(Ok(reply)) = answer.send(Ok(reply))
            && cancel_on_drop
        {
            self.give_back(wait, reply);
        }
    }

    /// Fails everyone who waits. The waits themselves go on, where their callers can come back for them.
    pub(crate) fn fail_all(&self, error: &ProposeError) {
        for entry in self.drain() {
            let _gone = entry.1.answer.send(Err(error.clone()));
        }
    }

    /// Sends everyone away, now and from now on. Waits that nobody can come back for are cancelled.
    pub(crate) fn stop(&self) {
        self.open.lock().stopping = true;
        for (wait, Entry { answer, cancel_on_drop, .. }) in self.drain() {
            self.send_away(wait, cancel_on_drop);
            let _gone = answer.send(Err(ProposeError::ShuttingDown));
        }
    }

    fn drain(&self) -> Vec<(WaiterId, Entry)> {
        let by_wait = std::mem::take(&mut self.open.lock().by_wait);
        by_wait.into_iter().flat_map(|(wait, entries)| entries.into_iter().map(move |entry| (wait, entry))).collect()
    }

    fn send_away(&self, wait: WaiterId, cancel_on_drop: bool) {
        if cancel_on_drop {
            self.cancel.cancel(CancelWait { waiter: wait, undelivered: None });
        }
    }

    /// The wait was over, but nobody was left to hear it: what it granted goes back.
    fn give_back(&self, wait: WaiterId, reply: Reply) {
        // A refusal granted nothing.
        if let Ok(outcome) = reply {
            self.cancel.cancel(CancelWait { waiter: wait, undelivered: Some(Box::new(outcome)) });
        }
    }

    fn forget(&self, wait: WaiterId, key: u64) {
        let mut open = self.open.lock();
        if let Some(entries) = open.by_wait.get_mut(&wait) {
            entries.retain(|entry| entry.key != key);
            if entries.is_empty() {
                open.by_wait.remove(&wait);
            }
        }
    }
}

impl std::fmt::Debug for Waiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiters").field("open", &self.len()).finish_non_exhaustive()
    }
}

/// A command that waits in the machine. A future of its final answer.
///
/// Dropping it before the answer was taken cancels the wait, and gives back what it was granted meanwhile,
/// unless the command came with a request id: then the wait goes on, and repeating the command with the
/// same id finds it again.
#[derive(Debug)]
pub(crate) struct Waiter {
    wait: WaiterId,
    key: u64,
    receiver: oneshot::Receiver<Result<Reply, ProposeError>>,
    cancel_on_drop: bool,
    /// Nothing is left to cancel: the answer was taken, or the node cancelled the wait itself.
    settled: bool,
    waiters: Weak<Waiters>,
}

impl Waiter {
    /// Name of the wait in the machine.
    #[cfg(test)]
    pub(crate) fn id(&self) -> WaiterId {
        self.wait
    }

    fn take(&mut self, answer: Result<Reply, ProposeError>) -> Result<Outcome, ProposeError> {
        // After any other error the wait still stands in the machine.
        self.settled = matches!(answer, Ok(_) | Err(ProposeError::ShuttingDown));
        answer?.map_err(ProposeError::Refused)
    }
}

impl Future for Waiter {
    type Output = Result<Outcome, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(cx).map(|received| match received {
            Ok(answer) => self.take(answer),
            // The registry is gone, and the node with it.
            Err(_closed) => self.take(Err(ProposeError::ShuttingDown)),
        })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let Some(waiters) = self.waiters.upgrade() else { return };
        // After this the resolver sees that nobody listens, and gives back itself; before it, the answer is
        // in the channel. So exactly one side sees an undelivered grant.
        self.receiver.close();
        waiters.forget(self.wait, self.key);
        if !self.cancel_on_drop {
            return;
        }
        match self.receiver.try_recv() {
            Ok(Ok(reply)) => waiters.give_back(self.wait, reply),
            Ok(Err(ProposeError::ShuttingDown)) => {}
            Ok(Err(_)) | Err(_) => waiters.send_away(self.wait, true),
        }
    }
}

#[cfg(test)]
mod tests;
