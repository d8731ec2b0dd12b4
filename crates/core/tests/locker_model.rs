//! Random commands against a naive Locker: lists, full scans, no indexes.

mod support;

use proptest::{prelude::*, test_runner::RngSeed};
use support::{Logged, check_replay_and_restore, kv};
use willow_core::{
    Command, Outcome, Refusal, Reply, WaiterId,
    command::CancelWait,
    locker::{self, Acquire, EndSession, Error, ForceRelease, HeartbeatSession, LockRequest, Mode, Release, SessionId},
};
use willow_model::{Id, Revision};

const LOCKS: usize = 4;
const TTL_MS: u64 = 1000;

#[derive(Clone, Debug)]
enum Op {
    Acquire { locks: Vec<(usize, Mode)>, session: Option<usize>, wait_ms: u64 },
    Release { grant: usize, stale: bool },
    Heartbeat { session: usize },
    End { session: usize },
    Force { lock: usize },
    Cancel { waiter: usize },
    Pass { ms: u64 },
}

fn mode(lock: usize, pick: u8) -> Mode {
    match (lock, pick % 2) {
        // The last lock is a semaphore throughout, so that kinds do not clash all the time.
        (3, _) => Mode::Semaphore { permits: 1 + u32::from(pick % 3), max_permits: 4 },
        (_, 0) => Mode::Exclusive,
        _ => Mode::Shared,
    }
}

