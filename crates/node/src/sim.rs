//! The simulator's runtime with a gate for each node: while a node's gate is shut, nothing of the node runs,
//! as if the kernel had stopped its process, and time goes on without it.
//!
//! A gate spreads by itself: whatever is spawned by work behind a gate is behind that gate.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::Either;
use openraft::{AsyncRuntime, OptionalSend};
use openraft_rt_sim::{SimInstant, SimRuntime};
use parking_lot::Mutex;

thread_local! {
    /// The gate behind which the work that runs now is.
    static CURRENT: RefCell<Option<Gate>> = const { RefCell::new(None) };
}

/// Stops and resumes all the work of one life of a node. Clones are the same gate. Open at first.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_shut: bool,
    next: u64,
    /// Who wanted to run while it was shut, in the order in which they came.
    parked: BTreeMap<u64, Waker>,
}

impl Gate {
    /// Nothing behind it runs from now on.
    pub fn shut(&self) {
        self.0.lock().is_shut = true;
    }

    /// All behind it goes on, in the order in which it would have run.
    pub fn open(&self) {
        let parked = {
            let mut state = self.0.lock();
            state.is_shut = false;
            std::mem::take(&mut state.parked)
        };
        parked.into_values().for_each(Waker::wake);
    }

    /// Whether nothing behind it runs.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.0.lock().is_shut
    }

    /// `work`, behind this gate. What is dropped while the gate is shut is dropped when it opens: a stopped process
    /// does not notice that somebody hung up.
    pub fn hold<F: Future + Send + 'static>(&self, work: F) -> Held<F> {
        Held { gate: self.clone(), place: None, work: Some(Box::pin(work)) }
    }

    /// Whether work may run now; if not, it is woken when it may.
    fn pass(&self, place: &mut Option<u64>, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        if !state.is_shut {
            *place = None;
            return true;
        }
        let number = place.filter(|number| state.parked.contains_key(number)).unwrap_or(state.next);
        state.next = state.next.max(number + 1);
        state.parked.insert(number, waker.clone());
        *place = Some(number);
        false
    }

    /// Does `work` as work behind this gate.
    fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Back(Option<Gate>);
        impl Drop for Back {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _back = Back(CURRENT.replace(Some(self.clone())));
        work()
    }
}

/// Work behind a gate.
#[derive(Debug)]
pub struct Held<F: Future + Send + 'static> {
    gate: Gate,
    place: Option<u64>,
    work: Option<Pin<Box<F>>>,
}

impl<F: Future + Send + 'static> Future for Held<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { gate, place, work } = self.get_mut();
        let Some(running) = work else { return Poll::Pending };
        if !gate.pass(place, cx.waker()) {
            return Poll::Pending;
        }
        let polled = gate.inside(|| running.as_mut().poll(cx));
        if polled.is_ready() {
            gate.inside(|| *work = None);
        }
        polled
    }
}

impl<F: Future + Send + 'static> Drop for Held<F> {
    fn drop(&mut self) {
        let (Some(work), gate) = (self.work.take(), self.gate.clone()) else { return };
        // Past the end of the run there is nobody to wait for.
        if !gate.is_shut() || SimInstant::try_now().is_none() {
            return gate.inside(|| drop(work));
        }
        drop(SimRuntime::spawn(async move {
            let mut place = None;
            std::future::poll_fn(|cx| if gate.pass(&mut place, cx.waker()) { Poll::Ready(()) } else { Poll::Pending })
                .await;
            gate.inside(|| drop(work));
        }));
    }
}

/// The simulator's runtime, on which work behind a gate spawns behind that gate.
#[derive(Debug)]
pub(crate) struct Simulated(SimRuntime);

impl AsyncRuntime for Simulated {
    type JoinError = <SimRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <SimRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <SimRuntime as AsyncRuntime>::Sleep;
    type Instant = SimInstant;
    type TimeoutError = <SimRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <SimRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <SimRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <SimRuntime as AsyncRuntime>::Mpsc;
    type Watch = <SimRuntime as AsyncRuntime>::Watch;
    type Oneshot = <SimRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <SimRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let gate = CURRENT.with_borrow(Clone::clone);
        SimRuntime::spawn(match gate {
            Some(gate) => Either::Left(gate.hold(future)),
            None => Either::Right(future),
        })
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        SimRuntime::sleep(duration)
    }

    fn sleep_until(deadline: SimInstant) -> Self::Sleep {
        SimRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        SimRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: SimInstant, future: F) -> Self::Timeout<R, F> {
        SimRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        SimRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SimRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(SimRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests;
