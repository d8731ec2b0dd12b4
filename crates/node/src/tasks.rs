//! Where a node's tasks run: on tokio, or on the simulator's single thread. Everything in this crate that
//! spawns, sleeps or blocks does it through here, so that a whole cluster can run on virtual time.

use std::fmt::Debug;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use openraft::AsyncRuntime;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::raft::Runtime;

/// What a node runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuntimeKind {
    /// The tokio runtime that the node is started in.
    #[default]
    Tokio,
    /// The simulator that the node is started in: virtual time, one thread, the same run for the same seed.
    #[cfg(feature = "sim")]
    Simulated,
}

impl RuntimeKind {
    pub(crate) fn tasks(self) -> Arc<dyn Tasks> {
        match self {
            Self::Tokio => Arc::new(On::<Runtime>(PhantomData)),
            #[cfg(feature = "sim")]
            Self::Simulated => Arc::new(On::<crate::sim::Simulated>(PhantomData)),
        }
    }
}

/// How long a step of blocking work takes in the simulator.
#[cfg(feature = "sim")]
const SIMULATED_STEP: Duration = Duration::from_millis(4);

/// Starts tasks.
pub(crate) trait Tasks: Debug + Send + Sync {
    /// Runs `work` on a task of its own.
    fn spawn(&self, work: BoxFuture<'static, ()>) -> Task;

    /// Ends after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs `work`, which blocks, where it keeps no task from running. Does not end if `work` panics.
    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;

    /// The same, again and again for as long as `step` answers true. The simulator lets time pass in between, as
    /// it does for who runs beside a thread.
    fn block_in_steps(&self, step: Box<dyn FnMut() -> bool + Send>) -> BoxFuture<'static, ()>;
}

/// Runs `work` as [`Tasks::block`] does; `None` when it panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    tasks: &dyn Tasks,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, done) = oneshot::channel();
    tasks
        .block(Box::new(move || {
            // Nobody may be left to hear it.
            let _gone = sender.send(work());
        }))
        .await;
    done.await.ok()
}

/// Runs `step` as [`Tasks::block_in_steps`] does until it breaks; `None` when it panicked.
pub(crate) async fn stepping<T: Send + 'static>(
    tasks: &dyn Tasks,
    mut step: impl FnMut() -> ControlFlow<T> + Send + 'static,
) -> Option<T> {
    let (sender, done) = oneshot::channel();
    let mut sender = Some(sender);
    let stepping = tasks.block_in_steps(Box::new(move || match step() {
        ControlFlow::Continue(()) => true,
        ControlFlow::Break(value) => {
            // Nobody may be left to hear it.
            let _gone = sender.take().map(|sender| sender.send(value));
            false
        }
    }));
    stepping.await;
    done.await.ok()
}

/// Ends with `work`, or with `None` once `limit` has passed.
pub(crate) async fn timeout<T>(tasks: &dyn Tasks, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut over) = (std::pin::pin!(work), tasks.sleep(limit));
    tokio::select! {
        biased;
        done = &mut work => Some(done),
        () = &mut over => None,
    }
}

/// A running task. It goes on when this is dropped.
#[derive(Debug)]
pub(crate) struct Task {
    abort: AbortHandle,
    ended: oneshot::Receiver<()>,
}

impl Task {
    /// Ends it where it next waits.
    pub(crate) fn abort(&self) {
        self.abort.abort();
    }

    /// Waits for its end, whichever that is.
    pub(crate) async fn ended(self) {
        // Dropped unheard by a task that panicked or was aborted: that is an end, too.
        let _end = self.ended.await;
    }
}

/// Tasks that end with their owner.
#[derive(Debug, Default)]
pub(crate) struct Owned(Mutex<Vec<Task>>);

impl Owned {
    pub(crate) fn push(&self, task: Task) {
        self.0.lock().push(task);
    }

    /// Waits until they have all ended by themselves.
    pub(crate) async fn finish(&self) {
        let tasks = std::mem::take(&mut *self.0.lock());
        for task in tasks {
            task.ended().await;
        }
    }

    /// Ends them all, and waits until they have.
    pub(crate) async fn end(&self) {
        let tasks = std::mem::take(&mut *self.0.lock());
        for task in tasks {
            task.abort();
            task.ended().await;
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        for task in self.0.get_mut().drain(..) {
            task.abort();
        }
    }
}

/// Tasks on a runtime of the consensus library.
struct On<R>(PhantomData<fn() -> R>);

impl<R> Debug for On<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("On")
    }
}

impl<R: AsyncRuntime> Tasks for On<R> {
    fn spawn(&self, work: BoxFuture<'static, ()>) -> Task {
        let (abort, registration) = AbortHandle::new_pair();
        let (sender, ended) = oneshot::channel();
        let work = Abortable::new(work, registration);
        // Runs on without its handle.
        drop(R::spawn(async move {
            let _aborted = work.await;
            let _gone = sender.send(());
        }));
        Task { abort, ended }
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(R::sleep(duration))
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        // The simulator has one thread and no blocking work: it is done at once, in no virtual time.
        #[cfg(feature = "sim")]
        if openraft_rt_sim::SimInstant::try_now().is_some() {
            work();
            return Box::pin(std::future::ready(()));
        }
        let done = tokio::task::spawn_blocking(work);
        Box::pin(async move {
            if let Err(error) = done.await {
                tracing::error!(%error, "a blocking task failed");
            }
        })
    }

    fn block_in_steps(&self, mut step: Box<dyn FnMut() -> bool + Send>) -> BoxFuture<'static, ()> {
        #[cfg(feature = "sim")]
        if openraft_rt_sim::SimInstant::try_now().is_some() {
            return Box::pin(async move {
                while step() {
                    R::sleep(SIMULATED_STEP).await;
                }
            });
        }
        self.block(Box::new(move || while step() {}))
    }
}
