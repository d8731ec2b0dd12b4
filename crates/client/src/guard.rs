//! Guards: what is held is renewed at a third of its lease, and its loss is a signal.
//!
//! ```text
//!  acquire ──► Lease: valid until `sent + lease`, by this process' own clock
//!                │ every lease/3: heartbeat ──► valid until `sent + lease` again
//!                │ refused (it ended, or was taken away by force), or no answer until then
//!                ▼
//!              lost() resolves, at the latest when the server may give it to somebody else
//! ```
//! Time is counted from *before* a request is sent, so that this side never believes longer than
//! the server.

use std::{future::Future, time::Duration};

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};
use willow_api::{
    Id, KeyValues, Revision,
    item::{Delivery, ExtendRequest, LeaseRequest, NackReply, NackRequest},
    keys::SessionId,
    limiter::{HeartbeatHoldRequest, HoldSpec, IncrementRequest, ReleaseHoldReply},
    lock::{AcquireRequest, Grant, HeldLockRequest, LockMode, LockSpec},
};

use crate::{Client, Error, Items};

/// The part of a lease that one server of several may take to answer a heartbeat: the first is sent after a third,
/// so that two servers may hang and a third is still asked in time.
const HASTE: u32 = 6;

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Valid until then, by this process' clock.
    Until(Instant),
    /// No longer, or no longer known to be.
    Lost,
}

/// A lease that is renewed in the background. Ends being renewed when dropped.
#[derive(Debug)]
pub struct Lease {
    state: watch::Receiver<State>,
    renewal: JoinHandle<()>,
}

