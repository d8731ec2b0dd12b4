//! Who may have a lock now, and handing it out.

use std::collections::BTreeSet;

use willow_model::{
    Id, Revision,
    bugs::{self, Bug},
};

use super::{
    Error, Grant, Locker, Mode, Outcome, SessionId,
    rows::{Holder, Lock, Shared, Want},
};
use crate::{Context, limits, timer::Timer};

/// Can a session have a lock in some mode, as things stand?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Yes.
    Free,
    /// It has it already: this grant, counted once more.
    Reenter(usize),
    /// Yes: its shared grant is the only one and becomes exclusive.
    Upgrade,
    /// Not now.
    Blocked,
}

impl Locker {
    /// For a newcomer, who goes behind the line.
    pub(super) fn verdict(&self, lock: Id, mode: Mode, session: Option<SessionId>) -> Result<Verdict, Error> {
        let Some(lock) = self.locks.by_key(&lock) else { return Ok(Verdict::Free) };
        if !self.same_kind(lock, mode) {
            return Err(Error::ModeMismatch { lock: lock.id });
        }
        let verdict = compatible(lock, mode, session);
        let upgrading = mode == Mode::Exclusive && lock.is_shared_by(session);
        if upgrading && verdict == Verdict::Blocked && self.other_upgrades(lock, session) {
            return Err(Error::UpgradeDeadlock { lock: lock.id });
        }
        let barging = bugs::is_on(Bug::BargingNewcomer);
        let line_first = verdict == Verdict::Free && !lock.line.is_empty() && !barging;
        Ok(if line_first { Verdict::Blocked } else { verdict })
    }

    /// Does another session wait to upgrade? A repeat of the session's own upgrade is no deadlock.
    fn other_upgrades(&self, lock: &Lock, session: Option<SessionId>) -> bool {
        let upgrades = lock.line.iter().take_while(|place| !place.not_upgrade);
        upgrades.map(|place| self.waiter(place.row).session).any(|other| Some(other) != session)
    }

    /// Holders and waiters of one lock agree on what it is.
    fn same_kind(&self, lock: &Lock, mode: Mode) -> bool {
        let in_use = lock.holders.first().map(|holder| holder.mode).or_else(|| {
            let place = lock.line.first()?;
            let row = self.locks.slot(&lock.id)?;
            self.waiter(place.row).wants.iter().find(|want| want.lock == row).map(|want| want.mode)
        });
        match (in_use, mode) {
            (None, _) => true,
            (Some(Mode::Semaphore { max_permits, .. }), Mode::Semaphore { max_permits: wanted, .. }) => {
                max_permits == wanted
            }
            (Some(Mode::Semaphore { .. }), _) | (Some(_), Mode::Semaphore { .. }) => false,
            (Some(Mode::Exclusive | Mode::Shared), Mode::Exclusive | Mode::Shared) => true,
        }
    }

    /// Hands a lock to a session; the caller knows that it may have it.
    pub(super) fn give(&mut self, lock: u32, mode: Mode, session: u32, cx: &mut Context) -> Grant {
        let id = self.session(session).id;
        let now_ms = cx.now_ms;
        let row = self.lock_mut(lock);
        let lock_id = row.id;
        let holder = match compatible(row, mode, Some(id)) {
            Verdict::Reenter(index) => {
                let holder = &mut row.holders[index];
                holder.depth = holder.depth.saturating_add(1);
                holder.clone()
            }
            Verdict::Upgrade => {
                let token = cx.next_revision();
                let holder = row.holders.first_mut().expect("an upgrade has its shared grant");
                holder.upgraded = Some(Shared { token: holder.token, depth: holder.depth });
                (holder.mode, holder.token) = (Mode::Exclusive, token);
                holder.depth = holder.depth.saturating_add(1);
                row.newest = Some(token);
                holder.clone()
            }
            Verdict::Free | Verdict::Blocked => {
                let per_lock =
                    bugs::is_on(Bug::TokenPerLock).then(|| Revision(row.newest.map_or(1, |token| token.0 + 1)));
                let token = per_lock.unwrap_or_else(|| cx.next_revision());
                let holder = Holder { session: id, mode, token, depth: 1, since_ms: now_ms, upgraded: None };
                row.holders.push(holder.clone());
                row.newest = Some(token);
                holder
            }
        };
        self.session_mut(session).held.insert(lock);
        Grant { lock: lock_id, token: holder.token, mode: holder.mode, depth: holder.depth }
    }

