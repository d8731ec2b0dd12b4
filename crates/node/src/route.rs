//! Commands and reads find the leader, wherever they come in.
//!
//! ```text
//!  propose ─► leads? ──yes──► queue ► log ► apply ► answer
//!     ▲         │ no                       leadership lost: the outcome is unknown
//!     │         └──► one call to the leader, as long as the wait ── broke ──┐
//!     └── undone, or it has a request id: again, at the next leader ◄───────┘
//! ```
//! What is known to be undone is tried again here, so that a client of any node hears nothing of a fail-over but
//! a pause. What may have been done is repeated only with a request id: the record of request ids answers it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use willow_core::{Command, Envelope, Outcome, RequestId};
use willow_model::bugs::{self, Bug};

use crate::group::Group;
use crate::node::{Proposed, Waiting};
use crate::peers::CallError;
use crate::proposal::{Answer, Slot};
use crate::queue::Encoded;
use crate::role::Leader;
use crate::transport::Lane;
use crate::wire::{self, Call, Refused};
use crate::{ProposeError, ReadError, Unavailable};

/// How long a caller is kept while no leader takes its command, ms. Elections take about a second.
const PATIENCE_MS: u64 = 8_000;
/// Pause before a call that failed is tried again, ms.
const PAUSE_MS: u64 = 50;
/// How long the leader may take to say how far a replica must be.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// What one try came to.
enum Tried {
    Outcome(Result<Outcome, ProposeError>),
    /// Nothing was done, or doing it again does nothing twice.
    Again(ProposeError),
}

/// Whom a round asked, and what it heard.
type Round = (Leader, Result<Option<u64>, ReadError>);

/// Reads that wait to hear how far their replica must be.
#[derive(Debug, Default)]
pub(crate) struct ReadRounds {
    waiting: Vec<oneshot::Sender<Round>>,
    is_running: bool,
}

/// A command on its way.
struct Route {
    group: Arc<Group>,
    envelope: Bytes,
    /// It has a request id, or needs none.
    is_repeatable: bool,
}

impl Group {
    /// See [`crate::Node::propose_waiting`].
    pub(crate) async fn propose(
        self: &Arc<Self>,
        command: Command,
        request_id: Option<RequestId>,
    ) -> Result<Proposed, ProposeError> {
        let (is_repeatable, may_wait) = (request_id.is_some() || command.is_renewal(), command.may_wait());
        let encoded = Encoded::new(Envelope { request_id, entropy: self.entropy.draw(), command })?;
        if self.peers.is_alone() {
            return self.propose_here(encoded, !is_repeatable).await;
        }
        let route = Route { group: Arc::clone(self), envelope: encoded.bytes().clone(), is_repeatable };
        if self.role.is_leading() {
            match self.propose_here(encoded, !is_repeatable).await {
                Ok(Proposed::Done(outcome)) => return Ok(Proposed::Done(outcome)),
                Ok(Proposed::Waiting(waiting)) => {
                    return Ok(Proposed::Waiting(Waiting::new(async move {
                        match route.judge(waiting.await) {
                            Tried::Outcome(outcome) => outcome,
                            Tried::Again(_) => route.run().await,
                        }
                    })));
                }
                Err(error) => match route.judge(Err(error)) {
                    Tried::Outcome(outcome) => return outcome.map(Proposed::Done),
                    Tried::Again(_) => {}
                },
            }
        }
        if may_wait {
            Ok(Proposed::Waiting(Waiting::new(async move { route.run().await })))
        } else {
            route.run().await.map(Proposed::Done)
        }
    }

