//! The known failures of systems like this that touch locks (DESIGN §8), each by name.

mod support;

use support::{EPOCH_MS, Logged, check_replay_and_restore, kv, pattern};
use willow_core::{
    Command, Outcome, Refusal, Reply, WaiterId, limits,
    locker::{
        self, Acquire, Acquired, CreateSession, EndSession, Error, ForceRelease, HeartbeatSession, LockRequest, Mode,
        Release, SessionId,
    },
    snapshot::Restore,
};
use willow_model::{Id, KeyValues, Revision};
use willow_query::Query;

const TTL_MS: u64 = 1000;

fn apply(logged: &mut Logged, command: locker::Command) -> Reply {
    logged.apply(Command::Lock(command))
}

fn request(key_values: &str) -> LockRequest {
    LockRequest { key_values: kv(key_values), mode: Mode::Exclusive }
}

fn acquire(locks: &[&str], session: Option<SessionId>, wait_ms: u64) -> Acquire {
    let ttl_ms = session.is_none().then_some(TTL_MS);
    Acquire { locks: locks.iter().map(|lock| request(lock)).collect(), session, ttl_ms, wait_ms, owner: None }
}

fn lock(logged: &mut Logged, locks: &[&str], session: Option<SessionId>) -> Acquired {
    acquired(&apply(logged, locker::Command::Acquire(acquire(locks, session, 0))))
}

fn wait(logged: &mut Logged, locks: &[&str], session: Option<SessionId>, wait_ms: u64) -> WaiterId {
    match apply(logged, locker::Command::Acquire(acquire(locks, session, wait_ms))) {
        Ok(Outcome::Waiting(waiter)) => waiter,
        other => panic!("{other:?}"),
    }
}

fn acquired(reply: &Reply) -> Acquired {
    match reply {
        Ok(Outcome::Lock(locker::Outcome::Acquired(acquired))) => acquired.clone(),
        other => panic!("{other:?}"),
    }
}

fn session(logged: &mut Logged, ttl_ms: u64) -> SessionId {
    match apply(logged, locker::Command::CreateSession(CreateSession { ttl_ms, owner: None })) {
        Ok(Outcome::Lock(locker::Outcome::Session(session))) => session.session,
        other => panic!("{other:?}"),
    }
}

fn release(logged: &mut Logged, key_values: &str, session: SessionId) -> Reply {
    apply(logged, locker::Command::Release(Release { lock: locker::id(&kv(key_values)), session, token: None }))
}

fn restored(logged: &mut Logged) -> willow_core::Machine {
    let mut reader = logged.machine.snapshot_begin();
    let mut restore = Restore::default();
    while let Some(chunk) = logged.machine.snapshot_next(&mut reader, 64) {
        restore.push(&chunk).expect("a chunk just read restores");
    }
    restore.finish().expect("a whole snapshot restores")
}

/// §8.6. Holder and first waiter die in the same millisecond: the grant goes to the second.
#[test]
fn no_grant_to_a_waiter_whose_session_has_died() {
    let mut logged = Logged::default();
    let sessions: Vec<SessionId> = (0..3).map(|_| session(&mut logged, TTL_MS)).collect();
    lock(&mut logged, &["a=1"], Some(sessions[0]));
    let dying =
        [wait(&mut logged, &["a=1"], Some(sessions[1]), 5000), wait(&mut logged, &["a=1"], Some(sessions[2]), 5000)];
    let living = wait(&mut logged, &["a=1"], None, 5000);
    logged.pass(TTL_MS);
    let resolved = logged.take_resolved();
    for waiter in dying {
        assert!(resolved.contains(&(waiter, Err(Error::SessionExpired.into()))));
    }
    let granted = resolved.iter().find(|(waiter, _)| *waiter == living).expect("the living one is next");
    assert_eq!(acquired(&granted.1).expires_in_ms, TTL_MS);
    check_replay_and_restore(&mut logged, 5);
}

/// §8.6. The lock vanishes and returns, and the machine restarts in between: the token goes on growing.
#[test]
fn tokens_never_restart() {
    let mut logged = Logged::default();
    let mut newest = Revision(0);
    for round in 0..6 {
        let held = lock(&mut logged, &["a=1"], None);
        assert!(held.locks[0].token > newest, "round {round}");
        newest = held.locks[0].token;
        release(&mut logged, "a=1", held.session).unwrap();
        assert!(logged.machine.locker().is_empty(), "nothing held, nobody waiting: gone");
        if round % 2 == 1 {
            logged.machine = restored(&mut logged);
        }
    }
}

/// §8.6. What is left of a lease survives a restart: not a millisecond less.
#[test]
fn a_restart_does_not_shorten_a_lease() {
    let mut logged = Logged::default();
    let held = lock(&mut logged, &["a=1"], None);
    logged.pass(400);
    logged.machine = restored(&mut logged);
    assert_eq!(logged.machine.next_deadline_ms(), Some(EPOCH_MS + TTL_MS));
    logged.pass(599);
    let validity = logged.machine.locker().validate(held.locks[0].lock, held.locks[0].token, logged.machine.lookup(0));
    assert_eq!((validity.valid, validity.expires_in_ms), (true, Some(1)));
    logged.pass(1);
    let validity = logged.machine.locker().validate(held.locks[0].lock, held.locks[0].token, logged.machine.lookup(0));
    assert!(!validity.valid);
}

