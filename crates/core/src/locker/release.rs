//! Gives back a lock.

use super::{Locker, Outcome, Release};
use crate::{Context, Reply};

impl Locker {
    pub(super) fn release(&mut self, command: &Release, cx: &mut Context) -> Reply {
        let (lock, holder) = self.find_grant(command.lock, command.session, command.token, cx.now_ms)?;
        let depth = self.take_back(lock, holder);
        if depth == 0 {
            self.pump([lock], cx);
            self.end_if_idle(command.session, cx);
        }
        Ok(Outcome::Released { depth }.into())
    }
}
