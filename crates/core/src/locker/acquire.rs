//! Takes one lock, or several at once.

use std::collections::BTreeSet;

use willow_model::{Id, Origin};

use super::{
    Acquire, Acquired, Error, Grant, LockRequest, Locker, Mode, Outcome,
    grant::Verdict,
    id,
    rows::{Waiter, Want},
    session::{check_label, check_ttl},
};
use crate::{Context, Refusal, Reply, limits};

impl Locker {
    pub(super) fn acquire(&mut self, command: Acquire, cx: &mut Context) -> Reply {
        let ids = check(&command)?;
        let session = match command.session {
            Some(session) => Some(self.live_session(session, cx.now_ms)?),
            None => None,
        };
        if let Some(row) = session.map(|row| self.session(row))
            && row.held.len() + row.wanted + ids.len() > limits::LOCKS_PER_SESSION
        {
            return Err(Error::TooManyLocks.into());
        }
        self.check_room(usize::from(session.is_none()), ids.len())?;
        let mut blocked = None;
        for (id, request) in ids.iter().zip(&command.locks) {
            match self.verdict(*id, request.mode, command.session)? {
                Verdict::Free | Verdict::Reenter(_) | Verdict::Upgrade => {}
                Verdict::Blocked => blocked = blocked.or(Some(*id)),
            }
        }
        match blocked {
            None => Ok(Outcome::Acquired(self.take_at_once(&command, session, &ids, cx)).into()),
            Some(lock) if command.wait_ms == 0 => Err(self.held(lock, None, cx.now_ms).into()),
            Some(_) => self.wait_in_line(command, session, &ids, cx),
        }
    }

    fn take_at_once(&mut self, command: &Acquire, session: Option<u32>, ids: &[Id], cx: &mut Context) -> Acquired {
        if let Some(row) = session {
            self.use_session(row, command.ttl_ms, cx);
        }
        let session = session.unwrap_or_else(|| self.start_session(command, cx));
        let mut grants = Vec::with_capacity(ids.len());
        for (id, request) in ids.iter().zip(&command.locks) {
            let lock = self.lock_row(*id, &request.key_values, cx);
            grants.push(self.give(lock, request.mode, session, cx));
        }
        let acquired = self.acquired(session, grants, cx.clock_ms);
        // A wait of the same session may have wanted one of these locks, and has it now.
        let left = self.grant_others_of(acquired.session, cx);
        let wanted = self.wanted_by(acquired.session);
        self.pump(wanted.into_iter().chain(left), cx);
        acquired
    }

    fn wait_in_line(&mut self, command: Acquire, session: Option<u32>, ids: &[Id], cx: &mut Context) -> Reply {
        let upgrades = |(id, request): (&Id, &LockRequest)| {
            let shared = self.locks.by_key(id).is_some_and(|lock| lock.is_shared_by(command.session));
            (request.mode == Mode::Exclusive && shared).then_some(*id)
        };
        let upgrade = ids.iter().zip(&command.locks).find_map(upgrades);
        // In front of one line and behind in another, it could wait for somebody who waits for it.
        if let Some(lock) = upgrade.filter(|_| ids.len() > 1) {
            return Err(Error::UpgradeDeadlock { lock }.into());
        }
        let waiter = cx.new_waiter().ok_or(Refusal::TooManyWaiters)?;
        let starts_session = session.is_none();
        if let Some(row) = session {
            self.use_session(row, command.ttl_ms, cx);
        }
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

    pub(super) fn acquired(&self, session: u32, locks: Vec<Grant>, clock_ms: u64) -> Acquired {
        let session = self.session(session);
        Acquired { session: session.id, expires_in_ms: session.expires_in_ms(clock_ms), locks }
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
    check_label("owner", command.owner.as_deref())?;
    for LockRequest { key_values, mode } in &command.locks {
        if let Err(error) = key_values.check(Origin::User) {
            return Err(out_of_bounds("key_values", error.to_string()));
        }
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
