//! Takes from what no hold accounts for.

use super::{Decrement, Error, Limiter, Outcome, counters::Change, increment::check_amount, rows::Counter};
use crate::{Context, Reply};

impl Limiter {
    pub(super) fn decrement(&mut self, command: &Decrement, cx: &mut Context) -> Reply {
        check_amount(command.amount)?;
        let slot = self.counters.rows.slot(&Counter::id_of(&command.key_values)).ok_or(Error::NoSuchCounter)?;
        let available = self.counters.row(slot).free;
        if command.amount > available {
            return Err(Error::Underflow { available }.into());
        }
        let mut view = self.counter_view(slot);
        let gained = self.take(slot, Change::free(command.amount), cx);
        view.amount -= command.amount;
        view.revision = cx.revision();
        // Those who are served now come after: the answer is what this command left.
        self.serve_all(gained, cx);
        Ok(Outcome::Counter(view).into())
    }
}
