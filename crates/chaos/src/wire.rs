//! Between the words of histories and calls of the REST API, through the client.

use serde_json::from_str;
use willow_api::{
    ErrorCode, Revision,
    item::{
        self, AckBatchRequest, Delivered, DequeueRequest, EnqueueBatchRequest, EnqueueResult, EnqueueStatus,
        ExtendRequest, LeaseRequest, NackRequest, NackStatus, NewItem, RawJson,
    },
    keys::{LeaseToken, SessionId},
    limiter::{Counter, DecrementRequest, HeartbeatHoldRequest, HoldSpec, IncrementRequest},
    lock::{self, AcquireRequest, CreateSessionRequest, HeldLockRequest, LockMode, LockSpec},
};
use willow_client::{Client, Error};
use willow_sim::history::{
    Action, Answer, Delivery, Grant, Holder, How, ItemState, ItemView, LockView, Mode, Nacked, Refusal,
};

use crate::names::{self, Names};

/// What is asked for with one request.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// One thing.
    One(Action),
    /// All these items for one queue: enqueues.
    Enqueue(String, Vec<Action>),
    /// All these deliveries of one queue are done: acks.
    Ack(String, Vec<Action>),
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The machine refused.
    Refused(Refusal),
    /// No node took it in.
    NotDone(String),
    /// It may have been done.
    Unknown(String),
    /// It may have been done, and no server should answer so.
    Odd(String),
}

/// An answer for each action.
pub(crate) type Answers = Vec<Result<Answer, Refusal>>;

/// Sends a request once.
pub(crate) async fn send(
    client: &Client,
    names: &Names,
    request: &Request,
    request_id: Option<String>,
) -> Result<Answers, CallError> {
    match request {
        Request::One(action) => Ok(vec![Ok(one(client, names, action, request_id).await.map_err(failure)?)]),
        Request::Enqueue(queue, actions) => {
            let items = actions.iter().map(|action| new_item(names, action)).collect();
            let request = EnqueueBatchRequest { items, request_id };
            let reply = client.queue(queue).items().enqueue_batch(&request).await.map_err(failure)?;
            let answer = |result| match result {
                EnqueueResult::Added(added) => Ok(enqueued(&added)),
                EnqueueResult::Refused(refused) => Err(refusal(refused.error.code, &refused.error.detail)),
            };
            Ok(reply.results.into_iter().map(answer).collect())
        }
        Request::Ack(queue, actions) => {
            let delivered = |action: &Action| {
                let (_, item, token) = action.delivery()?;
                Some(Delivered { item: item.parse().ok()?, lease_token: token.parse().ok()? })
            };
            let items = actions.iter().filter_map(delivered).collect();
            let request = AckBatchRequest { items, request_id };
            let reply = client.queue(queue).items().ack_batch(&request).await.map_err(failure)?;
            let answer = |result: item::AckResult| match result.error {
                None => Ok(Answer::Acked),
                Some(error) => Err(refusal(error.code, &error.detail)),
            };
            Ok(reply.results.into_iter().map(answer).collect())
        }
    }
}

async fn one(client: &Client, names: &Names, action: &Action, request_id: Option<String>) -> Result<Answer, Error> {
    match action {
        Action::CreateSession { .. }
        | Action::EndSession { .. }
        | Action::RenewSession { .. }
        | Action::Acquire { .. }
        | Action::Release { .. }
        | Action::RenewLock { .. }
        | Action::ForceRelease { .. } => on_lock(client, names, action, request_id).await,
        Action::Increment { .. } | Action::Decrement { .. } | Action::RenewHold { .. } | Action::ReleaseHold { .. } => {
            on_counter(client, names, action, request_id).await
        }
        Action::ReadLock { .. } | Action::ReadCounter { .. } | Action::ReadItem { .. } => {
            read(client, names, action).await
        }
        _ => on_item(client, names, action, request_id).await,
    }
}

