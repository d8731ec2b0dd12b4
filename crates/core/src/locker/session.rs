//! Sessions: leases that locks hang on.

use std::collections::BTreeSet;

use willow_model::bugs::{self, Bug};

use super::{
    Acquire, CreateSession, EndSession, Error, HeartbeatSession, Locker, Outcome, SessionId, rows::SessionRow,
};
use crate::{Context, Reply, limits, timer::Timer};

impl Locker {
    pub(super) fn create_session(&mut self, command: CreateSession, cx: &mut Context) -> Reply {
        check_ttl(command.ttl_ms)?;
        check_label("owner", command.owner.as_deref())?;
        self.check_room(1, 0)?;
        let row = self.insert_session(command.ttl_ms, Some(cx.after(command.ttl_ms)), command.owner, false, cx);
        let session = self.session(row).id;
        Ok(Outcome::Session(super::Session { session, expires_in_ms: command.ttl_ms }).into())
    }

    pub(super) fn heartbeat_session(&mut self, command: &HeartbeatSession, cx: &mut Context) -> Reply {
        let row = self.live_session(command.session, cx.now_ms)?;
        let expires_in_ms = self.renew(row, cx);
        Ok(Outcome::Renewed { expires_in_ms }.into())
    }

    pub(super) fn end_session(&mut self, command: &EndSession, cx: &mut Context) -> Reply {
        let row = self.live_session(command.session, cx.now_ms)?;
        let released = self.end(row, cx);
        Ok(Outcome::Ended { released }.into())
    }

    /// The session in this row has lived out its lease.
    pub(crate) fn session_expired(&mut self, row: u32, cx: &mut Context) {
        if bugs::is_on(Bug::GrantToDeadSession) && !self.session(row).waiters.is_empty() {
            return;
        }
        self.end(row, cx);
    }

    /// A session for an acquire that is granted at once.
    pub(super) fn start_session(&mut self, command: &Acquire, cx: &mut Context) -> u32 {
        let ttl_ms = command.ttl_ms.unwrap_or(limits::LEASE_DEFAULT_MS);
        self.insert_session(ttl_ms, Some(cx.after(ttl_ms)), command.owner.clone(), true, cx)
    }

    /// A session for an acquire that waits: its lease starts with the grant, for nobody knows it before.
    pub(super) fn start_waiting_session(&mut self, command: &Acquire, cx: &mut Context) -> u32 {
        let ttl_ms = command.ttl_ms.unwrap_or(limits::LEASE_DEFAULT_MS);
        self.insert_session(ttl_ms, None, command.owner.clone(), true, cx)
    }

    /// An acquire names the session and a lease: that is its lease from now on.
    pub(super) fn use_session(&mut self, row: u32, ttl_ms: Option<u64>, cx: &mut Context) {
        let Some(ttl_ms) = ttl_ms else { return };
        self.session_mut(row).ttl_ms = ttl_ms;
        self.renew(row, cx);
    }

    /// Starts the lease anew; returns its length, ms.
    pub(super) fn renew(&mut self, row: u32, cx: &mut Context) -> u64 {
        let session = self.session(row);
        let (ttl_ms, before) = (session.ttl_ms, session.deadline_ms);
        let Some(before) = before else { return ttl_ms };
        let deadline_ms = cx.after(ttl_ms);
        if deadline_ms != before && !bugs::is_on(Bug::RenewalForgotten) {
            cx.timers.clear(before, Timer::Session(row));
            cx.timers.set(deadline_ms, Timer::Session(row));
            self.session_mut(row).deadline_ms = Some(deadline_ms);
        }
        ttl_ms
    }

    /// A session that an acquire started ends with its last lock.
    pub(super) fn end_if_idle(&mut self, session: SessionId, cx: &mut Context) {
        let Some(row) = self.sessions.slot(&session) else { return };
        let session = self.session(row);
        if session.implicit && session.held.is_empty() && session.waiters.is_empty() {
            self.end(row, cx);
        }
    }

    /// Ends a session: its waits end, its locks go to who is next. Returns how many locks it held.
    fn end(&mut self, row: u32, cx: &mut Context) -> u32 {
        let session = self.session_mut(row);
        let id = session.id;
        let (held, waiters) = (std::mem::take(&mut session.held), std::mem::take(&mut session.waiters));
        let mut changed: BTreeSet<u32> = held.clone();
        for waiter in waiters {
            changed.extend(self.give_up(waiter, Error::SessionExpired.into(), cx));
        }
        for &lock in &held {
            self.lock_mut(lock).holders.retain(|holder| holder.session != id);
        }
        // A wait that started the session has taken it along.
        if let Some(SessionRow { deadline_ms: Some(at_ms), .. }) = self.sessions.remove(row)
            && cx.timers.is_set(at_ms, Timer::Session(row))
        {
            cx.timers.clear(at_ms, Timer::Session(row));
        }
        self.pump(changed, cx);
        u32::try_from(held.len()).unwrap_or(u32::MAX)
    }

    /// Refuses what would fill the machine's memory.
    pub(super) fn check_room(&self, sessions: usize, locks: usize) -> Result<(), Error> {
        for (what, more, stored, most) in [
            ("sessions", sessions, self.sessions.len(), limits::SESSIONS),
            ("locks", locks, self.locks.len(), limits::LOCKS),
        ] {
            if more > 0 && stored.saturating_add(more) > most {
                return Err(Error::Full { what: what.into() });
            }
        }
        Ok(())
    }

    fn insert_session(
        &mut self,
        ttl_ms: u64,
        deadline_ms: Option<u64>,
        owner: Option<Box<str>>,
        implicit: bool,
        cx: &mut Context,
    ) -> u32 {
        // Shaped as a version 4 UUID (RFC 9562), as all ids that clients see. Entropy drawn twice must not
        // stop the machine: the next free id is as secret.
        let mut id = SessionId(uuid_v4(cx.entropy));
        while self.sessions.slot(&id).is_some() {
            id = SessionId(uuid_v4(id.0.wrapping_add(1)));
        }
        let row = self.sessions.insert(SessionRow {
            id,
            ttl_ms,
            deadline_ms,
            owner,
            implicit,
            held: BTreeSet::new(),
            waiters: BTreeSet::new(),
            wanted: 0,
        });
        if let Some(at_ms) = deadline_ms {
            cx.timers.set(at_ms, Timer::Session(row));
        }
        row
    }
}

/// Refuses a label that is too long to show.
pub(super) fn check_label(field: &str, label: Option<&str>) -> Result<(), Error> {
    if label.is_none_or(|label| label.len() <= limits::LABEL_BYTES) {
        return Ok(());
    }
    Err(Error::OutOfBounds { field: field.into(), bounds: format!("at most {} bytes", limits::LABEL_BYTES).into() })
}

/// Refuses a lease that is too short to be renewed or too long to be one.
pub(super) fn check_ttl(ttl_ms: u64) -> Result<(), Error> {
    if (limits::LEASE_MIN_MS..=limits::LEASE_MAX_MS).contains(&ttl_ms) {
        return Ok(());
    }
    let bounds = format!("{} to {} ms", limits::LEASE_MIN_MS, limits::LEASE_MAX_MS);
    Err(Error::OutOfBounds { field: "ttl_ms".into(), bounds: bounds.into() })
}

/// Sets the version and variant bits of random ones.
fn uuid_v4(random: u128) -> u128 {
    random & !(0xF << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62
}
