//! Repeats of a request are answered from the record, but what is left of a lease is told as of now; and
//! leases while machine time stands still.

mod support;

use support::{
    EPOCH_MS, Logged, check_replay_and_restore, kv, pattern,
    queue::{Bench, LEASE_MS, config, dequeue, item, of, q},
};
use willow_core::{
    Batch, Command, Envelope, Outcome, Refusal, Reply,
    limiter::{self, CreateRule, HeartbeatHold, HoldView, Increment, Limit, ReleaseHold, RuleMode},
    limits,
    locker::{self, CreateSession},
    queue::{self, Delivery, Extend},
};
use willow_model::Id;

const TTL_MS: u64 = 1000;

fn hold(wait_ms: u64) -> Command {
    let increment = Increment { key_values: kv("a=1"), amount: 1, hold_ttl_ms: Some(TTL_MS), wait_ms };
    Command::Limit(limiter::Command::Increment(increment))
}

fn held(reply: &Reply) -> HoldView {
    match reply {
        Ok(Outcome::Limit(limiter::Outcome::Incremented(incremented))) => incremented.hold.clone().expect("a hold"),
        other => panic!("{other:?}"),
    }
}

fn heartbeat(hold: Id) -> Command {
    Command::Limit(limiter::Command::HeartbeatHold(HeartbeatHold { hold, ttl_ms: None }))
}

fn release(hold: Id) -> Command {
    Command::Limit(limiter::Command::ReleaseHold(ReleaseHold { hold }))
}

fn renewed(expires_in_ms: u64) -> Reply {
    Ok(Outcome::Limit(limiter::Outcome::Renewed { expires_in_ms }))
}

fn extend(delivery: &Delivery) -> Command {
    let extend = Extend { queue: q(), delivered: of(delivery), lease_ms: None };
    Command::Queue(queue::Command::Extend(extend))
}

fn extended(expires_in_ms: u64) -> Reply {
    Ok(Outcome::Queue(queue::Outcome::Extended { expires_in_ms }))
}

#[test]
fn a_repeated_hold_tells_what_is_left_now() {
    let mut logged = Logged::default();
    let first = held(&logged.apply_with(Some("take"), hold(0)));
    assert_eq!(first.expires_in_ms, TTL_MS);
    logged.pass(300);
    let again = held(&logged.apply_with(Some("take"), hold(0)));
    assert_eq!((again.id, again.expires_in_ms), (first.id, TTL_MS - 300));
    assert_eq!(logged.apply_with(Some("beat"), heartbeat(first.id)), renewed(TTL_MS));
    logged.pass(100);
    assert_eq!(logged.apply_with(Some("beat"), heartbeat(first.id)), renewed(TTL_MS - 100));
    assert_eq!(held(&logged.apply_with(Some("take"), hold(0))).expires_in_ms, TTL_MS - 100, "renewed meanwhile");
    logged.pass(TTL_MS);
    let gone = Err(Refusal::Limit(limiter::Error::NoSuchHold));
    assert_eq!(logged.apply_with(Some("take"), hold(0)), gone, "what it granted is gone");
    assert_eq!(logged.apply_with(Some("beat"), heartbeat(first.id)), gone);
    check_replay_and_restore(&mut logged, 4);
}

#[test]
fn a_hold_that_was_waited_for_is_repeated_with_what_is_left() {
    let mut logged = Logged::default();
    let rule =
        CreateRule { name: "one".into(), key_values: pattern("a=*"), limit: Limit::At(1), mode: RuleMode::Enforce };
    logged.apply(Command::Limit(limiter::Command::CreateRule(rule))).expect("a new rule");
    let before = held(&logged.apply(hold(0)));
    let waiting = logged.apply_with(Some("wait"), hold(5000));
    assert!(matches!(waiting, Ok(Outcome::Waiting(_))), "{waiting:?}");
    logged.apply(release(before.id)).expect("it is held");
    logged.pass(400);
    assert_eq!(held(&logged.apply_with(Some("wait"), hold(5000))).expires_in_ms, TTL_MS - 400);
}

