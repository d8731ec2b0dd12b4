//! Why is a channel not running? Every reason that holds, by what a dequeue would look at.

use willow_model::Id;

use super::{ChannelExplanation, PauseKind, Queues, Reason, rows::State};
use crate::{
    limiter::{Limiter, Selector},
    machine::Lookup,
};

impl Queues {
    /// Why is the channel not running? `None` when it is not there.
    #[must_use]
    pub fn explain(
        &self,
        queue: &Selector,
        channel: Id,
        limiter: &Limiter,
        lookup: Lookup<'_>,
    ) -> Option<ChannelExplanation> {
        let queue = self.find(queue)?;
        let slot = self.channel_of(queue, channel)?;
        let mut reasons: Vec<Reason> = self.line_reasons(slot, lookup.now_ms).collect();
        let before = reasons.len();
        reasons.extend(self.pause_reason(queue, slot));
        reasons.extend(self.limit_reason(slot, limiter, lookup.now_ms));
        // What is listed from here on keeps only some consumers away.
        let eligible = before == 0 && reasons.is_empty();
        let row = self.channel_row(slot);
        if !row.taints().is_empty() {
            reasons.push(Reason::Tainted(row.taints().to_vec()));
        }
        let state = self.state(queue);
        let fitting = state.groups.matches(slot, row, &state.index);
        let matching_consumers: u64 = fitting.map(|group| group.waiters.len() as u64).sum();
        if matching_consumers == 0 {
            reasons.push(Reason::NoConsumerMatches { waiting: state.groups.waiting() as u64 });
        }
        let channel = self.channel_view(slot, lookup.now_ms);
        Some(ChannelExplanation { revision: lookup.revision, channel, eligible, reasons, matching_consumers })
    }

    /// Reasons that lie in the channel's items.
    fn line_reasons(&self, slot: u32, now_ms: u64) -> impl Iterator<Item = Reason> {
        let channel = self.channel_row(slot);
        let live = &channel.live;
        let due_ms = live.delayed.iter().filter_map(|entry| match self.item_row(entry.item).state {
            State::Delayed { due_ms } => Some(due_ms),
            State::Waiting | State::InFlight(_) => None,
        });
        let idle = live.waiting.is_empty().then(|| match due_ms.min() {
            Some(due_ms) => Reason::NotDue { due_in_ms: due_ms.saturating_sub(now_ms) },
            None => Reason::Empty,
        });
        // A due head that stands in no pool waits for the updatable item in flight.
        let serial = (!live.waiting.is_empty() && live.placed.is_none())
            .then(|| Reason::InFlight { items: live.in_flight.len() as u64 });
        idle.into_iter().chain(serial)
    }

    fn pause_reason(&self, queue: u32, slot: u32) -> Option<Reason> {
        let pauses = self.queue_row(queue).pauses.iter().filter(|pause| pause.kind == PauseKind::Dequeue);
        let standing = pauses.filter(|pause| pause.query.as_ref().is_none_or(|query| self.holds_for(query, slot)));
        let queries: Vec<_> = standing.map(|pause| pause.query.clone()).collect();
        (!queries.is_empty()).then_some(Reason::Paused(queries))
    }

    fn limit_reason(&self, slot: u32, limiter: &Limiter, now_ms: u64) -> Option<Reason> {
        let channel = self.channel_row(slot);
        let head = channel.live.waiting.first()?;
        let weight = u64::from(self.item_row(head.item).options.weight);
        let blocking = limiter.blocking(&self.counter_of(slot), weight, now_ms);
        (!blocking.is_empty()).then_some(Reason::Limited(blocking))
    }
}
