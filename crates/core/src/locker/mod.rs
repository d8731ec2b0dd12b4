//! Locker: exclusive, shared and semaphore locks on key values, with sessions, leases and FIFO waits.
//!
//! ```text
//!  Session ── lease ── held locks, waits          Lock ── holders (token, mode, depth)
//!     │ ends: waits end, locks go                   └──── line: waiters, next first
//!     ▼                                                       │
//!  every lock that changed ──► pump: is the next in line ◄────┘
//!                              first in *all* its lines, and compatible there?
//!                              then it is granted, and its other lines are pumped too
//! ```
//! Nobody overtakes a line. An acquire of several locks is in all their lines at once, in one order of
//! arrival, and holds nothing while it waits: so waiters never block each other in a circle. What a session
//! holds already it may take once more past any line, for that line waits for it.

mod acquire;
mod command;
mod downgrade;
mod error;
mod force_release;
mod grant;
mod heartbeat;
mod outcome;
mod refresh;
mod release;
mod rows;
mod session;
mod view;
mod wait;

pub use command::*;
pub use error::Error;
pub use outcome::*;

use willow_model::{
    Id, Kind,
    bugs::{self, Bug},
};
use willow_query::{Index, Options, Query};

use crate::{
    Context, Reply, WaiterId, cursor,
    table::{Snapshot, Table},
    timer::Timer,
};
use rows::{Lock, SessionRow, Waiter};

/// All locks, sessions and lines of one machine.
#[derive(Debug, Default)]
pub struct Locker {
    sessions: Table<SessionRow>,
    locks: Table<Lock>,
    waiters: Table<Waiter>,
    /// Derived: locks by their key values.
    index: LockIndex,
}

#[derive(Debug)]
struct LockIndex(Index);

impl Default for LockIndex {
    fn default() -> Self {
        Self(Index::new(Options::default()))
    }
}

impl Locker {
    pub(crate) fn apply(&mut self, command: Command, cx: &mut Context) -> Reply {
        match command {
            Command::CreateSession(command) => self.create_session(command, cx),
            Command::Acquire(command) => self.acquire(command, cx),
            Command::Release(command) => self.release(&command, cx),
            Command::Downgrade(command) => self.downgrade(&command, cx),
            Command::HeartbeatLock(command) => self.heartbeat_lock(&command, cx),
            Command::HeartbeatSession(command) => self.heartbeat_session(&command, cx),
            Command::EndSession(command) => self.end_session(&command, cx),
            Command::ForceRelease(command) => self.force_release(command, cx),
        }
    }

    /// Locks in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locks.len()
    }

    /// True when no lock is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    /// Sessions alive.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Acquires in line.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Who waits.
    pub(crate) fn waits(&self) -> impl Iterator<Item = WaiterId> {
        self.waiters.iter().map(|(_, waiter)| waiter.id)
    }

    pub(crate) fn next_after(&self, query: &Query, after: Option<Id>) -> Result<Option<Id>, cursor::Error> {
        cursor::next_after(&self.index.0, query, after)
    }

    /// Tables with their snapshot tags.
    pub(crate) fn tables(&mut self) -> Vec<(u8, &mut dyn Snapshot)> {
        vec![(10, &mut self.sessions), (11, &mut self.locks), (12, &mut self.waiters)]
    }

    /// Rebuilds lines, what sessions hold, deadlines and the index.
    pub(crate) fn rebuild(&mut self, cx: &mut Context) {
        let rows: Vec<u32> = self.sessions.iter().map(|(row, _)| row).collect();
        for row in rows {
            if let Some(at_ms) = self.session(row).deadline_ms {
                cx.timers.set(at_ms, Timer::Session(row));
            }
        }
        let mut held = Vec::new();
        for (row, lock) in self.locks.iter() {
            self.index.0.insert(row, lock.id, &lock.key_values, &[]);
            held.extend(lock.holders.iter().map(|holder| (holder.session, row)));
        }
        for (session, lock) in held {
            let session = self.sessions.slot(&session).expect("a holder's session is stored");
            self.session_mut(session).held.insert(lock);
        }
        let rows: Vec<u32> = self.waiters.iter().map(|(row, _)| row).collect();
        for row in rows {
            if bugs::is_on(Bug::WaiterNotRestored) {
                continue;
            }
            self.link_waiter(row, cx);
            cx.waiters += 1;
        }
    }

    fn session(&self, row: u32) -> &SessionRow {
        self.sessions.get(row).expect("the caller's session is stored")
    }

    fn session_mut(&mut self, row: u32) -> &mut SessionRow {
        self.sessions.get_mut(row).expect("the caller's session is stored")
    }

    fn lock(&self, row: u32) -> &Lock {
        self.locks.get(row).expect("the caller's lock is stored")
    }

    fn lock_mut(&mut self, row: u32) -> &mut Lock {
        self.locks.get_mut(row).expect("the caller's lock is stored")
    }

    fn waiter(&self, row: u32) -> &Waiter {
        self.waiters.get(row).expect("a waiter in line is stored")
    }

    /// The session's row, if its lease has not ended. One that ends at this very moment has: its deadline
    /// is about to be fired, and must not be put off any more.
    fn live_session(&self, id: SessionId, now_ms: u64) -> Result<u32, Error> {
        let row = self.sessions.slot(&id).ok_or(Error::SessionExpired)?;
        if self.session(row).is_over(now_ms) { Err(Error::SessionExpired) } else { Ok(row) }
    }

    /// The lock's row; it comes into being with the first who holds or waits.
    fn lock_row(&mut self, id: Id, key_values: &willow_model::KeyValues, cx: &mut Context) -> u32 {
        if let Some(row) = self.locks.slot(&id) {
            return row;
        }
        let row = self.locks.insert(Lock {
            id,
            key_values: key_values.clone(),
            revision: cx.next_revision(),
            newest: None,
            holders: Vec::new(),
            line: std::collections::BTreeSet::new(),
        });
        self.index.0.insert(row, id, key_values, &[]);
        row
    }

    /// Nothing held and nobody waiting: the lock is gone.
    fn drop_if_unused(&mut self, row: u32) {
        if self.locks.get(row).is_some_and(Lock::is_unused) {
            self.index.0.remove(row);
            self.locks.remove(row);
        }
    }
}

/// The id of a lock.
#[must_use]
pub fn id(key_values: &willow_model::KeyValues) -> Id {
    Id::derive(Kind::Lock, None, key_values.as_bytes())
}
