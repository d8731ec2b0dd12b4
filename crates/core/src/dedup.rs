//! Replicated record of request ids: a repeat is answered from here, not done twice.
//!
//! Only what changed state is recorded: a refusal changed nothing, so a repeat may try afresh.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use willow_model::bugs::{self, Bug};

use crate::{
    Command, Outcome, Reply, RequestId, WaiterId, limits,
    table::{Row, Table},
};

/// One remembered request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    id: RequestId,
    fingerprint: Fingerprint,
    answer: Outcome,
    expires_ms: u64,
}

impl Row for Record {
    type Key = RequestId;
    fn key(&self) -> RequestId {
        self.id.clone()
    }
}

/// Tells a repeat from another request: the first 128 bits of the command's BLAKE3 hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint([u8; 16]);

impl Fingerprint {
    pub(crate) fn of(command: &Command) -> Self {
        let bytes = postcard::to_stdvec(command).expect("commands have no unsupported types");
        let mut short = [0; 16];
        short.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
        Self(short)
    }
}

/// What is known of a request id.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    /// Nothing: go ahead.
    New,
    /// The same request: this was, or will be, its answer.
    Same(Box<Outcome>),
    /// Another request used the id.
    Other,
}

/// The record.
#[derive(Debug, Default)]
pub(crate) struct Dedup {
    pub(crate) records: Table<Record>,
    /// Derived: when each may go, oldest first.
    expiry: BTreeSet<(u64, u32)>,
    /// Derived: who waits.
    waiting: BTreeMap<WaiterId, u32>,
}

impl Dedup {
    pub(crate) fn seen(&self, id: &RequestId, fingerprint: Fingerprint) -> Seen {
        match self.records.by_key(id) {
            None => Seen::New,
            Some(record) if record.fingerprint == fingerprint => Seen::Same(Box::new(record.answer.clone())),
            Some(_) => Seen::Other,
        }
    }

    /// Whether a request id leads to this wait.
    pub(crate) fn has_wait(&self, waiter: WaiterId) -> bool {
        self.waiting.contains_key(&waiter)
    }

    /// Remembers the answer to a request that changed state.
    pub(crate) fn record(&mut self, id: RequestId, fingerprint: Fingerprint, outcome: &Outcome, now_ms: u64) {
        while self.records.len() >= limits::REQUEST_IDS {
            self.forget_oldest();
        }
        let expires_ms = now_ms.saturating_add(limits::REQUEST_ID_RETENTION_MS);
        let slot = self.records.insert(Record { id, fingerprint, answer: outcome.without_payload(), expires_ms });
        self.link(slot);
    }

    /// A recorded wait is over: keep its answer, or forget it if it changed nothing.
    pub(crate) fn resolve(&mut self, waiter: WaiterId, reply: &Reply, now_ms: u64) {
        let Some(slot) = self.waiting.remove(&waiter) else { return };
        let Some(record) = self.records.get_mut(slot) else { return };
        self.expiry.remove(&(record.expires_ms, slot));
        match reply {
            Ok(outcome) if outcome.has_changed() && !bugs::is_on(Bug::WaitNotRecorded) => {
                record.answer = outcome.without_payload();
                record.expires_ms = now_ms.saturating_add(limits::REQUEST_ID_RETENTION_MS);
                self.expiry.insert((record.expires_ms, slot));
            }
            Ok(_) | Err(_) => {
                self.records.remove(slot);
            }
        }
    }

    /// Forgets what is old, a bounded number at a time.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        for _ in 0..limits::ROWS_PER_STEP {
            match self.expiry.first() {
                Some((at_ms, _)) if *at_ms <= now_ms => self.forget_oldest(),
                _ => return,
            }
        }
    }

    /// Rebuilds what is derived.
    pub(crate) fn rebuild(&mut self) {
        let slots: Vec<u32> = self.records.iter().map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| self.link(slot));
    }

    fn link(&mut self, slot: u32) {
        let Some(record) = self.records.get(slot) else { return };
        self.expiry.insert((record.expires_ms, slot));
        if let Outcome::Waiting(waiter) = record.answer {
            self.waiting.insert(waiter, slot);
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, slot)) = self.expiry.pop_first() else { return };
        if let Some(Record { answer: Outcome::Waiting(waiter), .. }) = self.records.remove(slot) {
            self.waiting.remove(&waiter);
        }
    }
}

#[cfg(test)]
mod tests;
