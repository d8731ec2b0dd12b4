//! Every deadline of the machine in one table, and every kind of deadline in one enum.

use std::collections::BTreeSet;

/// What happens when its time has come. The `u32` is the slot of the row concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A session's lease ends.
    Session(u32),
    /// A lock waiter's patience ends.
    LockWait(u32),
    /// A hold's lease ends.
    Hold(u32),
    /// A waiting increment's patience ends.
    IncrementWait(u32),
    /// A delivered item's lease ends.
    ItemLease(u32),
    /// A delayed item becomes due.
    ItemDue(u32),
    /// An item expires.
    ItemExpiry(u32),
    /// A waiting consumer's patience ends.
    ConsumerWait(u32),
    /// A background action (queue delete, purge, redrive) takes its next step.
    QueueStep(u32),
}

/// Deadlines in order. A row stores its own deadline; this table is derived and rebuilt on restore.
#[derive(Debug, Default)]
pub struct Timers {
    due: BTreeSet<(u64, Timer)>,
}

impl Timers {
    /// Adds a deadline, ms since the Unix epoch.
    pub fn set(&mut self, at_ms: u64, timer: Timer) {
        self.due.insert((at_ms, timer));
    }

    /// Removes a deadline; `at_ms` must be what it was set to.
    pub fn clear(&mut self, at_ms: u64, timer: Timer) {
        let was_set = self.due.remove(&(at_ms, timer));
        debug_assert!(was_set, "cleared a timer that was not set: {timer:?} at {at_ms}");
    }

    /// Whether this deadline is set; one that is being fired is not.
    #[must_use]
    pub fn is_set(&self, at_ms: u64, timer: Timer) -> bool {
        self.due.contains(&(at_ms, timer))
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    /// Takes the earliest deadline at or before `now_ms`.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<(u64, Timer)> {
        if self.next_ms()? > now_ms {
            return None;
        }
        self.due.pop_first()
    }

    /// How many deadlines are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// True when no deadline is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}
