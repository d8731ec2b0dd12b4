//! Locker: exclusive, shared and semaphore locks on key values, with sessions, leases and FIFO waits.

mod command;
mod error;
mod outcome;

pub use command::*;
pub use error::Error;
pub use outcome::*;

use willow_model::Id;
use willow_query::Query;

use crate::{Context, Reply, command::CancelWait, cursor, machine::{Listing, Lookup}, table::Snapshot};

/// All locks, sessions and lines of one machine.
#[derive(Debug, Default)]
pub struct Locker {}

impl Locker {
    pub(crate) fn apply(&mut self, _command: Command, _cx: &mut Context) -> Reply {
        Err(Error::SessionExpired.into())
    }
    /// The session in this row has lived out its lease.
    pub(crate) fn session_expired(&mut self, _slot: u32, _cx: &mut Context) {}
    /// The waiter in this row has waited long enough.
    pub(crate) fn wait_expired(&mut self, _slot: u32, _cx: &mut Context) {}
    /// Ends a wait whose caller is gone, or undoes what it was granted; nothing if it is not ours.
    pub(crate) fn cancel_wait(&mut self, _command: &CancelWait, _cx: &mut Context) {}
    pub(crate) fn next_after(&self, _query: &Query, _after: Option<Id>) -> Result<Option<Id>, cursor::Error> {
        Ok(None)
    }
    pub(crate) fn tables(&mut self) -> Vec<(u8, &mut dyn Snapshot)> {
        vec![]
    }
    pub(crate) fn rebuild(&mut self, _cx: &mut Context) {}

    /// One page of the locks that match.
    ///
    /// # Errors
    /// When the query cannot be used here.
    pub fn query(&self, _query: &Query, _lookup: Lookup<'_>) -> Result<Listing<View>, willow_query::Error> {
        Ok(Listing { items: vec![], next_page_token: None, count: None, plan: None })
    }

    /// One lock.
    #[must_use]
    pub fn get(&self, _lock: Id, _lookup: Lookup<'_>) -> Option<View> {
        None
    }

    /// Is `token` held now?
    #[must_use]
    pub fn validate(&self, _lock: Id, _token: willow_model::Revision, _lookup: Lookup<'_>) -> Validity {
        Validity { valid: false, expires_in_ms: None, newest_token: None }
    }
}