    /// Grants whatever can be granted after these locks changed, and drops those that nobody uses.
    ///
    /// Only the first of each line concerned is looked at, whatever the length of the lines. A grant
    /// concerns the lines that the waiter leaves, and those where its session waits for more.
    pub(super) fn pump(&mut self, changed: impl IntoIterator<Item = u32>, cx: &mut Context) {
        let mut changed: BTreeSet<u32> = changed.into_iter().collect();
        while let Some(lock) = changed.pop_first() {
            while let Some(next) = self.locks.get(lock).and_then(|lock| lock.line.first().copied()) {
                if !self.is_grantable(next.row, cx.now_ms) {
                    break;
                }
                let session = self.waiter(next.row).session;
                changed.extend(self.grant_waiter(next.row, cx));
                changed.extend(self.grant_others_of(session, cx));
                changed.extend(self.wanted_by(session));
            }
            self.drop_if_unused(lock);
        }
    }

    /// A session that waits twice for a lock has it with the first grant: the second wait, wherever it is
    /// in line, must not stand behind those who wait for this very session.
    pub(super) fn grant_others_of(&mut self, session: SessionId, cx: &mut Context) -> Vec<u32> {
        let mut left = Vec::new();
        while let Some(waiter) = self.first_grantable_of(session, cx.now_ms) {
            left.extend(self.grant_waiter(waiter, cx));
        }
        left
    }

    fn first_grantable_of(&self, session: SessionId, now_ms: u64) -> Option<u32> {
        let waiters = &self.sessions.by_key(&session)?.waiters;
        waiters.iter().copied().find(|waiter| self.is_grantable(*waiter, now_ms))
    }

    /// Locks in whose lines the session waits: what it holds newly may be what it waited for.
    pub(super) fn wanted_by(&self, session: SessionId) -> BTreeSet<u32> {
        let waiters = self.sessions.by_key(&session).into_iter().flat_map(|session| &session.waiters);
        waiters.flat_map(|row| self.waiter(*row).wants.iter().map(|want| want.lock)).collect()
    }

    /// Can it have all it wants, and is its session alive? A session whose lease ends at this very moment
    /// is not: its deadline is about to be fired, and the line goes on then.
    fn is_grantable(&self, waiter: u32, now_ms: u64) -> bool {
        let row = self.waiter(waiter);
        let alive = self.sessions.by_key(&row.session).is_some_and(|session| !session.is_over(now_ms));
        let alive = alive || bugs::is_on(Bug::GrantToDeadSession);
        alive && row.wants.iter().all(|want| self.is_available(waiter, want))
    }

    /// First in this line and compatible with who holds the lock? Or holds it already: the line waits for
    /// the session then, and not the other way round.
    pub(super) fn is_available(&self, waiter: u32, want: &Want) -> bool {
        let lock = self.lock(want.lock);
        let is_first = || lock.line.first().is_some_and(|place| place.row == waiter);
        match compatible(lock, want.mode, Some(self.waiter(waiter).session)) {
            Verdict::Reenter(_) => true,
            Verdict::Free | Verdict::Upgrade => is_first(),
            Verdict::Blocked => false,
        }
    }

    /// Grants it, and returns the locks whose lines it left.
    fn grant_waiter(&mut self, waiter: u32, cx: &mut Context) -> Vec<u32> {
        let id = self.waiter(waiter).id;
        let row = self.unlink_waiter(waiter, cx);
        let session = self.sessions.slot(&row.session).expect("an ended session's waiters are gone");
        if row.starts_session {
            let deadline_ms = cx.after(self.session(session).ttl_ms);
            self.session_mut(session).deadline_ms = Some(deadline_ms);
            cx.timers.set(deadline_ms, Timer::Session(session));
        }
        let grants = row.wants.iter().map(|Want { lock, mode, .. }| self.give(*lock, *mode, session, cx)).collect();
        let acquired = self.acquired(session, grants, cx.clock_ms);
        cx.resolve(id, Ok(Outcome::Acquired(acquired).into()));
        row.wants.iter().map(|want| want.lock).collect()
    }

