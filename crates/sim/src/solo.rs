//! A machine without a cluster, which loses answers: the checkers must find nothing wrong with it. What they
//! find in it is wrong with the machine, or with themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;
use willow_core::command::{CancelWait, Initialize};
use willow_core::{Batch, Command, Effect, Envelope, Machine, Outcome, Reply, RequestId, WaiterId};

use crate::history::{History, Micros};
use crate::time;
use crate::workload::{self, CallError, Crowd, Endpoint, Look, Looked, Recorder};

/// Log time at the start.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// How long after the last call all leases are over.
const QUIET_US: Micros = 5_000_000;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(5);

/// Runs clients against a machine for `length_us` of virtual time.
#[must_use]
pub fn run(seed: u64, length_us: Micros) -> History {
    let mut runtime = SimRuntime::with_seed(seed);
    runtime.block_on(async move {
        let recorder = Recorder::new(workload::setup());
        let solo = Arc::new(Solo::new(seed));
        tick(Arc::downgrade(&solo));
        for command in workload::prepare() {
            let _reply = solo.apply(command, None);
        }
        let crowd = Crowd { lockers: 4, counters: 2, producers: 2, readers: 2, until_us: length_us, think_us: 80_000 };
        let endpoint: Arc<dyn Endpoint> = Arc::new(Door(Arc::clone(&solo)));
        workload::run(crowd, &recorder, &endpoint, seed).await;
        time::sleep_us(QUIET_US).await;
        let now_ms = log_ms();
        recorder.facts(|facts| {
            facts.census = Some(workload::census(&solo.inner.lock().machine, now_ms));
            facts.ended_us = time::now_us();
        });
        recorder.take()
    })
}

fn log_ms() -> u64 {
    EPOCH_MS + time::now_us() / 1000
}

fn tick(solo: Weak<Solo>) {
    time::spawn(async move {
        while let Some(solo) = solo.upgrade() {
            let is_due = solo.inner.lock().machine.next_deadline_ms().is_some_and(|at_ms| at_ms <= log_ms());
            if is_due {
                solo.batch(vec![]);
            }
            drop(solo);
            SimRuntime::sleep(TICK).await;
        }
    });
}

/// The machine and who waits on it.
#[derive(Debug)]
struct Solo {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    machine: Machine,
    rng: StdRng,
    waiters: BTreeMap<WaiterId, Vec<oneshot::Sender<Reply>>>,
}

impl Solo {
    fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0x50_10);
        let solo = Self { inner: Mutex::new(Inner { machine: Machine::default(), rng, waiters: BTreeMap::new() }) };
        let _reply = solo.apply(Command::Initialize(Initialize { cluster: 1, secret: [7; 32] }), None);
        solo
    }

    fn apply(&self, command: Command, request_id: Option<RequestId>) -> Reply {
        let entropy = self.inner.lock().rng.random();
        let mut replies = self.batch(vec![Envelope { request_id, entropy, command }]);
        replies.pop().unwrap_or(Ok(Outcome::Done))
    }

    fn batch(&self, envelopes: Vec<Envelope>) -> Vec<Reply> {
        let mut inner = self.inner.lock();
        let applied = inner.machine.apply(Batch { time_ms: log_ms(), envelopes });
        for effect in applied.effects {
            let Effect::Resolve { waiter, reply } = effect else { continue };
            for caller in inner.waiters.remove(&waiter).into_iter().flatten() {
                // Who has hung up cancels the wait, or gives back, by itself.
                let _gone = caller.send(reply.clone());
            }
        }
        applied.replies
    }

    fn dice(&self, below: u64) -> u64 {
        self.inner.lock().rng.random_range(0..below)
    }
}

/// Ends the wait of a caller that hangs up.
struct HangUp {
    solo: Arc<Solo>,
    waiter: WaiterId,
    heard: Option<oneshot::Receiver<Reply>>,
    cancels: bool,
}

