//! Answers a repeat of a request from the record: what is left of a hold's lease as of now, not as of then.

use willow_model::Id;

use super::{Command, Error, HoldView, Limiter, Outcome, rows::Hold};
use crate::Context;

impl Limiter {
    /// Brings a recorded answer up to date.
    ///
    /// # Errors
    /// [`Error::NoSuchHold`] when the hold has ended since: what the answer granted is gone.
    pub(crate) fn refresh(&self, command: &Command, answer: &mut crate::Outcome, cx: &Context) -> Result<(), Error> {
        let left = |hold| Ok(self.live_hold(hold, cx.now_ms)?.expires_ms.saturating_sub(cx.clock_ms));
        match (command, answer) {
            (_, crate::Outcome::Limit(Outcome::Incremented(incremented))) => {
                if let Some(HoldView { id, expires_in_ms }) = &mut incremented.hold {
                    *expires_in_ms = left(*id)?;
                }
            }
            (Command::HeartbeatHold(heartbeat), crate::Outcome::Limit(Outcome::Renewed { expires_in_ms })) => {
                *expires_in_ms = left(heartbeat.hold)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The hold, if its lease has not ended. One that ends at this very moment has: its deadline is about to
    /// be fired, and must not be put off any more.
    pub(super) fn live_hold(&self, hold: Id, now_ms: u64) -> Result<&Hold, Error> {
        self.counters.holds.by_key(&hold).filter(|hold| hold.expires_ms > now_ms).ok_or(Error::NoSuchHold)
    }
}