async fn on_lock(client: &Client, names: &Names, action: &Action, request_id: Option<String>) -> Result<Answer, Error> {
    let locks = client.locks();
    match action {
        Action::CreateSession { ttl_ms } => {
            let request = CreateSessionRequest { ttl_ms: Some(*ttl_ms), owner: None, request_id };
            let session = client.sessions().create(&request).await?;
            Ok(Answer::Session { session: session.session.to_string(), expires_in_ms: session.expires_in_ms })
        }
        Action::EndSession { session } => {
            client.sessions().end(id(session)?).await?;
            Ok(Answer::Ended)
        }
        Action::RenewSession { session } => {
            let renewed = client.sessions().heartbeat(id(session)?).await?;
            Ok(Answer::Renewed { expires_in_ms: renewed.expires_in_ms })
        }
        Action::Acquire { locks: wanted, session, ttl_ms, wait_ms, owner } => {
            let request = AcquireRequest {
                locks: Some(wanted.iter().map(|(lock, mode)| spec(names, lock, *mode)).collect()),
                session: session.as_deref().map(id).transpose()?,
                ttl_ms: Some(*ttl_ms),
                wait_ms: Some(*wait_ms),
                owner: Some(owner.clone()),
                request_id,
                ..AcquireRequest::default()
            };
            let reply = locks.acquire(&request).await?;
            let grant = |(grant, (lock, _)): (&lock::Grant, &(String, Mode))| Grant {
                lock: lock.clone(),
                token: grant.token.0,
                depth: grant.depth,
            };
            let grants = reply.locks.iter().zip(wanted).map(grant).collect();
            Ok(Answer::Acquired { session: reply.session.to_string(), expires_in_ms: reply.expires_in_ms, grants })
        }
        Action::Release { lock, session, token } => {
            let released = locks.release(names.lock(lock), &held(session, *token, request_id)?).await?;
            Ok(Answer::Released { depth: released.depth })
        }
        Action::RenewLock { lock, session, token } => {
            let renewed = locks.heartbeat(names.lock(lock), &held(session, *token, None)?).await?;
            Ok(Answer::Renewed { expires_in_ms: renewed.expires_in_ms })
        }
        Action::ForceRelease { lock } => {
            locks.force_release(names.lock(lock), None, None).await?;
            Ok(Answer::Forced)
        }
        _ => Err(Error::Protocol("not a call on locks".to_owned())),
    }
}

async fn on_counter(
    client: &Client,
    names: &Names,
    action: &Action,
    request_id: Option<String>,
) -> Result<Answer, Error> {
    match action {
        Action::Increment { counter, amount, hold_ttl_ms, wait_ms } => {
            let request = IncrementRequest {
                key_values: names.key_values(counter).into(),
                amount: Some(*amount),
                hold: hold_ttl_ms.map(|ttl_ms| HoldSpec { ttl_ms }),
                wait_ms: Some(*wait_ms),
                request_id,
            };
            let reply = client.counters().increment(&request).await?;
            let hold = reply.hold.map(|hold| hold.id.to_string());
            Ok(Answer::Incremented { amount: reply.counter.amount, hold })
        }
        Action::Decrement { counter, amount } => {
            let key_values = names.key_values(counter).into();
            let request = DecrementRequest { key_values, amount: Some(*amount), request_id };
            let left = client.counters().decrement(&request).await?;
            Ok(Answer::Decremented { amount: left.amount })
        }
        Action::RenewHold { hold } => {
            let request = HeartbeatHoldRequest { ttl_ms: None, request_id: None };
            let renewed = client.holds().heartbeat(id(hold)?, &request).await?;
            Ok(Answer::Renewed { expires_in_ms: renewed.expires_in_ms })
        }
        Action::ReleaseHold { hold } => {
            let released = client.holds().release(id(hold)?).await?;
            Ok(Answer::HoldReleased { amount: released.amount })
        }
        _ => Err(Error::Protocol("not a call on counters".to_owned())),
    }
}

