//! Lines: joining, leaving, giving up.

use willow_model::Id;

use super::{Acquired, Error, Locker, Outcome, rows::Waiter};
use crate::{Context, Refusal, WaiterId, command::CancelWait, timer::Timer};

impl Locker {
    /// Puts a stored waiter into its lines.
    pub(super) fn link_waiter(&mut self, row: u32, cx: &mut Context) {
        let waiter = self.waiter(row);
        cx.timers.set(waiter.deadline_ms, Timer::LockWait(row));
        let places: Vec<_> = waiter.wants.iter().map(|want| (want.lock, waiter.place(row, want))).collect();
        let session = self.sessions.slot(&waiter.session).expect("a waiter's session is stored");
        let session = self.session_mut(session);
        session.waiters.insert(row);
        session.wanted += places.len();
        for (lock, place) in places {
            self.lock_mut(lock).line.insert(place);
        }
    }

    /// Takes a waiter out of its lines and of the table.
    pub(super) fn unlink_waiter(&mut self, row: u32, cx: &mut Context) -> Waiter {
        let waiter = self.waiters.remove(row).expect("a waiter in line is stored");
        if cx.timers.is_set(waiter.deadline_ms, Timer::LockWait(row)) {
            cx.timers.clear(waiter.deadline_ms, Timer::LockWait(row));
        }
        if let Some(session) = self.sessions.slot(&waiter.session) {
            let session = self.session_mut(session);
            session.waiters.remove(&row);
            session.wanted = session.wanted.saturating_sub(waiter.wants.len());
        }
        for want in &waiter.wants {
            let place = waiter.place(row, want);
            self.lock_mut(want.lock).line.remove(&place);
        }
        waiter
    }

    /// Ends a wait without a grant. The caller pumps the locks that it returns.
    pub(super) fn give_up(&mut self, row: u32, why: Refusal, cx: &mut Context) -> Vec<u32> {
        let waiter = self.unlink_waiter(row, cx);
        cx.resolve(waiter.id, Err(why));
        if waiter.starts_session {
            self.sessions.slot(&waiter.session).and_then(|session| self.sessions.remove(session));
        }
        waiter.wants.iter().map(|want| want.lock).collect()
    }

    /// The waiter in this row has waited long enough.
    pub(crate) fn wait_expired(&mut self, row: u32, cx: &mut Context) {
        let waiter = self.waiter(row);
        let id = waiter.id;
        // All of them are there only if the session ends at this very moment too.
        let missing = waiter.wants.iter().find(|want| !self.is_available(row, want));
        let lock = self.lock(missing.unwrap_or(&waiter.wants[0]).lock).id;
        let why = self.held(lock, Some(id), cx.now_ms).into();
        let changed = self.give_up(row, why, cx);
        self.pump(changed, cx);
    }

    /// Ends a wait whose caller is gone, or undoes what it was granted; nothing if it is not ours.
    pub(crate) fn cancel_wait(&mut self, command: &CancelWait, cx: &mut Context) {
        if let Some(row) = self.waiters.slot(&command.waiter) {
            let changed = self.give_up(row, Refusal::WaitCancelled, cx);
            self.pump(changed, cx);
        } else if let Some(crate::Outcome::Lock(Outcome::Acquired(acquired))) = command.undelivered.as_deref() {
            self.undo(acquired, cx);
        }
    }

    fn undo(&mut self, acquired: &Acquired, cx: &mut Context) {
        for grant in &acquired.locks {
            // Whatever is gone by now needs no undoing.
            if let Ok((lock, holder)) = self.find_grant(grant.lock, acquired.session, Some(grant.token), cx.now_ms) {
                self.undo_grant(lock, holder);
                self.pump([lock], cx);
            }
        }
        self.end_if_idle(acquired.session, cx);
    }

    /// Why a lock cannot be had now, as seen from a place in its line.
    pub(super) fn held(&self, lock: Id, waiter: Option<WaiterId>, now_ms: u64) -> Error {
        let Some(row) = self.locks.by_key(&lock) else {
            return Error::Held { lock, holders: Vec::new(), position: 1, retry_after_ms: None };
        };
        let holders = self.holders(row, now_ms);
        let position = waiter.map_or_else(|| row.position(WaiterId(u64::MAX)), |waiter| row.position(waiter));
        let all_shown = holders.len() == row.holders.len();
        let retry_after_ms = holders.iter().map(|holder| holder.expires_in_ms).min().filter(|_| all_shown);
        Error::Held { lock, holders, position, retry_after_ms }
    }
}
