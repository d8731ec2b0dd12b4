//! One client: asks, retries, gives up, and has all of it written down.

use std::future::Future;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use willow_core::RequestId;

use super::{CallError, Crowd, Endpoint, Looked, Recorder, names, translate};
use crate::history::{Action, Answer, HUNG_UP, Micros, OpId, Outcome};
use crate::scripts::{self, Actor, Call, Stage};
use crate::time;

/// How long a client waits for a node before it tries another, beside what it asked to wait.
const PATIENCE_US: Micros = 2_000_000;
/// How long a client goes on trying, beside what it asked to wait.
const STAMINA_US: Micros = 9_000_000;
/// One in so many finished calls is repeated on purpose.
const REPEATS: u32 = 12;

/// A client.
#[derive(Debug)]
pub struct Caller {
    client: u32,
    rng: StdRng,
    pub(super) recorder: Recorder,
    endpoint: Arc<dyn Endpoint>,
    node: usize,
    calls: u64,
    crowd: Crowd,
}

/// What came of a call that may have been tried several times.
struct Answered {
    outcome: Outcome,
    served_by: Option<(u32, u32)>,
    next_page: Option<String>,
}

impl Caller {
    /// A client with dice of its own.
    #[must_use]
    pub fn new(client: u32, recorder: Recorder, endpoint: Arc<dyn Endpoint>, seed: u64, crowd: Crowd) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let node = rng.random_range(0..endpoint.nodes().max(1));
        Self { client, rng, recorder, endpoint, node, calls: 0, crowd }
    }

    /// Looks, once or until a node answers.
    pub async fn look(&mut self, action: Action, page: Option<String>) -> (Outcome, Option<String>) {
        let id = self.recorder.invoked(self.client, None, None, action.clone());
        let answered = self.attempts(&action, None, page).await;
        self.recorder.completed(id, answered.outcome.clone(), answered.served_by);
        (answered.outcome, answered.next_page)
    }

    /// The same request once more, as a client would whose answer was lost.
    async fn repeat(&mut self, action: &Action, request_id: Option<String>, repeat_of: OpId) {
        let us = self.rng.random_range(0..1_500_000);
        time::sleep_us(us).await;
        let id = self.recorder.invoked(self.client, request_id.clone(), Some(repeat_of), action.clone());
        let answered = self.attempts(action, request_id, None).await;
        self.recorder.completed(id, answered.outcome, answered.served_by);
    }

    /// Tries until there is an answer, or none is to be hoped for.
    async fn attempts(&mut self, action: &Action, request_id: Option<String>, page: Option<String>) -> Answered {
        let wait_us = scripts::wait_us(action);
        let give_up_us = time::now_us() + wait_us + STAMINA_US;
        let safe = request_id.is_some() || action.is_read();
        let mut maybe_done = false;
        loop {
            let tried = self.attempt(action, request_id.clone(), page.clone(), wait_us).await;
            let error = match tried {
                Ok((Looked { answer, next_page }, served_by)) => {
                    return Answered { outcome: Outcome::Ok(answer), served_by, next_page };
                }
                Err(error) => error,
            };
            let outcome = match error {
                // An earlier attempt may still be under way, and have another answer.
                CallError::Refused(refusal) if maybe_done => Outcome::Unknown(format!("refused at last: {refusal}")),
                CallError::Refused(refusal) => Outcome::Refused(translate::refusal(&refusal)),
                CallError::NotDone(_) | CallError::Unknown(_) if time::now_us() >= give_up_us => {
                    Outcome::Unknown("the client gave up".to_owned())
                }
                CallError::NotDone(_) => {
                    self.elsewhere().await;
                    continue;
                }
                CallError::Unknown(_) if safe => {
                    maybe_done |= !action.is_read();
                    self.elsewhere().await;
                    continue;
                }
                CallError::Unknown(reason) => Outcome::Unknown(reason),
            };
            return Answered { outcome, served_by: None, next_page: None };
        }
    }

    async fn attempt(
        &mut self,
        action: &Action,
        request_id: Option<String>,
        page: Option<String>,
        wait_us: Micros,
    ) -> Result<(Looked, Option<(u32, u32)>), CallError> {
        let node = self.node % self.endpoint.nodes().max(1);
        let patience_us = wait_us + PATIENCE_US;
        let timed_out = || CallError::Unknown("timed out".to_owned());
        if action.is_read() {
            let look = translate::look(action, page);
            let read = self.endpoint.read(node, action.is_stale_read(), look);
            let (looked, life) = time::within_us(patience_us, read).await.unwrap_or_else(|| Err(timed_out()))?;
            let node = u32::try_from(node).unwrap_or(u32::MAX);
            return Ok((looked, Some((node, life))));
        }
        let Some(command) = translate::command(action, self.client) else {
            return Err(CallError::NotDone("no such command".to_owned()));
        };
        let request_id = request_id.and_then(|id| RequestId::new(&id));
        let propose = self.endpoint.propose(node, command, request_id);
        let outcome = time::within_us(patience_us, propose).await.unwrap_or_else(|| Err(timed_out()))?;
        match translate::answer(action, outcome) {
            Ok(answer) => Ok((Looked { answer, next_page: None }, None)),
            Err(refusal) => Err(CallError::Refused(refusal)),
        }
    }

    /// Pauses a little, and goes to another node.
    async fn elsewhere(&mut self) {
        let us = self.rng.random_range(20_000..300_000);
        time::sleep_us(us).await;
        self.node = self.rng.random_range(0..self.endpoint.nodes().max(1));
    }
}

