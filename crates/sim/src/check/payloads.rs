//! **Payloads are new.** Revisions of items and fences of deliveries come from one counter. So
//! - a delivery, and a stored item, of revision r carries the data of the enqueue that was answered with this
//!   item and r, or of one that was never answered;
//! - a delivery of an item carries the newest of the item's revisions that are below its fence;
//! - on a channel whose items are updated, it carries a revision at least as new as any enqueue on the channel
//!   that is below its fence: a failed run never brings old data back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Violation, violation};
use crate::history::{Action, Answer, Delivery, History, How, OpId};

const NAME: &str = "payloads are new";

/// Lists deliveries of stale or strange data.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let known = Known::new(history);
    let mut violations = Vec::new();
    for operation in history.first_calls() {
        let Some(Answer::Delivered(deliveries)) = operation.answer() else { continue };
        for delivery in deliveries {
            if let Some(what) = known.wrong(&delivery.item, delivery.revision, &delivery.data) {
                violations.push(violation(NAME, what, [operation.id]));
            }
            if let Some((newer, by)) = known.newer(delivery) {
                let what = format!(
                    "item {} was delivered as of revision {}, when there was {newer}",
                    delivery.item, delivery.revision
                );
                violations.push(violation(NAME, what, [by, operation.id]));
            }
        }
    }
    for item in history.facts.census.iter().flat_map(|census| &census.items) {
        let wrong = known.wrong(&item.item, item.revision, &item.data);
        violations.extend(wrong.map(|what| violation(NAME, what, [])));
    }
    violations
}

struct Known<'a> {
    data: BTreeMap<(&'a str, u64), &'a str>,
    unanswered: BTreeSet<&'a str>,
    /// Revisions of each item, and of each channel's updates, with who made them.
    revisions: BTreeMap<&'a str, Vec<(u64, OpId)>>,
    updates: BTreeMap<&'a str, Vec<(u64, OpId)>>,
    updatable: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    fn new(history: &'a History) -> Self {
        let (data, unanswered, updatable) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut known = Self { data, unanswered, revisions: BTreeMap::new(), updates: BTreeMap::new(), updatable };
        for operation in history.first_calls() {
            let Action::Enqueue { channel, data, updatable, .. } = &operation.action else { continue };
            match operation.answer() {
                Some(Answer::Enqueued { item, revision, how: How::Created | How::Updated }) => {
                    known.data.insert((item, *revision), data);
                    known.revisions.entry(item).or_default().push((*revision, operation.id));
                    if *updatable {
                        known.updatable.insert(item);
                        known.updates.entry(channel).or_default().push((*revision, operation.id));
                    }
                }
                _ if operation.is_unknown() => {
                    known.unanswered.insert(data);
                }
                _ => {}
            }
        }
        known
    }

    fn wrong(&self, item: &str, revision: u64, data: &str) -> Option<String> {
        match self.data.get(&(item, revision)) {
            Some(enqueued) if *enqueued == data => None,
            Some(enqueued) => Some(format!("item {item}, revision {revision}: {data:?} instead of {enqueued:?}")),
            None if self.unanswered.contains(data) => None,
            None => Some(format!("item {item}, revision {revision}: nobody enqueued {data:?} there")),
        }
    }

    fn newer(&self, delivery: &Delivery) -> Option<(u64, OpId)> {
        let own = self.revisions.get(&*delivery.item).into_iter().flatten();
        let updates = self.updates.get(&*delivery.channel).filter(|_| self.updatable.contains(&*delivery.item));
        let all = own.chain(updates.into_iter().flatten());
        all.copied().find(|(revision, _)| *revision < delivery.fence && *revision > delivery.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Script, delivery, enqueue};

    fn updated(script: &mut Script, item: &str, revision: u64, data: &str) {
        let answer = Answer::Enqueued { item: item.to_owned(), revision, how: How::Updated };
        script.ok(0, 10, enqueue(data, true), answer);
    }

    #[test]
    fn the_newest_data_is_fine() {
        let mut script = Script::new();
        updated(&mut script, "i", 1, "x");
        updated(&mut script, "i", 2, "y");
        script.delivered(20, 30, delivery("i", 2, 3, "y"));
        updated(&mut script, "j", 4, "z");
        script.delivered(40, 50, delivery("j", 4, 5, "z"));
        script.unknown(60, enqueue("w", true));
        script.delivered(70, 80, delivery("k", 6, 7, "w"));
        assert_eq!(check(&script.history), vec![]);
    }

    #[test]
    fn data_from_before_an_update_is_found() {
        let mut script = Script::new();
        updated(&mut script, "i", 1, "x");
        updated(&mut script, "i", 2, "y");
        script.delivered(20, 30, delivery("i", 1, 3, "x"));
        assert!(script.fails(check));
    }

    #[test]
    fn a_failed_run_that_comes_back_is_found() {
        let mut script = Script::new();
        updated(&mut script, "i", 1, "x");
        script.delivered(20, 30, delivery("i", 1, 2, "x"));
        updated(&mut script, "j", 3, "y");
        script.nacked(40, 50, "i", 2);
        script.delivered(60, 70, delivery("i", 1, 4, "x"));
        assert!(script.fails(check));
    }

    #[test]
    fn data_that_nobody_enqueued_is_found() {
        let mut script = Script::new();
        script.enqueued(0, 10, "i", 1, "x");
        script.delivered(20, 30, delivery("i", 1, 3, "y"));
        assert!(script.fails(check));
    }
}
