//! Clients of locks.

use rand::Rng;

use super::actor::{Actor, Call, is_gone, ok};
use crate::history::{Action, Answer, Mode};

/// Takes locks and does all that one may do with them, until the time is up.
pub async fn run(mut caller: impl Actor) {
    while caller.goes_on() {
        caller.think().await;
        match caller.rng().random_range(0..100) {
            0..50 => exclusive(&mut caller).await,
            50..64 => session(&mut caller).await,
            64..76 => semaphore(&mut caller).await,
            76..84 => several(&mut caller).await,
            84..88 => force(&mut caller).await,
            _ => abandoned(&mut caller).await,
        }
    }
}

fn lock(caller: &mut impl Actor) -> String {
    let locks = caller.stage().exclusive;
    caller.pick(locks)
}

fn ttl(caller: &mut impl Actor) -> u64 {
    caller.rng().random_range(500..2500)
}

fn wait(caller: &mut impl Actor) -> u64 {
    if caller.chance(35) { 0 } else { caller.rng().random_range(300..3000) }
}

async fn exclusive(caller: &mut impl Actor) {
    let locks = vec![(lock(caller), Mode::Exclusive)];
    acquire_and_use(caller, locks).await;
}

async fn semaphore(caller: &mut impl Actor) {
    let permits = caller.rng().random_range(1..=2);
    let semaphores = caller.stage().semaphores;
    let lock = caller.pick(semaphores);
    acquire_and_use(caller, vec![(lock, Mode::Semaphore { permits, max_permits: 3 })]).await;
}

async fn several(caller: &mut impl Actor) {
    let locks = caller.stage().exclusive;
    let first = caller.rng().random_range(0..locks.len());
    let locks = [first, (first + 1) % locks.len()].map(|place| (locks[place].to_owned(), Mode::Exclusive));
    acquire_and_use(caller, locks.to_vec()).await;
}

async fn acquire_and_use(caller: &mut impl Actor, locks: Vec<(String, Mode)>) {
    let (ttl_ms, wait_ms, owner, call) = (ttl(caller), wait(caller), caller.label(), caller.usual());
    let action = Action::Acquire { locks, session: None, ttl_ms, wait_ms, owner };
    let Some(Answer::Acquired { session, grants, .. }) = ok(caller.call(action, call).await) else { return };
    // One in five keeps it longer than its lease, without a word, as a paused process would.
    let overstays = caller.chance(20);
    let beats = if overstays { 0 } else { caller.rng().random_range(0..3) };
    for _ in 0..beats {
        caller.pause_us(ttl_ms * 1000 / 3).await;
        let Some(grant) = grants.first() else { return };
        let renew = Action::RenewLock { lock: grant.lock.clone(), session: session.clone(), token: Some(grant.token) };
        if is_gone(&caller.call(renew, Call::default()).await) {
            return;
        }
    }
    let stay_us =
        ttl_ms * if overstays { caller.rng().random_range(900..1300) } else { caller.rng().random_range(0..500) };
    caller.pause_us(stay_us).await;
    for grant in grants {
        let release = Action::Release { lock: grant.lock, session: session.clone(), token: Some(grant.token) };
        let call = caller.usual();
        caller.call(release, call).await;
    }
}

/// A session of its own, which may die while it waits.
async fn session(caller: &mut impl Actor) {
    let ttl_ms = caller.rng().random_range(400..1800);
    let call = caller.usual();
    let created = caller.call(Action::CreateSession { ttl_ms }, call).await;
    let Some(Answer::Session { session, .. }) = ok(created) else { return };
    let locks = vec![(lock(caller), Mode::Exclusive)];
    let (owner, call) = (caller.label(), caller.usual());
    let wait_ms = caller.rng().random_range(500..3500);
    let action = Action::Acquire { locks, session: Some(session.clone()), ttl_ms, wait_ms, owner };
    // Somebody else who knows the session asks how it is, about when it dies.
    let mut other = caller.other();
    let asks = other.chance(60);
    let ask_us = other.rng().random_range(ttl_ms * 800..ttl_ms * 1600);
    let ask = Action::RenewSession { session: session.clone() };
    let asked = async {
        if asks {
            other.pause_us(ask_us).await;
            other.call(ask, Call::default()).await;
        }
    };
    let (acquired, ()) = futures_util::future::join(caller.call(action, call), asked).await;
    let acquired = ok(acquired);
    if acquired.is_some() {
        let us = caller.rng().random_range(0..ttl_ms * 1200);
        caller.pause_us(us).await;
    }
    let call = caller.usual();
    if caller.chance(50) {
        caller.call(Action::EndSession { session: session.clone() }, call).await;
    }
    caller.call(Action::RenewSession { session }, Call::default()).await;
}

async fn force(caller: &mut impl Actor) {
    let action = Action::ForceRelease { lock: lock(caller) };
    let call = caller.usual();
    caller.call(action, call).await;
}

/// Hangs up while it waits, mostly without a request id: then the wait is cancelled, or what it brought
/// given back.
async fn abandoned(caller: &mut impl Actor) {
    let locks = vec![(lock(caller), Mode::Exclusive)];
    let (ttl_ms, owner) = (ttl(caller), caller.label());
    let safe = caller.chance(25);
    let abandon_us = Some(caller.rng().random_range(5_000..1_500_000));
    let action = Action::Acquire { locks, session: None, ttl_ms, wait_ms: 2000, owner };
    caller.call(action, Call { safe, abandon_us }).await;
}
