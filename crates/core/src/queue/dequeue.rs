//! Dequeue, and the end of a wait.

use willow_model::limits as model_limits;

use super::{Command, Dequeue, Error, Order, Outcome, Queues, items::mix, rows::Consumer, validate};
use crate::{
    Context, Outcome as AnyOutcome, Refusal, Reply, WaiterId, command::CancelWait, limiter::Limiter, limits,
    timer::Timer,
};

/// How long a dequeue that does not want to wait is searched for, ms.
const SEARCH_MS: u64 = 5000;

impl Queues {
    pub(super) fn dequeue(&mut self, dequeue: Dequeue, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        let queue = self.active(&dequeue.queue)?;
        check(&dequeue)?;
        let entropy = mix(cx.entropy, 0);
        // While a search goes on nobody overtakes those it is for: a newcomer goes behind them, also one that
        // does not want to wait.
        let behind = self.queue_row(queue).searching;
        let taken = if behind { vec![] } else { self.take(queue, &dequeue, entropy, limiter, cx) };
        let searched = !self.queue_row(queue).searching;
        if !taken.is_empty() || (dequeue.wait_ms == 0 && searched) {
            return Ok(Outcome::Dequeued(taken).into());
        }
        let waiter = cx.new_waiter().ok_or(Refusal::TooManyWaiters)?;
        let deadline_ms = cx.after(if dequeue.wait_ms == 0 { SEARCH_MS } else { dequeue.wait_ms });
        let slot = self.consumers.insert(Consumer { waiter, queue, dequeue, deadline_ms, entropy });
        self.link_consumer(slot, cx);
        Ok(AnyOutcome::Waiting(waiter))
    }

    /// Sets up what is derived from a waiting consumer.
    pub(super) fn link_consumer(&mut self, slot: u32, cx: &mut Context) {
        let consumer = self.consumers.get(slot).expect("the caller's consumer is stored");
        let live = self.queues_live[consumer.queue as usize].as_mut().expect("a consumer's queue is stored");
        live.groups.insert(consumer.waiter, &consumer.dequeue, &live.index);
        cx.timers.set(consumer.deadline_ms, Timer::ConsumerWait(slot));
    }

    /// Removes a waiting consumer.
    fn remove_consumer(&mut self, slot: u32) -> Option<Consumer> {
        let consumer = self.consumers.remove(slot)?;
        self.state_mut(consumer.queue).groups.remove(consumer.waiter, &consumer.dequeue);
        Some(consumer)
    }

    /// Ends a wait with a reply.
    pub(super) fn end_wait(&mut self, waiter: WaiterId, reply: Reply, cx: &mut Context) {
        let Some(slot) = self.consumers.slot(&waiter) else { return };
        if let Some(consumer) = self.remove_consumer(slot) {
            cx.timers.clear(consumer.deadline_ms, Timer::ConsumerWait(slot));
            cx.resolve(waiter, reply);
        }
    }

    /// The consumer in this row has waited long enough.
    pub(crate) fn wait_expired(&mut self, slot: u32, cx: &mut Context) {
        if let Some(consumer) = self.remove_consumer(slot) {
            cx.resolve(consumer.waiter, Ok(Outcome::Dequeued(vec![]).into()));
        }
    }

    /// Ends a wait whose caller is gone, or hands back what it was given; nothing if it is not ours.
    pub(crate) fn cancel_wait(&mut self, command: &CancelWait, limiter: &mut Limiter, cx: &mut Context) {
        self.end_wait(command.waiter, Err(Refusal::WaitCancelled), cx);
        let Some(AnyOutcome::Queue(Outcome::Dequeued(undelivered))) = command.undelivered.as_deref() else { return };
        // Last first, so that items of one channel come to stand as they stood.
        for delivery in undelivered.iter().rev() {
            let Some(slot) = self.items.slot(&delivery.item) else { continue };
            let queue = self.channel_row(self.item_row(slot).channel).queue;
            let delivered = super::Delivered { item: delivery.item, token: delivery.token };
            if let Ok(slot) = self.delivery(queue, &delivered, cx.now_ms) {
                self.end_delivery(slot, false, limiter, cx);
                self.hand_back(slot, cx, limiter);
            }
        }
    }
}

fn check(dequeue: &Dequeue) -> Result<(), Error> {
    validate::batch("max_items", dequeue.max_items as usize)?;
    if let Some(lease_ms) = dequeue.lease_ms {
        validate::lease(lease_ms)?;
    }
    validate::range("wait_ms", dequeue.wait_ms, 0, limits::WAIT_MAX_MS)?;
    validate::label("consumer", dequeue.consumer.as_deref())?;
    validate::length("tolerations", dequeue.tolerations.len(), limits::TOLERATIONS)?;
    validate::query(&dequeue.query)?;
    for toleration in &dequeue.tolerations {
        validate::label("tolerations.key", toleration.key.as_deref())?;
        if let super::TolerationOperator::Equal(value) = &toleration.operator {
            validate::label("tolerations.value", Some(value))?;
            if toleration.key.is_none() {
                return Err(validate::out_of_bounds("tolerations.key", "given, unless the operator is Exists"));
            }
        }
    }
    match &dequeue.order {
        Order::RoundRobin { cursor } => {
            validate::range("order.cursor", cursor.len() as u64, 1, model_limits::CURSOR_NAME_BYTES as u64)
        }
        Order::By(keys) => {
            validate::range("order_by", keys.len() as u64, 1, model_limits::QUERY_ORDER_KEYS as u64)?;
            validate::query(&super::groups::condition(dequeue))
        }
        Order::Oldest | Order::Priority | Order::Random | Order::LongestIdle => Ok(()),
    }
}

impl From<Outcome> for AnyOutcome {
    fn from(outcome: Outcome) -> Self {
        Self::Queue(outcome)
    }
}

impl From<Command> for crate::Command {
    fn from(command: Command) -> Self {
        Self::Queue(command)
    }
}