impl Actor for Caller {
    fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    fn stage(&self) -> Stage {
        names::STAGE
    }

    fn work(&self) -> String {
        names::WORK.to_owned()
    }

    fn shelf(&self) -> Option<String> {
        Some(names::SHELF.to_owned())
    }

    fn think_us(&self) -> Micros {
        self.crowd.think_us
    }

    fn goes_on(&self) -> bool {
        time::now_us() < self.crowd.until_us
    }

    fn label(&mut self) -> String {
        self.calls += 1;
        format!("c{}-{}", self.client, self.calls)
    }

    fn other(&mut self) -> Self {
        self.calls += 1;
        let Self { client, recorder, endpoint, crowd, .. } = self;
        let mut other = Self::new(*client, recorder.clone(), Arc::clone(endpoint), self.rng.random(), *crowd);
        // Its labels must be its own.
        other.calls = self.calls * 1_000_000;
        other
    }

    fn pause_us(&self, us: Micros) -> impl Future<Output = ()> + Send + use<> {
        time::sleep_us(us)
    }

    async fn call(&mut self, action: Action, call: Call) -> Outcome {
        let request_id = call.safe.then(|| self.label());
        let id = self.recorder.invoked(self.client, request_id.clone(), None, action.clone());
        let attempts = self.attempts(&action, request_id.clone(), None);
        let answered = match call.abandon_us {
            None => attempts.await,
            Some(us) => time::within_us(us, attempts).await.unwrap_or_else(|| Answered {
                outcome: Outcome::Unknown(HUNG_UP.to_owned()),
                served_by: None,
                next_page: None,
            }),
        };
        self.recorder.completed(id, answered.outcome.clone(), answered.served_by);
        // What took nothing changed nothing: asked once more, it would be another call.
        let changed = matches!(&answered.outcome, Outcome::Ok(answer) if *answer != Answer::Delivered(vec![]));
        if request_id.is_some() && changed && self.rng.random_ratio(1, REPEATS) {
            self.repeat(&action, request_id, id).await;
        }
        answered.outcome
    }

    fn noted(&self, queue: &str, item: &str) {
        self.recorder.noted(queue, item);
    }

    fn recent(&self, dice: usize) -> Option<(String, String)> {
        self.recorder.recent(dice)
    }
}
