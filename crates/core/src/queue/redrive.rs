//! Redrive and purge of dead letters.

use willow_query::Query;

use super::{
    Outcome, Position, PurgeDeadLetters, Queues, Redrive,
    items::place,
    pause::selection,
    rows::{DeadLetter, Item, State},
    validate,
};
use crate::{Context, Reply, limiter::Limiter};

impl Queues {
    /// Moves dead letters back, oldest first, as if enqueued now: attempts, age and an expiry that has
    /// passed are reset. An updatable one yields to a newer item of its channel and is dropped.
    pub(super) fn redrive(&mut self, command: &Redrive, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        let queue = self.active(&command.queue)?;
        validate::step("max_items", command.max_items)?;
        let (letters, mut more) = self.oldest_dead(queue, command.query.clone(), command.max_items as usize)?;
        let mut items = 0;
        for letter in letters {
            let counts = self.state(queue).counts;
            let max_items = self.queue_row(queue).config.max_items;
            if max_items.is_some_and(|max| counts.waiting + counts.delayed + counts.in_flight >= max) {
                more = true;
                break;
            }
            if let Some(letter) = self.remove_dead(letter) {
                self.bring_back(queue, letter, limiter, cx);
                items += 1;
            }
        }
        Ok(Outcome::Redriven { items, more }.into())
    }

    pub(super) fn purge_dead_letters(&mut self, command: &PurgeDeadLetters) -> Reply {
        let queue = self.active(&command.queue)?;
        validate::step("max_items", command.max_items)?;
        let (letters, more) = self.oldest_dead(queue, command.query.clone(), command.max_items as usize)?;
        let items = letters.len() as u64;
        for letter in letters {
            self.remove_dead(letter);
        }
        Ok(Outcome::Removed { items, continuing: more }.into())
    }

    /// The oldest dead letters that match, and whether there are more.
    fn oldest_dead(&self, queue: u32, query: Option<Query>, most: usize) -> Result<(Vec<u32>, bool), super::Error> {
        let live = self.state(queue);
        let Some(query) = query.map(selection) else {
            let letters = live.dead_order.iter().take(most).map(|(_, slot)| *slot).collect();
            return Ok((letters, live.dead_order.len() > most));
        };
        validate::query(&query)?;
        let compiled = live.dead_index.compile(&query);
        let matching =
            live.dead_order.iter().map(|(_, slot)| *slot).filter(|slot| live.dead_index.matches(*slot, &compiled));
        let mut letters: Vec<u32> = matching.take(most + 1).collect();
        let more = letters.len() > most;
        letters.truncate(most);
        Ok((letters, more))
    }

    fn bring_back(&mut self, queue: u32, letter: DeadLetter, limiter: &mut Limiter, cx: &mut Context) {
        let DeadLetter { channel: id, key_values, item, .. } = letter;
        let channel = match self.channels.slot(&id) {
            Some(channel) => channel,
            None => self.create_channel(queue, id, key_values, cx),
        };
        if item.options.updatable && self.is_outdated(channel, &item) {
            return self.refresh(channel, limiter);
        }
        if item.options.updatable
            && let Some(older) = self.channel_row(channel).live.updatable
        {
            self.remove_item(older, cx);
        }
        let sequence = cx.next_revision();
        let expires_ms = item.expires_ms.filter(|at_ms| *at_ms > cx.now_ms);
        let item = Item {
            channel,
            attempts: 0,
            sequence,
            position: place(Position::Back, sequence),
            enqueued_ms: cx.now_ms,
            expires_ms,
            expired: false,
            state: State::Waiting,
            ..item
        };
        self.insert_item(item, cx);
        self.refresh(channel, limiter);
    }

    /// Is there a newer item in its channel, in whatever state?
    fn is_outdated(&self, channel: u32, item: &Item) -> bool {
        let live = &self.channel_row(channel).live;
        let mut all = live.waiting.iter().chain(live.delayed.iter()).chain(live.in_flight.iter());
        all.any(|other| self.item_row(other.item).revision > item.revision)
    }
}