#[test]
fn a_repeated_dequeue_or_extension_tells_what_is_left_now() {
    let mut bench = Bench::new(config());
    bench.try_enqueue(vec![item("job=a", "1"), item("job=b", "2")]);
    let take = Command::Queue(queue::Command::Dequeue(dequeue("", 2, 0)));
    let taken = |reply: Reply| match reply {
        Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) => deliveries,
        other => panic!("{other:?}"),
    };
    let first = taken(bench.logged.apply_with(Some("take"), take.clone()));
    bench.logged.pass(300);
    assert_eq!(bench.logged.apply_with(Some("more"), extend(&first[0])), extended(LEASE_MS));
    bench.logged.pass(100);
    assert_eq!(bench.logged.apply_with(Some("more"), extend(&first[0])), extended(LEASE_MS - 100));
    let again = taken(bench.logged.apply_with(Some("take"), take.clone()));
    let left: Vec<u64> = again.iter().map(|delivery| delivery.expires_in_ms).collect();
    assert_eq!(left, [LEASE_MS - 100, LEASE_MS - 400], "each as of now");
    bench.logged.pass(LEASE_MS - 400);
    let again = taken(bench.logged.apply_with(Some("take"), take.clone()));
    assert_eq!(again.iter().map(|delivery| delivery.item).collect::<Vec<_>>(), [first[0].item], "the other was lost");
    bench.logged.pass(LEASE_MS);
    let stale = Err(Refusal::Queue(queue::Error::StaleLease { item: first[0].item }));
    assert_eq!(bench.logged.apply_with(Some("more"), extend(&first[0])), stale);
    assert!(taken(bench.logged.apply_with(Some("take"), take)).is_empty());
    check_replay_and_restore(&mut bench.logged, 5);
}

/// More deadlines are due than one batch fires, and time stands still at those of a hold and of a delivery.
#[test]
fn while_time_stands_still_no_ended_lease_is_renewed_and_a_new_one_is_told_whole() {
    let mut bench = Bench::new(config());
    bench.try_enqueue(vec![item("job=a", "1"), item("job=b", "2")]);
    let mut machine = std::mem::take(&mut bench.logged.machine);
    let mut entropy = 0;
    let mut apply = |time_ms: u64, commands: Vec<Command>| {
        let envelope = |command| {
            entropy += 1;
            Envelope { request_id: None, entropy, command }
        };
        let batch = Batch { time_ms, envelopes: commands.into_iter().map(envelope).collect() };
        (machine.apply(batch).replies, machine.now_ms())
    };
    let session = || Command::Lock(locker::Command::CreateSession(CreateSession { ttl_ms: TTL_MS, owner: None }));
    let take = || Command::Queue(queue::Command::Dequeue(dequeue("", 1, 0)));
    let taken = |reply: &Reply| match reply {
        Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) => deliveries[0].clone(),
        other => panic!("{other:?}"),
    };
    let sessions = (0..limits::TIMERS_PER_BATCH).map(|_| session());
    let (replies, _) = apply(EPOCH_MS, [hold(0), take()].into_iter().chain(sessions).collect());
    let (hold, delivery) = (held(&replies[0]).id, taken(&replies[1]));
    assert_eq!(TTL_MS, LEASE_MS, "all end together, sessions first");
    let late_ms = EPOCH_MS + 60_000;
    let ack = queue::Ack { queue: q(), items: vec![of(&delivery)] };
    let ack = Command::Queue(queue::Command::Ack(ack));
    let (replies, now_ms) = apply(late_ms, vec![heartbeat(hold), extend(&delivery), ack, take()]);
    assert_eq!(now_ms, EPOCH_MS + TTL_MS, "it stands still");
    assert_eq!(replies[0], Err(Refusal::Limit(limiter::Error::NoSuchHold)));
    let stale = queue::Error::StaleLease { item: delivery.item };
    assert_eq!(replies[1], Err(Refusal::Queue(stale.clone())));
    assert_eq!(replies[2], Ok(Outcome::Queue(queue::Outcome::Acked(vec![Err(stale)]))));
    let second = taken(&replies[3]);
    assert_eq!(second.expires_in_ms, LEASE_MS, "not the lag on top");
    let (replies, _) = apply(late_ms + LEASE_MS - 1, vec![extend(&second)]);
    assert_eq!(replies[0], extended(LEASE_MS));
}
