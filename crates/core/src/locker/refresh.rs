//! Answers a repeat of a request from the record: what is left of a lease as of now, not as of then.

use super::{Acquired, Command, Error, Locker, Outcome, Session, SessionId};
use crate::Context;

impl Locker {
    /// Brings a recorded answer up to date.
    ///
    /// # Errors
    /// [`Error::SessionExpired`] when the session has ended since: what the answer granted is gone.
    pub(crate) fn refresh(&self, command: &Command, answer: &mut crate::Outcome, cx: &Context) -> Result<(), Error> {
        let left = |session| Ok(self.session(self.live_session(session, cx.now_ms)?).expires_in_ms(cx.clock_ms));
        match answer {
            crate::Outcome::Lock(Outcome::Session(Session { session, expires_in_ms }))
            | crate::Outcome::Lock(Outcome::Acquired(Acquired { session, expires_in_ms, .. })) => {
                *expires_in_ms = left(*session)?;
            }
            crate::Outcome::Lock(Outcome::Renewed { expires_in_ms }) => {
                if let Some(session) = renewed(command) {
                    *expires_in_ms = left(session)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whose lease the command renewed.
fn renewed(command: &Command) -> Option<SessionId> {
    match command {
        Command::HeartbeatLock(command) => Some(command.session),
        Command::HeartbeatSession(command) => Some(command.session),
        _ => None,
    }
}
