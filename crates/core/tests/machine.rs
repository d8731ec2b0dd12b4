//! The foundation: time that stands still under too many deadlines, cursors, snapshots given up.

mod support;

use support::{EPOCH_MS, Logged, check_replay_and_restore, kv};
use willow_core::{
    Batch, Command, Envelope, Machine, Outcome, Refusal,
    command::Initialize,
    cursor::{AdvanceCursor, Advanced},
    limits,
    locker::{self, Acquire, CreateSession, HeartbeatSession, LockRequest, Mode, SessionId},
    machine::Collection,
    snapshot::Restore,
};
use willow_model::Id;
use willow_query::{Pick, Query};

const TTL_MS: u64 = 1000;

fn create_session() -> Command {
    Command::Lock(locker::Command::CreateSession(CreateSession { ttl_ms: TTL_MS, owner: None }))
}

fn envelope(entropy: u128, command: Command) -> Envelope {
    Envelope { request_id: None, entropy, command }
}

fn session_of(outcome: &Outcome) -> SessionId {
    match outcome {
        Outcome::Lock(locker::Outcome::Session(session)) => session.session,
        other => panic!("{other:?}"),
    }
}

fn heartbeat(session: SessionId) -> Command {
    Command::Lock(locker::Command::HeartbeatSession(HeartbeatSession { session }))
}

#[test]
fn time_stands_still_at_the_oldest_deadline_not_fired() {
    let mut machine = Machine::default();
    let count = limits::TIMERS_PER_BATCH + 10;
    let envelopes = (0..count).map(|number| envelope(number as u128, create_session())).collect();
    let replies = machine.apply(Batch { time_ms: EPOCH_MS, envelopes }).replies;
    let sessions: Vec<SessionId> = replies.iter().map(|reply| session_of(reply.as_ref().unwrap())).collect();

    // All leases ended long ago, but one batch fires only so many.
    let late_ms = EPOCH_MS + 5 * TTL_MS;
    let beats = sessions.iter().enumerate().map(|(number, session)| envelope(number as u128, heartbeat(*session)));
    let batch = Batch { time_ms: late_ms, envelopes: beats.chain([envelope(u128::MAX, create_session())]).collect() };
    let mut replies = machine.apply(batch).replies;
    let newcomer = session_of(&replies.pop().unwrap().unwrap());
    assert_eq!(machine.now_ms(), EPOCH_MS + TTL_MS);
    assert_eq!(machine.locker().sessions(), 10 + 1);
    // None of them is seen alive, fired or not.
    assert!(replies.iter().all(|reply| *reply == Err(Refusal::Lock(locker::Error::SessionExpired))));

    machine.apply(Batch { time_ms: late_ms, envelopes: vec![] });
    assert_eq!((machine.now_ms(), machine.locker().sessions()), (late_ms, 1));

    // A lease given while time stood still is whole all the same.
    assert_eq!(machine.next_deadline_ms(), Some(late_ms + TTL_MS));
    let batch = Batch { time_ms: late_ms + TTL_MS - 1, envelopes: vec![envelope(1, heartbeat(newcomer))] };
    assert!(machine.apply(batch).replies[0].is_ok());
}

#[test]
fn a_batch_from_the_past_does_not_take_time_back() {
    let mut machine = Machine::default();
    machine.apply(Batch { time_ms: EPOCH_MS, envelopes: vec![envelope(1, create_session())] });
    machine.apply(Batch { time_ms: EPOCH_MS - 60_000, envelopes: vec![envelope(2, create_session())] });
    assert_eq!(machine.now_ms(), EPOCH_MS);
    assert_eq!(machine.next_deadline_ms(), Some(EPOCH_MS + TTL_MS));
    assert_eq!(machine.locker().sessions(), 2);
}

#[test]
fn the_same_entropy_twice_gives_two_sessions() {
    let mut machine = Machine::default();
    let envelopes = vec![envelope(7, create_session()), envelope(7, create_session())];
    let replies = machine.apply(Batch { time_ms: EPOCH_MS, envelopes }).replies;
    assert_ne!(session_of(replies[0].as_ref().unwrap()), session_of(replies[1].as_ref().unwrap()));
}

