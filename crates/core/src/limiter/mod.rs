//! Limiter: rules with `any`, overrides, counters, holds, and the reason for every verdict.
//!
//! ```text
//!  increment, claim ──► Catalogue: two tries give the limits the counter falls under
//!                           │           (rules without a matching override, and all matching overrides)
//!                           ▼
//!                       Buckets: usage per limit and tuple of values, kept as counters change
//!                           │
//!           all pass ◄──────┴──────► one is in the way
//!              │                        │
//!     Counters: free + held        deny all that block │ wait in the line of the first │ park (queue)
//!              │                                             ▲                              ▲
//!  decrement, release, expiry ──► room in buckets ──► serve the lines ──────────► tell the queue
//! ```
//! Rows are rules, overrides, counters, holds, waiters, and the names of buckets that the queue
//! watches. Tries, indexes, buckets and lines are derived, and rebuilt after a restore.
//!
//! **Invariants.** A bucket's usage is the sum of its counters, whatever rule came or went. No
//! admission takes a bucket past its limit. A waiter stands in one line, and the head of a line has
//! no room there. A watched bucket that gains room is reported.

mod admission;
mod bucket;
mod catalogue;
mod command;
mod counters;
mod create_override;
mod create_rule;
mod decrement;
mod delete_override;
mod delete_rule;
mod error;
mod explain;
mod heartbeat_hold;
mod increment;
mod line;
mod outcome;
mod refresh;
mod release_hold;
mod rows;
mod set_counter;
mod update_override;
mod update_rule;
mod views;
mod watch;

pub use command::*;
pub use error::Error;
pub use outcome::*;

use std::collections::BTreeMap;

use willow_model::Id;

use crate::{
    Context, Reply, WaiterId,
    table::{Snapshot, Table},
    timer::Timer,
};

/// Names a bucket: derived from its rule or override and the values it stands for. A bucket gets a
/// new name when what is parked under it may fall under other limits.
pub type BucketId = Id;

/// All rules, overrides, counters, buckets and lines of one machine.
#[derive(Debug, Default)]
pub struct Limiter {
    catalogue: catalogue::Catalogue,
    counters: counters::Counters,
    waiters: Table<rows::Waiter>,
    watched: Table<rows::Watched>,
    /// Derived, like all below.
    buckets: bucket::Buckets,
    /// Buckets that the queue knows by name.
    names: BTreeMap<BucketId, u32>,
    /// Named since the last report.
    fresh: Vec<BucketId>,
    /// For the next report.
    opened: Vec<watch::Opened>,
}

impl Limiter {
    pub(crate) fn apply(&mut self, command: Command, cx: &mut Context) -> Reply {
        match command {
            Command::CreateRule(command) => self.create_rule(command, cx),
            Command::UpdateRule(command) => self.update_rule(command, cx),
            Command::DeleteRule(command) => self.delete_rule(command, cx),
            Command::CreateOverride(command) => self.create_override(command, cx),
            Command::UpdateOverride(command) => self.update_override(command, cx),
            Command::DeleteOverride(command) => self.delete_override(command, cx),
            Command::Increment(command) => self.increment(command, cx),
            Command::Decrement(command) => self.decrement(&command, cx),
            Command::SetCounter(command) => self.set_counter(&command, cx),
            Command::HeartbeatHold(command) => self.heartbeat_hold(&command, cx),
            Command::ReleaseHold(command) => self.release_hold(&command, cx),
        }
    }

    /// Who waits.
    pub(crate) fn waits(&self) -> impl Iterator<Item = WaiterId> {
        self.waiters.iter().map(|(_, waiter)| waiter.id)
    }

    pub(crate) fn tables(&mut self) -> Vec<(u8, &mut dyn Snapshot)> {
        vec![
            (20, &mut self.catalogue.rules),
            (21, &mut self.catalogue.overrides),
            (22, &mut self.counters.rows),
            (23, &mut self.counters.holds),
            (24, &mut self.waiters),
            (25, &mut self.watched),
        ]
    }

    pub(crate) fn rebuild(&mut self, cx: &mut Context) {
        self.catalogue.rebuild();
        self.rebuild_counters();
        for (slot, hold) in self.counters.holds.iter() {
            self.counters.ends.insert((hold.counter, hold.expires_ms, slot));
            cx.timers.set(hold.expires_ms, Timer::Hold(slot));
        }
        self.rebuild_waiters(cx);
        self.rebuild_names();
    }
}

#[cfg(test)]
mod tests;
