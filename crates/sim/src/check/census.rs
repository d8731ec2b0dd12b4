//! **In flight equals live leases.** When all is quiet and every lease of a hold is over, then for each
//! counter: what it counts as held is the weight of what its channel has in flight, for a slot is given back
//! with the lease that took it, and never stays behind. If no call on it was left unanswered, what it counts
//! beside is the sum of the increments that were granted less that of the decrements.

use std::collections::{BTreeMap, BTreeSet};

use super::{Violation, violation};
use crate::history::{Action, Answer, History};

const NAME: &str = "in flight is leased";

/// Lists counters that count what is not there, or do not count what is.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let Some(census) = &history.facts.census else { return vec![] };
    if census.overdue_ms.saturating_mul(1000) > history.facts.bound_us {
        // Leases are over that have not been cleared away: it is not quiet. Liveness says so.
        return vec![];
    }
    let in_flight = census.channels.iter().map(|channel| (&*channel.channel, channel.in_flight));
    let in_flight: BTreeMap<&str, u64> = in_flight.collect();
    let counters = census.counters.iter().map(|counter| (&*counter.counter, (counter.amount, counter.held)));
    let counters: BTreeMap<&str, (u64, u64)> = counters.collect();
    let (free, unsure) = free(history);
    let names: BTreeSet<&str> = in_flight.keys().chain(counters.keys()).chain(free.keys()).copied().collect();
    let mut violations = Vec::new();
    for name in names {
        let (amount, held) = counters.get(name).copied().unwrap_or((0, 0));
        let leased = in_flight.get(name).copied().unwrap_or(0);
        if held != leased {
            let what = format!("{name}: {held} counted as held, {leased} in flight");
            violations.push(violation(NAME, what, []));
        }
        let sum = free.get(name).copied().unwrap_or(0);
        let counted = i128::from(amount) - i128::from(held);
        if !unsure.contains(name) && counted != sum {
            let what = format!("{name}: {counted} counted beside what is held, {sum} were added");
            violations.push(violation(NAME, what, []));
        }
    }
    violations
}

/// What was added to each counter for good, and the counters of which that is not known.
fn free(history: &History) -> (BTreeMap<&str, i128>, BTreeSet<&str>) {
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    let mut unsure = BTreeSet::new();
    for operation in history.first_calls() {
        match (&operation.action, operation.answer()) {
            (Action::Increment { counter, hold_ttl_ms: None, .. } | Action::Decrement { counter, .. }, None)
                if operation.is_unknown() =>
            {
                unsure.insert(&**counter);
            }
            (Action::Increment { counter, amount, hold_ttl_ms: None, .. }, Some(Answer::Incremented { .. })) => {
                *sums.entry(counter).or_default() += i128::from(*amount);
            }
            (Action::Decrement { counter, amount }, Some(_)) => {
                *sums.entry(counter).or_default() -= i128::from(*amount);
            }
            _ => {}
        }
    }
    (sums, unsure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::Script;
    use crate::history::{Census, ChannelCensus, CounterCensus};

    fn script(amount: u64, held: u64, in_flight: u64) -> Script {
        let mut script = Script::new();
        let increment = Action::Increment { counter: "c".to_owned(), amount: 2, hold_ttl_ms: None, wait_ms: 0 };
        script.ok(0, 10, increment, Answer::Incremented { amount: 2, hold: None });
        let counters = vec![CounterCensus { counter: "c".to_owned(), amount, held }];
        let channels = vec![ChannelCensus { channel: "c".to_owned(), in_flight }];
        script.history.facts.census = Some(Census { counters, channels, ..Census::default() });
        script
    }

    #[test]
    fn what_adds_up_is_fine() {
        assert_eq!(check(&script(5, 3, 3).history), vec![]);
    }

    #[test]
    fn a_leaked_slot_is_found() {
        assert!(script(6, 4, 3).fails(check));
    }

    #[test]
    fn a_lost_increment_is_found() {
        assert!(script(4, 3, 3).fails(check));
    }
}