impl Lease {
    /// `sent` is when the request went out that was answered with `lease` left.
    fn start<F>(sent: Instant, lease: Duration, heartbeat: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Duration, Error>> + Send + 'static,
    {
        let (publish, state) = watch::channel(State::Until(sent + lease));
        Self { state, renewal: tokio::spawn(renew(publish, sent, lease, heartbeat)) }
    }

    /// Until when the lease is known to be valid; `None` when it is lost.
    #[must_use]
    pub fn valid_until(&self) -> Option<Instant> {
        match *self.state.borrow() {
            State::Until(end) if Instant::now() < end => Some(end),
            State::Until(_) | State::Lost => None,
        }
    }

    /// Resolves when the lease is lost, or can no longer be known to be held.
    pub async fn lost(&self) {
        let mut state = self.state.clone();
        // An error means that the renewal has ended, which it does only when the lease is lost.
        let _ended = state.wait_for(|state| *state == State::Lost).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

async fn renew<F>(
    publish: watch::Sender<State>,
    mut sent: Instant,
    mut lease: Duration,
    heartbeat: impl Fn() -> F + Send,
) where
    F: Future<Output = Result<Duration, Error>> + Send,
{
    let mut next = sent + lease / 3;
    loop {
        let end = sent + lease;
        sleep_until(next.min(end)).await;
        let now = Instant::now();
        match timeout_at(end, heartbeat()).await {
            Ok(Ok(left)) => {
                (sent, lease) = (now, left);
                next = sent + lease / 3;
                publish.send_replace(State::Until(sent + lease));
            }
            // Renewing twice is renewing once, so what is not known to be done is done again.
            Ok(Err(error)) if (error.retryable() || error.is_unknown()) && Instant::now() < end => {
                tracing::warn!(%error, "a heartbeat failed; trying again");
                // Several tries fit into what is left of the lease, few enough not to press a server in trouble.
                next = Instant::now() + (lease / 10).max(Duration::from_millis(10));
            }
            outcome => {
                tracing::error!(?outcome, "the lease is lost");
                publish.send_replace(State::Lost);
                return;
            }
        }
    }
}

/// How to take a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOptions {
    /// How to hold it.
    pub mode: LockMode,
    /// Permits to take, of a semaphore.
    pub permits: Option<u32>,
    /// Permits in all, of a semaphore.
    pub max_permits: Option<u32>,
    /// The lease.
    pub ttl: Duration,
    /// How long to wait in line.
    pub wait: Duration,
    /// Who this is, for people.
    pub owner: Option<String>,
}

impl Default for LockOptions {
    fn default() -> Self {
        Self {
            mode: LockMode::Exclusive,
            permits: None,
            max_permits: None,
            ttl: Duration::from_secs(30),
            wait: Duration::ZERO,
            owner: None,
        }
    }
}

/// Locks held by a session of their own. Dropping it gives them back, as far as the runtime still runs.
#[derive(Debug)]
pub struct LockGuard {
    client: Client,
    session: SessionId,
    grants: Vec<Grant>,
    lease: Lease,
    released: bool,
}

impl Client {
    /// Takes one lock and keeps it until the guard is released or dropped.
    ///
    /// # Errors
    /// `LOCK_HELD` when somebody else has it after `options.wait`; else as [`Error`] says.
    pub async fn lock(&self, key_values: KeyValues, options: LockOptions) -> Result<LockGuard, Error> {
        self.lock_all(vec![key_values], options).await
    }

    /// Takes several locks at once, all or none.
    ///
    /// # Errors
    /// As [`Client::lock`].
    pub async fn lock_all(&self, key_values: Vec<KeyValues>, options: LockOptions) -> Result<LockGuard, Error> {
        let LockOptions { mode, permits, max_permits, ttl, wait, owner } = options;
        let spec =
            |key_values: KeyValues| LockSpec { key_values: key_values.into(), mode: Some(mode), permits, max_permits };
        let request = AcquireRequest {
            locks: Some(key_values.into_iter().map(spec).collect()),
            ttl_ms: Some(millis(ttl)),
            wait_ms: Some(millis(wait)),
            owner,
            ..AcquireRequest::default()
        };
        let mut sent = Instant::now();
        let reply = self.locks().acquire(&request).await?;
        let mut left = Duration::from_millis(reply.expires_in_ms);
        let session = reply.session;
        let (client, locks) =
            (self.hasty(ttl / HASTE), reply.locks.iter().map(|grant| grant.lock).collect::<Vec<Id>>());
        if locks.is_empty() {
            return Err(Error::Protocol("the reply has no lock".into()));
        }
        let heartbeat = move || beat_locks(client.clone(), session, locks.clone());
        if sent.elapsed() > left / 3 {
            // The grant came some time during a long wait: only a heartbeat tells from when to count.
            sent = Instant::now();
            left = heartbeat().await?;
        }
        let lease = Lease::start(sent, left, heartbeat);
        Ok(LockGuard { client: self.clone(), session, grants: reply.locks, lease, released: false })
    }

    /// Increments a counter for as long as the guard lives.
    ///
    /// # Errors
    /// `LIMIT_REACHED` with every rule in the way; else as [`Error`] says.
    pub async fn hold(
        &self,
        key_values: KeyValues,
        amount: u64,
        ttl: Duration,
        wait: Duration,
    ) -> Result<HoldGuard, Error> {
        let request = IncrementRequest {
            key_values: key_values.into(),
            amount: Some(amount),
            hold: Some(HoldSpec { ttl_ms: millis(ttl) }),
            wait_ms: Some(millis(wait)),
            request_id: None,
        };
        let mut sent = Instant::now();
        let reply = self.counters().increment(&request).await?;
        let hold = reply.hold.ok_or_else(|| Error::Protocol("the reply has no hold".into()))?;
        let id = hold.id;
        let mut left = Duration::from_millis(hold.expires_in_ms);
        if sent.elapsed() > left / 3 {
            sent = Instant::now();
            left = beat_hold(self, id).await?;
        }
        let client = self.hasty(ttl / HASTE);
        let lease = Lease::start(sent, left, move || {
            let client = client.clone();
            async move { beat_hold(&client, id).await }
        });
        Ok(HoldGuard { client: self.clone(), id, lease, released: false })
    }
}

/// Renews the session by each of its locks, for one that was taken away by force is refused while the
/// session lives on. All at once, so that many locks cost no more of the lease than one.
async fn beat_locks(client: Client, session: SessionId, locks: Vec<Id>) -> Result<Duration, Error> {
    let mut beats = JoinSet::new();
    for lock in locks {
        let locks = client.locks();
        // Without the token: an upgrade by way of `LockGuard::session` gives the lock a new one.
        let request = HeldLockRequest { session, token: None, request_id: None };
        beats.spawn(async move { locks.heartbeat(lock, &request).await });
    }
    let mut left_ms = u64::MAX;
    while let Some(beat) = beats.join_next().await {
        let beat = beat.map_err(|error| Error::Connection(format!("the heartbeat did not end: {error}")))?;
        left_ms = left_ms.min(beat?.expires_in_ms);
    }
    Ok(Duration::from_millis(left_ms))
}

async fn beat_hold(client: &Client, hold: Id) -> Result<Duration, Error> {
    let request = HeartbeatHoldRequest { ttl_ms: None, request_id: None };
    Ok(Duration::from_millis(client.holds().heartbeat(hold, &request).await?.expires_in_ms))
}

impl LockGuard {
    /// Fencing token of the first lock: hand it to what the lock protects.
    #[must_use]
    pub fn token(&self) -> Revision {
        self.grants.first().map_or(Revision(0), |grant| grant.token)
    }

    /// What is held, in the order asked for.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The session that holds it: a secret. Releasing one of the locks by it loses the guard.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The lease, to see until when it is known to be valid.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Resolves when one of the locks is lost: its lease could not be renewed in time, or it was taken away
    /// by force, which is noticed within a third of the lease.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// Gives all of it back.
    ///
    /// # Errors
    /// `SESSION_EXPIRED` when it was lost before; else as [`Error`] says.
    pub async fn release(mut self) -> Result<(), Error> {
        self.released = true;
        self.client.sessions().end(self.session).await.map(drop)
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let (client, session) = (self.client.clone(), self.session);
        in_background(async move { client.sessions().end(session).await.map(drop) });
    }
}

/// An increment that lasts as long as this lives. Dropping it gives it back, as far as the runtime still runs.
#[derive(Debug)]
pub struct HoldGuard {
    client: Client,
    id: Id,
    lease: Lease,
    released: bool,
}

impl HoldGuard {
    /// The hold's id.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// Resolves when the hold is lost.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// Gives it back.
    ///
    /// # Errors
    /// `HOLD_NOT_FOUND` when it was lost before; else as [`Error`] says.
    pub async fn release(mut self) -> Result<ReleaseHoldReply, Error> {
        self.released = true;
        self.client.holds().release(self.id).await
    }
}

impl Drop for HoldGuard {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let (client, id) = (self.client.clone(), self.id);
        in_background(async move { client.holds().release(id).await.map(drop) });
    }
}

/// A delivered item whose lease is extended as long as this lives. Dropped without a verdict, it is
/// not handed back: its lease ends and the failed attempt counts, as when the process dies.
#[derive(Debug)]
pub struct DeliveryGuard {
    items: Items,
    delivery: Delivery,
    lease: Lease,
}

impl Items {
    /// Keeps extending the lease of a delivery. `sent` is when the dequeue was sent, if it did not wait;
    /// after a long poll pass `None`, and the lease is extended once to know from when to count.
    ///
    /// # Errors
    /// `STALE_LEASE` when the lease has ended already.
    pub async fn keep(&self, delivery: Delivery, sent: Option<Instant>) -> Result<DeliveryGuard, Error> {
        let (item, token) = (delivery.item, delivery.lease_token);
        let items = self.clone();
        let extend = move || {
            let items = items.clone();
            async move {
                let request = ExtendRequest { lease_token: token, lease_ms: None, request_id: None };
                Ok(Duration::from_millis(items.extend(item, &request).await?.expires_in_ms))
            }
        };
        let (sent, left) = match sent {
            Some(sent) => (sent, Duration::from_millis(delivery.expires_in_ms)),
            None => (Instant::now(), extend().await?),
        };
        let lease = Lease::start(sent, left, extend);
        Ok(DeliveryGuard { items: self.clone(), delivery, lease })
    }
}

impl DeliveryGuard {
    /// What was delivered.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Resolves when the lease is lost: somebody else may be working on the item.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// The item is done.
    ///
    /// # Errors
    /// `STALE_LEASE` when it was lost before; else as [`Error`] says.
    pub async fn ack(self) -> Result<(), Error> {
        let request = LeaseRequest { lease_token: self.delivery.lease_token, request_id: None };
        self.items.ack(self.delivery.item, &request).await.map(drop)
    }

