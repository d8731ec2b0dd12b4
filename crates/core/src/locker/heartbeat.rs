//! Renews a session's lease, if it still holds the lock.

use super::{HeartbeatLock, Locker, Outcome};
use crate::{Context, Reply};

impl Locker {
    pub(super) fn heartbeat_lock(&mut self, command: &HeartbeatLock, cx: &mut Context) -> Reply {
        self.find_grant(command.lock, command.session, command.token, cx.now_ms)?;
        let row = self.sessions.slot(&command.session).expect("a holder's session is stored");
        let expires_in_ms = self.renew(row, cx);
        Ok(Outcome::Renewed { expires_in_ms }.into())
    }
}
