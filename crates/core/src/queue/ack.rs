//! Ack: items are done.

use super::{Ack, Delivered, Error, Outcome, Queues, validate};
use crate::{Context, Reply, limiter::Limiter};

impl Queues {
    pub(super) fn ack(&mut self, command: &Ack, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        let queue = self.active(&command.queue)?;
        validate::batch("items", command.items.len())?;
        let answers = command.items.iter().map(|delivered| self.ack_one(queue, delivered, limiter, cx));
        Ok(Outcome::Acked(answers.collect()).into())
    }

    fn ack_one(
        &mut self,
        queue: u32,
        delivered: &Delivered,
        limiter: &mut Limiter,
        cx: &mut Context,
    ) -> Result<(), Error> {
        let slot = self.delivery(queue, delivered, cx.now_ms)?;
        self.end_delivery(slot, false, limiter, cx);
        if let Some(item) = self.drop_ended(slot, cx) {
            self.refresh(item.channel, limiter);
        }
        Ok(())
    }
}
