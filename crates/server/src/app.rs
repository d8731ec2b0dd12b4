//! What every handler shares.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio_util::sync::CancellationToken;
use willow_api::{Consistency, ErrorCode, Problem};
use willow_core::{Command, Machine, Outcome, RequestId, machine::Lookup};
use willow_node::Proposed;

use crate::{Config, backend::Backend, metrics::Metrics, refusal, reply::Failure};

/// The server's state.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) metrics: Metrics,
    /// Cancelled when the server begins to shut down.
    pub(crate) stopping: CancellationToken,
    /// Bytes of bodies being read.
    bodies: AtomicUsize,
    /// Requests being served.
    requests: AtomicUsize,
}

impl App {
    pub(crate) fn new(config: Config, backend: Arc<dyn Backend>) -> Self {
        Self {
            config,
            backend,
            metrics: Metrics::new(),
            stopping: CancellationToken::new(),
            bodies: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        }
    }

    /// Gets a command into the log and waits for its outcome, long polls included. Dropping the future
    /// (the client went away) ends a wait that has no request id.
    pub(crate) async fn propose(&self, command: Command, request_id: Option<RequestId>) -> Result<Outcome, Failure> {
        let repeatable = request_id.is_some();
        let failed = |error| Failure::from(refusal::propose_error(error, repeatable));
        match self.backend.propose(command, request_id).await.map_err(failed)? {
            Proposed::Done(outcome) => Ok(outcome),
            Proposed::Waiting(waiter) => {
                let _waiting = self.metrics.long_poll();
                tokio::select! {
                    biased;
                    answer = waiter => answer.map_err(failed),
                    () = self.stopping.cancelled() => Err(shutting_down()),
                }
            }
        }
    }

    /// Reads the machine.
    pub(crate) async fn read<T: Send>(
        &self,
        consistency: Consistency,
        read: impl FnOnce(&Machine, Lookup<'_>) -> T + Send,
    ) -> Result<T, Failure> {
        let (seed, now_ms) = (rand::random(), self.backend.now_ms());
        let mut answer = None;
        let reading = Box::new(|machine: &Machine| answer = Some(read(machine, machine.lookup(seed).at(now_ms))));
        self.backend.read(consistency, reading).await.map_err(refusal::read_error)?;
        answer.ok_or_else(|| Problem::new(ErrorCode::Internal, "the node did not read").into())
    }

    /// Counts one more request, unless there are too many. Who gets `true` takes it off again.
    pub(crate) fn request_begins(&self) -> bool {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        if before < self.config.max_requests {
            return true;
        }
        self.request_ended();
        self.metrics.requests_refused.inc();
        false
    }

    /// Takes off a request that [`App::request_begins`] counted.
    pub(crate) fn request_ended(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts the bytes of a body being read, for as long as the guard lives.
    pub(crate) fn body_room(&self) -> BodyRoom<'_> {
        BodyRoom { app: self, bytes: 0 }
    }
}

/// Room taken for a body.
#[derive(Debug)]
pub(crate) struct BodyRoom<'a> {
    app: &'a App,
    bytes: usize,
}

impl BodyRoom<'_> {
    /// Takes more room, or says that there is none.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        self.bytes += bytes;
        let taken = self.app.bodies.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if taken > self.app.config.max_bodies_bytes {
            let problem = Problem::new(ErrorCode::Overloaded, "too many large bodies are being read; retry later");
            return Err(problem.with(|facts| facts.retry_after_ms = Some(1000)).into());
        }
        Ok(())
    }
}

impl Drop for BodyRoom<'_> {
    fn drop(&mut self) {
        self.app.bodies.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The answer to long polls, and to new requests, at shutdown.
pub(crate) fn shutting_down() -> Failure {
    let detail = "the server is shutting down; repeat the call, with the same request_id if it had one";
    Problem::new(ErrorCode::ShuttingDown, detail).with(|facts| facts.retry_after_ms = Some(1000)).into()
}
