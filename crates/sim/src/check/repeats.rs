//! **Repeats have one effect and the same answer.** A call with the request id of an operation that was done
//! is answered as that was: with the same grants, holds, items and revisions, but for what is left of leases;
//! deliveries whose lease has ended are left out, and what stands for a lease that is over may be refused.
//! (That it has no second effect shows in all other checkers, which take no notice of repeats.)

use super::{Violation, violation};
use crate::history::{Answer, History, Outcome};

const NAME: &str = "repeats";

/// Lists repeats that were answered otherwise.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let by_id = history.by_id();
    let mut violations = Vec::new();
    for repeat in &history.operations {
        let Some(first) = repeat.repeat_of.and_then(|id| by_id.get(&id)) else { continue };
        let Some(answer) = first.answer() else { continue };
        let same = match &repeat.outcome {
            Outcome::Ok(again) => is_same(answer, again),
            Outcome::Refused(refusal) => refusal.says_gone() && has_lease(answer),
            Outcome::NotDone(_) | Outcome::Unknown(_) => true,
        };
        if !same {
            let what = format!("answered {:?}, and at first {answer:?}", repeat.outcome);
            violations.push(violation(NAME, what, [first.id, repeat.id]));
        }
    }
    violations
}

fn is_same(first: &Answer, again: &Answer) -> bool {
    match (first, again) {
        (
            Answer::Acquired { session, grants, .. },
            Answer::Acquired { session: session_again, grants: grants_again, .. },
        ) => session == session_again && grants == grants_again,
        (Answer::Session { session, .. }, Answer::Session { session: again, .. }) => session == again,
        (Answer::Renewed { .. }, Answer::Renewed { .. }) => true,
        (Answer::Delivered(first), Answer::Delivered(again)) => {
            again.iter().all(|again| first.iter().any(|first| first.token == again.token && first.data == again.data))
        }
        (first, again) => first == again,
    }
}

/// What it brought hangs on a lease.
fn has_lease(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Session { .. }
            | Answer::Renewed { .. }
            | Answer::Acquired { .. }
            | Answer::Incremented { hold: Some(_), .. }
            | Answer::Delivered(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Script, enqueue};
    use crate::history::{How, Refusal};

    fn script(again: Outcome) -> Script {
        let mut script = Script::new();
        let first = script.enqueued(0, 10, "i", 1, "x");
        script.op(20, 30, enqueue("x", false), again);
        script.last().repeat_of = Some(first);
        script
    }

    #[test]
    fn the_same_answer_is_fine() {
        let same = Answer::Enqueued { item: "i".to_owned(), revision: 1, how: How::Created };
        assert_eq!(check(&script(Outcome::Ok(same)).history), vec![]);
        assert_eq!(check(&script(Outcome::Unknown("lost".to_owned())).history), vec![]);
    }

    #[test]
    fn another_answer_is_found() {
        let other = Answer::Enqueued { item: "j".to_owned(), revision: 2, how: How::Created };
        assert!(script(Outcome::Ok(other)).fails(check));
        assert!(script(Outcome::Refused(Refusal::RequestIdReused)).fails(check));
    }
}
