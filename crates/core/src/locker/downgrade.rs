//! Turns an exclusive lock into a shared one, without letting go: others may share it at once.

use super::{Downgrade, Error, Grant, Locker, Mode, Outcome};
use crate::{Context, Reply};

impl Locker {
    pub(super) fn downgrade(&mut self, command: &Downgrade, cx: &mut Context) -> Reply {
        let (row, holder) = self.find_grant(command.lock, command.session, command.token, cx.now_ms)?;
        let lock = self.lock_mut(row);
        let holder = &mut lock.holders[holder];
        match holder.mode {
            Mode::Exclusive | Mode::Shared => (holder.mode, holder.upgraded) = (Mode::Shared, None),
            Mode::Semaphore { .. } => return Err(Error::ModeMismatch { lock: command.lock }.into()),
        }
        let grant = Grant { lock: command.lock, token: holder.token, mode: holder.mode, depth: holder.depth };
        self.pump([row], cx);
        Ok(Outcome::Downgraded(grant).into())
    }
}
