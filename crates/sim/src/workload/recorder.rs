//! Writes down what happens.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::history::{Action, Facts, History, OpId, Operation, Outcome, Setup};
use crate::time;

/// Items that readers choose from.
const RECENT: usize = 40;

/// The history of a run while it is made. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    history: History,
    recent: VecDeque<(String, String)>,
    walks: u64,
}

impl Recorder {
    /// Begins a history.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let recorder = Self::default();
        recorder.0.lock().history.setup = setup;
        recorder
    }

    /// A call begins.
    #[must_use]
    pub fn invoked(&self, client: u32, request_id: Option<String>, repeat_of: Option<OpId>, action: Action) -> OpId {
        let mut inner = self.0.lock();
        let id = OpId::try_from(inner.history.operations.len()).unwrap_or(OpId::MAX);
        inner.history.operations.push(Operation {
            id,
            client,
            request_id,
            repeat_of,
            invoked_us: time::now_us(),
            completed_us: None,
            served_by: None,
            action,
            outcome: Outcome::Unknown("no answer came".to_owned()),
        });
        id
    }

    /// A call ends.
    pub fn completed(&self, id: OpId, outcome: Outcome, served_by: Option<(u32, u32)>) {
        let mut inner = self.0.lock();
        let place = usize::try_from(id).unwrap_or(usize::MAX);
        let Some(operation) = inner.history.operations.get_mut(place) else { return };
        operation.completed_us = Some(time::now_us());
        operation.served_by = served_by;
        operation.outcome = outcome;
    }

    /// An item that readers may look at.
    pub fn noted(&self, queue: &str, item: &str) {
        let mut inner = self.0.lock();
        if inner.recent.len() == RECENT {
            inner.recent.pop_front();
        }
        inner.recent.push_back((queue.to_owned(), item.to_owned()));
    }

    /// One of the items noted lately.
    #[must_use]
    pub fn recent(&self, dice: usize) -> Option<(String, String)> {
        let inner = self.0.lock();
        let place = dice.checked_rem(inner.recent.len())?;
        inner.recent.get(place).cloned()
    }

    /// Names a walk.
    #[must_use]
    pub fn next_walk(&self) -> u64 {
        let mut inner = self.0.lock();
        inner.walks += 1;
        inner.walks
    }

    /// Writes down what nodes say of themselves.
    pub fn facts(&self, write: impl FnOnce(&mut Facts)) {
        write(&mut self.0.lock().history.facts);
    }

    /// Takes the history out.
    #[must_use]
    pub fn take(&self) -> History {
        std::mem::take(&mut self.0.lock().history)
    }
}