impl Drop for HangUp {
    fn drop(&mut self) {
        let Some(mut heard) = self.heard.take().filter(|_| self.cancels) else { return };
        let undelivered = heard.try_recv().ok().and_then(Result::ok).map(Box::new);
        let _reply = self.solo.apply(Command::CancelWait(CancelWait { waiter: self.waiter, undelivered }), None);
    }
}

/// The machine as clients reach it.
#[derive(Clone, Debug)]
struct Door(Arc<Solo>);

impl Endpoint for Door {
    fn nodes(&self) -> usize {
        1
    }

    fn propose(
        &self,
        _node: usize,
        command: Command,
        request_id: Option<RequestId>,
    ) -> BoxFuture<'static, Result<Outcome, CallError>> {
        let solo = Arc::clone(&self.0);
        Box::pin(async move {
            time::sleep_us(solo.dice(3000)).await;
            let cancels = request_id.is_none();
            let mut reply = solo.apply(command, request_id);
            if let Ok(Outcome::Waiting(waiter)) = reply {
                let (sender, receiver) = oneshot::channel();
                solo.inner.lock().waiters.entry(waiter).or_default().push(sender);
                let mut hang_up = HangUp { solo: Arc::clone(&solo), waiter, heard: Some(receiver), cancels };
                let heard = match &mut hang_up.heard {
                    Some(heard) => heard.await,
                    None => return Err(CallError::Unknown("nobody to hear from".to_owned())),
                };
                hang_up.heard = None;
                reply = heard.map_err(|_gone| CallError::Unknown("nobody to hear from".to_owned()))?;
            }
            time::sleep_us(solo.dice(3000)).await;
            if solo.dice(100) < 4 {
                return Err(CallError::Unknown("the answer was lost".to_owned()));
            }
            reply.map_err(CallError::Refused)
        })
    }

    fn read(&self, _node: usize, _stale: bool, look: Look) -> BoxFuture<'static, Result<(Looked, u32), CallError>> {
        let solo = Arc::clone(&self.0);
        Box::pin(async move {
            time::sleep_us(solo.dice(3000)).await;
            let looked = look(&solo.inner.lock().machine);
            time::sleep_us(solo.dice(3000)).await;
            Ok((looked, 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use willow_model::bugs::{self, Bug};

    #[test]
    fn nothing_is_wrong_with_a_single_machine() {
        for seed in 0..20 {
            let history = run(seed, 15_000_000);
            let done = history.operations.iter().filter(|operation| operation.is_ok()).count();
            assert!(done > 400, "seed {seed}: only {done} calls were answered");
            assert_eq!(check::all(&history), vec![], "seed {seed}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_history() {
        assert_eq!(run(5, 5_000_000).to_json(), run(5, 5_000_000).to_json());
        assert_ne!(run(5, 5_000_000).to_json(), run(6, 5_000_000).to_json());
    }

    /// What can go wrong in a single machine that is never restored.
    #[test]
    fn bugs_of_the_machine_are_found() {
        let bugs = [
            (Bug::BargingNewcomer, "lines are fair"),
            (Bug::GrantToDeadSession, "dead sessions"),
            (Bug::TokenPerLock, "tokens increase"),
            (Bug::RenewalForgotten, "leases last"),
            (Bug::LimitWithoutAmount, "counters linearizable"),
            (Bug::SlotLeakedOnExpiry, "in flight is leased"),
            (Bug::StalePayloadOnNack, "payloads are new"),
            (Bug::StaleLeaseAccepted, "once in flight"),
            (Bug::PageForgetsPlace, "pages exactly once"),
            (Bug::PageByDocId, "pages exactly once"),
            (Bug::WaitNotRecorded, "repeats"),
        ];
        for (bug, checker) in bugs {
            bugs::switch(Some(bug));
            let seed = (0..60).find(|seed| {
                let violations = check::all(&run(*seed, 15_000_000));
                violations.iter().any(|violation| violation.checker == checker)
            });
            bugs::switch(None);
            assert!(seed.is_some(), "{bug:?} was not found by {checker:?}");
        }
    }
}
