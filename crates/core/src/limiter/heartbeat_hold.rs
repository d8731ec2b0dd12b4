//! Renews a hold's lease.

use super::{Error, HeartbeatHold, Limiter, Outcome, increment::check_ttl};
use crate::{Context, Reply, timer::Timer};

impl Limiter {
    pub(super) fn heartbeat_hold(&mut self, command: &HeartbeatHold, cx: &mut Context) -> Reply {
        command.ttl_ms.map_or(Ok(()), check_ttl)?;
        self.live_hold(command.hold, cx.now_ms)?;
        let slot = self.counters.holds.slot(&command.hold).ok_or(Error::NoSuchHold)?;
        let hold = self.counters.holds.get_mut(slot).expect("its slot was just found");
        let before_ms = hold.expires_ms;
        hold.ttl_ms = command.ttl_ms.unwrap_or(hold.ttl_ms);
        hold.expires_ms = cx.after(hold.ttl_ms);
        let (counter, ttl_ms, expires_ms) = (hold.counter, hold.ttl_ms, hold.expires_ms);
        cx.timers.clear(before_ms, Timer::Hold(slot));
        cx.timers.set(expires_ms, Timer::Hold(slot));
        self.counters.ends.remove(&(counter, before_ms, slot));
        self.counters.ends.insert((counter, expires_ms, slot));
        Ok(Outcome::Renewed { expires_in_ms: ttl_ms }.into())
    }
}
