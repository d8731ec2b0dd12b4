//! Clients of locks that do all that one may do with them.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;
use willow_sim::history::{Action, Answer, Mode};

use crate::{
    caller::{Call, Caller, is_gone, ok},
    names::{EXCLUSIVE, LOCKS},
};

/// Mean pause between two things to do, ms.
const THINK_MS: u64 = 60;

/// Goes on until the round is over.
pub(super) async fn run(mut caller: Caller) {
    while caller.goes_on() {
        caller.think(THINK_MS).await;
        match caller.rng.random_range(0..100) {
            0..50 => exclusive(&mut caller).await,
            50..64 => session(&mut caller).await,
            64..76 => semaphore(&mut caller).await,
            76..84 => several(&mut caller).await,
            84..88 => force(&mut caller).await,
            _ => abandoned(&mut caller).await,
        }
    }
}

fn lock(caller: &mut Caller) -> String {
    LOCKS[caller.rng.random_range(0..EXCLUSIVE)].to_owned()
}

fn ttl(caller: &mut Caller) -> u64 {
    caller.rng.random_range(500..2500)
}

fn wait(caller: &mut Caller) -> u64 {
    if caller.chance(35) { 0 } else { caller.rng.random_range(300..3000) }
}

async fn ms(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

async fn exclusive(caller: &mut Caller) {
    let locks = vec![(lock(caller), Mode::Exclusive)];
    acquire_and_use(caller, locks).await;
}

async fn semaphore(caller: &mut Caller) {
    let permits = caller.rng.random_range(1..=2);
    let lock = LOCKS[caller.rng.random_range(EXCLUSIVE..LOCKS.len())].to_owned();
    acquire_and_use(caller, vec![(lock, Mode::Semaphore { permits, max_permits: 3 })]).await;
}

async fn several(caller: &mut Caller) {
    let first = caller.rng.random_range(0..EXCLUSIVE);
    let locks = [first, (first + 1) % EXCLUSIVE].map(|place| (LOCKS[place].to_owned(), Mode::Exclusive));
    acquire_and_use(caller, locks.to_vec()).await;
}

async fn acquire_and_use(caller: &mut Caller, locks: Vec<(String, Mode)>) {
    let (ttl_ms, wait_ms, owner, call) = (ttl(caller), wait(caller), caller.label(), caller.usual());
    let action = Action::Acquire { locks, session: None, ttl_ms, wait_ms, owner };
    let Some(Answer::Acquired { session, grants, .. }) = ok(caller.call(action, call).await) else { return };
    // One in five keeps it longer than its lease, without a word, as a paused process would.
    let overstays = caller.chance(20);
    let beats = if overstays { 0 } else { caller.rng.random_range(0..3) };
    for _ in 0..beats {
        ms(ttl_ms / 3).await;
        let Some(grant) = grants.first() else { return };
        let renew = Action::RenewLock { lock: grant.lock.clone(), session: session.clone(), token: Some(grant.token) };
        if is_gone(&caller.call(renew, Call::default()).await) {
            return;
        }
    }
    let percent = if overstays { caller.rng.random_range(90..130) } else { caller.rng.random_range(0..50) };
    ms(ttl_ms * percent / 100).await;
    for grant in grants {
        let release = Action::Release { lock: grant.lock, session: session.clone(), token: Some(grant.token) };
        let call = caller.usual();
        caller.call(release, call).await;
    }
}

/// A session of its own, which may die while it waits.
async fn session(caller: &mut Caller) {
    let ttl_ms = caller.rng.random_range(400..1800);
    let call = caller.usual();
    let created = caller.call(Action::CreateSession { ttl_ms }, call).await;
    let Some(Answer::Session { session, .. }) = ok(created) else { return };
    let locks = vec![(lock(caller), Mode::Exclusive)];
    let (owner, call) = (caller.label(), caller.usual());
    let wait_ms = caller.rng.random_range(500..3500);
    let action = Action::Acquire { locks, session: Some(session.clone()), ttl_ms, wait_ms, owner };
    // Somebody else who knows the session asks how it is, about when it dies.
    let mut other = caller.other();
    let asks = other.chance(60);
    let ask_ms = ttl_ms * other.rng.random_range(80..160) / 100;
    let ask = Action::RenewSession { session: session.clone() };
    let asked = async {
        if asks {
            ms(ask_ms).await;
            other.call(ask, Call::default()).await;
        }
    };
    let (acquired, ()) = tokio::join!(caller.call(action, call), asked);
    if ok(acquired).is_some() {
        let percent = caller.rng.random_range(0..120);
        ms(ttl_ms * percent / 100).await;
    }
    if caller.chance(50) {
        caller.call(Action::EndSession { session: session.clone() }, Call::default()).await;
    }
    caller.call(Action::RenewSession { session }, Call::default()).await;
}

async fn force(caller: &mut Caller) {
    let action = Action::ForceRelease { lock: lock(caller) };
    caller.call(action, Call::default()).await;
}

/// Hangs up while it waits, mostly without a request id: then the wait is cancelled, or what it brought
/// given back.
async fn abandoned(caller: &mut Caller) {
    let locks = vec![(lock(caller), Mode::Exclusive)];
    let (ttl_ms, owner) = (ttl(caller), caller.label());
    let safe = caller.chance(25);
    let abandon = Some(Duration::from_millis(caller.rng.random_range(5..1500)));
    let action = Action::Acquire { locks, session: None, ttl_ms, wait_ms: 2000, owner };
    caller.call(action, Call { safe, abandon }).await;
}
