//! Takes a lock away from everyone who holds it. Their sessions live on and find out by heartbeat.

use super::{Error, ForceRelease, Locker, Outcome, session::check_label};
use crate::{Context, Effect, Reply, effect::Audit};

impl Locker {
    pub(super) fn force_release(&mut self, command: ForceRelease, cx: &mut Context) -> Reply {
        check_label("by", command.by.as_deref())?;
        check_label("reason", command.reason.as_deref())?;
        let lock = command.lock;
        let row = self.locks.slot(&lock).ok_or(Error::NoSuchLock { lock })?;
        let holders = std::mem::take(&mut self.lock_mut(row).holders);
        for holder in &holders {
            if let Some(session) = self.sessions.slot(&holder.session) {
                self.session_mut(session).held.remove(&row);
            }
        }
        cx.effect(Effect::Audit(Audit {
            time_ms: cx.now_ms,
            action: "lock.force_release",
            resource: lock,
            by: command.by,
            reason: command.reason,
        }));
        self.pump([row], cx);
        Ok(Outcome::Forced { holders: u32::try_from(holders.len()).unwrap_or(u32::MAX) }.into())
    }
}
