//! Purge by query, and the deletion of a channel: a bounded number of items at once, the rest in
//! background steps. What was enqueued after the purge stays; so does what is in flight.

use willow_model::Id;
use willow_query::{PageTokens, Position, Query, Run};

use super::{DeleteChannel, Error, Outcome, Purge, Queues, pause::selection, rows::PurgeRow, validate};
use crate::{Context, Reply, limiter::Limiter, limits};

/// Purges under way on one queue.
const PURGES_PER_QUEUE: usize = 64;
/// Page tokens of purges never leave the machine.
const SECRET: [u8; 32] = [0; 32];

impl Queues {
    pub(super) fn purge(&mut self, command: Purge, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        let queue = self.active(&command.queue)?;
        let query = command.query.map_or_else(Query::default, selection);
        validate::query(&query)?;
        self.begin_purge(queue, query, limiter, cx)
    }

    pub(super) fn delete_channel(&mut self, command: &DeleteChannel, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        let queue = self.active(&command.queue)?;
        let slot = self.channels.slot(&command.channel).filter(|slot| self.channel_row(*slot).queue == queue);
        let slot = slot.ok_or(Error::NoSuchChannel)?;
        let query = Query { ids: Some(vec![command.channel]), ..Query::default() };
        self.check_purges(queue)?;
        self.set_metadata(slot, None, limiter);
        let revision = cx.next_revision();
        self.channel_mut(slot).revision = revision;
        self.refresh(slot, limiter);
        self.begin_purge(queue, query, limiter, cx)
    }

    fn check_purges(&self, queue: u32) -> Result<(), Error> {
        validate::length("purges under way", self.queue_row(queue).purges.len() + 1, PURGES_PER_QUEUE)
    }

    fn begin_purge(&mut self, queue: u32, query: Query, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        self.check_purges(queue)?;
        let mut purge = PurgeRow { query, until: cx.revision(), after: None };
        cx.next_revision();
        let (items, done) = self.purge_some(queue, &mut purge, limiter, cx);
        if !done {
            self.queue_mut(queue).purges.push(purge);
            self.schedule_step(queue, cx);
        }
        Ok(Outcome::Removed { items, continuing: !done }.into())
    }

    /// Goes on with the oldest purge; true when none is left.
    pub(super) fn purge_step(&mut self, queue: u32, limiter: &mut Limiter, cx: &mut Context) -> bool {
        let Some(mut purge) = self.queue_row(queue).purges.first().cloned() else { return true };
        let (_, done) = self.purge_some(queue, &mut purge, limiter, cx);
        let purges = &mut self.queue_mut(queue).purges;
        if done {
            purges.remove(0);
        } else {
            purges[0] = purge;
        }
        purges.is_empty()
    }

    /// Removes up to a step's worth of items; how many, and whether the purge is done.
    fn purge_some(&mut self, queue: u32, purge: &mut PurgeRow, limiter: &mut Limiter, cx: &mut Context) -> (u64, bool) {
        let mut budget = limits::ROWS_PER_STEP;
        let mut removed = 0;
        let (channels, next) = self.channels_after(queue, &purge.query, purge.after, budget);
        for channel in channels {
            if budget == 0 {
                return (removed, false);
            }
            budget -= 1;
            let row = self.channel_row(channel);
            let id = row.id;
            let lines = row.live.waiting.iter().chain(row.live.delayed.iter());
            let old = lines.filter(|entry| self.item_row(entry.item).sequence <= purge.until);
            let items: Vec<u32> = old.take(budget + 1).map(|entry| entry.item).collect();
            let all = items.len() <= budget;
            for item in items.into_iter().take(budget) {
                budget -= 1;
                removed += 1;
                self.remove_item(item, cx);
            }
            self.refresh(channel, limiter);
            if !all {
                return (removed, false);
            }
            purge.after = Some(id);
        }
        purge.after = next.or(purge.after);
        (removed, next.is_none())
    }

    /// Channels that match, by id, after `after`; and where to go on, unless these were all.
    pub(super) fn channels_after(
        &self,
        queue: u32,
        query: &Query,
        after: Option<Id>,
        most: usize,
    ) -> (Vec<u32>, Option<Id>) {
        let mut query = Query { limit: u32::try_from(most).unwrap_or(u32::MAX), ..query.clone() };
        let tokens = PageTokens::new(&SECRET, &[], &query);
        let token = after.map(|id| tokens.seal(&Position { values: vec![], id }));
        query.page_token = token;
        // Without a budget of rows: where that ends depends on estimates, and replicas must agree.
        let run = Run { budget: usize::MAX, ..Run::new(&SECRET, &[]) };
        let Ok(page) = self.state(queue).index.run(&query, &run) else { return (vec![], None) };
        let next = page.next_page_token.and_then(|token| tokens.open(&token).ok());
        (page.docs, next.map(|position| position.id))
    }
}