    /// Proposes as the leader; says so if this node is not.
    pub(crate) async fn propose_here(&self, encoded: Encoded, cancel_on_drop: bool) -> Result<Proposed, ProposeError> {
        let (answer, answered) = oneshot::channel();
        let pushed = self.proposer.push(encoded, Slot { answer, cancel_on_drop });
        if matches!(pushed, Err(ProposeError::Overloaded { .. })) {
            self.replica.stats.overloaded.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        pushed?;
        let answered = match self.peers.is_alone() {
            true => answered.await,
            // Without a majority nothing is decided, and the leader may not hear that for long.
            false => {
                let limit = Duration::from_millis(PATIENCE_MS);
                let in_time = crate::tasks::timeout(self.tasks.as_ref(), limit, answered).await;
                in_time.ok_or(ProposeError::NoQuorum { limit_ms: PATIENCE_MS })?
            }
        };
        match answered {
            Ok(Answer::Done(reply)) => reply.map(Proposed::Done).map_err(ProposeError::Refused),
            Ok(Answer::Waiting(waiter)) => Ok(Proposed::Waiting(Waiting::new(waiter))),
            Ok(Answer::Failed(error)) => Err(error),
            Err(_dropped) => Err(ProposeError::OutcomeUnknown { reason: "the node stopped".to_owned() }),
        }
    }

    /// The same with an envelope that is encoded already, to the end of its wait.
    async fn propose_encoded(&self, envelope: Bytes, cancel_on_drop: bool) -> Result<Outcome, ProposeError> {
        self.propose_here(Encoded::from_bytes(envelope)?, cancel_on_drop).await?.outcome().await
    }

    /// Answers a node that forwards a command, with the end of its wait.
    pub(crate) async fn answer_propose(&self, envelope: Bytes, cancel_on_drop: bool) -> wire::Answer {
        wire::Answer::Proposed(match self.propose_encoded(envelope, cancel_on_drop).await {
            Ok(outcome) => Ok(Ok(outcome)),
            Err(ProposeError::Refused(refusal)) => Ok(Err(refusal)),
            Err(error) => Err(error),
        })
    }

    /// Ends once this replica has applied everything that was answered anywhere before the call.
    pub(crate) async fn confirm_read(self: &Arc<Self>) -> Result<(), ReadError> {
        // Nobody but this node can have answered anything, and it answers only what it has applied.
        if self.role.rules_alone() {
            return Ok(());
        }
        let give_up_ms = self.clock.monotonic_ms().saturating_add(PATIENCE_MS);
        loop {
            let (leader, index) = self.read_index().await;
            let error = match index {
                Ok(None) => return Ok(()),
                Ok(Some(index)) => {
                    let rest = Duration::from_millis(give_up_ms.saturating_sub(self.clock.monotonic_ms()));
                    let reached = crate::tasks::timeout(self.tasks.as_ref(), rest, self.replica.reached(index)).await;
                    return reached.ok_or(ReadError::NoQuorum);
                }
                Err(error) => error,
            };
            if self.peers.is_removed() {
                return Err(ReadError::Removed);
            }
            if self.clock.monotonic_ms() >= give_up_ms || self.is_stopping() {
                return Err(error);
            }
            self.pause(leader).await;
        }
    }

    /// The answer of a round of asking that begins after this call. Callers who come while a round is under way
    /// share the next: a quorum is asked once for all of them.
    async fn read_index(self: &Arc<Self>) -> Round {
        let (sender, answer) = oneshot::channel();
        let is_first = {
            let mut rounds = self.read_rounds.lock();
            rounds.waiting.push(sender);
            !std::mem::replace(&mut rounds.is_running, true)
        };
        if is_first {
            let group = Arc::clone(self);
            drop(self.tasks.spawn(Box::pin(async move { group.run_read_rounds().await })));
        }
        answer.await.unwrap_or((Leader::Unknown, Err(ReadError::Stopped)))
    }

    async fn run_read_rounds(&self) {
        loop {
            let waiting = {
                let mut rounds = self.read_rounds.lock();
                if rounds.waiting.is_empty() {
                    rounds.is_running = false;
                    return;
                }
                std::mem::take(&mut rounds.waiting)
            };
            let leader = self.role.leader();
            let answer = self.ask_read_index(leader).await;
            for sender in waiting {
                let _gone = sender.send((leader, answer.clone()));
            }
        }
    }

    async fn ask_read_index(&self, leader: Leader) -> Result<Option<u64>, ReadError> {
        match leader {
            Leader::Here => self.consensus.read_index().await,
            Leader::There(node) => {
                let asked = self.peers.call_within(READ_TIMEOUT, node, self.id, Lane::Client, Call::ReadIndex).await;
                match asked {
                    Ok(wire::Answer::ReadIndex(index)) => index,
                    _ => Err(ReadError::NotLeader { leader: None }),
                }
            }
            Leader::Unknown => Err(ReadError::NoLeader),
        }
    }

    /// Waits until another leader than `seen` is known, or for a moment if one was known.
    async fn pause(&self, seen: Leader) {
        let pause_ms = if seen == Leader::Unknown { PATIENCE_MS } else { PAUSE_MS };
        let limit = Duration::from_millis(pause_ms);
        let _changed = crate::tasks::timeout(self.tasks.as_ref(), limit, self.role.other_than(seen)).await;
    }
}

impl Route {
    async fn run(self) -> Result<Outcome, ProposeError> {
        let clock = &self.group.clock;
        let mut give_up_ms = clock.monotonic_ms().saturating_add(PATIENCE_MS);
        loop {
            let (leader, began_ms) = (self.group.role.leader(), clock.monotonic_ms());
            let error = match self.attempt(leader).await {
                Tried::Outcome(outcome) => return outcome,
                Tried::Again(error) => error,
            };
            let now_ms = clock.monotonic_ms();
            // It was under way for long: a wait, which is no reason to lose patience.
            if now_ms.saturating_sub(began_ms) > PATIENCE_MS {
                give_up_ms = now_ms.saturating_add(PATIENCE_MS);
            }
            if now_ms >= give_up_ms || self.group.is_stopping() {
                return Err(match error {
                    // Nobody else did either, all this time.
                    ProposeError::NotLeader { .. } => ProposeError::Unavailable(Unavailable::NoLeader),
                    error => error,
                });
            }
            self.group.pause(leader).await;
        }
    }

