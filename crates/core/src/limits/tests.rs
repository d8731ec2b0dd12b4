//! What is bounded is filled: one more is refused and changes nothing, or the oldest leaves; and there is room
//! again when something goes.

use std::sync::Arc;

use willow_model::{Id, KeyValues, Kind, Origin};
use willow_query::{Pick, Query};

use super::*;
use crate::{
    Batch, Command, Envelope, Machine, Outcome, Refusal, Reply, RequestId,
    command::CancelWait,
    cursor::{AdvanceCursor, Advanced},
    limiter::{self, CreateOverride, CreateRule, DeleteRule, Increment, Limit, RuleMode, Selector},
    locker::{self, Acquire, CreateSession, EndSession, LockRequest, Mode, Release, SessionId},
    machine::Collection,
    queue::{
        self, Backoff, CreateQueue, Dequeue, Enqueue, How, ItemOptions, NewItem, Order, Pause, PauseKind, Position,
        QueueConfig,
    },
    snapshot::Restore,
};

/// Longer than any test.
const TTL_MS: u64 = LEASE_MAX_MS;

/// A machine that draws its own entropy, with a millisecond between commands.
#[derive(Default)]
struct World {
    machine: Machine,
    now_ms: u64,
    entropy: u128,
}

impl World {
    fn apply(&mut self, command: Command) -> Reply {
        self.apply_with(None, command)
    }

    fn apply_with(&mut self, request_id: Option<&str>, command: Command) -> Reply {
        self.now_ms += 1;
        self.apply_now(request_id, command)
    }

    fn apply_now(&mut self, request_id: Option<&str>, command: Command) -> Reply {
        self.entropy += 1;
        let request_id = request_id.map(|id| RequestId::new(id).unwrap());
        let envelope = Envelope { request_id, entropy: self.entropy << 64, command };
        self.machine.apply(Batch { time_ms: self.now_ms, envelopes: vec![envelope] }).replies.pop().unwrap()
    }

    /// Refused, and nothing changed.
    fn refused(&mut self, command: Command) -> Refusal {
        let before = self.machine.digest();
        let refusal = self.apply_now(None, command).unwrap_err();
        assert_eq!(self.machine.digest(), before, "{refusal}");
        refusal
    }

    /// The machine as a snapshot makes it anew.
    fn restart(&mut self) {
        let mut reader = self.machine.snapshot_begin();
        let mut restore = Restore::default();
        while let Some(chunk) = self.machine.snapshot_next(&mut reader, 10_000) {
            restore.push(&chunk).unwrap();
        }
        self.machine = restore.finish().unwrap();
    }

    fn queue(&mut self) {
        let backoff = Backoff { initial_ms: 0, factor_milli: 1000, max_ms: 0, jitter_milli: 0 };
        let defaults = ItemOptions {
            updatable: false,
            max_attempts: None,
            backoff,
            retry_position: Position::Back,
            lease_ms: 1000,
            priority: 0,
            weight: 1,
        };
        let config = QueueConfig { max_items: None, max_dead_letters: 0, defaults };
        self.apply(queue::Command::CreateQueue(CreateQueue { name: "q".into(), key_values: None, config }).into())
            .unwrap();
    }
}

fn named(name: &str) -> Selector {
    Selector::Name(name.into())
}

fn kv(text: &str) -> KeyValues {
    KeyValues::parse(Origin::Pattern, text).unwrap()
}

fn acquire(lock: &str, session: Option<SessionId>, wait_ms: u64) -> Command {
    let locks = vec![LockRequest { key_values: kv(lock), mode: Mode::Exclusive }];
    Command::Lock(locker::Command::Acquire(Acquire { locks, session, ttl_ms: Some(TTL_MS), wait_ms, owner: None }))
}

fn increment(key_values: &str, wait_ms: u64) -> Command {
    let increment = Increment { key_values: kv(key_values), amount: 1, hold_ttl_ms: None, wait_ms };
    Command::Limit(limiter::Command::Increment(increment))
}