async fn on_item(client: &Client, names: &Names, action: &Action, request_id: Option<String>) -> Result<Answer, Error> {
    match action {
        Action::Enqueue { queue, .. } => {
            let request = new_item(names, action).into_request(request_id);
            Ok(enqueued(&client.queue(queue).items().enqueue(&request).await?))
        }
        Action::Dequeue { queue, max_items, lease_ms, wait_ms } => {
            let request = DequeueRequest {
                max_items: Some(*max_items),
                lease_ms: Some(*lease_ms),
                wait_ms: Some(*wait_ms),
                request_id,
                ..DequeueRequest::default()
            };
            let reply = client.queue(queue).items().dequeue(&request).await?;
            Ok(Answer::Delivered(reply.items.iter().map(delivery).collect()))
        }
        Action::Ack { queue, item, token } => {
            let request = LeaseRequest { lease_token: id(token)?, request_id };
            client.queue(queue).items().ack(id(item)?, &request).await?;
            Ok(Answer::Acked)
        }
        Action::Nack { queue, item, token } => {
            let lease_token: LeaseToken = id(token)?;
            let request = NackRequest { lease_token, delay_ms: None, position: None, reason: None, request_id };
            let nacked = client.queue(queue).items().nack(id(item)?, &request).await?;
            Ok(Answer::Nacked(match nacked.status {
                NackStatus::Retry => Nacked::Retry,
                NackStatus::DeadLetter => Nacked::DeadLetter,
                NackStatus::Superseded => Nacked::Superseded,
            }))
        }
        Action::Return { queue, item, token } => {
            let request = LeaseRequest { lease_token: id(token)?, request_id };
            client.queue(queue).items().release(id(item)?, &request).await?;
            Ok(Answer::Returned)
        }
        Action::Extend { queue, item, token } => {
            let request = ExtendRequest { lease_token: id(token)?, lease_ms: None, request_id: None };
            let renewed = client.queue(queue).items().extend(id(item)?, &request).await?;
            Ok(Answer::Renewed { expires_in_ms: renewed.expires_in_ms })
        }
        _ => Err(Error::Protocol("not a call on items".to_owned())),
    }
}

async fn read(client: &Client, names: &Names, action: &Action) -> Result<Answer, Error> {
    let consistency = if action.is_stale_read() { "?consistency=stale" } else { "" };
    let get = |path: String| async move {
        let path = path + consistency;
        found(client.call::<(), serde_json::Value>("GET", &path, None).await)
    };
    let understood = |error: serde_json::Error| Error::Protocol(error.to_string());
    Ok(match action {
        Action::ReadLock { lock, .. } => {
            let found = get(format!("/v1/locks/{}", names.lock(lock))).await?;
            let lock: Option<lock::Lock> = found.map(serde_json::from_value).transpose().map_err(understood)?;
            Answer::Lock(lock.map(lock_view))
        }
        Action::ReadCounter { counter, .. } => {
            let found = get(format!("/v1/limiter/counters/{}", names.counter(counter))).await?;
            let counter: Option<Counter> = found.map(serde_json::from_value).transpose().map_err(understood)?;
            Answer::Counter { amount: counter.map_or(0, |counter| counter.amount) }
        }
        Action::ReadItem { queue, item, .. } => {
            let found = get(format!("/v1/queues/{queue}/items/{item}")).await?;
            let item: Option<item::Item> = found.map(serde_json::from_value).transpose().map_err(understood)?;
            Answer::Item(item.map(|item| ItemView {
                state: state(item.state),
                revision: item.revision.0,
                data: text(item.data.as_ref()),
            }))
        }
        _ => return Err(Error::Protocol("not a read".to_owned())),
    })
}

fn found<T>(outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    use ErrorCode as C;
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.code() {
            Some(C::LockNotFound | C::CounterNotFound | C::ItemNotFound) => Ok(None),
            _ => Err(error),
        },
    }
}

fn lock_view(lock: lock::Lock) -> LockView {
    let holder = |holder: lock::Holder| Holder { owner: holder.owner, token: holder.token.0 };
    LockView {
        holders: lock.holders.into_iter().map(holder).collect(),
        waiters: lock.waiters.into_iter().filter_map(|waiter| waiter.owner).collect(),
    }
}

