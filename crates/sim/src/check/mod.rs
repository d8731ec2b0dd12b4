//! The checkers: one property per file, with its formal statement.
//!
//! All of them err on the side of the system under test: what a client could not know (whether an unanswered
//! call was done, when exactly a lease began) is taken to have been as it would have to be for all to be well.
//! So every violation is one.

pub mod census;
pub mod counters;
pub mod digests;
pub mod fifo;
pub mod in_flight;
mod issued;
pub mod leases;
pub mod linear;
pub mod liveness;
pub mod locks;
pub mod lost;
pub mod over_limit;
pub mod pages;
pub mod payloads;
pub mod reads;
pub mod repeats;
pub mod sessions;
pub mod stale_reads;
#[cfg(test)]
mod testing;
pub mod tokens;

use crate::history::{History, OpId};

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name of the checker.
    pub checker: &'static str,
    /// What happened.
    pub what: String,
    /// The operations it shows in.
    pub operations: Vec<OpId>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} (operations {:?})", self.checker, self.what, self.operations)
    }
}

/// A checker by name.
#[derive(Clone, Copy, Debug)]
pub struct Checker {
    /// Its name.
    pub name: &'static str,
    /// Lists what is wrong with a history.
    pub check: fn(&History) -> Vec<Violation>,
}

/// All of them.
pub const CHECKERS: &[Checker] = &[
    Checker { name: "locks linearizable", check: locks::check },
    Checker { name: "counters linearizable", check: counters::check },
    Checker { name: "never over a limit", check: over_limit::check },
    Checker { name: "tokens increase", check: tokens::check },
    Checker { name: "nothing lost", check: lost::check },
    Checker { name: "once in flight", check: in_flight::check },
    Checker { name: "in flight is leased", check: census::check },
    Checker { name: "equal digests", check: digests::check },
    Checker { name: "pages exactly once", check: pages::check },
    Checker { name: "leases last", check: leases::check },
    Checker { name: "dead sessions", check: sessions::check },
    Checker { name: "lines are fair", check: fifo::check },
    Checker { name: "reads are fresh", check: reads::check },
    Checker { name: "stale reads go on", check: stale_reads::check },
    Checker { name: "payloads are new", check: payloads::check },
    Checker { name: "repeats", check: repeats::check },
    Checker { name: "liveness", check: liveness::check },
];

/// Everything that is wrong with a history.
#[must_use]
pub fn all(history: &History) -> Vec<Violation> {
    CHECKERS.iter().flat_map(|checker| (checker.check)(history)).collect()
}

fn violation(checker: &'static str, what: String, operations: impl Into<Vec<OpId>>) -> Violation {
    Violation { checker, what, operations: operations.into() }
}
