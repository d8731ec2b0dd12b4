//! One client: asks, goes to another node, gives up, and has all of it written down.

use std::{sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep, timeout};
use willow_client::Client;
use willow_sim::{
    history::{Action, Answer, HUNG_UP, Micros, OpId, Outcome, Refusal},
    scripts::{Actor, Call, Stage, wait_us},
};

use crate::{
    cluster::{Cluster, NODES, once},
    names::{Names, STAGE},
    recorder::Recorder,
    wire::{self, Answers, CallError, Request},
};

/// How long a client waits for a node before it tries another, beside what it asked to wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client goes on trying, beside what it asked to wait.
const STAMINA: Duration = Duration::from_secs(30);
/// Mean pause between two things to do.
const THINK_US: Micros = 60_000;
/// One in so many finished calls is repeated on purpose.
const REPEATS: u32 = 12;

/// What all clients of a round share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cluster: Cluster,
    pub(crate) names: Names,
    pub(crate) recorder: Recorder,
    /// They begin nothing new once this is set.
    pub(crate) over: tokio::sync::watch::Receiver<bool>,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) shared: Arc<Shared>,
    pub(crate) rng: StdRng,
    client: u32,
    clients: Arc<[Client]>,
    node: usize,
    labels: u64,
}

/// What came of a request that may have been tried several times.
struct Answered {
    outcomes: Result<Answers, Outcome>,
    served_by: Option<(u32, u32)>,
}

impl Caller {
    /// A client with dice and connections of its own.
    pub(crate) fn new(client: u32, shared: Arc<Shared>, seed: u64) -> anyhow::Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let urls = shared.cluster.urls();
        let clients: Result<Vec<Client>, _> =
            urls.iter().map(|url| Client::with_options(url, once(PATIENCE))).collect();
        let node = rng.random_range(0..NODES);
        Ok(Self { shared, rng, client, clients: clients?.into(), node, labels: 0 })
    }

    /// The same, as fast as it goes: never repeated on purpose.
    pub(crate) async fn fast(&mut self, action: Action) -> Outcome {
        let wait = Duration::from_micros(wait_us(&action));
        let mut outcomes = self.batch(Request::One(action.clone()), vec![action], wait).await;
        outcomes.pop().unwrap_or_else(|| Outcome::Unknown("no answer came".to_owned()))
    }

    /// Makes a call for many things at once: each is an operation.
    pub(crate) async fn batch(&mut self, request: Request, actions: Vec<Action>, wait: Duration) -> Vec<Outcome> {
        let request_id = Some(self.request_id());
        let recorder = self.shared.recorder.clone();
        let count = actions.len();
        let ids = recorder.invoked(self.client, request_id.as_deref(), None, actions);
        let answered = self.attempts(&request, request_id, wait, false).await;
        let outcomes: Vec<Outcome> = match answered.outcomes {
            Ok(answers) => answers.into_iter().map(outcome).collect(),
            Err(outcome) => vec![outcome; count],
        };
        recorder.completed(&ids, outcomes.clone(), None);
        outcomes
    }

    /// The same request once more, as a client would whose answer was lost.
    async fn repeat(&mut self, action: Action, request_id: Option<String>, repeat_of: OpId) {
        let ms = self.rng.random_range(0..1500);
        sleep(Duration::from_millis(ms)).await;
        let recorder = self.shared.recorder.clone();
        let ids = recorder.invoked(self.client, request_id.as_deref(), Some(repeat_of), [action.clone()]);
        let wait = Duration::from_micros(wait_us(&action));
        let answered = self.attempts(&Request::One(action), request_id, wait, false).await;
        recorder.completed(&ids, [first(answered.outcomes)], None);
    }

    /// Unique over all rounds: the record outlives a round.
    fn request_id(&mut self) -> String {
        let label = self.label();
        format!("{}-{label}-{:08x}", self.shared.names.work, self.rng.random::<u32>())
    }

    /// Tries until there is an answer, or none is to be hoped for.
    async fn attempts(
        &mut self,
        request: &Request,
        request_id: Option<String>,
        wait: Duration,
        is_read: bool,
    ) -> Answered {
        let give_up = Instant::now() + wait + STAMINA;
        let safe = request_id.is_some() || is_read;
        let mut maybe_done = false;
        let unanswered = |outcome| Answered { outcomes: Err(outcome), served_by: None };
        for tries in 0_u32.. {
            let node = self.node;
            let life = self.shared.cluster.life(node);
            let sent = wire::send(&self.clients[node], &self.shared.names, request, request_id.clone()).await;
            let error = match sent {
                Ok(answers) => {
                    let is_sure = self.shared.cluster.life(node) == life;
                    let served_by = u32::try_from(node).ok().filter(|_| is_sure).map(|node| (node, life));
                    return Answered { outcomes: Ok(answers), served_by };
                }
                Err(error) => error,
            };
            let reason = match error {
                // An earlier attempt may still be under way, and have another answer.
                CallError::Refused(refusal) if maybe_done => {
                    return unanswered(Outcome::Unknown(format!("refused at last: {refusal:?}")));
                }
                CallError::Refused(refusal) => return unanswered(Outcome::Refused(refusal)),
                CallError::NotDone(reason) => reason,
                CallError::Unknown(reason) | CallError::Odd(reason) if !safe => {
                    return unanswered(Outcome::Unknown(reason));
                }
                CallError::Unknown(reason) => {
                    maybe_done |= !is_read;
                    reason
                }
                CallError::Odd(reason) => {
                    self.shared.recorder.odd(format!("node {node}: {reason}"));
                    maybe_done |= !is_read;
                    reason
                }
            };
            if Instant::now() >= give_up {
                let gave_up = format!("the client gave up: {reason}");
                return unanswered(if maybe_done { Outcome::Unknown(gave_up) } else { Outcome::NotDone(gave_up) });
            }
            self.elsewhere(tries).await;
        }
        unanswered(Outcome::Unknown("no answer came".to_owned()))
    }

    /// Goes to another node, after a pause that grows.
    async fn elsewhere(&mut self, tries: u32) {
        let most = 20_u64 << tries.min(4);
        let ms = self.rng.random_range(0..most);
        sleep(Duration::from_millis(ms)).await;
        self.node = (self.node + self.rng.random_range(1..NODES)) % NODES;
    }
}

