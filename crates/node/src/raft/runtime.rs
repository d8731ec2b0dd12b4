//! The consensus library's runtime: tokio, but for very short sleeps.
//!
//! The library coalesces completions of log writes by sleeping for a microsecond when two come in quick
//! succession. Tokio's timer has a resolution of a millisecond, so each such sleep would cost several times
//! what a sync to disk does. Here a sleep too short for the timer lets other tasks run once instead.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft::{AsyncRuntime, Instant, OptionalSend};
use openraft_rt_tokio::{TokioInstant, TokioRuntime};

/// Sleeps shorter than this yield instead: half of what the timer can tell apart.
const YIELD_BELOW: Duration = Duration::from_micros(500);

/// Tokio, but for very short sleeps.
#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

/// A sleep, or a single yield.
pub(crate) enum Sleep {
    Yield { is_over: bool },
    Timer(Pin<Box<tokio::time::Sleep>>),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.get_mut() {
            Self::Timer(timer) => timer.as_mut().poll(cx),
            Self::Yield { is_over: true } => Poll::Ready(()),
            Self::Yield { is_over } => {
                *is_over = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = TokioInstant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Sleep {
        if duration < YIELD_BELOW {
            Sleep::Yield { is_over: false }
        } else {
            Sleep::Timer(Box::pin(TokioRuntime::sleep(duration)))
        }
    }

    fn sleep_until(deadline: TokioInstant) -> Sleep {
        let now = TokioInstant::now();
        if deadline < now + YIELD_BELOW {
            Sleep::Yield { is_over: false }
        } else {
            Sleep::Timer(Box::pin(TokioRuntime::sleep_until(deadline)))
        }
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: TokioInstant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_short_sleep_lets_others_run_and_does_not_wait_for_the_timer() {
        let start = TokioInstant::now();
        let other = Runtime::spawn(async {});
        Runtime::sleep(Duration::from_micros(1)).await;
        assert!(other.is_finished());
        Runtime::sleep_until(start + Duration::from_micros(1)).await;
        assert!(TokioInstant::now() == start);
        Runtime::sleep(Duration::from_millis(3)).await;
        assert!(TokioInstant::now() >= start + Duration::from_millis(3));
    }
}