fn rule(name: &str, key_values: &str, limit: u64) -> Command {
    let rule =
        CreateRule { name: name.into(), key_values: kv(key_values), limit: Limit::At(limit), mode: RuleMode::Enforce };
    Command::Limit(limiter::Command::CreateRule(rule))
}

fn override_(rule: &str, name: &str, key_values: &str) -> Command {
    let (rule, name, key_values) = (named(rule), name.into(), kv(key_values));
    let create = CreateOverride { rule, name, key_values, limit: Limit::At(1) };
    Command::Limit(limiter::Command::CreateOverride(create))
}

fn delete_rule(name: &str) -> Command {
    Command::Limit(limiter::Command::DeleteRule(DeleteRule { rule: named(name), if_match: None }))
}

fn create_session() -> Command {
    Command::Lock(locker::Command::CreateSession(CreateSession { ttl_ms: TTL_MS, owner: None }))
}

fn dequeue(order: Order, wait_ms: u64) -> Command {
    let dequeue = Dequeue {
        queue: named("q"),
        query: Query::default(),
        order,
        tolerations: vec![],
        max_items: 1,
        lease_ms: None,
        wait_ms,
        consumer: None,
    };
    queue::Command::Dequeue(dequeue).into()
}

fn enqueue(key_values: &str, key: Option<&str>) -> Command {
    let item =
        NewItem { idempotency_key: key.map(Into::into), ..NewItem::new(kv(key_values), Arc::from(&b""[..]), "") };
    queue::Command::Enqueue(Enqueue { queue: named("q"), items: vec![item] }).into()
}

