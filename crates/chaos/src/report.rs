//! What came of a run.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use serde::Serialize;
use willow_sim::check::{CHECKERS, Violation};

use crate::{
    failover::FailOver,
    faults::Fault,
    recorder::{Figures, STEP_US, Tally},
};

/// What came of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Replays the clients' and the faults' dice; what the system does with them is its own affair.
    pub seed: u64,
    /// Rounds played and checked.
    pub rounds: u32,
    /// How long the run took, all told.
    pub seconds: f64,
    /// Locks granted.
    pub acquisitions: u64,
    /// Items taken in.
    pub items: u64,
    /// Calls by kind.
    pub calls: BTreeMap<&'static str, Tally>,
    /// Faults by kind.
    pub faults_by_kind: BTreeMap<String, u64>,
    /// From the death of a leader to the next grant.
    pub fail_over: Vec<Delay>,
    /// Violations by checker, all of them named.
    pub checkers: BTreeMap<&'static str, u64>,
    /// Acknowledged operations of which nothing is left.
    pub lost: u64,
    /// Objects whose linearizability took too long to decide, and objects in all.
    pub undecided: (u64, u64),
    /// Rounds in which something is wrong.
    pub failed_rounds: u64,
    /// The most that the three servers together had in memory at the end of a round.
    pub memory_bytes: u64,
    /// The most that they had on disk, logs included.
    pub disk_bytes: u64,
    /// What is wrong, in words; the first ones.
    pub violations: Vec<String>,
    /// Answers that no server should give.
    pub odd_answers: Vec<String>,
    /// Faults in the order of time.
    pub faults: Vec<Fault>,
    /// Operations done in each half second.
    pub series: Vec<u64>,
}

/// A distribution of delays, ms.
#[derive(Clone, Debug, Serialize)]
pub struct Delay {
    /// Who saw them.
    pub seen: &'static str,
    /// How many.
    pub count: usize,
    /// Half were at most this.
    pub p50_ms: f64,
    /// Nine of ten.
    pub p90_ms: f64,
    /// 99 of a hundred.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// The checkers whose violations are losses.
const LOSSES: [&str; 2] = ["nothing lost", "in flight is leased"];
/// Violations shown in words.
const SHOWN: usize = 40;

impl Report {
    /// Adds the verdict on a round.
    pub(crate) fn add_verdict(&mut self, round: u32, violations: &[Violation], undecided: (u64, u64)) {
        self.rounds += 1;
        self.failed_rounds += u64::from(!violations.is_empty());
        for checker in CHECKERS {
            let found = violations.iter().filter(|violation| violation.checker == checker.name).count() as u64;
            *self.checkers.entry(checker.name).or_default() += found;
            if LOSSES.contains(&checker.name) {
                self.lost += found;
            }
        }
        let room = SHOWN.saturating_sub(self.violations.len());
        self.violations.extend(violations.iter().take(room).map(|violation| format!("round {round}: {violation}")));
        self.undecided.0 += undecided.0;
        self.undecided.1 += undecided.1;
    }

    /// Adds why the run ended before its time.
    pub(crate) fn add_failure(&mut self, why: String) {
        self.failed_rounds += 1;
        self.violations.push(why);
    }

    /// Adds what the servers used at the end of a round.
    pub(crate) fn add_use(&mut self, memory_bytes: u64, disk_bytes: u64) {
        self.memory_bytes = self.memory_bytes.max(memory_bytes);
        self.disk_bytes = self.disk_bytes.max(disk_bytes);
    }

    /// Adds what was counted all along.
    pub(crate) fn add_figures(&mut self, figures: Figures, seconds: f64) {
        let Figures { calls, acquisitions, items, series, odd } = figures;
        (self.calls, self.acquisitions, self.items, self.series) = (calls, acquisitions, items, series);
        (self.odd_answers, self.seconds) = (odd, seconds);
    }