fn first(outcomes: Result<Answers, Outcome>) -> Outcome {
    match outcomes {
        Ok(mut answers) => answers.pop().map_or_else(|| Outcome::Unknown("an empty answer".to_owned()), outcome),
        Err(outcome) => outcome,
    }
}

fn outcome(answer: Result<Answer, Refusal>) -> Outcome {
    match answer {
        Ok(answer) => Outcome::Ok(answer),
        Err(refusal) => Outcome::Refused(refusal),
    }
}

/// Calls without a body have no place for a request id in the client, and renewals need none.
fn takes_request_id(action: &Action) -> bool {
    !matches!(
        action,
        Action::EndSession { .. }
            | Action::RenewSession { .. }
            | Action::RenewLock { .. }
            | Action::ForceRelease { .. }
            | Action::RenewHold { .. }
            | Action::ReleaseHold { .. }
            | Action::Extend { .. }
    ) && !action.is_read()
}

impl Actor for Caller {
    fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    fn stage(&self) -> Stage {
        STAGE
    }

    fn work(&self) -> String {
        self.shared.names.work.clone()
    }

    fn shelf(&self) -> Option<String> {
        None
    }

    fn think_us(&self) -> Micros {
        THINK_US
    }

    fn goes_on(&self) -> bool {
        !*self.shared.over.borrow()
    }

    fn label(&mut self) -> String {
        self.labels += 1;
        format!("c{}-{}", self.client, self.labels)
    }

    fn other(&mut self) -> Self {
        self.labels += 1;
        Self {
            shared: Arc::clone(&self.shared),
            rng: StdRng::seed_from_u64(self.rng.random()),
            client: self.client,
            clients: Arc::clone(&self.clients),
            node: self.node,
            // Its labels must be its own.
            labels: self.labels * 1_000_000,
        }
    }

    fn pause_us(&self, us: Micros) -> impl Future<Output = ()> + Send + use<> {
        sleep(Duration::from_micros(us))
    }

    async fn call(&mut self, action: Action, call: Call) -> Outcome {
        let safe = call.safe && takes_request_id(&action);
        let request_id = safe.then(|| self.request_id());
        let recorder = self.shared.recorder.clone();
        let ids = recorder.invoked(self.client, request_id.as_deref(), None, [action.clone()]);
        let wait = Duration::from_micros(wait_us(&action));
        let is_read = action.is_read();
        let request = Request::One(action.clone());
        let attempts = self.attempts(&request, request_id.clone(), wait, is_read);
        let answered = match call.abandon_us {
            None => attempts.await,
            Some(us) => timeout(Duration::from_micros(us), attempts)
                .await
                .unwrap_or_else(|_| Answered { outcomes: Err(Outcome::Unknown(HUNG_UP.to_owned())), served_by: None }),
        };
        let outcome = first(answered.outcomes);
        recorder.completed(&ids, [outcome.clone()], answered.served_by);
        // What took nothing changed nothing: asked once more, it would be another call.
        let changed = matches!(&outcome, Outcome::Ok(answer) if *answer != Answer::Delivered(vec![]));
        if request_id.is_some() && changed && self.rng.random_ratio(1, REPEATS) {
            self.repeat(action, request_id, ids[0]).await;
        }
        outcome
    }

    fn noted(&self, queue: &str, item: &str) {
        self.shared.recorder.noted(queue, item);
    }

    fn recent(&self, dice: usize) -> Option<(String, String)> {
        self.shared.recorder.recent(dice)
    }
}
