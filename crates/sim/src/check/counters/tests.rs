use super::*;
use crate::check::testing::Script;

/// Counters `a` and `b` share a limit of 3.
fn script() -> Script {
    let mut script = Script::new();
    let setup = &mut script.history.setup;
    setup.limits.insert("both".to_owned(), 3);
    for counter in ["a", "b"] {
        setup.buckets.insert(counter.to_owned(), vec!["both".to_owned()]);
    }
    script
}

fn increment(counter: &str, amount: u64, hold_ttl_ms: Option<u64>) -> Action {
    Action::Increment { counter: counter.to_owned(), amount, hold_ttl_ms, wait_ms: 0 }
}

fn incremented(amount: u64, hold: Option<&str>) -> Answer {
    Answer::Incremented { amount, hold: hold.map(str::to_owned) }
}

fn read(script: &mut Script, from_ms: u64, counter: &str, amount: u64) {
    let action = Action::ReadCounter { counter: counter.to_owned(), stale: false };
    script.ok(from_ms, from_ms + 5, action, Answer::Counter { amount });
}

#[test]
fn what_fits_is_fine() {
    let mut script = script();
    script.ok(0, 10, increment("a", 2, None), incremented(2, None));
    script.ok(20, 30, increment("b", 1, Some(1000)), incremented(1, Some("h")));
    script.refused(40, 50, increment("b", 1, None), Refusal::LimitReached);
    script.ok(60, 70, Action::Decrement { counter: "a".to_owned(), amount: 1 }, Answer::Decremented { amount: 1 });
    read(&mut script, 80, "a", 1);
    // The hold's lease is over.
    script.ok(1100, 1110, increment("b", 2, None), incremented(2, None));
    assert_eq!(check(&script.history), vec![]);
}

#[test]
fn more_than_the_limit_is_found() {
    let mut script = script();
    script.ok(0, 10, increment("a", 2, None), incremented(2, None));
    script.ok(20, 30, increment("b", 2, None), incremented(2, None));
    assert!(script.fails(check));
}

#[test]
fn a_hold_counts_while_its_lease_lasts() {
    let mut script = script();
    script.ok(0, 10, increment("a", 3, Some(1000)), incremented(3, Some("h")));
    script.ok(500, 510, increment("b", 1, None), incremented(1, None));
    assert!(script.fails(check));
}

#[test]
fn a_wrong_amount_is_found() {
    let mut script = script();
    script.ok(0, 10, increment("a", 2, None), incremented(2, None));
    read(&mut script, 20, "a", 1);
    assert!(script.fails(check));
}

#[test]
fn a_hold_given_back_twice_is_found() {
    let mut script = script();
    script.ok(0, 10, increment("a", 2, Some(1000)), incremented(2, Some("h")));
    let action = || Action::ReleaseHold { hold: "h".to_owned() };
    script.ok(20, 30, action(), Answer::HoldReleased { amount: 2 });
    assert_eq!(check(&script.history), vec![]);
    script.ok(40, 50, action(), Answer::HoldReleased { amount: 2 });
    assert!(script.fails(check));
}