/// §8.4. A release wakes one, not all, and nobody at another lock.
#[test]
fn no_thundering_herd() {
    let mut logged = Logged::default();
    let mut holder = lock(&mut logged, &["a=1"], None).session;
    let other = lock(&mut logged, &["b=1"], None).session;
    let line: Vec<WaiterId> = (0..500).map(|_| wait(&mut logged, &["a=1"], None, 5000)).collect();
    let elsewhere = wait(&mut logged, &["b=1"], None, 5000);
    for next in line {
        release(&mut logged, "a=1", holder).unwrap();
        let resolved = logged.take_resolved();
        assert_eq!(resolved.len(), 1, "one release, one grant");
        assert_eq!(resolved[0].0, next, "in order of arrival");
        holder = acquired(&resolved[0].1).session;
    }
    release(&mut logged, "b=1", other).unwrap();
    assert_eq!(logged.take_resolved()[0].0, elsewhere);
}

/// §8.4. Whatever ends the wait of one who stands in several lines, those behind it go on in the same apply.
#[test]
fn no_wake_up_is_lost_when_a_waiter_leaves_several_lines() {
    for end in ["timeout", "session", "force"] {
        let mut logged = Logged::default();
        let holder = session(&mut logged, 60_000);
        lock(&mut logged, &["b=1"], Some(holder));
        let waiting = session(&mut logged, 60_000);
        wait(&mut logged, &["a=1", "b=1", "c=1"], Some(waiting), 100);
        let behind = [wait(&mut logged, &["a=1"], None, 5000), wait(&mut logged, &["c=1"], None, 5000)];
        match end {
            "timeout" => logged.pass(100),
            "session" => drop(apply(&mut logged, locker::Command::EndSession(EndSession { session: waiting }))),
            _ => {
                let force = ForceRelease { lock: locker::id(&kv("b=1")), by: None, reason: None };
                apply(&mut logged, locker::Command::ForceRelease(force)).unwrap();
                // Now it holds all three.
                apply(&mut logged, locker::Command::EndSession(EndSession { session: waiting })).unwrap();
            }
        }
        let resolved = logged.take_resolved();
        for waiter in behind {
            assert!(resolved.iter().any(|(other, reply)| *other == waiter && reply.is_ok()), "{end}: {resolved:?}");
        }
        check_replay_and_restore(&mut logged, 4);
    }
}

/// §8.9. Malformed commands, should the edge let one through, are refused and change nothing.
#[test]
fn hostile_fields_are_refused_and_change_nothing() {
    let mut logged = Logged::default();
    lock(&mut logged, &["held=1"], None);
    let before = logged.machine.digest();
    let good = || acquire(&["a=1"], None, 0);
    let with = |key_values: KeyValues, mode| Acquire { locks: vec![LockRequest { key_values, mode }], ..good() };
    let semaphore = |permits, max_permits| with(kv("a=1"), Mode::Semaphore { permits, max_permits });
    let long: Box<str> = "x".repeat(limits::LABEL_BYTES + 1).into();
    let many: Vec<LockRequest> =
        (0..=limits::LOCKS_PER_ACQUIRE).map(|number| request(&format!("n={number}"))).collect();
    let hostile = [
        Acquire { locks: vec![], ..good() },
        Acquire { locks: many, ..good() },
        Acquire { locks: vec![request("a=1"), request("a=1")], ..good() },
        Acquire { ttl_ms: Some(0), ..good() },
        Acquire { ttl_ms: Some(u64::MAX), ..good() },
        Acquire { wait_ms: u64::MAX, ..good() },
        Acquire { owner: Some(long.clone()), ..good() },
        Acquire { session: Some(SessionId(0)), ..good() },
        with(pattern("a=*"), Mode::Exclusive),
        semaphore(0, 1),
        semaphore(2, 1),
        semaphore(1, u32::MAX),
    ];
    for command in hostile {
        let reply = apply(&mut logged, locker::Command::Acquire(command.clone()));
        assert!(reply.is_err(), "{command:?}");
        assert_eq!(logged.machine.digest(), before, "{command:?}");
    }
    let held = locker::id(&kv("held=1"));
    for command in [
        locker::Command::CreateSession(CreateSession { ttl_ms: 0, owner: None }),
        locker::Command::CreateSession(CreateSession { ttl_ms: TTL_MS, owner: Some(long.clone()) }),
        locker::Command::ForceRelease(ForceRelease { lock: held, by: Some(long.clone()), reason: None }),
        locker::Command::ForceRelease(ForceRelease { lock: held, by: None, reason: Some(long) }),
        locker::Command::ForceRelease(ForceRelease { lock: Id::from_u128(0), by: None, reason: None }),
        locker::Command::EndSession(EndSession { session: SessionId(0) }),
        locker::Command::HeartbeatSession(HeartbeatSession { session: SessionId(0) }),
        locker::Command::Release(Release { lock: held, session: SessionId(0), token: None }),
    ] {
        assert!(apply(&mut logged, command.clone()).is_err(), "{command:?}");
        assert_eq!(logged.machine.digest(), before, "{command:?}");
    }
}