fn spec(names: &Names, lock: &str, mode: Mode) -> LockSpec {
    let (mode, permits, max_permits) = match mode {
        Mode::Exclusive => (LockMode::Exclusive, None, None),
        Mode::Shared => (LockMode::Shared, None, None),
        Mode::Semaphore { permits, max_permits } => (LockMode::Semaphore, Some(permits), Some(max_permits)),
    };
    LockSpec { key_values: names.key_values(lock).into(), mode: Some(mode), permits, max_permits }
}

fn held(session: &str, token: Option<u64>, request_id: Option<String>) -> Result<HeldLockRequest, Error> {
    let session: SessionId = id(session)?;
    Ok(HeldLockRequest { session, token: token.map(Revision), request_id })
}

fn new_item(names: &Names, action: &Action) -> NewItem {
    let Action::Enqueue { channel, data, updatable, .. } = action else { return NewItem::new(names.key_values("?")) };
    let mut item = NewItem::new(names.key_values(channel));
    item.data = RawJson::of(data).ok();
    item.updatable = Some(*updatable);
    item
}

fn enqueued(reply: &item::EnqueueReply) -> Answer {
    let how = match reply.status {
        EnqueueStatus::Created => How::Created,
        EnqueueStatus::Updated => How::Updated,
        EnqueueStatus::Duplicate => How::Duplicate,
    };
    Answer::Enqueued { item: reply.item.to_string(), revision: reply.revision.0, how }
}

fn delivery(delivery: &item::Delivery) -> Delivery {
    Delivery {
        item: delivery.item.to_string(),
        channel: names::name(&delivery.key_values),
        data: text(delivery.data.as_ref()),
        revision: delivery.revision.0,
        fence: delivery.lease_token.revision,
        token: delivery.lease_token.to_string(),
        attempt: delivery.attempt,
        weight: 1,
        expires_in_ms: delivery.expires_in_ms,
    }
}

/// Data is a JSON string; anything else is shown as it is.
pub(crate) fn text(data: Option<&RawJson>) -> String {
    let raw = data.map_or("", RawJson::get);
    from_str(raw).unwrap_or_else(|_| raw.to_owned())
}

pub(crate) fn state(state: item::ItemState) -> ItemState {
    match state {
        item::ItemState::Waiting => ItemState::Waiting,
        item::ItemState::Delayed => ItemState::Delayed,
        item::ItemState::InFlight => ItemState::InFlight,
        item::ItemState::Dead => ItemState::Dead,
    }
}

/// What a server has called something, as that.
fn id<T: std::str::FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::Protocol(format!("{text} is not what a server would say")))
}

/// What an error says of whether the call was done.
fn failure(error: Error) -> CallError {
    use ErrorCode as C;
    let said = error.to_string();
    match error {
        Error::Refused(problem) => match problem.code {
            C::NotLeader | C::NoLeader | C::Overloaded | C::DiskFull | C::TooManyWaiters | C::NodeRemoved => {
                CallError::NotDone(said)
            }
            C::OutcomeUnknown | C::NoQuorum | C::ShuttingDown | C::RequestTimeout => CallError::Unknown(said),
            _ if problem.status >= 500 => CallError::Odd(said),
            code => CallError::Refused(refusal(code, &problem.detail)),
        },
        // Nothing was sent to who does not listen.
        Error::Connection(reason) if reason.contains("refused") => CallError::NotDone(said),
        Error::Connection(_) | Error::TimedOut => CallError::Unknown(said),
        Error::Protocol(_) | Error::BadUrl(_) => CallError::Odd(said),
    }
}

fn refusal(code: ErrorCode, detail: &str) -> Refusal {
    use ErrorCode as C;
    match code {
        C::LockHeld => Refusal::Held,
        C::SessionExpired => Refusal::SessionExpired,
        C::LockNotHeld | C::LockNotFound | C::StaleToken => Refusal::NotHeld,
        C::LimitReached => Refusal::LimitReached,
        C::CounterUnderflow | C::CounterNotFound => Refusal::Underflow,
        C::HoldNotFound => Refusal::NoSuchHold,
        C::ItemNotFound => Refusal::NoSuchItem,
        C::StaleLease => Refusal::StaleLease,
        C::RequestIdReused => Refusal::RequestIdReused,
        code => Refusal::Other(format!("{code}: {detail}")),
    }
}