fn session(reply: &Reply) -> SessionId {
    match reply {
        Ok(Outcome::Lock(locker::Outcome::Session(session))) => session.session,
        Ok(Outcome::Lock(locker::Outcome::Acquired(acquired))) => acquired.session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn so_many_wait_over_all_services_together() {
    let mut world = World::default();
    world.queue();
    world.apply(rule("none", "a=*", 0)).unwrap();
    let holder = session(&world.apply(acquire("a=1", None, 0)));
    let waits = [
        || acquire("a=1", None, WAIT_MAX_MS),
        || increment("a=1", WAIT_MAX_MS),
        || dequeue(Order::Oldest, WAIT_MAX_MS),
    ];
    let mut waiters = Vec::new();
    for number in 0..WAITERS {
        match world.apply(waits[number % waits.len()]()) {
            Ok(Outcome::Waiting(waiter)) => waiters.push(waiter),
            other => panic!("{other:?}"),
        }
    }
    for wait in waits {
        assert_eq!(world.refused(wait()), Refusal::TooManyWaiters);
    }
    // What need not wait is served all the same.
    world.apply(increment("b=1", WAIT_MAX_MS)).unwrap();
    let release = Release { lock: locker::id(&kv("a=1")), session: holder, token: None };
    world.apply(Command::Lock(locker::Command::Release(release))).unwrap();
    assert_eq!(world.machine.waiting(), WAITERS - 1, "one was granted");
    world.restart();
    for (number, wait) in waits.into_iter().enumerate() {
        assert!(matches!(world.apply(wait()), Ok(Outcome::Waiting(_))), "there is room for one");
        assert_eq!(world.refused(wait()), Refusal::TooManyWaiters);
        let cancel = CancelWait { waiter: waiters[waits.len() + number], undelivered: None };
        world.apply(Command::CancelWait(cancel)).unwrap();
    }
    assert_eq!(world.machine.waiting(), WAITERS - 1);
}

#[test]
fn so_many_sessions() {
    let mut world = World::default();
    let full = Refusal::Lock(locker::Error::Full { what: "sessions".into() });
    let first = session(&world.apply(create_session()));
    for _ in 1..SESSIONS {
        world.apply(create_session()).unwrap();
    }
    assert_eq!(world.refused(create_session()), full);
    assert_eq!(world.refused(acquire("a=1", None, 0)), full, "an acquire may not start one either");
    world.apply(acquire("a=1", Some(first), 0)).unwrap();
    assert_eq!(world.refused(acquire("a=1", None, WAIT_MAX_MS)), full, "nor one that waits");
    world.restart();
    assert_eq!(world.refused(create_session()), full);
    world.apply(Command::Lock(locker::Command::EndSession(EndSession { session: first }))).unwrap();
    world.apply(acquire("a=1", None, 0)).unwrap();
}

#[test]
fn so_many_locks() {
    let mut world = World::default();
    let full = Refusal::Lock(locker::Error::Full { what: "locks".into() });
    let first = session(&world.apply(acquire("n=0", None, 0)));
    for number in 1..LOCKS {
        world.apply(acquire(&format!("n={number}"), None, 0)).unwrap();
    }
    assert_eq!(world.refused(acquire("more=1", None, 0)), full);
    assert_eq!(world.refused(acquire("more=1", Some(first), WAIT_MAX_MS)), full);
    world.restart();
    assert_eq!(world.refused(acquire("more=1", None, 0)), full);
    world.apply(Command::Lock(locker::Command::EndSession(EndSession { session: first }))).unwrap();
    world.apply(acquire("more=1", None, 0)).unwrap();
}

#[test]
fn so_many_rules_and_overrides() {
    let mut world = World::default();
    let too_many = Refusal::Limit(limiter::Error::TooMany);
    for number in 0..RULES {
        world.apply(rule(&number.to_string(), &format!("k{number}=*"), 1)).unwrap();
    }
    assert_eq!(world.refused(rule("more", "more=*", 1)), too_many);
    let fit = OVERRIDES_PER_RULE as usize;
    for number in 0..OVERRIDES {
        let parent = number / fit;
        world.apply(override_(&parent.to_string(), &number.to_string(), &format!("k{parent}={number}"))).unwrap();
    }
    assert!(OVERRIDES > fit && !OVERRIDES.is_multiple_of(fit), "the last rule has room of its own");
    let last = OVERRIDES / fit;
    let one_more = || override_(&last.to_string(), "more", &format!("k{last}=1000"));
    assert_eq!(world.refused(one_more()), too_many);
    world.restart();
    assert_eq!(world.refused(one_more()), too_many);
    world.apply(delete_rule("0")).unwrap();
    world.apply(one_more()).unwrap();
    world.apply(rule("more", "more=*", 1)).unwrap();
    assert_eq!(world.refused(rule("yet more", "yet=*", 1)), too_many);
}

#[test]
fn so_many_pauses_of_a_queue() {
    let mut world = World::default();
    world.queue();
    let pause = |number: usize| {
        let query = Some(format!("n = {number}").parse().unwrap());
        Command::from(queue::Command::Pause(Pause { queue: named("q"), query, kind: PauseKind::Dequeue }))
    };
    for number in 0..PAUSES_PER_QUEUE {
        world.apply(pause(number)).unwrap();
    }
    assert_eq!(world.refused(pause(PAUSES_PER_QUEUE)), Refusal::Queue(queue::Error::TooManyPauses));
    world.apply(pause(0)).expect("one that stands already");
    let resume = queue::Resume { queue: named("q"), query: Some("n = 0".parse().unwrap()) };
    world.apply(queue::Command::Resume(resume).into()).unwrap();
    world.apply(pause(PAUSES_PER_QUEUE)).unwrap();
}

/// Cursors that were used longest ago leave first: one that comes back then begins anew.
#[test]
fn so_many_cursors_of_lookups() {
    let mut world = World::default();
    let mut ids: Vec<Id> = (0..3).map(|number| locker::id(&kv(&format!("n={number}")))).collect();
    ids.sort_unstable();
    for number in 0..3 {
        world.apply(acquire(&format!("n={number}"), None, 0)).unwrap();
    }
    let next = |world: &mut World, cursor: &str| {
        let query = Query { pick: Some(Pick::RoundRobin { cursor: cursor.into() }), ..Query::default() };
        match world.apply(Command::AdvanceCursor(AdvanceCursor { collection: Collection::Locks, query })) {
            Ok(Outcome::Cursor(Advanced { id })) => id.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(next(&mut world, "old"), ids[0]);
    assert_eq!(next(&mut world, "kept"), ids[0]);
    for number in 2..CURSORS {
        next(&mut world, &number.to_string());
    }
    assert_eq!(next(&mut world, "kept"), ids[1], "all fit");
    world.restart();
    assert_eq!(next(&mut world, "new"), ids[0]);
    assert_eq!(next(&mut world, "kept"), ids[2], "used since");
    assert_eq!(next(&mut world, "old"), ids[0], "had left");
    assert_eq!(next(&mut world, "2"), ids[0], "left for it");
    assert_eq!(next(&mut world, "kept"), ids[0], "once round");
}

#[test]
fn so_many_cursors_of_dequeues() {
    let mut world = World::default();
    world.queue();
    for job in ["a", "b", "c"] {
        world.apply(enqueue(&format!("job={job}"), None)).unwrap();
    }
    // Handed back at once, so that the cursors alone tell what comes.
    let next = |world: &mut World, cursor: &str| {
        let delivered = match world.apply(dequeue(Order::RoundRobin { cursor: cursor.into() }, 0)) {
            Ok(Outcome::Queue(queue::Outcome::Dequeued(taken))) => taken[0].clone(),
            other => panic!("{other:?}"),
        };
        let delivery = queue::Delivered { item: delivered.item, token: delivered.token };
        let release = queue::Release { queue: named("q"), delivered: delivery };
        world.apply(queue::Command::Release(release).into()).unwrap();
        delivered.channel
    };
    let queue = Id::derive(Kind::Queue, None, b"q");
    let mut ids = ["job=a", "job=b", "job=c"].map(|job| Id::derive(Kind::Channel, Some(queue), kv(job).as_bytes()));
    ids.sort_unstable();
    assert_eq!(next(&mut world, "old"), ids[0]);
    assert_eq!(next(&mut world, "kept"), ids[0]);
    for number in 2..CURSORS {
        next(&mut world, &number.to_string());
    }
    assert_eq!(next(&mut world, "kept"), ids[1], "all fit");
    world.restart();
    assert_eq!(next(&mut world, "new"), ids[0]);
    assert_eq!(next(&mut world, "kept"), ids[2], "used since");
    assert_eq!(next(&mut world, "old"), ids[0], "had left");
    assert_eq!(next(&mut world, "kept"), ids[0], "once round");
}

/// Of request ids the oldest leaves first: its repeat is done again.
#[test]
fn so_many_request_ids() {
    let mut world = World::default();
    let first = session(&world.apply_with(Some("first"), create_session()));
    let second = session(&world.apply_with(Some("second"), create_session()));
    let unsettled = world.apply_with(Some("waits"), dequeue(Order::Oldest, WAIT_MAX_MS));
    assert!(unsettled.is_err(), "there is no queue, and what is refused is not recorded");
    for number in 2..REQUEST_IDS {
        world.apply_with(Some(&number.to_string()), increment("a=1", 0)).unwrap();
    }
    assert_eq!(session(&world.apply_with(Some("first"), create_session())), first, "all fit");
    world.restart();
    world.apply_with(Some("one more"), increment("a=1", 0)).unwrap();
    assert_eq!(session(&world.apply_with(Some("second"), create_session())), second);
    assert_ne!(session(&world.apply_with(Some("first"), create_session())), first, "had left: done again");
    assert_ne!(session(&world.apply_with(Some("second"), create_session())), second, "left for it");
}

/// The same of idempotency keys of items.
#[test]
fn so_many_idempotency_keys() {
    let mut world = World::default();
    world.queue();
    let how = |world: &mut World, key: &str| match world.apply(enqueue("job=a", Some(key))) {
        Ok(Outcome::Queue(queue::Outcome::Enqueued(answers))) => answers[0].as_ref().unwrap().how,
        other => panic!("{other:?}"),
    };
    for number in 0..REQUEST_IDS {
        assert_eq!(how(&mut world, &number.to_string()), How::Created);
    }
    assert_eq!(how(&mut world, "0"), How::Duplicate, "all fit");
    world.restart();
    assert_eq!(how(&mut world, "one more"), How::Created);
    assert_eq!(how(&mut world, "1"), How::Duplicate);
    assert_eq!(how(&mut world, "0"), How::Created, "had left");
    assert_eq!(how(&mut world, "1"), How::Created, "left for it");
}
