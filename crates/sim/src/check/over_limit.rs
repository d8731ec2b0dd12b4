//! **Never over a limit.** At every instant, and for every bucket, the claims that certainly hold then add up
//! to at most its limit. A claim certainly holds from the return of the call that was granted it until the
//! call of whatever may have given it back, or the earliest end of its lease.
//!
//! (Weaker than that counters are linearizable, but it always decides.)

use std::collections::BTreeMap;

use super::{Violation, violation};
use crate::history::{Action, Answer, History, Micros, OpId};

const NAME: &str = "never over a limit";

/// A certain change: when, whether it adds, how much, by which operation.
type Change = (Micros, bool, u64, OpId);

/// Lists moments at which a bucket certainly held more than its limit.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut changes: BTreeMap<&str, Vec<Change>> = BTreeMap::new();
    for (counter, change) in changes_of(history) {
        for bucket in history.setup.buckets.get(counter).into_iter().flatten() {
            changes.entry(bucket).or_default().push(change);
        }
    }
    let mut violations = Vec::new();
    for (bucket, mut changes) in changes {
        let limit = history.setup.limits.get(bucket).copied().unwrap_or(u64::MAX);
        // What is given back comes first where times are equal.
        changes.sort_unstable();
        // Below zero for a moment, where what is taken was added at the same time.
        let mut used: i128 = 0;
        for (at_us, adds, amount, operation) in changes {
            used += if adds { i128::from(amount) } else { -i128::from(amount) };
            if adds && used > i128::from(limit) {
                let what = format!("bucket {bucket}: at least {used} of {limit} at {at_us} us");
                violations.push(violation(NAME, what, [operation]));
                break;
            }
        }
    }
    violations
}

fn changes_of(history: &History) -> Vec<(&str, Change)> {
    let ends = given_back(history);
    let renewals = renewals(history);
    let mut changes = Vec::new();
    let mut hold = |counter, id: &str, amount, ttl_ms, operation: OpId, invoked_us, completed_us| {
        let mut until_us = history.lease_end_us(invoked_us, ttl_ms);
        for renewed_us in renewals.get(id).into_iter().flatten() {
            until_us = until_us.max(history.lease_end_us(*renewed_us, ttl_ms));
        }
        let until_us = ends.get(id).copied().unwrap_or(Micros::MAX).min(until_us);
        if until_us > completed_us {
            changes.push((counter, (completed_us, true, amount, operation)));
            changes.push((counter, (until_us, false, amount, operation)));
        }
    };
    let mut free = Vec::new();
    for operation in history.first_calls() {
        let invoked_us = operation.invoked_us;
        let completed_us = operation.completed_us.unwrap_or(Micros::MAX);
        match (&operation.action, operation.answer()) {
            (Action::Increment { counter, amount, hold_ttl_ms, .. }, Some(Answer::Incremented { hold: id, .. })) => {
                match (hold_ttl_ms, id) {
                    (Some(ttl_ms), Some(id)) => {
                        hold(&**counter, id, *amount, *ttl_ms, operation.id, invoked_us, completed_us);
                    }
                    _ => free.push((&**counter, (completed_us, true, *amount, operation.id))),
                }
            }
            (Action::Decrement { counter, amount }, _) if operation.may_have_happened() => {
                free.push((&**counter, (invoked_us, false, *amount, operation.id)));
            }
            (Action::Dequeue { lease_ms, .. }, Some(Answer::Delivered(deliveries))) => {
                for delivery in deliveries {
                    let id = format!("{} {}", delivery.item, delivery.token);
                    let (counter, weight) = (&*delivery.channel, delivery.weight);
                    hold(counter, &id, weight, *lease_ms, operation.id, invoked_us, completed_us);
                }
            }
            _ => {}
        }
    }
    changes.extend(free);
    changes
}

/// When each hold or delivery may first have been given back.
fn given_back(history: &History) -> BTreeMap<String, Micros> {
    let mut ends: BTreeMap<String, Micros> = BTreeMap::new();
    for operation in history.operations.iter().filter(|operation| operation.may_have_happened()) {
        let id = match &operation.action {
            Action::ReleaseHold { hold } => hold.clone(),
            Action::Extend { .. } => continue,
            action => match action.delivery() {
                Some((_, item, token)) => format!("{item} {token}"),
                None => continue,
            },
        };
        let first = ends.entry(id).or_insert(Micros::MAX);
        *first = operation.invoked_us.min(*first);
    }
    ends
}

fn renewals(history: &History) -> BTreeMap<String, Vec<Micros>> {
    let mut renewals: BTreeMap<String, Vec<Micros>> = BTreeMap::new();
    for operation in history.operations.iter().filter(|operation| operation.is_ok()) {
        let id = match &operation.action {
            Action::RenewHold { hold } => hold.clone(),
            Action::Extend { item, token, .. } => format!("{item} {token}"),
            _ => continue,
        };
        renewals.entry(id).or_default().push(operation.invoked_us);
    }
    renewals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Script, delivery};

    fn script() -> Script {
        let mut script = Script::new();
        script.history.setup.limits.insert("one".to_owned(), 1);
        script.history.setup.buckets.insert("c".to_owned(), vec!["one".to_owned()]);
        script
    }

    #[test]
    fn one_after_the_other_is_fine() {
        let mut script = script();
        script.delivered(0, 10, delivery("i", 1, 2, "x"));
        script.acked(20, 30, "i", 2);
        script.delivered(25, 40, delivery("j", 3, 4, "y"));
        assert_eq!(check(&script.history), vec![]);
    }

    #[test]
    fn two_at_once_are_found() {
        let mut script = script();
        script.delivered(0, 10, delivery("i", 1, 2, "x"));
        script.delivered(25, 40, delivery("j", 3, 4, "y"));
        script.acked(50, 60, "i", 2);
        assert!(script.fails(check));
    }
}
