//! Between the words of histories and those of the machine.

use std::sync::Arc;

use willow_core::limiter::{self, Decrement, HeartbeatHold, Increment, ReleaseHold, Selector};
use willow_core::locker::{
    self, Acquire, CreateSession, EndSession, ForceRelease, HeartbeatLock, HeartbeatSession, LockRequest, Release,
    SessionId,
};
use willow_core::queue::{self, Ack, Delivered, Dequeue, Enqueue, Extend, LeaseToken, Nack, NewItem, Order};
use willow_core::{Command, Machine, Outcome, Refusal as Refused};
use willow_model::{Id, Revision};
use willow_query::Query;

use super::names::{self, key_values, lock_id};
use super::{Look, Looked};
use crate::history::{Action, Answer, Delivery, Grant, Holder, How, ItemView, LockView, Mode, Nacked, Refusal};

/// Items of one page of a walk: few, so that there are many pages.
const PAGE: u32 = 4;

/// The command for an action; `None` for reads, and for names that no server gave out.
pub(super) fn command(action: &Action, client: u32) -> Option<Command> {
    Some(match action {
        Action::CreateSession { .. }
        | Action::EndSession { .. }
        | Action::RenewSession { .. }
        | Action::Acquire { .. }
        | Action::Release { .. }
        | Action::RenewLock { .. }
        | Action::ForceRelease { .. } => Command::Lock(lock_command(action)?),
        Action::Increment { .. } | Action::Decrement { .. } | Action::RenewHold { .. } | Action::ReleaseHold { .. } => {
            Command::Limit(limit_command(action)?)
        }
        _ => Command::Queue(queue_command(action, client)?),
    })
}

fn lock_command(action: &Action) -> Option<locker::Command> {
    Some(match action {
        Action::CreateSession { ttl_ms } => {
            locker::Command::CreateSession(CreateSession { ttl_ms: *ttl_ms, owner: None })
        }
        Action::EndSession { session } => locker::Command::EndSession(EndSession { session: session_id(session)? }),
        Action::RenewSession { session } => {
            locker::Command::HeartbeatSession(HeartbeatSession { session: session_id(session)? })
        }
        Action::Acquire { locks, session, ttl_ms, wait_ms, owner } => {
            let request =
                |(name, mode): &(String, Mode)| LockRequest { key_values: key_values(name), mode: lock_mode(*mode) };
            let session = match session {
                Some(session) => Some(session_id(session)?),
                None => None,
            };
            locker::Command::Acquire(Acquire {
                locks: locks.iter().map(request).collect(),
                session,
                ttl_ms: Some(*ttl_ms),
                wait_ms: *wait_ms,
                owner: Some(owner.as_str().into()),
            })
        }
        Action::Release { lock, session, token } => locker::Command::Release(Release {
            lock: lock_id(lock),
            session: session_id(session)?,
            token: token.map(Revision),
        }),
        Action::RenewLock { lock, session, token } => locker::Command::HeartbeatLock(HeartbeatLock {
            lock: lock_id(lock),
            session: session_id(session)?,
            token: token.map(Revision),
        }),
        Action::ForceRelease { lock } => {
            locker::Command::ForceRelease(ForceRelease { lock: lock_id(lock), by: None, reason: None })
        }
        _ => return None,
    })
}

fn limit_command(action: &Action) -> Option<limiter::Command> {
    Some(match action {
        Action::Increment { counter, amount, hold_ttl_ms, wait_ms } => limiter::Command::Increment(Increment {
            key_values: key_values(counter),
            amount: *amount,
            hold_ttl_ms: *hold_ttl_ms,
            wait_ms: *wait_ms,
        }),
        Action::Decrement { counter, amount } => {
            limiter::Command::Decrement(Decrement { key_values: key_values(counter), amount: *amount })
        }
        Action::RenewHold { hold } => {
            limiter::Command::HeartbeatHold(HeartbeatHold { hold: hold.parse().ok()?, ttl_ms: None })
        }
        Action::ReleaseHold { hold } => limiter::Command::ReleaseHold(ReleaseHold { hold: hold.parse().ok()? }),
        _ => return None,
    })
}

