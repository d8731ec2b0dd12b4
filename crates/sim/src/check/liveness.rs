//! **After healing, everything goes on.** From when all nodes run and reach each other again, within a bound:
//! every call is answered (a wait may take its time on top); no deadline is overdue; and what the driver
//! itself asked for at the end came to pass: a free lock can be had, work goes to who waits for it, every
//! ended lease is cleared away.

use super::{Violation, violation};
use crate::history::{Action, HUNG_UP, History, Micros, Outcome};

const NAME: &str = "liveness";

/// Lists what did not come to pass after healing.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let facts = &history.facts;
    let Some(healed_us) = facts.healed_us else { return vec![] };
    let settled_us = healed_us.saturating_add(facts.bound_us);
    let mut violations: Vec<_> = facts.stuck.iter().map(|what| violation(NAME, what.clone(), [])).collect();
    for operation in history.operations.iter().filter(|operation| operation.invoked_us >= settled_us) {
        let until_us = operation.invoked_us.saturating_add(wait_us(&operation.action)).saturating_add(facts.bound_us);
        let took_too_long = operation.completed_us.map_or(facts.ended_us >= until_us, |at_us| at_us > until_us);
        let failed = operation.completed_us.is_some() && is_no_answer(&operation.outcome);
        if took_too_long || failed {
            let what = format!("not answered in time after healing: {:?}", operation.outcome);
            violations.push(violation(NAME, what, [operation.id]));
        }
    }
    let overdue_us = facts.census.as_ref().map_or(0, |census| census.overdue_ms.saturating_mul(1000));
    if overdue_us > facts.bound_us {
        violations.push(violation(NAME, format!("a deadline is {overdue_us} us overdue"), []));
    }
    violations
}

/// Neither an answer, nor that the caller did not want one any more.
fn is_no_answer(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Ok(_) | Outcome::Refused(_) => false,
        Outcome::NotDone(_) => true,
        Outcome::Unknown(reason) => reason != HUNG_UP,
    }
}

fn wait_us(action: &Action) -> Micros {
    match action {
        Action::Acquire { wait_ms, .. } | Action::Increment { wait_ms, .. } | Action::Dequeue { wait_ms, .. } => {
            wait_ms.saturating_mul(1000)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{MS, Script, acquire};
    use crate::history::Census;

    fn script() -> Script {
        let mut script = Script::new();
        script.history.facts.healed_us = Some(1000 * MS);
        script.history.facts.bound_us = 500 * MS;
        script.history.facts.ended_us = 9000 * MS;
        // Before healing anything may happen.
        script.unknown(900, acquire());
        script
    }

    #[test]
    fn answers_in_time_are_fine() {
        let mut script = script();
        script.granted(2000, 2400, 1);
        assert_eq!(check(&script.history), vec![]);
    }

    #[test]
    fn calls_without_an_answer_are_found() {
        let mut never = script();
        never.unknown(2000, acquire());
        assert!(never.fails(check));
        let mut late = script();
        late.granted(2000, 2600, 1);
        assert!(late.fails(check));
    }

    #[test]
    fn an_overdue_deadline_is_found() {
        let mut script = script();
        script.history.facts.census = Some(Census { overdue_ms: 501, ..Census::default() });
        assert!(script.fails(check));
    }
}
