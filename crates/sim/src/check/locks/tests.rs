use super::*;
use crate::check::testing::{Script, acquire, acquire_as, release, renew};
use crate::history::{Grant, Holder, LockView};

fn read_lock() -> Action {
    Action::ReadLock { lock: "l".to_owned(), stale: false }
}

fn view(tokens: &[u64]) -> Answer {
    let holders = tokens.iter().map(|token| Holder { owner: None, token: *token }).collect();
    Answer::Lock((!tokens.is_empty()).then_some(LockView { holders, waiters: vec![] }))
}

#[test]
fn grants_that_follow_releases_and_ended_leases_are_fine() {
    let mut script = Script::new();
    script.granted(0, 10, 1);
    script.refused(20, 30, acquire(), Refusal::Held);
    script.ok(40, 50, release(1), Answer::Released { depth: 0 });
    script.granted(45, 60, 2);
    // Its lease of a second began at 45 at the earliest.
    script.granted(1045, 1060, 3);
    script.refused(1070, 1080, renew(2), Refusal::SessionExpired);
    script.ok(1100, 1110, read_lock(), view(&[3]));
    assert_eq!(check(&script.history), vec![]);
}

#[test]
fn two_holders_at_once_are_found() {
    let mut script = Script::new();
    script.granted(0, 10, 1);
    script.granted(500, 600, 2);
    assert!(script.fails(check));
}

#[test]
fn a_token_that_goes_back_is_found() {
    let mut script = Script::new();
    script.granted(0, 10, 7);
    script.ok(20, 30, release(7), Answer::Released { depth: 0 });
    script.granted(40, 50, 3);
    assert!(script.fails(check));
}

#[test]
fn a_renewed_lease_lasts_longer() {
    let mut script = Script::new();
    script.granted(0, 10, 1);
    script.ok(900, 910, renew(1), Answer::Renewed { expires_in_ms: 1000 });
    script.granted(1500, 1600, 2);
    assert!(script.fails(check));
}

#[test]
fn a_lease_that_is_said_to_be_over_too_early_is_found() {
    let mut script = Script::new();
    script.granted(0, 10, 1);
    script.refused(500, 510, renew(1), Refusal::SessionExpired);
    assert!(script.fails(check));
}

#[test]
fn an_unanswered_grant_may_hold_or_not() {
    let mut held = Script::new();
    held.unknown(0, acquire());
    held.refused(20, 30, acquire(), Refusal::Held);
    held.ok(40, 50, read_lock(), view(&[4]));
    assert_eq!(check(&held.history), vec![]);
    // Seen held, and nobody let go.
    held.granted(60, 70, 5);
    assert!(held.fails(check));

    let mut free = Script::new();
    free.unknown(0, acquire());
    free.granted(20, 30, 5);
    assert_eq!(check(&free.history), vec![]);
}

#[test]
fn a_refusal_while_nobody_can_hold_is_found() {
    let mut script = Script::new();
    script.refused(0, 10, acquire(), Refusal::Held);
    assert!(script.fails(check));
}

#[test]
fn a_read_that_misses_a_holder_is_found() {
    let mut script = Script::new();
    script.granted(0, 10, 1);
    script.ok(100, 110, read_lock(), view(&[]));
    assert!(script.fails(check));
}

#[test]
fn permits_add_up() {
    let mode = Mode::Semaphore { permits: 2, max_permits: 4 };
    let mut script = Script::new();
    for token in 1..=2 {
        let grants = vec![Grant { lock: "l".to_owned(), token, depth: 1 }];
        let answer = Answer::Acquired { session: format!("s{token}"), expires_in_ms: 1000, grants };
        script.ok(token * 10, token * 10 + 5, acquire_as("me", mode), answer);
    }
    assert_eq!(check(&script.history), vec![]);
    let grants = vec![Grant { lock: "l".to_owned(), token: 3, depth: 1 }];
    let answer = Answer::Acquired { session: "s3".to_owned(), expires_in_ms: 1000, grants };
    script.ok(30, 35, acquire_as("me", mode), answer);
    assert!(script.fails(check));
}
