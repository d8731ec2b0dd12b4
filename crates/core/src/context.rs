//! What every command may use beside its own service's state.

use willow_model::Revision;

use crate::{Effect, Reply, WaiterId, timer::Timers};

/// Machine-wide state handed to each service: time, revisions, timers, effects.
#[derive(Debug, Default)]
pub struct Context {
    /// Machine time, ms since the Unix epoch. Never goes back; may lag the batch while timers are due.
    pub now_ms: u64,
    /// Newest time a batch told, ms since the Unix epoch: ahead of `now_ms` while too many deadlines are due
    /// for one batch. Leases start here, or that lag would shorten them.
    pub(crate) clock_ms: u64,
    /// Random bits of the envelope being applied.
    pub entropy: u128,
    /// Deadlines.
    pub timers: Timers,
    pub(crate) revision: u64,
    pub(crate) next_waiter: u64,
    /// Waits that are open, to bound them.
    pub(crate) waiters: usize,
    pub(crate) effects: Vec<Effect>,
    /// Waits that ended in this apply, for the record of request ids.
    pub(crate) resolved: Vec<(WaiterId, Reply)>,
}

impl Context {
    /// A revision that was never given out before: the fencing token of what is created or granted now.
    pub fn next_revision(&mut self) -> Revision {
        self.revision += 1;
        Revision(self.revision)
    }

    /// The newest revision given out.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// A name for a new waiting command, or `None` when [`crate::limits::WAITERS`] wait already.
    pub fn new_waiter(&mut self) -> Option<WaiterId> {
        if self.waiters >= crate::limits::WAITERS {
            return None;
        }
        self.waiters += 1;
        self.next_waiter += 1;
        Some(WaiterId(self.next_waiter))
    }

    /// Ends a wait with its final answer.
    pub fn resolve(&mut self, waiter: WaiterId, reply: Reply) {
        debug_assert!(self.waiters > 0, "a wait ended twice");
        self.waiters -= 1;
        self.resolved.push((waiter, reply));
    }

    /// Asks something of the edge.
    pub fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The deadline `ms` from now, saturating: deadlines past the end of time never come.
    #[must_use]
    pub fn after(&self, ms: u64) -> u64 {
        self.now_ms.max(self.clock_ms).saturating_add(ms)
    }
}