fn queue_command(action: &Action, client: u32) -> Option<queue::Command> {
    let selector = |queue: &str| Selector::Name(queue.into());
    Some(match action {
        Action::Enqueue { queue, channel, data, updatable } => {
            let data: queue::Data = Arc::from(data.as_bytes());
            let item = NewItem { updatable: Some(*updatable), ..NewItem::new(key_values(channel), data, "text/plain") };
            queue::Command::Enqueue(Enqueue { queue: selector(queue), items: vec![item] })
        }
        Action::Dequeue { queue, max_items, lease_ms, wait_ms } => queue::Command::Dequeue(Dequeue {
            queue: selector(queue),
            query: Query::default(),
            order: Order::Oldest,
            tolerations: vec![],
            max_items: *max_items,
            lease_ms: Some(*lease_ms),
            wait_ms: *wait_ms,
            consumer: Some(format!("c{client}").into()),
        }),
        Action::Ack { queue, item, token } => {
            queue::Command::Ack(Ack { queue: selector(queue), items: vec![delivered(item, token)?] })
        }
        Action::Nack { queue, item, token } => queue::Command::Nack(Nack {
            queue: selector(queue),
            delivered: delivered(item, token)?,
            delay_ms: None,
            position: None,
            reason: None,
        }),
        Action::Return { queue, item, token } => {
            queue::Command::Release(queue::Release { queue: selector(queue), delivered: delivered(item, token)? })
        }
        Action::Extend { queue, item, token } => queue::Command::Extend(Extend {
            queue: selector(queue),
            delivered: delivered(item, token)?,
            lease_ms: None,
        }),
        _ => return None,
    })
}

/// The machine's outcome in the words of a history.
pub(super) fn answer(action: &Action, outcome: Outcome) -> Result<Answer, Refused> {
    Ok(match outcome {
        Outcome::Lock(outcome) => lock_answer(action, outcome),
        Outcome::Limit(limiter::Outcome::Incremented(incremented)) => Answer::Incremented {
            amount: incremented.counter.amount,
            hold: incremented.hold.map(|hold| hold.id.to_string()),
        },
        Outcome::Limit(limiter::Outcome::Counter(counter)) => Answer::Decremented { amount: counter.amount },
        Outcome::Limit(limiter::Outcome::Renewed { expires_in_ms }) => Answer::Renewed { expires_in_ms },
        Outcome::Limit(limiter::Outcome::Released { amount }) => Answer::HoldReleased { amount },
        Outcome::Queue(outcome) => return queue_answer(outcome),
        // Nothing else is ever asked for.
        Outcome::Done | Outcome::Waiting(_) | Outcome::Limit(_) | Outcome::Cursor(_) | Outcome::Catalogue(_) => {
            Answer::Ended
        }
    })
}

fn lock_answer(action: &Action, outcome: locker::Outcome) -> Answer {
    match outcome {
        locker::Outcome::Session(session) => {
            Answer::Session { session: session_name(session.session), expires_in_ms: session.expires_in_ms }
        }
        locker::Outcome::Acquired(acquired) => {
            let names = match action {
                Action::Acquire { locks, .. } => &locks[..],
                _ => &[],
            };
            let grant = |(grant, (name, _)): (&locker::Grant, &(String, Mode))| Grant {
                lock: name.clone(),
                token: grant.token.0,
                depth: grant.depth,
            };
            Answer::Acquired {
                session: session_name(acquired.session),
                expires_in_ms: acquired.expires_in_ms,
                grants: acquired.locks.iter().zip(names).map(grant).collect(),
            }
        }
        locker::Outcome::Released { depth } => Answer::Released { depth },
        locker::Outcome::Renewed { expires_in_ms } => Answer::Renewed { expires_in_ms },
        locker::Outcome::Ended { .. } | locker::Outcome::Downgraded(_) => Answer::Ended,
        locker::Outcome::Forced { .. } => Answer::Forced,
    }
}

fn queue_answer(outcome: queue::Outcome) -> Result<Answer, Refused> {
    Ok(match outcome {
        queue::Outcome::Enqueued(answers) => match answers.into_iter().next() {
            Some(Ok(enqueued)) => Answer::Enqueued {
                item: enqueued.item.to_string(),
                revision: enqueued.revision.0,
                how: match enqueued.how {
                    queue::How::Created => How::Created,
                    queue::How::Updated => How::Updated,
                    queue::How::Duplicate => How::Duplicate,
                },
            },
            Some(Err(error)) => return Err(error.into()),
            None => Answer::Ended,
        },
        queue::Outcome::Acked(answers) => match answers.into_iter().next() {
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(())) | None => Answer::Acked,
        },
        queue::Outcome::Dequeued(deliveries) => Answer::Delivered(deliveries.iter().map(delivery).collect()),
        queue::Outcome::Nacked(nacked) => Answer::Nacked(match nacked {
            queue::Nacked::Retry { .. } => Nacked::Retry,
            queue::Nacked::DeadLetter => Nacked::DeadLetter,
            queue::Nacked::Superseded => Nacked::Superseded,
        }),
        queue::Outcome::Released => Answer::Returned,
        queue::Outcome::Extended { expires_in_ms } => Answer::Renewed { expires_in_ms },
        _ => Answer::Ended,
    })
}

