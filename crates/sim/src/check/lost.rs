//! **Nothing acknowledged is lost.** For every enqueue that was answered with item i and revision r, when all
//! is quiet: i is stored, waiting, in flight or as a dead letter, with a revision of at least r; or a delivery
//! of i with a revision of at least r was, or may have been, acknowledged; or i could be updated, and another
//! enqueue on its channel came later, or may have.

use std::collections::{BTreeMap, BTreeSet};

use super::{Violation, violation};
use crate::history::{Action, Answer, History, How};

const NAME: &str = "nothing lost";

/// Lists enqueues that were acknowledged and left no trace.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let Some(census) = &history.facts.census else { return vec![] };
    let stored = census.items.iter().map(|item| (&*item.item, item.revision));
    let stored: BTreeMap<&str, u64> = stored.collect();
    let done = done(history);
    let newest = newest_updates(history);
    let mut violations = Vec::new();
    for operation in history.first_calls() {
        let Action::Enqueue { queue, channel, updatable, .. } = &operation.action else { continue };
        let Some(Answer::Enqueued { item, revision, how: How::Created | How::Updated }) = operation.answer() else {
            continue;
        };
        let is_there = stored.get(&**item).is_some_and(|there| there >= revision);
        let is_done = done.get(&**item).is_some_and(|done| done >= revision);
        let is_replaced = *updatable && newest.get(&(&**queue, &**channel)).is_some_and(|newest| newest > revision);
        if !is_there && !is_done && !is_replaced {
            let what = format!("item {item} with revision {revision} was acknowledged and is nowhere");
            violations.push(violation(NAME, what, [operation.id]));
        }
    }
    violations
}

/// The newest revision of each item that was, or may have been, acknowledged by a consumer.
fn done(history: &History) -> BTreeMap<&str, u64> {
    let mut acks: BTreeSet<(&str, &str)> = BTreeSet::new();
    for operation in history.operations.iter().filter(|operation| operation.may_have_happened()) {
        if let Action::Ack { item, token, .. } = &operation.action {
            acks.insert((item, token));
        }
    }
    let mut done: BTreeMap<&str, u64> = BTreeMap::new();
    for operation in &history.operations {
        let Some(Answer::Delivered(deliveries)) = operation.answer() else { continue };
        for delivery in deliveries.iter().filter(|delivery| acks.contains(&(&*delivery.item, &*delivery.token))) {
            let newest = done.entry(&delivery.item).or_default();
            *newest = delivery.revision.max(*newest);
        }
    }
    done
}

/// The newest update of each channel; without bound where one was never answered.
fn newest_updates(history: &History) -> BTreeMap<(&str, &str), u64> {
    let mut newest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for operation in history.first_calls() {
        let Action::Enqueue { queue, channel, updatable: true, .. } = &operation.action else { continue };
        let revision = match operation.answer() {
            Some(Answer::Enqueued { revision, .. }) => *revision,
            None if operation.is_unknown() => u64::MAX,
            _ => continue,
        };
        let most = newest.entry((queue, channel)).or_default();
        *most = revision.max(*most);
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Script, delivery};
    use crate::history::{Census, ItemState, Stored};

    fn script() -> Script {
        let mut script = Script::new();
        script.enqueued(0, 10, "i", 1, "x");
        script.enqueued(0, 10, "j", 2, "y");
        script.delivered(20, 30, delivery("i", 1, 3, "x"));
        script.acked(40, 50, "i", 3);
        let stored = Stored {
            queue: "q".to_owned(),
            channel: "c".to_owned(),
            item: "j".to_owned(),
            revision: 2,
            data: "y".to_owned(),
            state: ItemState::Waiting,
        };
        script.history.facts.census = Some(Census { items: vec![stored], ..Census::default() });
        script
    }

    #[test]
    fn what_is_done_or_stored_is_fine() {
        assert_eq!(check(&script().history), vec![]);
    }

    #[test]
    fn what_is_nowhere_is_found() {
        let mut script = script();
        script.history.facts.census = Some(Census::default());
        assert!(script.fails(check));
    }

    #[test]
    fn what_is_stored_as_it_was_before_an_update_is_found() {
        let mut script = script();
        script.enqueued(60, 70, "j", 9, "z");
        assert!(script.fails(check));
    }
}