    /// Adds the faults made.
    pub(crate) fn add_faults(&mut self, faults: Vec<Fault>, fail_overs: &[FailOver]) {
        for fault in &faults {
            *self.faults_by_kind.entry(word(fault)).or_default() += 1;
        }
        self.faults = faults;
        let (whole, broken): (Vec<&FailOver>, Vec<&FailOver>) =
            fail_overs.iter().partition(|fail_over| fail_over.from_whole);
        let survivors = |those: &[&FailOver]| {
            those.iter().flat_map(|fail_over| fail_over.through_survivors_ms.iter().copied()).collect()
        };
        let reconnecting =
            |those: &[&FailOver]| those.iter().filter_map(|fail_over| fail_over.reconnecting_ms).collect();
        self.fail_over = vec![
            Delay::new("through a surviving node", survivors(&whole)),
            Delay::new("by a client of the dead node", reconnecting(&whole)),
            Delay::new("through a surviving node, while another was still coming back", survivors(&broken)),
            Delay::new("by a client of the dead node, while another was still coming back", reconnecting(&broken)),
        ];
    }

    /// How many faults were made.
    #[must_use]
    pub fn fault_count(&self) -> u64 {
        self.faults_by_kind.values().sum()
    }

    /// True when nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.odd_answers.is_empty() && self.lost == 0
    }

    /// For people.
    #[must_use]
    pub fn tables(&self) -> String {
        let mut calls = table(["calls", "done", "refused", "not done", "unknown"]);
        for (kind, Tally { done, refused, not_done, unknown }) in &self.calls {
            calls.add_row([(*kind).to_owned(), count(*done), count(*refused), count(*not_done), count(*unknown)]);
        }
        let mut faults = table(["fault", "how often"]);
        for (kind, often) in &self.faults_by_kind {
            faults.add_row([kind.clone(), count(*often)]);
        }
        let mut delays = table(["leader's death to next grant, ms", "samples", "p50", "p90", "p99", "max"]);
        for Delay { seen, count, p50_ms, p90_ms, p99_ms, max_ms } in &self.fail_over {
            let ms = |ms: &f64| format!("{ms:.0}");
            delays.add_row([(*seen).to_owned(), count.to_string(), ms(p50_ms), ms(p90_ms), ms(p99_ms), ms(max_ms)]);
        }
        let mut checkers = table(["checker", "violations"]);
        for (checker, found) in &self.checkers {
            checkers.add_row([(*checker).to_owned(), count(*found)]);
        }
        let mut text = format!("{calls}\n{faults}\n{delays}\n{checkers}\n");
        for line in self.violations.iter().chain(&self.odd_answers) {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&format!(
            "{} acquisitions, {} items, {} faults, {} rounds ({} failed), {:.0} s; lost: {}; linearizability undecided \
             for {} of {} objects; the servers had at most {} MB in memory and {} MB on disk",
            count(self.acquisitions),
            count(self.items),
            self.fault_count(),
            self.rounds,
            self.failed_rounds,
            self.seconds,
            self.lost,
            self.undecided.0,
            self.undecided.1,
            self.memory_bytes >> 20,
            self.disk_bytes >> 20
        ));
        text
    }

    /// Operations per second, with the second each stands for.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let step = STEP_US as f64 / 1e6;
        self.series.iter().enumerate().map(move |(at, done)| (at as f64 * step, *done as f64 / step))
    }
}

impl Delay {
    fn new(seen: &'static str, mut ms: Vec<f64>) -> Self {
        ms.sort_by(f64::total_cmp);
        // The smallest value that is not below that share of all.
        let at = |percent: usize| {
            let rank = (ms.len() * percent).div_ceil(100).max(1) - 1;
            ms.get(rank).copied().unwrap_or(0.0)
        };
        Self { seen, count: ms.len(), p50_ms: at(50), p90_ms: at(90), p99_ms: at(99), max_ms: at(100) }
    }
}

/// The name of a fault, as in JSON.
pub(crate) fn word(fault: &Fault) -> String {
    serde_json::to_value(fault.kind).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

/// With a comma for each thousand.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let delay = Delay::new("", (1..=100).rev().map(f64::from).collect());
        assert_eq!((delay.p50_ms, delay.p90_ms, delay.p99_ms, delay.max_ms), (50.0, 90.0, 99.0, 100.0));
        let none = Delay::new("", vec![]);
        assert_eq!((none.count, none.max_ms), (0, 0.0));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }
}
