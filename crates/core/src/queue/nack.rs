//! Nack, release and extend: what a consumer may say of its delivery but that it is done.

use super::{Extend, Nack, Outcome, Queues, Release, rows::State, validate};
use crate::{Context, Reply, limiter::Limiter, timer::Timer};

impl Queues {
    /// The item failed: retry, dead letter, or gone when a newer one waits in its place.
    pub(super) fn nack(&mut self, command: Nack, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        let queue = self.active(&command.queue)?;
        validate::delay("delay_ms", command.delay_ms.unwrap_or(0))?;
        validate::label("reason", command.reason.as_deref())?;
        let slot = self.delivery(queue, &command.delivered, cx.now_ms)?;
        self.end_delivery(slot, false, limiter, cx);
        self.item_mut(slot).reason = command.reason;
        let nacked = self.fail(slot, command.delay_ms, command.position, cx, limiter);
        Ok(Outcome::Nacked(nacked).into())
    }

    /// The item goes back to where it stood; no attempt is charged.
    pub(super) fn release(&mut self, command: &Release, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        let queue = self.active(&command.queue)?;
        let slot = self.delivery(queue, &command.delivered, cx.now_ms)?;
        self.end_delivery(slot, false, limiter, cx);
        self.hand_back(slot, cx, limiter);
        Ok(Outcome::Released.into())
    }

    /// The lease runs from now again.
    pub(super) fn extend(&mut self, command: &Extend, cx: &mut Context) -> Reply {
        let queue = self.active(&command.queue)?;
        if let Some(lease_ms) = command.lease_ms {
            validate::lease(lease_ms)?;
        }
        let slot = self.delivery(queue, &command.delivered, cx.now_ms)?;
        let State::InFlight(lease) = &mut self.item_mut(slot).state else {
            return Err(super::Error::StaleLease { item: command.delivered.item }.into());
        };
        cx.timers.clear(lease.expires_ms, Timer::ItemLease(slot));
        lease.lease_ms = command.lease_ms.unwrap_or(lease.lease_ms);
        lease.expires_ms = cx.after(lease.lease_ms);
        cx.timers.set(lease.expires_ms, Timer::ItemLease(slot));
        Ok(Outcome::Extended { expires_in_ms: lease.lease_ms }.into())
    }
}