/// §8.10. Nothing that others may see has a session's secret in it.
#[test]
fn no_session_secret_in_listings_and_refusals() {
    let mut logged = Logged::default();
    let held = lock(&mut logged, &["a=1"], None);
    wait(&mut logged, &["a=1"], None, 5000);
    let refusal = apply(&mut logged, locker::Command::Acquire(acquire(&["a=1"], None, 0))).unwrap_err();
    let lookup = logged.machine.lookup(0);
    let shown = [
        format!("{:?}", logged.machine.locker().query(&Query::default(), lookup).unwrap()),
        format!("{:?}", logged.machine.locker().get(held.locks[0].lock, lookup)),
        format!("{:?}", logged.machine.locker().validate(held.locks[0].lock, held.locks[0].token, lookup)),
        format!("{refusal:?} {refusal}"),
        format!("{held:?}"),
    ];
    let secret = held.session.0;
    for text in shown {
        let hidden = [format!("{secret}"), format!("{secret:x}"), Id::from_u128(secret).to_string()];
        assert!(hidden.iter().all(|secret| !text.contains(secret)), "{text}");
    }
}

/// §8.12. A session is bounded, also in what it waits for, and gives everything back in one apply.
#[test]
fn a_session_holds_so_many_locks_and_gives_them_back_at_once() {
    let mut logged = Logged::default();
    let other = session(&mut logged, 60_000);
    lock(&mut logged, &["last=1"], Some(other));
    let session = session(&mut logged, 60_000);
    wait(&mut logged, &["last=1"], Some(session), 5000);
    let names: Vec<String> = (1..limits::LOCKS_PER_SESSION).map(|number| format!("n={number}")).collect();
    for names in names.chunks(limits::LOCKS_PER_ACQUIRE) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        lock(&mut logged, &names, Some(session));
    }
    let more = apply(&mut logged, locker::Command::Acquire(acquire(&["more=1"], Some(session), 0)));
    assert_eq!(more, Err(Refusal::Lock(Error::TooManyLocks)));
    let ended = apply(&mut logged, locker::Command::EndSession(EndSession { session }));
    let released = u32::try_from(limits::LOCKS_PER_SESSION - 1).unwrap();
    assert_eq!(ended, Ok(Outcome::Lock(locker::Outcome::Ended { released })));
    assert_eq!(logged.machine.locker().len(), 1);
    check_replay_and_restore(&mut logged, 9);
}

/// §8.12. So many hold a lock together; the next waits in line, whatever its mode allows.
#[test]
fn a_lock_has_so_many_holders_and_lists_fewer() {
    let mut logged = Logged::default();
    let shared = |wait_ms| Acquire {
        locks: vec![LockRequest { mode: Mode::Shared, ..request("a=1") }],
        ..acquire(&[], None, wait_ms)
    };
    let first = acquired(&apply(&mut logged, locker::Command::Acquire(shared(0))));
    for _ in 1..limits::HOLDERS_PER_LOCK {
        acquired(&apply(&mut logged, locker::Command::Acquire(shared(0))));
    }
    assert!(matches!(apply(&mut logged, locker::Command::Acquire(shared(5))), Ok(Outcome::Waiting(_))));
    let view = logged.machine.locker().get(first.locks[0].lock, logged.machine.lookup(0)).unwrap();
    assert_eq!((view.holders.len(), view.holding as usize), (locker::HOLDERS_SHOWN, limits::HOLDERS_PER_LOCK));
    release(&mut logged, "a=1", first.session).unwrap();
    assert_eq!(logged.take_resolved().len(), 1);
}

/// An acquire whose reply was lost is repeated: one session, one grant, one place in line.
#[test]
fn a_repeated_acquire_is_not_done_twice() {
    let mut logged = Logged::default();
    let command = |lock, wait_ms| Command::Lock(locker::Command::Acquire(acquire(&[lock], None, wait_ms)));
    let first = acquired(&logged.apply_with(Some("r1"), command("a=1", 0)));
    logged.pass(300);
    let again = acquired(&logged.apply_with(Some("r1"), command("a=1", 0)));
    assert_eq!((again.session, &again.locks), (first.session, &first.locks));
    assert_eq!(again.expires_in_ms, TTL_MS - 300, "what is left now, not what was left then");
    let waiting = logged.apply_with(Some("r2"), command("a=1", 5000));
    assert_eq!(logged.apply_with(Some("r2"), command("a=1", 5000)), waiting);
    assert_eq!((logged.machine.locker().sessions(), logged.machine.locker().waiting()), (2, 1));
    check_replay_and_restore(&mut logged, 2);
}