    /// The item failed.
    ///
    /// # Errors
    /// As [`DeliveryGuard::ack`].
    pub async fn nack(self, reason: Option<String>) -> Result<NackReply, Error> {
        let lease_token = self.delivery.lease_token;
        let request = NackRequest { lease_token, delay_ms: None, position: None, reason, request_id: None };
        self.items.nack(self.delivery.item, &request).await
    }

    /// The item is handed back unharmed.
    ///
    /// # Errors
    /// As [`DeliveryGuard::ack`].
    pub async fn release(self) -> Result<(), Error> {
        let request = LeaseRequest { lease_token: self.delivery.lease_token, request_id: None };
        self.items.release(self.delivery.item, &request).await.map(drop)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Best effort, for drops: without a runtime, the lease ends by itself.
fn in_background(work: impl Future<Output = Result<(), Error>> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            if let Err(error) = work.await {
                tracing::debug!(%error, "could not give back; the lease ends by itself");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use willow_api::{ErrorCode, Problem};

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn renews_at_a_third_of_the_lease() {
        let beats = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&beats);
        let lease = Lease::start(Instant::now(), LEASE, move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Ok(LEASE) }
        });
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(beats.load(Ordering::Relaxed), 6);
        assert!(lease.valid_until().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn is_lost_at_once_when_the_server_says_so() {
        let start = Instant::now();
        let gone = || async { Err(Error::Refused(Box::new(Problem::new(ErrorCode::SessionExpired, "")))) };
        let lease = Lease::start(start, LEASE, gone);
        lease.lost().await;
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(lease.valid_until(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_or_hangs_is_tried_until_the_lease_ends_and_no_longer() {
        let start = Instant::now();
        let failing = Lease::start(start, LEASE, || async { Err(Error::Connection("refused".into())) });
        failing.lost().await;
        assert!(start.elapsed() <= LEASE && start.elapsed() >= LEASE - Duration::from_secs(4));

        let start = Instant::now();
        let hanging = Lease::start(start, LEASE, std::future::pending);
        hanging.lost().await;
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_of_which_nobody_knows_whether_it_was_done_is_done_again() {
        let beats = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&beats);
        let lease = Lease::start(Instant::now(), LEASE, move || {
            let beat = counted.fetch_add(1, Ordering::Relaxed);
            let mut unknown = Problem::new(ErrorCode::OutcomeUnknown, "its leader died");
            // As the server answers a call without a request id.
            unknown.retryable = false;
            async move { if beat < 3 { Err(Error::Refused(Box::new(unknown))) } else { Ok(LEASE) } }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(beats.load(Ordering::Relaxed) > 3);
        assert!(lease.valid_until().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_lost_reply_does_not_lose_the_lease() {
        let beats = Arc::new(AtomicU32::new(0));
        let lease = Lease::start(Instant::now(), LEASE, move || {
            let beat = beats.fetch_add(1, Ordering::Relaxed);
            async move { if beat == 0 { Err(Error::Connection("reset".into())) } else { Ok(LEASE) } }
        });
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(lease.valid_until().is_some());
    }
}