fn op() -> impl Strategy<Value = Op> {
    let lock = (0..LOCKS, any::<u8>()).prop_map(|(lock, pick)| (lock, mode(lock, pick)));
    let locks = prop::collection::btree_map(0..LOCKS, any::<u8>(), 1..3)
        .prop_map(|locks| locks.into_iter().map(|(lock, pick)| (lock, mode(lock, pick))).collect());
    let locks = prop_oneof![4 => lock.prop_map(|lock| vec![lock]), 1 => locks];
    let wait_ms = prop_oneof![Just(0), 1u64..3000];
    prop_oneof![
        8 => (locks, prop::option::of(0usize..6), wait_ms)
            .prop_map(|(locks, session, wait_ms)| Op::Acquire { locks, session, wait_ms }),
        6 => (0usize..8, prop::bool::weighted(0.1)).prop_map(|(grant, stale)| Op::Release { grant, stale }),
        2 => (0usize..6).prop_map(|session| Op::Heartbeat { session }),
        1 => (0usize..6).prop_map(|session| Op::End { session }),
        1 => (0..LOCKS).prop_map(|lock| Op::Force { lock }),
        1 => (0usize..4).prop_map(|waiter| Op::Cancel { waiter }),
        3 => (1u64..700).prop_map(|ms| Op::Pass { ms }),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Grant {
    lock: usize,
    session: SessionId,
    mode: Mode,
    token: Revision,
    depth: u32,
}

#[derive(Clone, Debug)]
struct Waiter {
    id: WaiterId,
    /// `None` until it is granted: its session is not known before.
    session: Option<SessionId>,
    wants: Vec<(usize, Mode)>,
    upgrade: bool,
    deadline_ms: u64,
}

/// The obvious Locker.
#[derive(Default)]
struct Naive {
    /// Session and its deadline.
    sessions: Vec<(SessionId, u64)>,
    grants: Vec<Grant>,
    /// In order of arrival.
    waiters: Vec<Waiter>,
    newest_token: u64,
}

impl Naive {
    fn compatible(&self, lock: usize, mode: Mode, session: Option<SessionId>) -> bool {
        let others = || self.grants.iter().filter(move |grant| grant.lock == lock && Some(grant.session) != session);
        let owns = self.grants.iter().any(|grant| grant.lock == lock && Some(grant.session) == session);
        match mode {
            Mode::Exclusive => others().next().is_none(),
            Mode::Shared => owns || others().all(|grant| grant.mode == Mode::Shared),
            Mode::Semaphore { permits, max_permits } => {
                let taken: u32 =
                    self.grants.iter().filter(|grant| grant.lock == lock).map(|grant| permits_of(grant.mode)).sum();
                taken + permits <= max_permits
            }
        }
    }

    /// Holds it already, in that mode or a stronger one.
    fn has_enough(&self, lock: usize, mode: Mode, session: Option<SessionId>) -> bool {
        let own = self.grants.iter().find(|grant| grant.lock == lock && Some(grant.session) == session);
        own.is_some_and(|own| {
            !matches!(mode, Mode::Semaphore { .. }) && (own.mode == Mode::Exclusive || mode == Mode::Shared)
        })
    }

    /// Who is ahead of everyone in a lock's line.
    fn first_in_line(&self, lock: usize) -> Option<WaiterId> {
        let in_line =
            || self.waiters.iter().filter(move |waiter| waiter.wants.iter().any(|(wanted, _)| *wanted == lock));
        in_line().find(|waiter| waiter.upgrade).or_else(|| in_line().next()).map(|waiter| waiter.id)
    }

    fn grantable(&self) -> Option<&Waiter> {
        self.waiters.iter().find(|waiter| {
            waiter.wants.iter().all(|(lock, mode)| {
                self.has_enough(*lock, *mode, waiter.session)
                    || self.first_in_line(*lock) == Some(waiter.id) && self.compatible(*lock, *mode, waiter.session)
            })
        })
    }

    /// Takes over what the machine says it granted, after checking that it may be.
    fn grant(&mut self, wants: &[(usize, Mode)], acquired: &locker::Acquired, now_ms: u64) {
        for ((lock, mode), grant) in wants.iter().zip(&acquired.locks) {
            assert!(self.compatible(*lock, *mode, Some(acquired.session)), "two holders that exclude each other");
            let own = self.grants.iter_mut().find(|own| own.lock == *lock && own.session == acquired.session);
            match own {
                Some(own) if !matches!(mode, Mode::Semaphore { .. }) => {
                    let upgraded = *mode == Mode::Exclusive && own.mode == Mode::Shared;
                    assert_eq!(
                        upgraded,
                        grant.token != own.token,
                        "only an upgrade changes the token of a re-entrant lock"
                    );
                    own.depth += 1;
                    own.mode = grant.mode;
                    own.token = grant.token;
                    assert_eq!(own.depth, grant.depth);
                }
                _ => {
                    assert!(grant.token.0 > self.newest_token, "tokens only grow");
                    let (lock, session, mode, token) = (*lock, acquired.session, grant.mode, grant.token);
                    self.grants.push(Grant { lock, session, mode, token, depth: 1 });
                }
            }
            self.newest_token = self.newest_token.max(grant.token.0);
        }
        if self.sessions.iter().all(|(session, _)| *session != acquired.session) {
            self.sessions.push((acquired.session, now_ms + TTL_MS));
        }
    }

    fn end(&mut self, session: SessionId) {
        self.sessions.retain(|(other, _)| *other != session);
        self.grants.retain(|grant| grant.session != session);
    }

    /// A session that an acquire started ends with its last lock.
    fn end_if_idle(&mut self, session: SessionId) {
        let waits = self.waiters.iter().any(|waiter| waiter.session == Some(session));
        if !waits && self.grants.iter().all(|grant| grant.session != session) {
            self.sessions.retain(|(other, _)| *other != session);
        }
    }
}

fn permits_of(mode: Mode) -> u32 {
    match mode {
        Mode::Semaphore { permits, .. } => permits,
        Mode::Exclusive | Mode::Shared => 0,
    }
}

fn lock_kv(lock: usize) -> willow_model::KeyValues {
    kv(&format!("lock={lock}"))
}

fn lock_id(lock: usize) -> Id {
    locker::id(&lock_kv(lock))
}

struct Run {
    logged: Logged,
    naive: Naive,
}

impl Run {
    fn step(&mut self, op: &Op) {
        match op {
            Op::Acquire { locks, session, wait_ms } => self.acquire(locks, *session, *wait_ms),
            Op::Release { grant, stale } => self.release(*grant, *stale),
            Op::Heartbeat { session } => {
                if let Some(session) = self.session(*session) {
                    self.apply(locker::Command::HeartbeatSession(HeartbeatSession { session })).expect("it lives");
                    let deadline_ms = self.logged.now_ms + TTL_MS;
                    self.naive
                        .sessions
                        .iter_mut()
                        .filter(|(other, _)| *other == session)
                        .for_each(|(_, at)| *at = deadline_ms);
                }
            }
            Op::End { session } => {
                if let Some(session) = self.session(*session) {
                    self.naive.waiters.retain(|waiter| waiter.session != Some(session));
                    self.naive.end(session);
                    self.apply(locker::Command::EndSession(EndSession { session })).expect("it lives");
                }
            }
            Op::Force { lock } => {
                let id = lock_id(*lock);
                let force = ForceRelease { lock: id, by: Some("test".into()), reason: None };
                let reply = self.apply(locker::Command::ForceRelease(force));
                self.naive.grants.retain(|grant| grant.lock != *lock);
                if reply.is_ok() {
                    assert_eq!(std::mem::take(&mut self.logged.effects).len(), 1, "a force-release is audited");
                }
            }
            Op::Cancel { waiter } => {
                if let Some(waiter) = self.naive.waiters.get(*waiter).map(|waiter| waiter.id) {
                    self.naive.waiters.retain(|other| other.id != waiter);
                    let cancel = CancelWait { waiter, undelivered: None };
                    self.logged.apply(Command::CancelWait(cancel)).expect("cancelling always works");
                }
            }
            Op::Pass { ms } => self.pass(*ms),
        }
        self.settle();
        self.check();
    }

    fn apply(&mut self, command: locker::Command) -> Reply {
        self.logged.apply(Command::Lock(command))
    }

    fn session(&self, index: usize) -> Option<SessionId> {
        let sessions = &self.naive.sessions;
        (!sessions.is_empty()).then(|| sessions[index % sessions.len()].0)
    }

    fn acquire(&mut self, locks: &[(usize, Mode)], session: Option<usize>, wait_ms: u64) {
        let session = session.and_then(|index| self.session(index));
        let request = |(lock, mode): &(usize, Mode)| LockRequest { key_values: lock_kv(*lock), mode: *mode };
        let acquire = Acquire {
            locks: locks.iter().map(request).collect(),
            session,
            ttl_ms: session.is_none().then_some(TTL_MS),
            wait_ms,
            owner: None,
        };
        let owns = |lock: usize, mode: Mode| {
            let own = self.naive.grants.iter().find(|grant| grant.lock == lock && Some(grant.session) == session);
            own.is_some_and(|own| {
                !matches!(mode, Mode::Semaphore { .. })
                    && (own.mode == Mode::Exclusive
                        || mode == Mode::Shared
                        || self.naive.compatible(lock, mode, session))
            })
        };
        let free = locks.iter().all(|&(lock, mode)| {
            owns(lock, mode) || self.naive.first_in_line(lock).is_none() && self.naive.compatible(lock, mode, session)
        });
        match self.apply(locker::Command::Acquire(acquire)) {
            Ok(Outcome::Lock(locker::Outcome::Acquired(acquired))) => {
                assert!(free, "granted what cannot be had");
                self.naive.grant(locks, &acquired, self.logged.now_ms);
            }
            Ok(Outcome::Waiting(id)) => {
                assert!(!free && wait_ms > 0, "waits for what is free");
                let upgrade = locks.len() == 1
                    && self.naive.grants.iter().any(|grant| {
                        grant.lock == locks[0].0 && Some(grant.session) == session && grant.mode == Mode::Shared
                    })
                    && locks[0].1 == Mode::Exclusive;
                let deadline_ms = self.logged.now_ms + wait_ms;
                self.naive.waiters.push(Waiter { id, session, wants: locks.to_vec(), upgrade, deadline_ms });
            }
            Err(Refusal::Lock(Error::Held { .. })) => assert!(!free && wait_ms == 0, "held, yet free"),
            Err(Refusal::Lock(Error::UpgradeDeadlock { .. })) => assert!(!free, "an upgrade that is free"),
            other => panic!("{other:?}"),
        }
    }

    fn release(&mut self, grant: usize, stale: bool) {
        let grants = &self.naive.grants;
        if grants.is_empty() {
            return;
        }
        let index = grant % grants.len();
        let Grant { lock, session, token, .. } = grants[index].clone();
        let shown = if stale { Revision(token.0 + 1_000_000) } else { token };
        let release = Release { lock: lock_id(lock), session, token: Some(shown) };
        let reply = self.apply(locker::Command::Release(release));
        if stale {
            assert_eq!(reply, Err(Error::StaleToken { lock: lock_id(lock) }.into()));
            return;
        }
        reply.expect("it is held");
        self.naive.grants[index].depth -= 1;
        if self.naive.grants[index].depth == 0 {
            self.naive.grants.remove(index);
            self.naive.end_if_idle(session);
        }
    }

    /// Time passes one deadline at a time, so that the naive Locker sees them in order.
    fn pass(&mut self, ms: u64) {
        let end_ms = self.logged.now_ms + ms;
        loop {
            let sessions = self.naive.sessions.iter().map(|(_, at_ms)| *at_ms);
            let waits = self.naive.waiters.iter().map(|waiter| waiter.deadline_ms);
            let next_ms = sessions.chain(waits).min().unwrap_or(u64::MAX).min(end_ms);
            let now_ms = self.logged.now_ms;
            self.logged.pass(next_ms - now_ms);
            let due: Vec<SessionId> = self
                .naive
                .sessions
                .iter()
                .filter(|(_, at_ms)| *at_ms <= next_ms)
                .map(|(session, _)| *session)
                .collect();
            for session in due {
                self.naive.waiters.retain(|waiter| waiter.session != Some(session));
                self.naive.end(session);
            }
            self.settle();
            let late = self.naive.waiters.iter().find(|waiter| waiter.deadline_ms <= next_ms);
            assert!(late.is_none(), "waits past its deadline: {late:?}");
            if next_ms >= end_ms {
                return;
            }
        }
    }

    /// Compares the waits that ended: grants in the machine's order must be what the naive Locker would
    /// grant, and all of it.
    fn settle(&mut self) {
        for (waiter, reply) in self.logged.take_resolved() {
            let known = self.naive.waiters.iter().position(|other| other.id == waiter);
            match reply {
                Ok(Outcome::Lock(locker::Outcome::Acquired(acquired))) => {
                    let known = known.expect("a waiter that gave up, or whose session died, is never granted");
                    let next = self.naive.waiters[known].clone();
                    let may = |(lock, mode): &(usize, Mode)| {
                        self.naive.has_enough(*lock, *mode, next.session)
                            || self.naive.first_in_line(*lock) == Some(waiter)
                    };
                    assert!(next.wants.iter().all(may), "somebody overtook the line");
                    self.naive.waiters.remove(known);
                    self.naive.grant(&next.wants, &acquired, self.logged.now_ms);
                }
                Err(_) => {
                    if let Some(known) = known {
                        let waiter = self.naive.waiters.remove(known);
                        assert!(waiter.deadline_ms <= self.logged.now_ms, "a wait ended early: {reply:?}");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(self.naive.grantable().is_none(), "left waiting: {:?}", self.naive.grantable());
    }

    /// The machine shows what the naive Locker knows.
    fn check(&self) {
        let machine = &self.logged.machine;
        for lock in 0..LOCKS {
            let view = machine.locker().get(lock_id(lock), machine.lookup(0));
            let mut holders: Vec<_> = self.naive.grants.iter().filter(|grant| grant.lock == lock).collect();
            holders.sort_by_key(|grant| grant.token);
            let waiting = self
                .naive
                .waiters
                .iter()
                .filter(|waiter| waiter.wants.iter().any(|(wanted, _)| *wanted == lock))
                .count();
            assert_eq!(view.is_some(), !holders.is_empty() || waiting > 0, "a lock is there while somebody uses it");
            let Some(view) = view else { continue };
            let mut shown: Vec<_> =
                view.holders.iter().map(|holder| (holder.token, holder.mode, holder.depth)).collect();
            shown.sort_by_key(|(token, ..)| *token);
            let known: Vec<_> = holders.iter().map(|grant| (grant.token, grant.mode, grant.depth)).collect();
            assert_eq!(shown, known);
            assert_eq!(view.waiting as usize, waiting);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_the_naive_locker(ops in prop::collection::vec(op(), 1..80), seed in any::<u64>()) {
        let mut run = Run { logged: Logged::default(), naive: Naive::default() };
        for op in &ops {
            run.step(op);
        }
        check_replay_and_restore(&mut run.logged, seed);
    }
}
