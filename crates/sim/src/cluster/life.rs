//! From a node's start to its crash: whoever works for a life stops with it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use futures_util::future::{Either, select};
use parking_lot::Mutex;

/// One life of a node. Clones are the same life.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) number: u32,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_over: bool,
    wakers: Vec<Waker>,
}

impl Life {
    pub(super) fn new(number: u32) -> Self {
        Self { number, state: Arc::default() }
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
    }

    /// Ends with `work`, or with `None` when this life does.
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
