//! **Stale reads of one node go on.** Two reads that one node answered in one life, the second called after
//! the first returned: the second shows no older state. Seen in the oldest token among a lock's holders (others come later, with larger ones), in
//! an item's revision, and in that an item that was gone does not come back.

use std::collections::BTreeMap;

use super::{Violation, violation};
use crate::history::{Action, Answer, History, Micros, OpId};

const NAME: &str = "stale reads go on";

/// Lists stale reads that went back.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut reads: BTreeMap<((u32, u32), &str), Vec<Seen>> = BTreeMap::new();
    for operation in history.first_calls().filter(|operation| operation.action.is_stale_read()) {
        let (Some(node), Some(completed_us)) = (operation.served_by, operation.completed_us) else { continue };
        let (resource, state) = match (&operation.action, operation.answer()) {
            (Action::ReadLock { lock, .. }, Some(Answer::Lock(Some(view)))) => {
                let oldest = view.holders.iter().map(|holder| holder.token).min();
                let Some(oldest) = oldest else { continue };
                (lock, oldest)
            }
            (Action::ReadItem { item, .. }, Some(Answer::Item(view))) => {
                // Not there before its enqueue is 0, and there is no telling from not there any more: only
                // once it was seen does its absence count.
                (item, view.as_ref().map_or(u64::MAX, |view| view.revision))
            }
            _ => continue,
        };
        let seen = Seen { invoked_us: operation.invoked_us, completed_us, state, operation: operation.id };
        reads.entry((node, resource)).or_default().push(seen);
    }
    reads.into_values().flat_map(|reads| went_back(&reads)).collect()
}

struct Seen {
    invoked_us: Micros,
    completed_us: Micros,
    state: u64,
    operation: OpId,
}

fn went_back(reads: &[Seen]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (place, later) in reads.iter().enumerate() {
        let mut earlier = reads[..place].iter().filter(|earlier| earlier.completed_us < later.invoked_us);
        let was_there = earlier.clone().any(|earlier| earlier.state < u64::MAX);
        let back = earlier.find(|earlier| earlier.state > later.state && (earlier.state < u64::MAX || was_there));
        if let Some(earlier) = back.filter(|earlier| earlier.state < u64::MAX || seen_before(reads, earlier)) {
            let what = "a node showed an older state than before".to_owned();
            violations.push(violation(NAME, what, [earlier.operation, later.operation]));
        }
    }
    violations
}

/// Was it there before it was gone?
fn seen_before(reads: &[Seen], gone: &Seen) -> bool {
    reads.iter().any(|read| read.state < u64::MAX && read.completed_us < gone.invoked_us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::Script;
    use crate::history::{Holder, ItemState, ItemView, LockView};

    fn lock(script: &mut Script, from_ms: u64, token: u64) {
        let view = LockView { holders: vec![Holder { owner: None, token }], waiters: vec![] };
        let action = Action::ReadLock { lock: "l".to_owned(), stale: true };
        script.ok(from_ms, from_ms + 5, action, Answer::Lock(Some(view)));
    }

    fn item(script: &mut Script, from_ms: u64, revision: Option<u64>) {
        let view = |revision| ItemView { state: ItemState::Waiting, revision, data: String::new() };
        let action = Action::ReadItem { queue: "q".to_owned(), item: "i".to_owned(), stale: true };
        script.ok(from_ms, from_ms + 5, action, Answer::Item(revision.map(view)));
    }

    #[test]
    fn reads_that_go_on_are_fine() {
        let mut script = Script::new();
        lock(&mut script, 0, 1);
        lock(&mut script, 10, 3);
        item(&mut script, 0, None);
        item(&mut script, 10, Some(4));
        item(&mut script, 20, None);
        // Another life of the node.
        lock(&mut script, 30, 1);
        script.last().served_by = Some((1, 1));
        assert_eq!(check(&script.history), vec![]);
    }

    #[test]
    fn reads_that_go_back_are_found() {
        let mut script = Script::new();
        lock(&mut script, 0, 3);
        lock(&mut script, 10, 1);
        assert!(script.fails(check));

        let mut script = Script::new();
        item(&mut script, 0, Some(4));
        item(&mut script, 10, None);
        item(&mut script, 20, Some(4));
        assert!(script.fails(check));
    }
}
