//! **Reads are fresh.** A read that is not asked to be stale sees what was acknowledged before it was called:
//! - an item whose acknowledgement had returned is not there;
//! - an item whose enqueue had returned, and that nobody had begun to acknowledge or fail before the read
//!   returned, is there, unless it can be updated and so be replaced;
//! - an item's revision is at least that of any enqueue, delivery or read of it that had returned.
//!
//! (Reads of locks and counters are part of the linearizability of those.)

use std::collections::BTreeMap;

use super::{Violation, violation};
use crate::history::{Action, Answer, History, ItemView, Micros, OpId, Operation};

const NAME: &str = "reads are fresh";

/// Lists reads of items that missed what they had to see.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut items: BTreeMap<&str, Known> = BTreeMap::new();
    for operation in history.first_calls() {
        learn(&mut items, operation);
    }
    let mut violations = Vec::new();
    for operation in history.first_calls() {
        let Action::ReadItem { item, stale: false, .. } = &operation.action else { continue };
        let (Some(Answer::Item(view)), Some(completed_us)) = (operation.answer(), operation.completed_us) else {
            continue;
        };
        let Some(known) = items.get(&**item) else { continue };
        if let Some((what, by)) = known.missed(view.as_ref(), operation.invoked_us, completed_us) {
            violations.push(violation(NAME, format!("item {item}: {what}"), [by, operation.id]));
        }
    }
    violations
}

/// What calls say of one item.
#[derive(Default)]
struct Known {
    /// When a revision was shown, and by which operation.
    revisions: Vec<(Micros, u64, OpId)>,
    enqueued: Option<(Micros, OpId)>,
    acked: Option<(Micros, OpId)>,
    /// When somebody first called to end a delivery of it.
    touched_us: Option<Micros>,
    updatable: bool,
}

impl Known {
    fn missed(
        &self,
        view: Option<&ItemView>,
        invoked_us: Micros,
        completed_us: Micros,
    ) -> Option<(&'static str, OpId)> {
        let before = |(at_us, by): (Micros, OpId)| (at_us < invoked_us).then_some(by);
        match view {
            Some(view) => {
                if let Some(by) = self.acked.and_then(before) {
                    return Some(("it was acknowledged, and is read as there", by));
                }
                let newer =
                    |(at_us, revision, _): &&(Micros, u64, OpId)| *at_us < invoked_us && *revision > view.revision;
                let (_, _, by) = self.revisions.iter().find(newer)?;
                Some(("a newer revision was shown before", *by))
            }
            None => {
                let touched = self.touched_us.is_some_and(|at_us| at_us <= completed_us);
                let by = self.enqueued.and_then(before).filter(|_| !touched && !self.updatable)?;
                Some(("it was enqueued, and is read as not there", by))
            }
        }
    }
}

fn learn<'a>(items: &mut BTreeMap<&'a str, Known>, operation: &'a Operation) {
    let completed_us = operation.completed_us.unwrap_or(Micros::MAX);
    match (&operation.action, operation.answer()) {
        (Action::Enqueue { updatable, .. }, Some(Answer::Enqueued { item, revision, .. })) => {
            let known = items.entry(item).or_default();
            known.revisions.push((completed_us, *revision, operation.id));
            known.updatable |= updatable;
            known.enqueued = known.enqueued.or(Some((completed_us, operation.id)));
        }
        (Action::ReadItem { item, stale: false, .. }, Some(Answer::Item(Some(view)))) => {
            items.entry(item).or_default().revisions.push((completed_us, view.revision, operation.id));
        }
        (_, Some(Answer::Delivered(deliveries))) => {
            for delivery in deliveries {
                let known = items.entry(&delivery.item).or_default();
                known.revisions.push((completed_us, delivery.revision, operation.id));
            }
        }
        (action, answer) => {
            let Some((_, item, _)) = action.delivery() else { return };
            let known = items.entry(item).or_default();
            let first = known.touched_us.unwrap_or(Micros::MAX);
            known.touched_us = Some(operation.invoked_us.min(first));
            if matches!((action, answer), (Action::Ack { .. }, Some(_))) {
                known.acked = Some((completed_us, operation.id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Script, delivery};
    use crate::history::ItemState;

    fn read(script: &mut Script, from_ms: u64, revision: Option<u64>) {
        let action = Action::ReadItem { queue: "q".to_owned(), item: "i".to_owned(), stale: false };
        let view = |revision| ItemView { state: ItemState::Waiting, revision, data: "x".to_owned() };
        script.ok(from_ms, from_ms + 5, action, Answer::Item(revision.map(view)));
    }

    #[test]
    fn fresh_reads_are_fine() {
        let mut script = Script::new();
        script.enqueued(0, 10, "i", 1, "x");
        read(&mut script, 20, Some(1));
        script.delivered(30, 40, delivery("i", 1, 2, "x"));
        script.acked(50, 60, "i", 2);
        read(&mut script, 70, None);
        assert_eq!(check(&script.history), vec![]);
    }

    #[test]
    fn a_read_that_misses_an_item_is_found() {
        let mut script = Script::new();
        script.enqueued(0, 10, "i", 1, "x");
        read(&mut script, 20, None);
        assert!(script.fails(check));
    }

    #[test]
    fn a_read_that_misses_an_acknowledgement_is_found() {
        let mut script = Script::new();
        script.enqueued(0, 10, "i", 1, "x");
        script.delivered(30, 40, delivery("i", 1, 2, "x"));
        script.acked(50, 60, "i", 2);
        read(&mut script, 70, Some(1));
        assert!(script.fails(check));
    }

    #[test]
    fn a_read_of_an_old_revision_is_found() {
        let mut script = Script::new();
        script.enqueued(0, 10, "i", 1, "x");
        script.enqueued(20, 30, "i", 5, "y");
        read(&mut script, 40, Some(1));
        assert!(script.fails(check));
    }
}