    /// Counts one acquire less; returns how many are left.
    pub(super) fn take_back(&mut self, lock: u32, holder: usize) -> u32 {
        let row = self.lock_mut(lock);
        let held = &mut row.holders[holder];
        held.depth = held.depth.saturating_sub(1);
        held.upgraded = held.upgraded.and_then(|shared| {
            let depth = shared.depth.saturating_sub(1);
            (depth > 0).then_some(Shared { depth, ..shared })
        });
        let (depth, session) = (held.depth, held.session);
        if depth == 0 {
            row.holders.remove(holder);
            let still = row.holders.iter().any(|holder| holder.session == session);
            if let Some(session) = self.sessions.slot(&session).filter(|_| !still) {
                self.session_mut(session).held.remove(&lock);
            }
        }
        depth
    }

    /// Undoes one acquire that its caller never heard of. When it was the last on top of a shared grant, that
    /// is what is left, under its own token: the only one the caller knows. The newest token stays.
    pub(super) fn undo_grant(&mut self, lock: u32, holder: usize) {
        let held = &mut self.lock_mut(lock).holders[holder];
        match held.upgraded {
            Some(Shared { token, depth }) if held.depth > depth => {
                held.depth -= 1;
                if held.depth == depth {
                    (held.mode, held.token, held.upgraded) = (Mode::Shared, token, None);
                }
            }
            _ => {
                self.take_back(lock, holder);
            }
        }
    }

    /// The grant that a session's call is about.
    pub(super) fn find_grant(
        &self,
        lock: Id,
        session: SessionId,
        token: Option<Revision>,
        now_ms: u64,
    ) -> Result<(u32, usize), Error> {
        self.live_session(session, now_ms)?;
        let row = self.locks.slot(&lock).ok_or(Error::NoSuchLock { lock })?;
        if let Some(holder) = self.lock(row).holder(session, token) {
            return Ok((row, holder));
        }
        let held = self.lock(row).holder(session, None).is_some();
        Err(if held { Error::StaleToken { lock } } else { Error::NotHeld { lock } })
    }
}

/// Compatible with who holds the lock now, whoever waits?
fn compatible(lock: &Lock, mode: Mode, session: Option<SessionId>) -> Verdict {
    let own = session.and_then(|session| lock.holders.iter().position(|holder| holder.session == session));
    let is_full = lock.holders.len() >= limits::HOLDERS_PER_LOCK;
    match (mode, own) {
        (Mode::Semaphore { permits, max_permits }, _) => {
            let taken: u64 = lock.holders.iter().map(|holder| permits_of(holder.mode)).sum();
            let fits = taken + u64::from(permits) <= u64::from(max_permits);
            if fits && !is_full { Verdict::Free } else { Verdict::Blocked }
        }
        (Mode::Shared, Some(own)) => Verdict::Reenter(own),
        (Mode::Exclusive, Some(own)) if lock.holders[own].mode == Mode::Exclusive => Verdict::Reenter(own),
        (Mode::Exclusive, Some(_)) if lock.holders.len() == 1 => Verdict::Upgrade,
        (Mode::Exclusive, Some(_)) => Verdict::Blocked,
        (Mode::Exclusive, None) if lock.holders.is_empty() => Verdict::Free,
        (Mode::Exclusive, None) => Verdict::Blocked,
        (Mode::Shared, None) => {
            // An exclusive holder is alone, so the first one speaks for all.
            let shared = lock.holders.first().is_none_or(|holder| holder.mode == Mode::Shared);
            if shared && !is_full { Verdict::Free } else { Verdict::Blocked }
        }
    }
}

fn permits_of(mode: Mode) -> u64 {
    match mode {
        Mode::Semaphore { permits, .. } => permits.into(),
        Mode::Exclusive | Mode::Shared => 0,
    }
}
