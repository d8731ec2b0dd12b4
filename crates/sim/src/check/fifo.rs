//! **Lines are fair.** If any reader sees acquire a before acquire b in the line of a lock, then no reader
//! sees b before a, and if both are granted, a's token is smaller: a waiter keeps its place, whoever leads.
//! Nor does an acquire that is called after a was seen in line get the lock before a does, or before a is seen there
//! again.
//! (Left out are sessions that ask for a lock twice, for what one holds it may take again past the line; and
//! calls that took longer than they asked to wait: their wait may have ended unheard, and been begun anew.)

use std::collections::{BTreeMap, BTreeSet};

use super::{Violation, violation};
use crate::history::{Action, Answer, History, Micros, OpId, Operation};

const NAME: &str = "lines are fair";

/// Lists acquires that overtook another.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let grants = grants(history);
    let waited_once = waited_once(history);
    let mut order: BTreeMap<(&str, &str, &str), OpId> = BTreeMap::new();
    let mut seen: BTreeMap<(&str, &str), (Micros, OpId)> = BTreeMap::new();
    for operation in history.first_calls() {
        let Action::ReadLock { lock, .. } = &operation.action else { continue };
        let Some(Answer::Lock(Some(view))) = operation.answer() else { continue };
        let waiters: Vec<&str> = view.waiters.iter().map(|owner| &**owner).collect();
        let waiters: Vec<&str> = waiters.into_iter().filter(|owner| waited_once.contains(owner)).collect();
        for (place, ahead) in waiters.iter().enumerate() {
            let read_us = (operation.completed_us.unwrap_or(Micros::MAX), operation.id);
            let first = seen.entry((lock, ahead)).or_insert(read_us);
            *first = read_us.min(*first);
            for behind in &waiters[place + 1..] {
                order.entry((lock, ahead, behind)).or_insert(operation.id);
            }
        }
    }
    let mut violations = newcomers(history, &grants, &seen);
    violations.extend(passers(history));
    for ((lock, ahead, behind), seen) in &order {
        if let Some(other) = order.get(&(*lock, *behind, *ahead))
            && ahead < behind
        {
            let what = format!("lock {lock}: {ahead} and {behind} changed places in line");
            violations.push(violation(NAME, what, [*seen, *other]));
        }
        if let (Some((first, one)), Some((second, other))) =
            (grants.get(&(*lock, *ahead)), grants.get(&(*lock, *behind)))
            && first > second
        {
            let what = format!("lock {lock}: {behind} overtook {ahead}, which was before it in line");
            violations.push(violation(NAME, what, [*seen, *one, *other]));
        }
    }
    violations
}

/// Acquires that were called after another was seen in line, and had the lock before it.
fn newcomers(
    history: &History,
    grants: &BTreeMap<(&str, &str), (u64, OpId)>,
    seen: &BTreeMap<(&str, &str), (Micros, OpId)>,
) -> Vec<Violation> {
    // By lock: when called, token, operation; then the smallest token among those called from then on.
    let mut calls: BTreeMap<&str, Vec<(Micros, u64, OpId)>> = BTreeMap::new();
    for operation in history.first_calls() {
        let Action::Acquire { session: None, .. } = &operation.action else { continue };
        let Some(Answer::Acquired { grants, .. }) = operation.answer() else { continue };
        for grant in grants {
            calls.entry(&grant.lock).or_default().push((operation.invoked_us, grant.token, operation.id));
        }
    }
    for calls in calls.values_mut() {
        calls.sort_unstable();
        let mut smallest = (u64::MAX, 0);
        for (_, token, operation) in calls.iter_mut().rev() {
            smallest = smallest.min((*token, *operation));
            (*token, *operation) = smallest;
        }
    }
    let mut violations = Vec::new();
    for ((lock, owner), (seen_us, read)) in seen {
        let (Some((token, waiter)), Some(calls)) = (grants.get(&(*lock, *owner)), calls.get(lock)) else { continue };
        let later = calls.partition_point(|(invoked_us, _, _)| invoked_us <= seen_us);
        if let Some((_, smaller, newcomer)) = calls.get(later).filter(|(_, smaller, _)| smaller < token) {
            let what = format!("lock {lock}: token {smaller} was granted past {owner}, which was in line");
            violations.push(violation(NAME, what, [*read, *waiter, *newcomer]));
        }
    }
    violations
}

/// Acquires that began and ended with the lock between two moments at which another was in line for it.
fn passers(history: &History) -> Vec<Violation> {
    let first_over = |operation: &Operation| match &operation.action {
        Action::Acquire { owner, wait_ms, .. } => {
            Some((owner.clone(), history.lease_end_us(operation.invoked_us, *wait_ms)))
        }
        _ => None,
    };
    let first_over: BTreeMap<String, Micros> = history.first_calls().filter_map(first_over).collect();
    // By lock and owner: when it was certainly in line already, and when certainly still, with the reads.
    let mut lines: BTreeMap<(&str, &str), [(Micros, OpId); 2]> = BTreeMap::new();
    for operation in history.first_calls() {
        let Action::ReadLock { lock, stale } = &operation.action else { continue };
        let (Some(Answer::Lock(Some(view))), Some(read_us)) = (operation.answer(), operation.completed_us) else {
            continue;
        };
        // A wait that is over may be begun anew, with others before it.
        let waiters = view.waiters.iter().filter(|owner| first_over.get(*owner).is_some_and(|over| read_us <= *over));
        for owner in waiters {
            let [first, last] = lines.entry((lock, owner)).or_insert([(read_us, operation.id), (0, operation.id)]);
            *first = (read_us, operation.id).min(*first);
            if !stale {
                *last = (operation.invoked_us, operation.id).max(*last);
            }
        }
    }
    let mut violations = Vec::new();
    for operation in history.first_calls() {
        let Action::Acquire { session: None, .. } = &operation.action else { continue };
        let (Some(Answer::Acquired { grants, .. }), Some(granted_us)) = (operation.answer(), operation.completed_us)
        else {
            continue;
        };
        for grant in grants {
            let of_lock = lines.range((&*grant.lock, "")..).take_while(|((lock, _), _)| *lock == grant.lock);
            let passed = of_lock.filter(|(_, [first, last])| first.0 < operation.invoked_us && granted_us < last.0);
            violations.extend(passed.map(|((lock, owner), [first, last])| {
                let what = format!("lock {lock}: granted past {owner}, which was in line before and after");
                violation(NAME, what, [first.1, operation.id, last.1])
            }));
        }
    }
    violations
}

