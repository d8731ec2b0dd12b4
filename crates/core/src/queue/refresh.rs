//! Answers a repeat of a request from the record: what is left of leases as of now, not as of then.

use super::{Command, Delivered, Delivery, Error, Outcome, Queues, rows::State};
use crate::Context;

impl Queues {
    /// Brings a recorded answer up to date: puts the bytes of items back, and leaves out deliveries whose
    /// lease has ended.
    ///
    /// # Errors
    /// [`Error::StaleLease`] when the lease that was extended has ended since.
    pub(crate) fn refresh_answer(
        &self,
        command: &Command,
        answer: &mut crate::Outcome,
        cx: &Context,
    ) -> Result<(), Error> {
        match (command, answer) {
            (_, crate::Outcome::Queue(Outcome::Dequeued(deliveries))) => {
                let running = deliveries.iter().filter_map(|delivery| self.running(delivery, cx));
                *deliveries = running.collect();
            }
            (Command::Extend(extend), crate::Outcome::Queue(Outcome::Extended { expires_in_ms })) => {
                let queue = self.active(&extend.queue)?;
                let slot = self.delivery(queue, &extend.delivered, cx.now_ms)?;
                if let State::InFlight(lease) = &self.item_row(slot).state {
                    *expires_in_ms = lease.expires_ms.saturating_sub(cx.clock_ms);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The same delivery as it is now, if its lease has not ended.
    fn running(&self, delivery: &Delivery, cx: &Context) -> Option<Delivery> {
        let queue = self.channel_row(self.item_row(self.items.slot(&delivery.item)?).channel).queue;
        let delivered = Delivered { item: delivery.item, token: delivery.token };
        self.delivery_view(self.delivery(queue, &delivered, cx.now_ms).ok()?, cx)
    }
}
