//! Lines: who is served when, and that no wake-up is lost.

use super::*;
use crate::command::CancelWait;

fn one_bucket(limit: u64) -> (World, KeyValues) {
    let mut world = World::at(1_000);
    world.rule("all", pattern(&[("job", "*")]), limit);
    (world, counter(&[("job", "build")]))
}

#[test]
fn a_large_request_is_not_starved_by_small_ones() {
    let (mut world, job) = one_bucket(4);
    world.try_increment(&job, 3).unwrap();
    let large = world.wait(&job, 3);
    // One would fit, but somebody stands in line.
    let Err(Error::LimitReached { denied_by, .. }) = world.try_increment(&job, 1) else { panic!() };
    assert_eq!(names(&denied_by), ["all [job=build] 3+1/4 waiting 1"]);
    let small = world.wait(&job, 1);
    world.decrement(&job, 1).unwrap();
    assert_eq!(world.resolved(), []);
    world.decrement(&job, 1).unwrap();
    assert_eq!(world.resolved(), [(large, true)]);
    assert_eq!(world.amount(&job), 4);
    world.decrement(&job, 4).unwrap();
    assert_eq!(world.resolved(), [(small, true)]);
}

#[test]
fn who_is_blocked_elsewhere_moves_there_and_lets_the_next_pass() {
    let mut world = World::at(1_000);
    world.rule("machine", pattern(&[("machine", "*")]), 2);
    world.rule("user", pattern(&[("user", "*")]), 1);
    let (ann, bob) = (counter(&[("machine", "m"), ("user", "ann")]), counter(&[("machine", "m"), ("user", "bob")]));
    let other = counter(&[("machine", "n"), ("user", "ann")]);
    world.try_increment(&counter(&[("machine", "m")]), 2).unwrap();
    let first = world.wait(&ann, 1);
    let second = world.wait(&bob, 1);
    world.try_increment(&other, 1).unwrap();
    world.decrement(&counter(&[("machine", "m")]), 1).unwrap();
    assert_eq!(world.resolved(), [(second, true)], "ann is busy on the other machine");
    world.decrement(&other, 1).unwrap();
    assert_eq!(world.resolved(), [], "and now the machine is full again");
    world.decrement(&bob, 1).unwrap();
    assert_eq!(world.resolved(), [(first, true)]);
}

#[test]
fn a_wait_ends_in_a_denial_and_the_next_is_served() {
    let (mut world, job) = one_bucket(4);
    world.try_increment(&job, 3).unwrap();
    let Ok(Answer::Waiting(large)) = world.increment(&job, 2, None, 500) else { panic!() };
    let small = world.wait(&job, 1);
    world.advance(1_499);
    assert_eq!(world.resolved(), []);
    world.advance(1_500);
    let resolved = std::mem::take(&mut world.cx.resolved);
    let [(first, Err(Refusal::Limit(Error::LimitReached { denied_by, .. }))), (second, Ok(_))] = &resolved[..] else {
        panic!("{resolved:?}")
    };
    assert_eq!((*first, *second), (large, small));
    assert_eq!(names(denied_by), ["all [job=build] 3+2/4 waiting 1"]);
}

#[test]
fn what_can_never_fit_keeps_nobody_waiting() {
    let (mut world, job) = one_bucket(4);
    let huge = world.wait(&job, 5);
    world.try_increment(&job, 2).unwrap();
    world.limit("all", 7, RuleMode::Enforce);
    assert_eq!(world.resolved(), [(huge, true)]);
    assert_eq!(world.amount(&job), 7);
}

