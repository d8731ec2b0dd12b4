//! Takes a lock away from everyone who holds it. Their sessions live on and find out by heartbeat.

use super::{Error, ForceRelease, Locker, Outcome};
use crate::{Context, Effect, Reply, effect::Audit};

impl Locker {
    pub(super) fn force_release(&mut self, command: ForceRelease, cx: &mut Context) -> Reply {
        let lock = command.lock;
        let row = self.locks.slot(&lock).ok_or(Error::NoSuchLock { lock })?;
        let holders = self.lock(row).holders.len();
        for holder in (0..holders).rev() {
            self.take_back(row, holder, true);
        }
        cx.effect(Effect::Audit(Audit {
            time_ms: cx.now_ms,
            action: "lock.force_release",
            resource: lock,
            by: command.by,
            reason: command.reason,
        }));
        self.pump([row], cx);
        Ok(Outcome::Forced { holders: u32::try_from(holders).unwrap_or(u32::MAX) }.into())
    }
}
