//! From a node's start to its crash: whoever works for a life stops with it, and stands still while it is paused.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use futures_util::future::{Either, select};
use parking_lot::Mutex;
use willow_node::Gate;

/// One life of a node. Clones are the same life.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) number: u32,
    gate: Gate,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_over: bool,
    wakers: Vec<Waker>,
}

impl Life {
    pub(super) fn new(number: u32) -> Self {
        Self { number, gate: Gate::default(), state: Arc::default() }
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.lock().is_over
    }

    /// Ends it; all that is bound to it ends when next polled.
    pub(super) fn end(&self) {
        let wakers = {
            let mut state = self.state.lock();
            state.is_over = true;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
        // What is left of it may go.
        self.gate.open();
    }

    /// The kernel stops the process: nothing of it runs until [`Life::resume`], and time goes on.
    pub(super) fn pause(&self) {
        self.gate.shut();
    }

    /// The process goes on.
    pub(super) fn resume(&self) {
        self.gate.open();
    }

    /// Runs `work` as part of the node's process; ends with it, or with `None` when this life does.
    pub(super) async fn run<F>(&self, work: F) -> Option<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.bound(self.gate.hold(work)).await
    }

    /// Waits for `work`, which others do; ends with it, or with `None` when this life does.
    pub(super) async fn bound<T>(&self, work: impl Future<Output = T> + Send) -> Option<T> {
        let over = poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.is_over {
                return Poll::Ready(());
            }
            if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.wakers.push(cx.waker().clone());
            }
            Poll::Pending
        });
        match select(std::pin::pin!(over), std::pin::pin!(work)).await {
            Either::Left(((), _)) => None,
            Either::Right((done, _)) => Some(done),
        }
    }
}