type Change = (&'static str, fn(&mut World));

#[test]
fn every_change_of_a_rule_wakes_who_it_kept_waiting() {
    let open: [Change; 6] = [
        ("raised", |world| world.limit("all", 2, RuleMode::Enforce)),
        ("shadow", |world| world.limit("all", 1, RuleMode::Shadow)),
        ("deleted", |world| world.delete_rule("all")),
        ("overridden", |world| {
            world.override_("all", "more", pattern(&[("job", "build")]), 2);
        }),
        ("set", |world| {
            let command = SetCounter { key_values: counter(&[("job", "build")]), amount: 0 };
            world.run(Command::SetCounter(command)).unwrap();
        }),
        ("decremented", |world| {
            world.decrement(&counter(&[("job", "build")]), 1).unwrap();
        }),
    ];
    for (what, change) in open {
        let (mut world, job) = one_bucket(1);
        world.try_increment(&job, 1).unwrap();
        let waiter = world.wait(&job, 1);
        change(&mut world);
        assert_eq!(world.resolved(), [(waiter, true)], "{what}");

        let (mut world, job) = one_bucket(1);
        world.try_increment(&job, 1).unwrap();
        let bucket = world.limiter.claim(&job, 1, &mut world.cx).unwrap_err();
        world.limiter.watch(bucket, 1);
        assert_eq!(world.limiter.take_opened(), []);
        change(&mut world);
        assert_eq!(world.limiter.take_opened(), [(bucket, 1)], "{what}");
        world.limiter.unwatch(bucket, 1);
        assert_eq!(world.limiter.claim(&job, 1, &mut world.cx), Ok(()), "{what}");
    }
}

#[test]
fn an_override_that_goes_wakes_who_it_kept_waiting() {
    let (mut world, job) = one_bucket(2);
    world.override_("all", "none", pattern(&[("job", "build")]), 0);
    let waiter = world.wait(&job, 1);
    let bucket = world.limiter.claim(&job, 1, &mut world.cx).unwrap_err();
    world.limiter.watch(bucket, 1);
    let command = DeleteOverride { rule: by_name("all"), override_: by_name("none"), if_match: None };
    world.run(Command::DeleteOverride(command)).unwrap();
    assert_eq!(world.resolved(), [(waiter, true)]);
    assert_eq!(world.limiter.take_opened(), [(bucket, 1)]);
    assert!(world.limiter.has_room(bucket, 1), "it is not there any more");
    assert_eq!(world.limiter.claim(&job, 1, &mut world.cx), Ok(()));
}

#[test]
fn waiters_come_before_the_queue_and_larger_weights_before_smaller() {
    let (mut world, job) = one_bucket(4);
    world.limiter.claim(&job, 4, &mut world.cx).unwrap();
    let waiter = world.wait(&job, 2);
    for weight in [1, 2] {
        let bucket = world.limiter.claim(&job, weight, &mut world.cx).unwrap_err();
        world.limiter.watch(bucket, weight);
    }
    world.limiter.unclaim(&job, 1, &mut world.cx);
    assert_eq!(world.limiter.take_opened(), [], "somebody stands in line");
    world.limiter.unclaim(&job, 3, &mut world.cx);
    assert_eq!(world.resolved(), [(waiter, true)]);
    let weights: Vec<u64> = world.limiter.take_opened().into_iter().map(|(_, weight)| weight).collect();
    assert_eq!(weights, [2, 1]);
    assert_eq!(world.limiter.take_opened(), [], "each once");
}

#[test]
fn the_end_of_a_line_wakes_the_queue() {
    let (mut world, job) = one_bucket(4);
    world.try_increment(&job, 2).unwrap();
    let waiter = world.wait(&job, 3);
    let bucket = world.limiter.claim(&job, 1, &mut world.cx).unwrap_err();
    world.limiter.watch(bucket, 1);
    assert_eq!(world.limiter.take_opened(), []);
    let command = CancelWait { waiter, undelivered: None };
    world.limiter.cancel_wait(&command, &mut world.cx);
    assert_eq!(world.resolved(), [(waiter, false)]);
    assert_eq!(world.limiter.take_opened(), [(bucket, 1)]);
}

#[test]
fn a_bucket_that_opened_before_it_was_watched_is_reported() {
    let (mut world, job) = one_bucket(1);
    world.try_increment(&job, 1).unwrap();
    let bucket = world.limiter.claim(&job, 1, &mut world.cx).unwrap_err();
    world.decrement(&job, 1).unwrap();
    world.limiter.watch(bucket, 1);
    assert_eq!(world.limiter.take_opened(), [(bucket, 1)]);
}

#[test]
fn a_grant_that_nobody_heard_of_is_undone() {
    for ttl_ms in [None, Some(1_000)] {
        let (mut world, job) = one_bucket(2);
        world.try_increment(&job, 2).unwrap();
        let Ok(Answer::Waiting(waiter)) = world.increment(&job, 2, ttl_ms, 500) else { panic!() };
        world.decrement(&job, 2).unwrap();
        let (_, reply) = world.cx.resolved.pop().unwrap();
        let next = world.wait(&job, 1);
        let command = CancelWait { waiter, undelivered: reply.ok().map(Box::new) };
        world.limiter.cancel_wait(&command, &mut world.cx);
        assert_eq!(world.resolved(), [(next, true)]);
        assert_eq!(world.amount(&job), 1);
    }
}

#[test]
fn an_override_wakes_what_is_parked_behind_a_channel_that_stays_blocked() {
    let mut world = World::at(1_000);
    world.rule("none", pattern(&[("job", "*")]), 0);
    let (stays, runs) = (counter(&[("job", "a")]), counter(&[("job", "a"), ("fast", "yes")]));
    let bucket = world.limiter.claim(&stays, 1, &mut world.cx).unwrap_err();
    assert_eq!(world.limiter.claim(&runs, 1, &mut world.cx), Err(bucket));
    world.limiter.watch(bucket, 1);
    assert_eq!(world.limiter.take_opened(), []);
    world.override_("none", "fast", pattern(&[("job", "*"), ("fast", "yes")]), 1);
    assert_eq!(world.limiter.take_opened(), [(bucket, 1)]);
    // The queue tries one after the other until one is blocked by this very bucket: so it has another
    // name now, and the second is tried as well.
    let renamed = world.limiter.claim(&stays, 1, &mut world.cx).unwrap_err();
    assert_ne!(renamed, bucket);
    assert_eq!(world.limiter.claim(&runs, 1, &mut world.cx), Ok(()));
}

#[test]
fn parked_names_outlive_a_restore() {
    let (mut world, job) = one_bucket(0);
    let bucket = world.limiter.claim(&job, 2, &mut world.cx).unwrap_err();
    world.limiter.watch(bucket, 2);
    assert_eq!(world.limiter.take_opened(), []);
    let mut restored = world.restored();
    restored.limiter.watch(bucket, 2);
    assert_eq!(restored.limiter.take_opened(), []);
    restored.limit("all", 2, RuleMode::Enforce);
    assert_eq!(restored.limiter.take_opened(), [(bucket, 2)]);
}
