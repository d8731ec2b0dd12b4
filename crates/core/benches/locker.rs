//! The Locker in process: `cargo bench -p willow-core --bench locker`.
//!
//! Each time is that of `Machine::apply` of one batch with one command, index work included: what the log's
//! follower pays. The fences around it (HTTP, Raft, disk) are in `xtask bench`.
#![expect(clippy::disallowed_types, reason = "a benchmark reads the clock and its memory")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark talks and may fail")]

use std::time::Instant;

use willow_core::{
    Batch, Command, Effect, Envelope, Machine, Outcome, Reply, RequestId,
    locker::{self, Acquire, CreateSession, HeartbeatSession, LockRequest, Mode, Release, SessionId},
};
use willow_model::KeyValues;

const ROUNDS: u64 = 20_000;

/// A machine and the times of its commands by name.
#[derive(Default)]
struct Bench {
    machine: Machine,
    entropy: u128,
    times: Vec<(&'static str, Vec<u128>)>,
}

fn main() {
    println!("{:<58} {:>9} {:>9}", "one command", "p50 ns", "p99 ns");
    uncontended("empty machine", &mut Bench::default());
    let mut busy = Bench::default();
    let before = resident_bytes();
    fill(&mut busy, 1_000_000);
    let per_lock = (resident_bytes() - before) / 1e6;
    uncontended("beside 1,000,000 locks held", &mut busy);
    println!("memory: {per_lock:.0} bytes per lock of three pairs with its session");
    drop(busy);
    one_session("one session for all", &mut Bench::default());
    repeats("with a request id", &mut Bench::default());
    handover("a line of 1,000", &mut Bench::default(), 1000);
    multi("4 locks at once", &mut Bench::default());
}

impl Bench {
    fn apply(
        &mut self,
        name: &'static str,
        request_id: Option<RequestId>,
        command: locker::Command,
    ) -> (Reply, Vec<Effect>) {
        self.entropy = self.entropy.wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let envelope = Envelope { request_id, entropy: self.entropy, command: Command::Lock(command) };
        let batch = Batch { time_ms: 1, envelopes: vec![envelope] };
        let begin = Instant::now();
        let mut applied = self.machine.apply(batch);
        let time = begin.elapsed().as_nanos();
        match self.times.iter_mut().find(|(known, _)| *known == name) {
            Some((_, times)) => times.push(time),
            None => self.times.push((name, vec![time])),
        }
        (applied.replies.remove(0), applied.effects)
    }

    fn acquire(&mut self, locks: &[KeyValues], session: Option<SessionId>, wait_ms: u64) -> (Reply, Vec<Effect>) {
        let request = |key_values: &KeyValues| LockRequest { key_values: key_values.clone(), mode: Mode::Exclusive };
        let locks = locks.iter().map(request).collect();
        let command = Acquire { locks, session, ttl_ms: session.is_none().then_some(60_000), wait_ms, owner: None };
        self.apply("acquire", None, locker::Command::Acquire(command))
    }

    fn release(&mut self, key_values: &KeyValues, session: SessionId) -> Vec<Effect> {
        let command = Release { lock: locker::id(key_values), session, token: None };
        let (reply, effects) = self.apply("release", None, locker::Command::Release(command));
        reply.unwrap();
        effects
    }

    fn report(&mut self, what: &str) {
        for (name, mut times) in std::mem::take(&mut self.times) {
            times.sort_unstable();
            let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
            println!("{:<58} {p50:>9} {p99:>9}", format!("{name}, {what}"));
        }
    }
}

fn key_values(number: u64) -> KeyValues {
    let pairs =
        [("region", "eu".to_owned()), ("service", format!("s{}", number % 100)), ("user", format!("u{number}"))];
    KeyValues::user(pairs).unwrap()
}

fn session_of(reply: &Reply) -> SessionId {
    match reply {
        Ok(Outcome::Lock(locker::Outcome::Acquired(acquired))) => acquired.session,
        Ok(Outcome::Lock(locker::Outcome::Session(session))) => session.session,
        other => panic!("{other:?}"),
    }
}

fn fill(bench: &mut Bench, count: u64) {
    for number in 0..count {
        bench.acquire(&[key_values(number + 1_000_000_000)], None, 0).0.unwrap();
    }
    bench.times.clear();
}

/// Acquire that starts a session, heartbeat, release that ends it.
fn uncontended(what: &str, bench: &mut Bench) {
    for number in 0..ROUNDS {
        let lock = key_values(number);
        let session = session_of(&bench.acquire(std::slice::from_ref(&lock), None, 0).0);
        bench.apply("heartbeat", None, locker::Command::HeartbeatSession(HeartbeatSession { session })).0.unwrap();
        bench.release(&lock, session);
    }
    bench.report(what);
}

fn one_session(what: &str, bench: &mut Bench) {
    let create = locker::Command::CreateSession(CreateSession { ttl_ms: 60_000, owner: None });
    let session = session_of(&bench.apply("create session", None, create).0);
    bench.times.clear();
    for number in 0..ROUNDS {
        let lock = key_values(number);
        bench.acquire(std::slice::from_ref(&lock), Some(session), 0).0.unwrap();
        bench.release(&lock, session);
    }
    bench.report(what);
}

fn repeats(what: &str, bench: &mut Bench) {
    for number in 0..ROUNDS {
        let lock = key_values(number);
        let locks = vec![LockRequest { key_values: lock.clone(), mode: Mode::Exclusive }];
        let acquire = Acquire { locks, session: None, ttl_ms: Some(60_000), wait_ms: 0, owner: None };
        let id = RequestId::new(&format!("request-{number}"));
        let first = bench.apply("acquire", id.clone(), locker::Command::Acquire(acquire.clone())).0;
        let again = bench.apply("repeated acquire", id, locker::Command::Acquire(acquire)).0;
        assert_eq!(first, again);
        bench.release(&lock, session_of(&first));
    }
    bench.report(what);
}

/// Whoever is granted lets go and joins the line again.
fn handover(what: &str, bench: &mut Bench, waiters: u64) {
    let lock = key_values(0);
    let mut holder = session_of(&bench.acquire(std::slice::from_ref(&lock), None, 0).0);
    for _ in 0..waiters {
        bench.acquire(std::slice::from_ref(&lock), None, 60_000).0.unwrap();
    }
    bench.times.clear();
    for _ in 0..ROUNDS {
        bench.acquire(std::slice::from_ref(&lock), None, 60_000).0.unwrap();
        let effects = bench.release(&lock, holder);
        let [Effect::Resolve { reply, .. }] = &effects[..] else { panic!("{effects:?}") };
        holder = session_of(reply);
    }
    bench.report(what);
}

fn multi(what: &str, bench: &mut Bench) {
    for number in 0..ROUNDS {
        let locks: Vec<KeyValues> = (0..4).map(|place| key_values(number * 4 + place)).collect();
        let session = session_of(&bench.acquire(&locks, None, 0).0);
        for lock in &locks {
            bench.release(lock, session);
        }
    }
    bench.report(what);
}

fn resident_bytes() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}
