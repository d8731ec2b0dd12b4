//! Virtual time, true for everybody in the simulation: what no clock under test shows.

use std::future::Future;
use std::time::Duration;

use futures_util::future::{Either, select};
use openraft_rt::{AsyncRuntime, Instant};
use openraft_rt_sim::{SimInstant, SimRuntime};

use crate::history::Micros;

/// Now.
#[must_use]
pub fn now_us() -> Micros {
    Micros::try_from(SimInstant::now().elapsed_since_start().as_micros()).unwrap_or(Micros::MAX)
}

/// Lets time pass.
pub async fn sleep_us(us: Micros) {
    SimRuntime::sleep(Duration::from_micros(us)).await;
}

/// Lets time pass, until then.
pub async fn sleep_until_us(at_us: Micros) {
    sleep_us(at_us.saturating_sub(now_us())).await;
}

/// Starts a task of its own.
pub fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    drop(SimRuntime::spawn(work));
}

/// Ends with `work`, or with `None` when the time is up.
pub async fn within_us<T>(us: Micros, work: impl Future<Output = T> + Send) -> Option<T> {
    let (work, over) = (std::pin::pin!(work), std::pin::pin!(SimRuntime::sleep(Duration::from_micros(us))));
    match select(work, over).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(((), _)) => None,
    }
}
