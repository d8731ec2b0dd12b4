//! **Fencing tokens and revisions increase.** For any two operations A and B, whatever they are about, that
//! were each given a new token: the tokens differ, and if A returned before B was called, then A's token is
//! smaller than B's.

use super::issued::{Issued, Token};
use super::{Violation, violation};
use crate::history::{History, Micros, OpId};

const NAME: &str = "tokens increase";

/// Lists tokens that go back or come twice.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let issued = Issued::new(history);
    let mut violations = Vec::new();
    for pair in issued.tokens().windows(2) {
        if pair[0].token == pair[1].token {
            let what = format!("token {} was given out twice", pair[0].token);
            violations.push(violation(NAME, what, [pair[0].operation, pair[1].operation]));
        }
    }
    // By size, backwards: the earliest return among all larger tokens. A call after that return with a
    // smaller token went back.
    let mut earliest: Option<(Micros, OpId, u64)> = None;
    for Token { operation, token, invoked_us, completed_us } in issued.tokens().iter().rev().copied() {
        if let Some((returned_us, before, larger)) = earliest
            && returned_us < invoked_us
            && larger > token
        {
            let what = format!("token {token} came after {larger}");
            violations.push(violation(NAME, what, [before, operation]));
        }
        if earliest.is_none_or(|(returned_us, _, _)| completed_us < returned_us) {
            earliest = Some((completed_us, operation, token));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::Script;

    #[test]
    fn tokens_that_grow_are_fine_whatever_they_are_for() {
        let mut script = Script::new();
        script.granted(0, 10, 3);
        script.enqueued(20, 30, "i", 4, "x");
        // These two overlap.
        script.granted(40, 90, 8);
        script.granted(50, 60, 7);
        assert_eq!(check(&script.history), vec![]);
    }

    #[test]
    fn a_smaller_token_later_is_found() {
        let mut script = Script::new();
        script.granted(0, 10, 3);
        script.enqueued(20, 30, "i", 2, "x");
        assert!(script.fails(check));
    }

    #[test]
    fn a_token_given_out_twice_is_found() {
        let mut script = Script::new();
        script.granted(0, 100, 3);
        script.granted(0, 100, 3);
        assert!(script.fails(check));
    }
}