fn delivery(delivery: &queue::Delivery) -> Delivery {
    Delivery {
        item: delivery.item.to_string(),
        channel: names::name(&delivery.key_values),
        data: names::text(&delivery.data),
        revision: delivery.revision.0,
        fence: delivery.token.revision.0,
        token: format!("{}-{}", delivery.token.revision.0, delivery.token.nonce),
        attempt: delivery.attempt,
        weight: 1,
        expires_in_ms: delivery.expires_in_ms,
    }
}

/// The machine's refusal in the words of a history.
pub(super) fn refusal(refused: &Refused) -> Refusal {
    match refused {
        Refused::RequestIdReused => Refusal::RequestIdReused,
        Refused::Lock(locker::Error::Held { .. }) => Refusal::Held,
        Refused::Lock(locker::Error::SessionExpired) => Refusal::SessionExpired,
        Refused::Lock(
            locker::Error::NotHeld { .. } | locker::Error::StaleToken { .. } | locker::Error::NoSuchLock { .. },
        ) => Refusal::NotHeld,
        Refused::Limit(limiter::Error::LimitReached { .. }) => Refusal::LimitReached,
        Refused::Limit(limiter::Error::Underflow { .. } | limiter::Error::NoSuchCounter) => Refusal::Underflow,
        Refused::Limit(limiter::Error::NoSuchHold) => Refusal::NoSuchHold,
        Refused::Queue(queue::Error::NoSuchItem) => Refusal::NoSuchItem,
        Refused::Queue(queue::Error::StaleLease { .. }) => Refusal::StaleLease,
        other => Refusal::Other(other.to_string()),
    }
}

/// What a read looks at.
pub(super) fn look(action: &Action, page: Option<String>) -> Look {
    let action = action.clone();
    Box::new(move |machine| {
        let only = |answer| Looked { answer, next_page: None };
        match &action {
            Action::ReadLock { lock, .. } => only(Answer::Lock(lock_view(machine, lock))),
            Action::ReadCounter { counter, .. } => {
                let id = Id::derive(willow_model::Kind::Counter, None, key_values(counter).as_bytes());
                let query = Query { ids: Some(vec![id]), ..Query::default() };
                let listing = machine.limiter().query_counters(&query, machine.lookup(0));
                let amount = listing.ok().and_then(|listing| Some(listing.items.first()?.amount)).unwrap_or(0);
                only(Answer::Counter { amount })
            }
            Action::ReadItem { queue, item, .. } => {
                let view = item.parse().ok().and_then(|item| {
                    machine.queues().item(&Selector::Name(queue.as_str().into()), item, machine.lookup(0))
                });
                only(Answer::Item(view.map(|view| ItemView {
                    state: names::state(view.state),
                    revision: view.revision.0,
                    data: names::text(&view.data),
                })))
            }
            Action::Page { shelf, .. } => shelf_page(machine, shelf, page),
            _ => only(Answer::Ended),
        }
    })
}

fn lock_view(machine: &Machine, lock: &str) -> Option<LockView> {
    let view = machine.locker().get(lock_id(lock), machine.lookup(0))?;
    let owner = |owner: Option<Box<str>>| owner.map(String::from);
    let holder = |holder: locker::HolderView| Holder { owner: owner(holder.owner), token: holder.token.0 };
    Some(LockView {
        holders: view.holders.into_iter().map(holder).collect(),
        waiters: view.waiters.into_iter().filter_map(|waiter| owner(waiter.owner)).collect(),
    })
}

fn shelf_page(machine: &Machine, shelf: &str, page: Option<String>) -> Looked {
    let query = Query { limit: PAGE, page_token: page, ..Query::default() };
    let selector = Selector::Name(shelf.into());
    match machine.queues().query_items(&selector, &query, &[], machine.lookup(0)) {
        Ok(Some(listing)) => {
            let ids = listing.items.iter().map(|item| item.id.to_string()).collect();
            let last = listing.next_page_token.is_none();
            Looked { answer: Answer::Page { ids, last }, next_page: listing.next_page_token }
        }
        // A token that is not taken for one ends the walk unfinished.
        Ok(None) | Err(_) => Looked { answer: Answer::Ended, next_page: None },
    }
}

fn lock_mode(mode: Mode) -> locker::Mode {
    match mode {
        Mode::Exclusive => locker::Mode::Exclusive,
        Mode::Shared => locker::Mode::Shared,
        Mode::Semaphore { permits, max_permits } => locker::Mode::Semaphore { permits, max_permits },
    }
}

fn session_name(session: SessionId) -> String {
    format!("{:032x}", session.0)
}

fn session_id(name: &str) -> Option<SessionId> {
    u128::from_str_radix(name, 16).ok().map(SessionId)
}

fn delivered(item: &str, token: &str) -> Option<Delivered> {
    let (revision, nonce) = token.split_once('-')?;
    let token = LeaseToken { revision: Revision(revision.parse().ok()?), nonce: nonce.parse().ok()? };
    Some(Delivered { item: item.parse().ok()?, token })
}