    async fn attempt(&self, leader: Leader) -> Tried {
        match leader {
            Leader::Here => self.judge(self.group.propose_encoded(self.envelope.clone(), !self.is_repeatable).await),
            Leader::There(node) => {
                let call = Call::Propose { envelope: self.envelope.clone(), cancel_on_drop: !self.is_repeatable };
                match self.group.peers.call(node, self.group.id, Lane::Client, call).await {
                    Ok(wire::Answer::Proposed(Ok(reply))) => Tried::Outcome(reply.map_err(ProposeError::Refused)),
                    // What it sends away, it has cancelled or keeps for a repeat.
                    Ok(wire::Answer::Proposed(Err(error @ ProposeError::ShuttingDown))) => Tried::Again(error),
                    Ok(wire::Answer::Proposed(Err(error))) => self.judge(Err(error)),
                    Ok(_) => self.unknown("the leader's answer was not to this call"),
                    Err(CallError::Refused(Refused::Removed)) => {
                        Tried::Outcome(Err(ProposeError::Unavailable(Unavailable::Removed)))
                    }
                    Err(error) if error.is_undone() => Tried::Again(ProposeError::NotLeader { leader: None }),
                    Err(error) => self.unknown(&error.to_string()),
                }
            }
            Leader::Unknown if self.group.peers.is_removed() => {
                Tried::Outcome(Err(ProposeError::Unavailable(Unavailable::Removed)))
            }
            Leader::Unknown => Tried::Again(ProposeError::Unavailable(Unavailable::NoLeader)),
        }
    }

    fn unknown(&self, reason: &str) -> Tried {
        self.judge(Err(ProposeError::OutcomeUnknown { reason: reason.to_owned() }))
    }

    /// Whether to try again.
    fn judge(&self, outcome: Result<Outcome, ProposeError>) -> Tried {
        match outcome {
            // A full disk makes its node hand leadership over, if it can.
            Err(error @ (ProposeError::NotLeader { .. } | ProposeError::Unavailable(_))) => Tried::Again(error),
            Err(error @ ProposeError::OutcomeUnknown { .. }) if self.is_repeatable || bugs::is_on(Bug::UnsafeRetry) => {
                Tried::Again(error)
            }
            outcome => Tried::Outcome(outcome),
        }
    }
}

impl Waiting {
    fn new(wait: impl Future<Output = Result<Outcome, ProposeError>> + Send + 'static) -> Self {
        Self(Box::pin(wait) as BoxFuture<'static, _>)
    }
}