/// Owners of acquires that were answered before their first wait can have been over.
fn waited_once(history: &History) -> BTreeSet<&str> {
    let owners = history.first_calls().filter_map(|operation| {
        let Action::Acquire { owner, wait_ms, .. } = &operation.action else { return None };
        let first_over_us = history.lease_end_us(operation.invoked_us, *wait_ms);
        operation.over_us().is_some_and(|over_us| over_us <= first_over_us).then_some(&**owner)
    });
    owners.collect()
}

/// The token that each acquire got for each lock, by its owner.
fn grants(history: &History) -> BTreeMap<(&str, &str), (u64, OpId)> {
    let mut asked: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut twice: BTreeSet<(&str, &str)> = BTreeSet::new();
    for operation in history.first_calls() {
        if let Action::Acquire { locks, session: Some(session), .. } = &operation.action {
            let again = locks.iter().filter(|(lock, _)| !asked.insert((lock, session)));
            twice.extend(again.map(|(lock, _)| (&**lock, &**session)));
        }
    }
    let mut grants = BTreeMap::new();
    for operation in history.first_calls() {
        let Action::Acquire { owner, .. } = &operation.action else { continue };
        let Some(Answer::Acquired { session, grants: granted, .. }) = operation.answer() else { continue };
        for grant in granted.iter().filter(|grant| !twice.contains(&(&*grant.lock, &**session))) {
            grants.insert((&*grant.lock, &**owner), (grant.token, operation.id));
        }
    }
    grants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Script, acquire_as};
    use crate::history::{Grant, LockView, Mode};

    fn line(script: &mut Script, waiters: &[&str]) {
        let waiters = waiters.iter().map(|owner| (*owner).to_owned()).collect();
        let action = Action::ReadLock { lock: "l".to_owned(), stale: true };
        script.ok(0, 10, action, Answer::Lock(Some(LockView { holders: vec![], waiters })));
    }

    fn granted(script: &mut Script, owner: &str, token: u64) {
        let grants = vec![Grant { lock: "l".to_owned(), token, depth: 1 }];
        let answer = Answer::Acquired { session: owner.to_owned(), expires_in_ms: 1, grants };
        let mut action = acquire_as(owner, Mode::Exclusive);
        if let Action::Acquire { wait_ms, .. } = &mut action {
            *wait_ms = 1000;
        }
        script.ok(0, 10, action, answer);
    }

    #[test]
    fn one_after_the_other_is_fine() {
        let mut script = Script::new();
        line(&mut script, &["a", "b", "c"]);
        line(&mut script, &["b", "c", "d"]);
        granted(&mut script, "a", 1);
        granted(&mut script, "c", 3);
        assert_eq!(check(&script.history), vec![]);
    }

    #[test]
    fn a_waiter_that_is_overtaken_is_found() {
        let mut script = Script::new();
        line(&mut script, &["a", "b"]);
        granted(&mut script, "b", 1);
        granted(&mut script, "a", 2);
        assert!(script.fails(check));
    }

    #[test]
    fn a_newcomer_that_goes_past_the_line_is_found() {
        let mut script = Script::new();
        line(&mut script, &["a"]);
        granted(&mut script, "b", 1);
        granted(&mut script, "a", 2);
        assert_eq!(check(&script.history), vec![], "b may have been before a");
        script.history.operations[1].invoked_us = 11 * crate::check::testing::MS;
        assert!(script.fails(check));
    }

    #[test]
    fn who_is_granted_between_two_looks_at_another_in_line_is_found() {
        let mut waits = acquire_as("a", Mode::Exclusive);
        if let Action::Acquire { wait_ms, .. } = &mut waits {
            *wait_ms = 5000;
        }
        let look = |script: &mut Script, from_ms| {
            let view = LockView { holders: vec![], waiters: vec!["a".to_owned()] };
            let action = Action::ReadLock { lock: "l".to_owned(), stale: false };
            script.ok(from_ms, from_ms + 10, action, Answer::Lock(Some(view)));
        };
        let mut script = Script::new();
        script.unknown(0, waits);
        look(&mut script, 10);
        script.granted(30, 40, 1);
        assert_eq!(check(&script.history), vec![], "a may have given up");
        look(&mut script, 35);
        assert_eq!(check(&script.history), vec![], "a may have been seen before");
        look(&mut script, 50);
        assert!(script.fails(check));
    }

    #[test]
    fn a_line_that_changes_is_found() {
        let mut script = Script::new();
        line(&mut script, &["a", "b"]);
        line(&mut script, &["b", "a"]);
        granted(&mut script, "a", 1);
        granted(&mut script, "b", 2);
        assert!(script.fails(check));
    }
}
