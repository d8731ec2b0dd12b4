//! Sets what no hold accounts for, without asking any limit: for repair.

use std::cmp::Ordering;

use super::{CounterView, Limiter, Outcome, SetCounter, counters::Change, increment::check_concrete};
use crate::{Context, Reply};

impl Limiter {
    pub(super) fn set_counter(&mut self, command: &SetCounter, cx: &mut Context) -> Reply {
        check_concrete(&command.key_values)?;
        let target = self.target(&command.key_values);
        let (free, held) = target.counter.map_or((0, 0), |slot| {
            let counter = self.counters.row(slot);
            (counter.free, counter.held)
        });
        match command.amount.cmp(&free) {
            Ordering::Greater => {
                let more = command.amount - free;
                self.check_sum(&target, more)?;
                self.add(&target, Change::free(more), cx);
            }
            Ordering::Less => {
                let slot = target.counter.expect("something is counted there");
                let gained = self.take(slot, Change::free(free - command.amount), cx);
                let view = self.set_view(&target.key_values, target.id, command.amount, held, cx);
                self.serve_all(gained, cx);
                return Ok(Outcome::Counter(view).into());
            }
            Ordering::Equal => {}
        }
        Ok(Outcome::Counter(self.set_view(&target.key_values, target.id, command.amount, held, cx)).into())
    }

    /// The counter as the command left it, also when that was its end.
    fn set_view(
        &self,
        key_values: &willow_model::KeyValues,
        id: willow_model::Id,
        free: u64,
        held: u64,
        cx: &Context,
    ) -> CounterView {
        match self.counters.rows.slot(&id) {
            Some(slot) => self.counter_view(slot),
            None => CounterView {
                id,
                key_values: key_values.clone(),
                amount: free.saturating_add(held),
                held,
                revision: cx.revision(),
            },
        }
    }
}