#[test]
fn a_cluster_is_named_once() {
    let mut logged = Logged::default();
    let initialize = |cluster| Command::Initialize(Initialize { cluster, secret: [1; 32] });
    assert_eq!(logged.apply(initialize(5)), Ok(Outcome::Done));
    assert_eq!(logged.apply(initialize(6)), Err(Refusal::AlreadyInitialized));
    assert_eq!(logged.machine.cluster_id(), 5);
    check_replay_and_restore(&mut logged, 1);
}

fn advance(logged: &mut Logged, cursor: &str) -> Option<Id> {
    let query = Query { pick: Some(Pick::RoundRobin { cursor: cursor.into() }), ..Query::default() };
    match logged.apply(Command::AdvanceCursor(AdvanceCursor { collection: Collection::Locks, query })) {
        Ok(Outcome::Cursor(Advanced { id })) => id,
        other => panic!("{other:?}"),
    }
}

fn acquire(logged: &mut Logged, key_values: &str) -> Id {
    let locks = vec![LockRequest { key_values: kv(key_values), mode: Mode::Exclusive }];
    let acquire = Acquire { locks, session: None, ttl_ms: Some(60_000), wait_ms: 0, owner: None };
    logged.apply(Command::Lock(locker::Command::Acquire(acquire))).expect("it is free");
    locker::id(&kv(key_values))
}

#[test]
fn named_cursors_go_round_and_survive_a_restore() {
    let mut logged = Logged::default();
    assert_eq!(advance(&mut logged, "a"), None);
    let mut ids: Vec<Id> = (0..3).map(|number| acquire(&mut logged, &format!("n={number}"))).collect();
    ids.sort_unstable();
    let mut seen: Vec<Id> = (0..3).filter_map(|_| advance(&mut logged, "a")).collect();
    assert_eq!(advance(&mut logged, "a"), Some(seen[0]));
    // Another cursor is another place.
    assert_eq!(advance(&mut logged, "b"), Some(seen[0]));
    seen.sort_unstable();
    assert_eq!(seen, ids);
    check_replay_and_restore(&mut logged, 3);
    let pages = Command::AdvanceCursor(AdvanceCursor { collection: Collection::Locks, query: Query::default() });
    assert!(matches!(logged.apply(pages), Err(Refusal::Cursor(_))));
}

#[test]
fn a_snapshot_given_up_leaves_nothing_and_a_new_one_is_whole() {
    let mut logged = Logged::default();
    for number in 0..50 {
        acquire(&mut logged, &format!("n={number}"));
    }
    let mut reader = logged.machine.snapshot_begin();
    logged.machine.snapshot_next(&mut reader, 100);
    logged.machine.snapshot_next(&mut reader, 100);
    logged.machine.snapshot_abort(reader);
    acquire(&mut logged, "n=more");
    let mut reader = logged.machine.snapshot_begin();
    let mut restore = Restore::default();
    while let Some(chunk) = logged.machine.snapshot_next(&mut reader, 100) {
        restore.push(&chunk).unwrap();
    }
    assert_eq!(restore.finish().unwrap().digest(), logged.machine.digest());
}

#[test]
fn a_snapshot_that_is_not_one_is_refused() {
    let mut machine = Machine::default();
    let mut reader = machine.snapshot_begin();
    let header = machine.snapshot_next(&mut reader, 100).unwrap();
    assert!(Restore::default().finish().is_err(), "no header");
    assert!(Restore::default().push(&[]).is_err());
    assert!(Restore::default().push(&header[..header.len() - 1]).is_err());
    let newer: Vec<u8> = [99].into_iter().chain(header.iter().skip(1).copied()).collect();
    let error = Restore::default().push(&newer).unwrap_err();
    assert!(error.to_string().contains("version 99"), "{error}");
    let mut twice = Restore::default();
    twice.push(&header).unwrap();
    assert!(twice.push(&header).is_err());
}
