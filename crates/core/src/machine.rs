//! The machine: one shard's whole replicated state, changed only by [`Machine::apply`].

use serde::{Deserialize, Serialize};
use willow_model::{Id, Revision};
use willow_query::Query;

pub use crate::lookup::{Listing, Lookup};
use crate::{
    Batch, Command, Context, Effect, Envelope, Outcome, Refusal, Reply, WaiterId,
    catalogue::Catalogue,
    command::{CancelWait, Initialize},
    cursor::{self, AdvanceCursor, Advanced, Cursors, Stop},
    dedup::{Dedup, Fingerprint, Seen},
    limiter::Limiter,
    limits,
    locker::Locker,
    queue::{ItemState, Queues},
    timer::Timer,
};

/// What a query runs over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Collection {
    /// Locks in use.
    Locks,
    /// Rules.
    Rules,
    /// Overrides of one rule.
    Overrides(Id),
    /// Counters.
    Counters,
    /// Queues.
    Queues,
    /// Channels of one queue.
    Channels(Id),
    /// Live items of one queue.
    Items {
        /// Which queue.
        queue: Id,
        /// Only items in these; all when there are none. A cursor belongs to them, too.
        states: Vec<ItemState>,
    },
    /// Dead letters of one queue.
    DeadLetters(Id),
}

/// Names of the cluster; set by its first command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Random id; zero before [`Initialize`].
    pub id: u128,
    pub(crate) secret: [u8; 32],
}

/// What applying a batch brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// One per envelope, in order.
    pub replies: Vec<Reply>,
    /// For the edge.
    pub effects: Vec<Effect>,
}

/// All replicated state of one shard.
#[derive(Debug, Default)]
pub struct Machine {
    pub(crate) cluster: Cluster,
    pub(crate) cx: Context,
    pub(crate) dedup: Dedup,
    pub(crate) cursors: Cursors,
    pub(crate) catalogue: Catalogue,
    pub(crate) locker: Locker,
    pub(crate) limiter: Limiter,
    pub(crate) queues: Queues,
}

impl Machine {
    /// Applies one log entry: first time, then the commands in order.
    pub fn apply(&mut self, batch: Batch) -> Applied {
        self.queues.begin_batch();
        self.advance_to(batch.time_ms);
        self.dedup.expire(self.cx.now_ms);
        let replies = batch.envelopes.into_iter().map(|envelope| self.apply_envelope(envelope)).collect();
        Applied { replies, effects: std::mem::take(&mut self.cx.effects) }
    }

