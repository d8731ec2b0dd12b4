//! Writes down what happens: the history of the round that runs, and figures of the whole run.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;
use serde::Serialize;
use willow_sim::history::{Action, Answer, Facts, History, Micros, OpId, Operation, Outcome, Setup};

/// Items that readers choose from.
const RECENT: usize = 64;
/// Length of one step of the series, µs.
pub(crate) const STEP_US: Micros = 500_000;

/// What came of calls of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Done.
    pub done: u64,
    /// Refused by the machine.
    pub refused: u64,
    /// Not done: no node took it in.
    pub not_done: u64,
    /// Nobody knows.
    pub unknown: u64,
}

/// Figures of the whole run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// By kind of call.
    pub(crate) calls: BTreeMap<&'static str, Tally>,
    /// Locks granted.
    pub(crate) acquisitions: u64,
    /// Items taken in.
    pub(crate) items: u64,
    /// Operations done in each step of time.
    pub(crate) series: Vec<u64>,
    /// Answers that no server should give.
    pub(crate) odd: Vec<String>,
}

/// Where calls are written down. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    history: History,
    recent: VecDeque<(String, String)>,
    figures: Figures,
}

impl Recorder {
    /// Begins to count time.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), inner: Arc::default() }
    }

    /// Since the beginning of the run.
    pub(crate) fn now_us(&self) -> Micros {
        Micros::try_from(self.began.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// Begins a history.
    pub(crate) fn begin(&self, setup: Setup) {
        let mut inner = self.inner.lock();
        inner.history = History { setup, ..History::default() };
        inner.recent.clear();
    }

    /// Takes the history out.
    pub(crate) fn take(&self) -> History {
        std::mem::take(&mut self.inner.lock().history)
    }

    /// Calls begin, all at once: one request.
    pub(crate) fn invoked(
        &self,
        client: u32,
        request_id: Option<&str>,
        repeat_of: Option<OpId>,
        actions: impl IntoIterator<Item = Action>,
    ) -> Vec<OpId> {
        let mut inner = self.inner.lock();
        let invoked_us = self.now_us();
        let mut ids = Vec::new();
        for action in actions {
            let id = OpId::try_from(inner.history.operations.len()).unwrap_or(OpId::MAX);
            ids.push(id);
            inner.history.operations.push(Operation {
                id,
                client,
                request_id: request_id.map(str::to_owned),
                repeat_of,
                invoked_us,
                completed_us: None,
                served_by: None,
                action,
                outcome: Outcome::Unknown("no answer came".to_owned()),
            });
        }
        ids
    }

    /// They end.
    pub(crate) fn completed(
        &self,
        ids: &[OpId],
        outcomes: impl IntoIterator<Item = Outcome>,
        served_by: Option<(u32, u32)>,
    ) {
        let mut inner = self.inner.lock();
        let now_us = self.now_us();
        for (id, outcome) in ids.iter().zip(outcomes) {
            let Inner { history, figures, .. } = &mut *inner;
            let place = usize::try_from(*id).unwrap_or(usize::MAX);
            let Some(operation) = history.operations.get_mut(place) else { continue };
            operation.completed_us = Some(now_us);
            operation.served_by = served_by;
            operation.outcome = outcome;
            figures.count(operation, now_us);
        }
    }

    /// An item that readers may look at.
    pub(crate) fn noted(&self, queue: &str, item: &str) {
        let mut inner = self.inner.lock();
        if inner.recent.len() == RECENT {
            inner.recent.pop_front();
        }
        inner.recent.push_back((queue.to_owned(), item.to_owned()));
    }

    /// One of the items noted lately.
    pub(crate) fn recent(&self, dice: usize) -> Option<(String, String)> {
        let inner = self.inner.lock();
        let place = dice.checked_rem(inner.recent.len())?;
        inner.recent.get(place).cloned()
    }

    /// An answer that no server should give.
    pub(crate) fn odd(&self, what: String) {
        let mut inner = self.inner.lock();
        if inner.figures.odd.len() < 100 {
            inner.figures.odd.push(what);
        }
    }

    /// Writes down what nodes say of themselves.
    pub(crate) fn facts(&self, write: impl FnOnce(&mut Facts)) {
        write(&mut self.inner.lock().history.facts);
    }

    /// Something did not come to pass.
    pub(crate) fn stuck(&self, what: String) {
        self.facts(|facts| facts.stuck.push(what));
    }

    /// Figures so far.
    pub(crate) fn figures(&self) -> Figures {
        self.inner.lock().figures.clone()
    }
}

impl Figures {
    fn count(&mut self, operation: &Operation, now_us: Micros) {
        let tally = self.calls.entry(kind(&operation.action)).or_default();
        match &operation.outcome {
            Outcome::Ok(answer) => {
                tally.done += 1;
                match answer {
                    Answer::Acquired { grants, .. } => self.acquisitions += grants.len() as u64,
                    Answer::Enqueued { .. } => self.items += 1,
                    _ => {}
                }
                let step = usize::try_from(now_us / STEP_US).unwrap_or(usize::MAX);
                if self.series.len() <= step {
                    self.series.resize(step + 1, 0);
                }
                self.series[step] += 1;
            }
            Outcome::Refused(_) => tally.refused += 1,
            Outcome::NotDone(_) => tally.not_done += 1,
            Outcome::Unknown(_) => tally.unknown += 1,
        }
    }
}

/// What a call is, in a word or two.
pub(crate) fn kind(action: &Action) -> &'static str {
    match action {
        Action::CreateSession { .. } => "create session",
        Action::EndSession { .. } => "end session",
        Action::RenewSession { .. } => "renew session",
        Action::Acquire { .. } => "acquire",
        Action::Release { .. } => "release",
        Action::RenewLock { .. } => "renew lock",
        Action::ForceRelease { .. } => "force release",
        Action::ReadLock { .. } => "read lock",
        Action::Increment { .. } => "increment",
        Action::Decrement { .. } => "decrement",
        Action::RenewHold { .. } => "renew hold",
        Action::ReleaseHold { .. } => "release hold",
        Action::ReadCounter { .. } => "read counter",
        Action::Enqueue { .. } => "enqueue",
        Action::Dequeue { .. } => "dequeue",
        Action::Ack { .. } => "ack",
        Action::Nack { .. } => "nack",
        Action::Return { .. } => "return",
        Action::Extend { .. } => "extend",
        Action::ReadItem { .. } => "read item",
        Action::Page { .. } => "page",
    }
}
