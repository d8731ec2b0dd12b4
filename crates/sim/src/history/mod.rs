//! What clients asked for, when, and what they heard: the only thing that checkers look at.
//!
//! As JSON, a history is one [`Line`] per line, in the order in which things happened: easy to write while
//! a test runs, to cut at any point, and to look at.

mod action;
mod answer;
mod facts;
mod lines;

use serde::{Deserialize, Serialize};

pub use action::{Action, Mode};
pub use answer::{Answer, Delivery, Grant, Holder, How, ItemView, LockView, Nacked, Refusal};
pub use facts::{Census, ChannelCensus, CounterCensus, Digest, Facts, ItemState, Stored};
pub use lines::{BadLine, Line};

/// Microseconds of true time, from the start of the test. No clock under test shows it.
pub type Micros = u64;

/// Why the outcome of a call is unknown whose caller hung up of its own accord.
pub const HUNG_UP: &str = "the client hung up";

/// Names an operation within a history.
pub type OpId = u64;

/// What is the same for the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Limit of each bucket.
    pub limits: std::collections::BTreeMap<String, u64>,
    /// The buckets that each counter (or channel, for its deliveries) falls in.
    pub buckets: std::collections::BTreeMap<String, Vec<String>>,
    /// Collections whose walks are checked: what is created there is never changed or removed.
    pub shelves: std::collections::BTreeSet<String>,
    /// By how much, in thousandths, log time may run ahead of true time.
    pub clock_fast_milli: u64,
    /// By how much, in ms, it may run ahead at once on top of that.
    #[serde(default)]
    pub clock_ahead_ms: u64,
}

/// Everything observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// What is the same for the whole run.
    pub setup: Setup,
    /// Calls, by the time at which they began.
    pub operations: Vec<Operation>,
    /// What nodes said of themselves.
    pub facts: Facts,
}

/// One call of one client. Repeats that the client made of its own accord to get an answer are part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name.
    pub id: OpId,
    /// Who called.
    pub client: u32,
    /// Makes repeats of it safe.
    pub request_id: Option<String>,
    /// It asks once more for what this finished operation did, with its request id.
    pub repeat_of: Option<OpId>,
    /// When it was called.
    pub invoked_us: Micros,
    /// When the answer came, if one did.
    pub completed_us: Option<Micros>,
    /// Which node, in which of its lives, gave the answer: for stale reads.
    pub served_by: Option<(u32, u32)>,
    /// What was asked for.
    pub action: Action,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Ok(Answer),
    /// The machine refused it: an answer of its own, at some moment of the log.
    Refused(Refusal),
    /// It was certainly not done: no node took it in.
    NotDone(String),
    /// It may have been done, or may yet be.
    Unknown(String),
}

impl Operation {
    /// The answer, if it is one.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Ok(answer) => Some(answer),
            Outcome::Refused(_) | Outcome::NotDone(_) | Outcome::Unknown(_) => None,
        }
    }

    /// True when it was done, as far as the client knows.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.answer().is_some()
    }

    /// True when it may have been done or not.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }

    /// True when it was done or may have been.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        self.is_ok() || self.is_unknown()
    }

    /// When it was surely over; never, if its outcome is unknown.
    #[must_use]
    pub fn over_us(&self) -> Option<Micros> {
        if self.is_unknown() { None } else { self.completed_us }
    }
}

impl History {
    /// Operations that ask for something of their own: no deliberate repeats.
    pub fn first_calls(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|operation| operation.repeat_of.is_none())
    }

    /// The earliest end of a lease of `ttl_ms` that began at `from_us` or later, true time.
    #[must_use]
    pub fn lease_end_us(&self, from_us: Micros, ttl_ms: u64) -> Micros {
        let ttl_us = ttl_ms.saturating_mul(1000);
        let fast_us = ttl_us.saturating_mul(self.setup.clock_fast_milli) / 1000;
        // Log time counts whole milliseconds: one may be nearly over when the lease begins.
        let early_us = self.setup.clock_ahead_ms.saturating_add(1).saturating_mul(1000);
        from_us.saturating_add(ttl_us.saturating_sub(fast_us)).saturating_sub(early_us)
    }

    /// Operations by name.
    #[must_use]
    pub fn by_id(&self) -> std::collections::BTreeMap<OpId, &Operation> {
        self.operations.iter().map(|operation| (operation.id, operation)).collect()
    }
}
