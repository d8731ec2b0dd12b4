//! **Pages show everything exactly once.** For every finished walk over a collection in which nothing is
//! changed or removed: each item whose enqueue had returned before the walk's first page was asked for is on
//! exactly one of its pages, and no item is on two, whichever nodes answered and whoever led meanwhile.

use std::collections::BTreeMap;

use super::{Violation, violation};
use crate::history::{Action, Answer, History, Micros, OpId};

const NAME: &str = "pages exactly once";

#[derive(Default)]
struct Walk<'a> {
    shelf: &'a str,
    begun_us: Micros,
    pages: Vec<OpId>,
    shown: BTreeMap<&'a str, u32>,
    finished: bool,
}

/// Lists items that a walk left out or repeated.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut walks: BTreeMap<u64, Walk<'_>> = BTreeMap::new();
    for operation in history.first_calls() {
        let Action::Page { shelf, walk, first } = &operation.action else { continue };
        let Some(Answer::Page { ids, last }) = operation.answer() else { continue };
        let walk = walks.entry(*walk).or_default();
        if *first {
            (walk.shelf, walk.begun_us) = (shelf, operation.invoked_us);
        }
        walk.pages.push(operation.id);
        for id in ids {
            *walk.shown.entry(id).or_default() += 1;
        }
        walk.finished |= *last;
    }
    let mut violations = Vec::new();
    for walk in walks.values().filter(|walk| history.setup.shelves.contains(walk.shelf)) {
        for (item, times) in walk.shown.iter().filter(|(_, times)| **times > 1) {
            violations.push(violation(NAME, format!("item {item} was shown {times} times"), walk.pages.clone()));
        }
        if walk.finished {
            violations.extend(left_out(history, walk));
        }
    }
    violations
}

fn left_out(history: &History, walk: &Walk<'_>) -> Vec<Violation> {
    let missing = history.first_calls().filter_map(|operation| {
        let Action::Enqueue { queue, .. } = &operation.action else { return None };
        let Some(Answer::Enqueued { item, .. }) = operation.answer() else { return None };
        let was_there = operation.completed_us.is_some_and(|at_us| at_us < walk.begun_us);
        (queue == walk.shelf && was_there && !walk.shown.contains_key(&**item)).then_some(item)
    });
    missing.map(|item| violation(NAME, format!("item {item} was left out"), walk.pages.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::Script;

    fn script(pages: &[&[&str]]) -> Script {
        let mut script = Script::new();
        script.history.setup.shelves.insert("q".to_owned());
        for (revision, item) in (1..).zip(["i", "j", "k"]) {
            script.enqueued(0, 10, item, revision, item);
        }
        // May be shown or not.
        script.enqueued(15, 25, "l", 4, "l");
        for (place, ids) in pages.iter().enumerate() {
            let action = Action::Page { shelf: "q".to_owned(), walk: 1, first: place == 0 };
            let ids = ids.iter().map(|id| (*id).to_owned()).collect();
            script.ok(20, 30, action, Answer::Page { ids, last: place + 1 == pages.len() });
        }
        script
    }

    #[test]
    fn each_once_is_fine() {
        assert_eq!(check(&script(&[&["i", "j"], &["k"]]).history), vec![]);
        assert_eq!(check(&script(&[&["i", "j"], &["k", "l"]]).history), vec![]);
    }

    #[test]
    fn one_left_out_is_found() {
        assert!(script(&[&["i"], &["k"]]).fails(check));
    }

    #[test]
    fn one_shown_twice_is_found() {
        assert!(script(&[&["i", "j"], &["j", "k"]]).fails(check));
    }
}
