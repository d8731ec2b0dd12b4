//! Takes one lock, or several at once.

use std::collections::BTreeSet;

use willow_model::Id;

use super::{
    Acquire, Acquired, Error, Grant, LockRequest, Locker, Mode, Outcome, SessionId, id,
    grant::Verdict,
    rows::{Waiter, Want},
    session::check_ttl,
};
use crate::{Context, Refusal, Reply, limits};

impl Locker {
    pub(super) fn acquire(&mut self, command: Acquire, cx: &mut Context) -> Reply {
        let ids = check(&command)?;
        let session = match command.session {
            Some(session) => Some(self.sessions.slot(&session).ok_or(Error::SessionExpired)?),
            None => None,
        };
        let held = session.map_or(0, |row| self.session(row).held.len());
        if held + ids.len() > limits::LOCKS_PER_SESSION {
            return Err(Error::TooManyLocks.into());
        }
        let mut blocked = None;
        for (id, request) in ids.iter().zip(&command.locks) {
            match self.verdict(*id, request.mode, command.session)? {
                Verdict::Free | Verdict::Reenter(_) | Verdict::Upgrade => {}
                Verdict::Blocked => blocked = blocked.or(Some(*id)),
            }
        }
        if let Some(row) = session {
            self.use_session(row, command.ttl_ms, cx);
        }
        match blocked {
            None => Ok(Outcome::Acquired(self.take_at_once(&command, session, &ids, cx)).into()),
            Some(lock) if command.wait_ms == 0 => Err(self.held(lock, None, cx.now_ms).into()),
            Some(_) => self.wait_in_line(command, session, &ids, cx),
        }
    }

    fn take_at_once(
        &mut self,
        command: &Acquire,
        session: Option<u32>,
        ids: &[Id],
        cx: &mut Context,
    ) -> Acquired {
        let session = session.unwrap_or_else(|| self.start_session(command, cx));
        let mut grants = Vec::with_capacity(ids.len());
        for (id, request) in ids.iter().zip(&command.locks) {
            let lock = self.lock_row(*id, &request.key_values, cx);
            grants.push(self.give(lock, request.mode, session, cx));
        }
        self.acquired(session, grants, cx.now_ms)
    }

    fn wait_in_line(&mut self, command: Acquire, session: Option<u32>, ids: &[Id], cx: &mut Context) -> Reply {
        let upgrades = |(id, request): (&Id, &LockRequest)| {
            let session = command.session?;
            (request.mode == Mode::Exclusive && self.holds_shared(*id, session)).then_some(*id)
        };
        let upgrade = ids.iter().zip(&command.locks).find_map(upgrades);
        // In front of one line and behind in another, it could wait for somebody who waits for it.
        if let Some(lock) = upgrade.filter(|_| ids.len() > 1) {
            return Err(Error::UpgradeDeadlock { lock }.into());
        }
        let waiter = cx.new_waiter().ok_or(Refusal::TooManyWaiters)?;
        let starts_session = session.is_none();
        let session = session.unwrap_or_else(|| self.start_waiting_session(&command, cx));
        let session = self.session(session).id;
        let mut wants = Vec::with_capacity(ids.len());
        for (id, request) in ids.iter().zip(&command.locks) {
            let lock = self.lock_row(*id, &request.key_values, cx);
            wants.push(Want { lock, mode: request.mode, upgrade: upgrade.is_some() });
        }
        let row = self.waiters.insert(Waiter {
            id: waiter,
            session,
            wants,
            since_ms: cx.now_ms,
            deadline_ms: cx.after(command.wait_ms),
            starts_session,
        });
        self.link_waiter(row, cx);
        Ok(crate::Outcome::Waiting(waiter))
    }

    pub(super) fn acquired(&self, session: u32, locks: Vec<Grant>, now_ms: u64) -> Acquired {
        let session = self.session(session);
        let expires_in_ms = session.deadline_ms.map_or(session.ttl_ms, |at_ms| at_ms.saturating_sub(now_ms));
        Acquired { session: session.id, expires_in_ms, locks }
    }

    pub(super) fn holds_shared(&self, lock: Id, session: SessionId) -> bool {
        self.locks.by_key(&lock).is_some_and(|lock| {
            lock.holders.iter().any(|holder| holder.session == session && holder.mode == Mode::Shared)
        })
    }
}

/// Checks what does not depend on the state; returns the locks' ids.
fn check(command: &Acquire) -> Result<Vec<Id>, Error> {
    let out_of_bounds = |field: &str, bounds: String| Error::OutOfBounds { field: field.into(), bounds: bounds.into() };
    if !(1..=limits::LOCKS_PER_ACQUIRE).contains(&command.locks.len()) {
        return Err(out_of_bounds("locks", format!("1 to {} locks", limits::LOCKS_PER_ACQUIRE)));
    }
    if command.wait_ms > limits::WAIT_MAX_MS {
        return Err(out_of_bounds("wait_ms", format!("0 to {}", limits::WAIT_MAX_MS)));
    }
    command.ttl_ms.map_or(Ok(()), check_ttl)?;
    for LockRequest { mode, .. } in &command.locks {
        if let Mode::Semaphore { permits, max_permits } = *mode {
            if !(1..=limits::PERMITS_MAX).contains(&max_permits) {
                return Err(out_of_bounds("max_permits", format!("1 to {}", limits::PERMITS_MAX)));
            }
            if !(1..=max_permits).contains(&permits) {
                return Err(out_of_bounds("permits", "1 to max_permits".to_owned()));
            }
        }
    }
    let ids: Vec<Id> = command.locks.iter().map(|request| id(&request.key_values)).collect();
    let distinct: BTreeSet<Id> = ids.iter().copied().collect();
    if distinct.len() == ids.len() { Ok(ids) } else { Err(Error::DuplicateLock) }
}
