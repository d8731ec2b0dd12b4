//! Histories in few words, for the checkers' own tests.

use crate::history::{
    Action, Answer, Delivery, Grant, History, How, Micros, Mode, Nacked, OpId, Operation, Outcome, Refusal, Setup,
};

pub(crate) const MS: Micros = 1000;

/// A history being written. Times are in ms.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) history: History,
}

impl Script {
    pub(crate) fn new() -> Self {
        let setup = Setup { clock_fast_milli: 5, ..Setup::default() };
        Self { history: History { setup, ..History::default() } }
    }

    /// Adds an operation that lasts from `from_ms` to `to_ms`.
    pub(crate) fn op(&mut self, from_ms: u64, to_ms: u64, action: Action, outcome: Outcome) -> OpId {
        let id = self.history.operations.len() as OpId + 1;
        self.history.operations.push(Operation {
            id,
            client: 0,
            request_id: Some(format!("r{id}")),
            repeat_of: None,
            invoked_us: from_ms * MS,
            completed_us: Some(to_ms * MS),
            served_by: Some((1, 0)),
            action,
            outcome,
        });
        id
    }

    pub(crate) fn last(&mut self) -> &mut Operation {
        self.history.operations.last_mut().expect("an operation was added")
    }

    pub(crate) fn ok(&mut self, from_ms: u64, to_ms: u64, action: Action, answer: Answer) -> OpId {
        self.op(from_ms, to_ms, action, Outcome::Ok(answer))
    }

    pub(crate) fn refused(&mut self, from_ms: u64, to_ms: u64, action: Action, refusal: Refusal) -> OpId {
        self.op(from_ms, to_ms, action, Outcome::Refused(refusal))
    }

    pub(crate) fn unknown(&mut self, from_ms: u64, action: Action) -> OpId {
        let id = self.op(from_ms, from_ms, action, Outcome::Unknown("lost".to_owned()));
        self.last().completed_us = None;
        id
    }

    /// An exclusive grant of lock `l` to session `s<token>`, for a second.
    pub(crate) fn granted(&mut self, from_ms: u64, to_ms: u64, token: u64) -> OpId {
        let grants = vec![Grant { lock: "l".to_owned(), token, depth: 1 }];
        let answer = Answer::Acquired { session: format!("s{token}"), expires_in_ms: 1000, grants };
        self.ok(from_ms, to_ms, acquire(), answer)
    }

    pub(crate) fn enqueued(&mut self, from_ms: u64, to_ms: u64, item: &str, revision: u64, data: &str) -> OpId {
        let answer = Answer::Enqueued { item: item.to_owned(), revision, how: How::Created };
        self.ok(from_ms, to_ms, enqueue(data, false), answer)
    }

    /// A delivery of an item under a lease of a second; its token is `t<fence>`.
    pub(crate) fn delivered(&mut self, from_ms: u64, to_ms: u64, delivery: Delivery) -> OpId {
        self.ok(from_ms, to_ms, dequeue(), Answer::Delivered(vec![delivery]))
    }

    pub(crate) fn acked(&mut self, from_ms: u64, to_ms: u64, item: &str, fence: u64) -> OpId {
        self.ok(from_ms, to_ms, ack(item, fence), Answer::Acked)
    }

    pub(crate) fn nacked(&mut self, from_ms: u64, to_ms: u64, item: &str, fence: u64) -> OpId {
        let action = Action::Nack { queue: "q".to_owned(), item: item.to_owned(), token: format!("t{fence}") };
        self.ok(from_ms, to_ms, action, Answer::Nacked(Nacked::Retry))
    }

    /// Names of the checks that fail.
    pub(crate) fn fails(&self, check: fn(&History) -> Vec<super::Violation>) -> bool {
        !check(&self.history).is_empty()
    }
}

pub(crate) fn acquire() -> Action {
    acquire_as("me", Mode::Exclusive)
}

pub(crate) fn acquire_as(owner: &str, mode: Mode) -> Action {
    let locks = vec![("l".to_owned(), mode)];
    Action::Acquire { locks, session: None, ttl_ms: 1000, wait_ms: 0, owner: owner.to_owned() }
}

pub(crate) fn release(token: u64) -> Action {
    Action::Release { lock: "l".to_owned(), session: format!("s{token}"), token: Some(token) }
}

pub(crate) fn renew(token: u64) -> Action {
    Action::RenewLock { lock: "l".to_owned(), session: format!("s{token}"), token: Some(token) }
}

pub(crate) fn enqueue(data: &str, updatable: bool) -> Action {
    Action::Enqueue { queue: "q".to_owned(), channel: "c".to_owned(), data: data.to_owned(), updatable }
}

pub(crate) fn dequeue() -> Action {
    Action::Dequeue { queue: "q".to_owned(), max_items: 1, lease_ms: 1000, wait_ms: 0 }
}

pub(crate) fn ack(item: &str, fence: u64) -> Action {
    Action::Ack { queue: "q".to_owned(), item: item.to_owned(), token: format!("t{fence}") }
}

pub(crate) fn delivery(item: &str, revision: u64, fence: u64, data: &str) -> Delivery {
    Delivery {
        item: item.to_owned(),
        channel: "c".to_owned(),
        data: data.to_owned(),
        revision,
        fence,
        token: format!("t{fence}"),
        attempt: 1,
        weight: 1,
        expires_in_ms: 1000,
    }
}
