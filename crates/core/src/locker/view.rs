//! How locks look to a reader. Session secrets never leave.

use willow_model::{Id, Revision};
use willow_query::Query;

use super::{HOLDERS_SHOWN, HolderView, Locker, Validity, View, WAITERS_SHOWN, WaiterView, rows::Lock};
use crate::machine::{Listing, Lookup};

impl Locker {
    /// One page of the locks that match.
    ///
    /// # Errors
    /// When the page token is not of this query.
    pub fn query(&self, query: &Query, lookup: Lookup<'_>) -> Result<Listing<View>, willow_query::Error> {
        lookup.list(&self.index.0, query, b"locks", |row| {
            self.locks.get(row).map(|lock| self.view(row, lock, lookup.now_ms))
        })
    }

    /// One lock.
    #[must_use]
    pub fn get(&self, lock: Id, lookup: Lookup<'_>) -> Option<View> {
        let row = self.locks.slot(&lock)?;
        Some(self.view(row, self.locks.get(row)?, lookup.now_ms))
    }

    /// Is `token` held now?
    #[must_use]
    pub fn validate(&self, lock: Id, token: Revision, lookup: Lookup<'_>) -> Validity {
        let Some(lock) = self.locks.by_key(&lock) else {
            return Validity { valid: false, expires_in_ms: None, newest_token: None };
        };
        let holder = lock.holders.iter().find(|holder| holder.token == token);
        let session = holder.and_then(|holder| self.sessions.by_key(&holder.session));
        // A lease that ends at this very moment is over, though its deadline has not been fired.
        let deadline_ms = session.and_then(|session| session.deadline_ms).filter(|at_ms| *at_ms > lookup.now_ms);
        Validity {
            valid: deadline_ms.is_some(),
            expires_in_ms: deadline_ms.map(|at_ms| at_ms.saturating_sub(lookup.now_ms)),
            newest_token: lock.newest,
        }
    }

    fn view(&self, row: u32, lock: &Lock, now_ms: u64) -> View {
        let waiters = lock.line.iter().take(WAITERS_SHOWN).zip(1..).filter_map(|(place, position)| {
            let waiter = self.waiters.get(place.row)?;
            let want = waiter.wants.iter().find(|want| want.lock == row)?;
            Some(WaiterView {
                owner: self.sessions.by_key(&waiter.session).and_then(|session| session.owner.clone()),
                mode: want.mode,
                waiting_for_ms: now_ms.saturating_sub(waiter.since_ms),
                position,
            })
        });
        View {
            id: lock.id,
            key_values: lock.key_values.clone(),
            revision: lock.revision,
            holders: self.holders(lock, now_ms),
            holding: u32::try_from(lock.holders.len()).unwrap_or(u32::MAX),
            waiters: waiters.collect(),
            waiting: u32::try_from(lock.line.len()).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn holders(&self, lock: &Lock, now_ms: u64) -> Vec<HolderView> {
        let view = |holder: &super::rows::Holder| {
            let session = self.sessions.by_key(&holder.session);
            let deadline_ms = session.and_then(|session| session.deadline_ms).unwrap_or(now_ms);
            HolderView {
                owner: session.and_then(|session| session.owner.clone()),
                mode: holder.mode,
                token: holder.token,
                depth: holder.depth,
                held_for_ms: now_ms.saturating_sub(holder.since_ms),
                expires_in_ms: deadline_ms.saturating_sub(now_ms),
            }
        };
        lock.holders.iter().take(HOLDERS_SHOWN).map(view).collect()
    }
}
