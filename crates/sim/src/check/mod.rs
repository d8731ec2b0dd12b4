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

/// What a checker does.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// Lists what is wrong with a history.
    Plain(fn(&History) -> Vec<Violation>),
    /// Searches for an order of the calls on each object, and may give up.
    Search(fn(&History) -> Found),
}

/// What is found in a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// All that is wrong.
    pub violations: Vec<Violation>,
    /// Objects whose calls were put in order.
    pub objects: u64,
    /// Of which the search gave up.
    pub undecided: u64,
}

impl Found {
    /// Notes what a search said of an object; `impossible` tells of a violation.
    fn add(&mut self, verdict: linear::Verdict, impossible: impl FnOnce(OpId) -> Violation) {
        self.objects += 1;
        match verdict {
            linear::Verdict::Linearizable => {}
            linear::Verdict::Undecided => self.undecided += 1,
            linear::Verdict::Impossible(operation) => self.violations.push(impossible(operation)),
        }
    }
}

/// A checker by name.
#[derive(Clone, Copy, Debug)]
pub struct Checker {
    /// Its name.
    pub name: &'static str,
    /// What it finds in a history.
    pub check: Check,
}

/// All of them.
pub const CHECKERS: &[Checker] = &[
    Checker { name: "locks linearizable", check: Check::Search(locks::search) },
    Checker { name: "counters linearizable", check: Check::Search(counters::search) },
    Checker { name: "never over a limit", check: Check::Plain(over_limit::check) },
    Checker { name: "tokens increase", check: Check::Plain(tokens::check) },
    Checker { name: "nothing lost", check: Check::Plain(lost::check) },
    Checker { name: "once in flight", check: Check::Plain(in_flight::check) },
    Checker { name: "in flight is leased", check: Check::Plain(census::check) },
    Checker { name: "equal digests", check: Check::Plain(digests::check) },
    Checker { name: "pages exactly once", check: Check::Plain(pages::check) },
    Checker { name: "leases last", check: Check::Plain(leases::check) },
    Checker { name: "dead sessions", check: Check::Plain(sessions::check) },
    Checker { name: "lines are fair", check: Check::Plain(fifo::check) },
    Checker { name: "reads are fresh", check: Check::Plain(reads::check) },
    Checker { name: "stale reads go on", check: Check::Plain(stale_reads::check) },
    Checker { name: "payloads are new", check: Check::Plain(payloads::check) },
    Checker { name: "repeats", check: Check::Plain(repeats::check) },
    Checker { name: "liveness", check: Check::Plain(liveness::check) },
];

/// Everything that is wrong with a history.
#[must_use]
pub fn all(history: &History) -> Vec<Violation> {
    judge(history).violations
}

/// Everything that is found in a history.
#[must_use]
pub fn judge(history: &History) -> Found {
    let mut all = Found::default();
    for checker in CHECKERS {
        let found = match checker.check {
            Check::Plain(check) => Found { violations: check(history), ..Found::default() },
            Check::Search(search) => search(history),
        };
        all.violations.extend(found.violations);
        all.objects += found.objects;
        all.undecided += found.undecided;
    }
    all
}

fn violation(checker: &'static str, what: String, operations: impl Into<Vec<OpId>>) -> Violation {
    Violation { checker, what, operations: operations.into() }
}
