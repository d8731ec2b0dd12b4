//! Deleting a queue: at once for callers, its rows in bounded steps; and background steps in general.

use super::{DeleteQueue, Error, Outcome, Queues, rows::State};
use crate::{Context, Refusal, Reply, limiter::Limiter, limits, timer::Timer};

/// Between two background steps, ms: a step of [`limits::ROWS_PER_STEP`] rows takes about a
/// millisecond, so the machine has most of its time for commands.
const STEP_EVERY_MS: u64 = 5;

impl Queues {
    pub(super) fn delete_queue(&mut self, command: &DeleteQueue, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        let slot = self.active(&command.queue)?;
        self.check_revision(slot, command.if_match)?;
        let revision = cx.next_revision();
        let row = self.queue_mut(slot);
        row.deleting = true;
        row.revision = revision;
        row.purges.clear();
        let waiters: Vec<_> = self.state(slot).groups.waiters().collect();
        for waiter in waiters {
            self.end_wait(waiter, Err(Refusal::Queue(Error::QueueDeleting)), cx);
        }
        if self.delete_rows(slot, limiter, cx) {
            self.end_queue(slot, cx);
        } else {
            self.schedule_step(slot, cx);
        }
        Ok(Outcome::Deleting.into())
    }

    /// The next step of a background action on the queue in this row.
    pub(crate) fn step(&mut self, slot: u32, limiter: &mut Limiter, cx: &mut Context) {
        let Some(row) = self.queues.get_mut(slot) else { return };
        row.step_at_ms = None;
        if std::mem::take(&mut row.searching) && !row.deleting {
            self.search(slot, limiter, cx);
        }
        let row = self.queue_row(slot);
        let done = if row.deleting { self.delete_rows(slot, limiter, cx) } else { self.purge_step(slot, limiter, cx) };
        if !done {
            self.schedule_step(slot, cx);
        } else if self.queue_row(slot).deleting {
            self.end_queue(slot, cx);
        }
    }

    pub(super) fn schedule_step(&mut self, slot: u32, cx: &mut Context) {
        let at_ms = cx.after(STEP_EVERY_MS);
        let row = self.queue_mut(slot);
        if row.step_at_ms.is_none() {
            row.step_at_ms = Some(at_ms);
            cx.timers.set(at_ms, Timer::QueueStep(slot));
        }
    }

    /// Removes some of a queue's rows; true when none are left.
    fn delete_rows(&mut self, queue: u32, limiter: &mut Limiter, cx: &mut Context) -> bool {
        let mut budget = limits::ROWS_PER_STEP;
        let (channels, next) = self.channels_after(queue, &willow_query::Query::default(), None, budget);
        for channel in channels {
            if budget == 0 {
                return false;
            }
            budget -= 1;
            let live = &self.channel_row(channel).live;
            let lines = live.in_flight.iter().chain(live.waiting.iter()).chain(live.delayed.iter());
            let items: Vec<u32> = lines.take(budget).map(|entry| entry.item).collect();
            budget -= items.len();
            for item in items {
                if matches!(self.item_row(item).state, State::InFlight(_)) {
                    self.end_delivery(item, false, limiter, cx);
                    self.drop_ended(item, cx);
                } else {
                    self.remove_item(item, cx);
                }
            }
            if self.channel_row(channel).items() == 0 {
                self.unplace(channel, limiter);
                self.channel_mut(channel).meta = None;
            }
            self.refresh(channel, limiter);
        }
        while budget > 0 {
            budget -= 1;
            let Some(&(_, letter)) = self.state(queue).dead_order.first() else { break };
            self.remove_dead(letter);
        }
        next.is_none() && self.state(queue).index.is_empty() && self.state(queue).dead_order.is_empty()
    }

    fn end_queue(&mut self, slot: u32, cx: &mut Context) {
        let Some(row) = self.queues.remove(slot) else { return };
        if let Some(at_ms) = row.step_at_ms {
            cx.timers.clear(at_ms, Timer::QueueStep(slot));
        }
        self.by_name.remove(&row.name);
        self.index.0.remove(slot);
        self.queues_live[slot as usize] = None;
    }
}
