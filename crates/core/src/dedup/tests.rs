use super::*;
use crate::{Refusal, command::CancelWait, queue};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn id(text: &str) -> RequestId {
    RequestId::new(text).unwrap()
}

fn command(waiter: u64) -> Fingerprint {
    Fingerprint::of(&Command::CancelWait(CancelWait { waiter: WaiterId(waiter), undelivered: None }))
}

fn same(outcome: Outcome) -> Seen {
    Seen::Same(Box::new(outcome))
}

#[test]
fn a_repeat_gets_the_answer_and_another_command_is_told_apart() {
    let mut dedup = Dedup::default();
    assert_eq!(dedup.seen(&id("a"), command(1)), Seen::New);
    dedup.record(id("a"), command(1), &Outcome::Done, 0);
    assert_eq!(dedup.seen(&id("a"), command(1)), same(Outcome::Done));
    assert_eq!(dedup.seen(&id("a"), command(2)), Seen::Other);
    assert_eq!(dedup.seen(&id("b"), command(1)), Seen::New);
}

#[test]
fn an_answer_is_kept_for_its_time_and_no_longer() {
    let mut dedup = Dedup::default();
    dedup.record(id("a"), command(1), &Outcome::Done, 1000);
    dedup.expire(1000 + limits::REQUEST_ID_RETENTION_MS - 1);
    assert_eq!(dedup.seen(&id("a"), command(1)), same(Outcome::Done));
    dedup.expire(1000 + limits::REQUEST_ID_RETENTION_MS);
    assert_eq!(dedup.seen(&id("a"), command(1)), Seen::New);
    assert!(dedup.expiry.is_empty());
}

#[test]
fn forgetting_is_bounded_per_apply_and_goes_on_in_the_next() {
    let mut dedup = Dedup::default();
    for number in 0..=limits::ROWS_PER_STEP {
        dedup.record(id(&number.to_string()), command(1), &Outcome::Done, 0);
    }
    dedup.expire(DAY_MS);
    assert_eq!(dedup.records.len(), 1);
    dedup.expire(DAY_MS);
    assert!(dedup.records.is_empty());
}

#[test]
fn a_wait_is_found_again_until_it_ends_and_then_its_answer() {
    let mut dedup = Dedup::default();
    let waiting = Outcome::Waiting(WaiterId(7));
    dedup.record(id("a"), command(1), &waiting, 0);
    assert_eq!(dedup.seen(&id("a"), command(1)), same(waiting));
    dedup.resolve(WaiterId(8), &Ok(Outcome::Done), 5000);
    dedup.resolve(WaiterId(7), &Ok(Outcome::Done), 5000);
    assert_eq!(dedup.seen(&id("a"), command(1)), same(Outcome::Done));
    // Kept from the answer on, not from the question.
    dedup.expire(limits::REQUEST_ID_RETENTION_MS);
    assert_eq!(dedup.seen(&id("a"), command(1)), same(Outcome::Done));
    assert!(dedup.waiting.is_empty());
}

#[test]
fn a_refused_wait_changed_nothing_and_may_be_tried_afresh() {
    let mut dedup = Dedup::default();
    dedup.record(id("a"), command(1), &Outcome::Waiting(WaiterId(7)), 0);
    dedup.resolve(WaiterId(7), &Err(Refusal::WaitCancelled), 10);
    assert_eq!(dedup.seen(&id("a"), command(1)), Seen::New);
    assert!(dedup.expiry.is_empty() && dedup.waiting.is_empty());
}

#[test]
fn a_wait_that_took_nothing_may_be_tried_afresh() {
    let mut dedup = Dedup::default();
    dedup.record(id("a"), command(1), &Outcome::Waiting(WaiterId(7)), 0);
    dedup.resolve(WaiterId(7), &Ok(Outcome::Queue(queue::Outcome::Dequeued(vec![]))), 10);
    assert_eq!(dedup.seen(&id("a"), command(1)), Seen::New);
}

#[test]
fn what_is_derived_can_be_rebuilt() {
    let mut dedup = Dedup::default();
    dedup.record(id("a"), command(1), &Outcome::Waiting(WaiterId(7)), 0);
    dedup.record(id("b"), command(1), &Outcome::Done, 0);
    let mut restored = Dedup { records: std::mem::take(&mut dedup.records), ..Dedup::default() };
    restored.rebuild();
    assert_eq!((restored.expiry, restored.waiting), (dedup.expiry, dedup.waiting));
}

#[test]
fn a_request_id_is_bounded() {
    assert!(RequestId::new("").is_none());
    assert!(RequestId::new(&"x".repeat(limits::REQUEST_ID_BYTES)).is_some());
    assert!(RequestId::new(&"x".repeat(limits::REQUEST_ID_BYTES + 1)).is_none());
}
