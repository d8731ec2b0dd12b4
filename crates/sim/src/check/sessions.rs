//! **No grant to a dead session.** Once the machine has told anyone that a session is over, no lock is granted
//! to it: the token of every grant to it was given out before, that is, not after the call of anything that
//! got a smaller token and was made since.

use std::collections::BTreeMap;

use super::issued::Issued;
use super::{Violation, violation};
use crate::history::{Action, Answer, History, Micros, OpId, Operation, Outcome, Refusal};

const NAME: &str = "dead sessions";

/// Lists grants to sessions that were known to be over.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let issued = Issued::new(history);
    let dead = dead(history);
    let mut violations = Vec::new();
    for operation in history.first_calls() {
        let Some(Answer::Acquired { session, grants, .. }) = operation.answer() else { continue };
        let Some((dead_us, told)) = dead.get(&**session) else { continue };
        for grant in grants.iter().filter(|grant| issued.not_before(grant.token) > *dead_us) {
            let what = format!("lock {} was granted to session {session}, which was over", grant.lock);
            violations.push(violation(NAME, what, [*told, operation.id]));
        }
    }
    violations
}

/// When each session was first known to be over, and by which operation.
fn dead(history: &History) -> BTreeMap<&str, (Micros, OpId)> {
    let mut dead: BTreeMap<&str, (Micros, OpId)> = BTreeMap::new();
    for operation in history.first_calls() {
        let Some(session) = told_over(operation) else { continue };
        let Some(completed_us) = operation.completed_us else { continue };
        let known = dead.entry(session).or_insert((completed_us, operation.id));
        *known = (*known).min((completed_us, operation.id));
    }
    dead
}

/// The session that the answer to this operation says is over.
fn told_over(operation: &Operation) -> Option<&str> {
    let refused = matches!(operation.outcome, Outcome::Refused(Refusal::SessionExpired));
    match &operation.action {
        Action::EndSession { session } if refused || operation.is_ok() => Some(session),
        Action::Release { session, .. }
        | Action::RenewLock { session, .. }
        | Action::RenewSession { session }
        | Action::Acquire { session: Some(session), .. }
            if refused =>
        {
            Some(session)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Script, renew};

    #[test]
    fn a_grant_before_the_end_is_fine() {
        let mut script = Script::new();
        script.granted(0, 10, 1);
        script.refused(2000, 2010, renew(1), Refusal::SessionExpired);
        script.granted(2020, 2030, 2);
        assert_eq!(check(&script.history), vec![]);
    }

    #[test]
    fn a_grant_after_the_end_is_found() {
        let mut script = Script::new();
        script.refused(2000, 2010, renew(9), Refusal::SessionExpired);
        script.granted(2020, 2030, 8);
        // Asked for before, granted after.
        script.granted(0, 2040, 9);
        assert!(script.fails(check));
    }
}
