//! Gives a hold back: by its owner, or because its lease has ended. Exactly once.

use willow_model::Id;

use super::{Error, Limiter, Outcome, ReleaseHold};
use crate::{Context, Reply, timer::Timer};

impl Limiter {
    pub(super) fn release_hold(&mut self, command: &ReleaseHold, cx: &mut Context) -> Reply {
        let amount = self.give_back(command.hold, cx).ok_or(Error::NoSuchHold)?;
        Ok(Outcome::Released { amount }.into())
    }

    /// The amount it held, if it is still held.
    pub(super) fn give_back(&mut self, hold: Id, cx: &mut Context) -> Option<u64> {
        let slot = self.counters.holds.slot(&hold)?;
        let expires_ms = self.counters.holds.get(slot)?.expires_ms;
        cx.timers.clear(expires_ms, Timer::Hold(slot));
        self.end_hold(slot, cx)
    }

    /// The hold in this row has lived out its lease.
    pub(crate) fn hold_expired(&mut self, slot: u32, cx: &mut Context) {
        self.end_hold(slot, cx);
    }
}