    /// When the next deadline comes, ms since the Unix epoch. The edge then applies an empty batch.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.cx.timers.next_ms()
    }

    /// Machine time, ms since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.cx.now_ms
    }

    /// The newest revision given out.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.cx.revision()
    }

    /// The cluster's id; zero before it is initialized.
    #[must_use]
    pub fn cluster_id(&self) -> u128 {
        self.cluster.id
    }

    /// Who belongs to the cluster; empty but in group 0.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Commands waiting now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.cx.waiters
    }

    /// Waits that no caller can come back for: they have no request id by which to be found.
    ///
    /// Those of an earlier leader have nobody left to hear of their end.
    #[must_use]
    pub fn nameless_waits(&self) -> Vec<WaiterId> {
        let all = self.locker.waits().chain(self.limiter.waits()).chain(self.queues.waits());
        all.filter(|waiter| !self.dedup.has_wait(*waiter)).collect()
    }

    /// What a lookup needs; `seed` is for `pick: random`.
    #[must_use]
    pub fn lookup(&self, seed: u64) -> Lookup<'_> {
        Lookup { secret: &self.cluster.secret, seed, now_ms: self.cx.now_ms, revision: self.cx.revision() }
    }

    /// Locks and sessions, to read.
    #[must_use]
    pub fn locker(&self) -> &Locker {
        &self.locker
    }

    /// Rules and counters, to read.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Queues, to read.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// Lets time pass up to `time_ms`, firing what is due in order. Past the budget of one batch,
    /// time stands still at the oldest deadline not fired, so that no command sees an ended lease.
    fn advance_to(&mut self, time_ms: u64) {
        self.cx.clock_ms = self.cx.clock_ms.max(time_ms);
        for _ in 0..limits::TIMERS_PER_BATCH {
            let Some((at_ms, timer)) = self.cx.timers.pop_due(time_ms) else {
                self.cx.now_ms = self.cx.now_ms.max(time_ms);
                return;
            };
            self.cx.now_ms = self.cx.now_ms.max(at_ms);
            self.fire(timer);
            self.settle();
        }
        let stalled_ms = self.cx.timers.next_ms().map_or(time_ms, |next_ms| next_ms.min(time_ms));
        self.cx.now_ms = self.cx.now_ms.max(stalled_ms);
    }

    fn fire(&mut self, timer: Timer) {
        // Whoever needs randomness when a lease ends (backoff jitter) derives it from the revision.
        self.cx.entropy = u128::from(self.cx.revision);
        match timer {
            Timer::Session(slot) => self.locker.session_expired(slot, &mut self.cx),
            Timer::LockWait(slot) => self.locker.wait_expired(slot, &mut self.cx),
            Timer::Hold(slot) => self.limiter.hold_expired(slot, &mut self.cx),
            Timer::IncrementWait(slot) => self.limiter.wait_expired(slot, &mut self.cx),
            Timer::ItemLease(slot) => self.queues.lease_expired(slot, &mut self.limiter, &mut self.cx),
            Timer::ItemDue(slot) => self.queues.item_due(slot, &mut self.limiter, &mut self.cx),
            Timer::ItemExpiry(slot) => self.queues.item_expired(slot, &mut self.limiter, &mut self.cx),
            Timer::ConsumerWait(slot) => self.queues.wait_expired(slot, &mut self.cx),
            Timer::QueueStep(slot) => self.queues.step(slot, &mut self.limiter, &mut self.cx),
        }
    }

    fn apply_envelope(&mut self, envelope: Envelope) -> Reply {
        let Envelope { request_id, entropy, command } = envelope;
        self.cx.entropy = entropy;
        let Some(id) = request_id else {
            let reply = self.dispatch(command);
            self.settle();
            return reply;
        };
        let fingerprint = Fingerprint::of(&command);
        match self.dedup.seen(&id, fingerprint) {
            Seen::Other => Err(Refusal::RequestIdReused),
            Seen::Same(answer) => self.repeat(&command, *answer),
            Seen::New => {
                let reply = self.dispatch(command);
                // Before settling: that may already bring the final answer of this very command.
                if let Ok(outcome) = &reply
                    && outcome.has_changed()
                {
                    self.dedup.record(id, fingerprint, outcome, self.cx.now_ms);
                }
                self.settle();
                reply
            }
        }
    }

    /// Answers from the record. What is left of a lease is told as of now, not as of then: a caller
    /// that trusted the old figure would think it holds what it lost.
    fn repeat(&self, command: &Command, mut outcome: Outcome) -> Reply {
        match command {
            Command::Lock(command) => self.locker.refresh(command, &mut outcome, &self.cx)?,
            Command::Limit(command) => self.limiter.refresh(command, &mut outcome, &self.cx)?,
            Command::Queue(command) => self.queues.refresh_answer(command, &mut outcome, &self.cx)?,
            Command::Initialize(_) | Command::CancelWait(_) | Command::AdvanceCursor(_) | Command::Catalogue(_) => {}
        }
        Ok(outcome)
    }

    fn dispatch(&mut self, command: Command) -> Reply {
        match command {
            Command::Initialize(command) => self.initialize(&command),
            Command::CancelWait(command) => self.cancel_wait(&command),
            Command::Lock(command) => self.locker.apply(command, &mut self.cx),
            Command::Limit(command) => self.limiter.apply(command, &mut self.cx),
            Command::Queue(command) => self.queues.apply(command, &mut self.limiter, &mut self.cx),
            Command::AdvanceCursor(command) => self.advance_cursor(command),
            Command::Catalogue(command) => Ok(Outcome::Catalogue(self.catalogue.apply(command)?)),
        }
    }

    /// Follows up what a command or a deadline changed: channels that a limit no longer blocks are
    /// offered to waiting consumers, and waits that ended are handed to the edge and to the record.
    fn settle(&mut self) {
        self.queues.settle(&mut self.limiter, &mut self.cx);
        for (waiter, reply) in std::mem::take(&mut self.cx.resolved) {
            self.dedup.resolve(waiter, &reply, self.cx.now_ms);
            self.cx.effects.push(Effect::Resolve { waiter, reply });
        }
    }

    fn initialize(&mut self, command: &Initialize) -> Reply {
        if self.cluster.id != 0 {
            return Err(Refusal::AlreadyInitialized);
        }
        self.cluster = Cluster { id: command.cluster, secret: command.secret };
        Ok(Outcome::Done)
    }

    fn cancel_wait(&mut self, command: &CancelWait) -> Reply {
        // Waiter ids are unique over all services: whoever knows this one ends it.
        self.locker.cancel_wait(command, &mut self.cx);
        self.limiter.cancel_wait(command, &mut self.cx);
        self.queues.cancel_wait(command, &mut self.limiter, &mut self.cx);
        Ok(Outcome::Done)
    }

    fn advance_cursor(&mut self, command: AdvanceCursor) -> Reply {
        let AdvanceCursor { mut collection, query } = command;
        if let Collection::Items { states, .. } = &mut collection {
            // The same states in another order are the same cursor.
            states.sort_unstable();
            states.dedup();
        }
        let name = (collection, cursor::name(&query)?);
        let last = self.cursors.last(&name);
        let next = self.next_after(&name.0, &query, last)?;
        if let Some((_, stop)) = next {
            self.cursors.advance(name, stop, &mut self.cx);
        }
        Ok(Outcome::Cursor(Advanced { id: next.map(|(id, _)| id) }))
    }

    /// What a round-robin lookup answers, and where its cursor then stands.
    fn next_after(
        &self,
        collection: &Collection,
        query: &Query,
        last: Option<Stop>,
    ) -> Result<Option<(Id, Stop)>, cursor::Error> {
        let stop = |id: Option<Id>| id.map(|id| (id, Stop::at(id)));
        let after = last.map(|last| last.id);
        match collection {
            Collection::Locks => self.locker.next_after(query, after).map(stop),
            Collection::Rules | Collection::Overrides(_) | Collection::Counters => {
                self.limiter.next_after(collection, query, after).map(stop)
            }
            Collection::Queues | Collection::Channels(_) | Collection::Items { .. } | Collection::DeadLetters(_) => {
                self.queues.next_after(collection, query, last.as_ref())
            }
        }
    }
}
