//! One item instead of a page: any, or the next.

use willow_model::Id;
use willow_query::Query;

use super::{Selection, last_at};
use crate::{
    cursor::Stop,
    queue::{Queues, items::mix, line::Entry, view::state_of},
};

/// Rows drawn before the channels that match are enumerated.
const DRAWS: u64 = 256;

/// Random numbers, as many as needed.
struct Draw {
    seed: u64,
    drawn: u64,
}

impl Draw {
    /// Uniform below `bound`: of 2^64 draws, at most `bound` are more likely than others.
    fn below(&mut self, bound: u64) -> u64 {
        self.drawn += 1;
        let product = u128::from(mix(u128::from(self.seed), self.drawn)) * u128::from(bound);
        (product >> 64) as u64
    }
}

impl Queues {
    /// Any item that is selected, each with equal chance.
    ///
    /// Rows are drawn, and rejected when they are not selected; when what is selected proves rare, its
    /// channels are enumerated, each weighing as much as it has items (reservoir sampling). That costs as
    /// much as any random pick among rare matches does, however many items the channels have.
    pub(super) fn random_item(&self, selection: &Selection, seed: u64) -> Option<u32> {
        let mut draw = Draw { seed, drawn: 0 };
        if let Some(ids) = &selection.ids {
            let items: Vec<u32> = self.named(selection, ids).collect();
            return items.get(draw.below(items.len() as u64) as usize).copied();
        }
        let index = &self.state(selection.queue).index;
        let compiled = index.compile(&selection.channels);
        let end = self.items.end();
        for _ in 0..DRAWS.min(end.into()) {
            let slot = draw.below(end.into()) as u32;
            let Some(item) = self.items.get(slot).filter(|item| selection.takes(state_of(item))) else { continue };
            if self.channel_row(item.channel).queue == selection.queue && index.matches(item.channel, &compiled) {
                return Some(slot);
            }
        }
        let (mut total, mut picked) = (0, None);
        self.each_channel(selection, usize::MAX, |channel| {
            let items = self.count_in(channel, selection);
            total += items;
            if items > 0 && draw.below(total) < items {
                picked = Some((channel, items));
            }
        });
        let (channel, items) = picked?;
        let place = draw.below(items) as usize;
        self.entries_after(channel, None, selection).nth(place).map(|entry| entry.item)
    }

    /// The item after the one where the cursor stands, and where it then stands: by channel id, then by place
    /// in the channel, wrapping once. So a round goes over every item, in the order of pages.
    pub(in crate::queue) fn item_after(&self, selection: &Selection, last: Option<&Stop>) -> Option<(Id, Stop)> {
        let next = match &selection.ids {
            Some(ids) => {
                let mut places: Vec<(Id, Entry)> = self.named(selection, ids).map(|slot| self.place_of(slot)).collect();
                places.sort_unstable();
                let place = last.map(|last| (last.id, last.place.map_or(super::PAST, last_at)));
                let next = places.iter().find(|next| place.is_none_or(|place| **next > place));
                next.or_else(|| places.first()).map(|(_, entry)| *entry)
            }
            None => self.next_in_order(selection, last),
        }?;
        let (channel, Entry { inverse_priority, position, item }) = self.place_of(next.item);
        Some((self.item_row(item).id, Stop { id: channel, place: Some((inverse_priority, position)) }))
    }

    fn place_of(&self, slot: u32) -> (Id, Entry) {
        let item = self.item_row(slot);
        (self.channel_row(item.channel).id, item.entry(slot))
    }

    fn next_in_order(&self, selection: &Selection, last: Option<&Stop>) -> Option<Entry> {
        let by_id = Query { order_by: Vec::new(), ..selection.channels.clone() };
        let first_after = |mut after: Option<Id>| {
            loop {
                let (channels, next) = self.channels_after(selection.queue, &by_id, after, 1000);
                let mut firsts =
                    channels.into_iter().filter_map(|slot| self.entries_after(slot, None, selection).next());
                if let Some(first) = firsts.next() {
                    return Some(first);
                }
                after = Some(next?);
            }
        };
        let here = last.and_then(|last| {
            let index = &self.state(selection.queue).index;
            let channel = self.channel_of(selection.queue, last.id)?;
            let matches = index.matches(channel, &index.compile(&by_id));
            let after = last.place.map(last_at).filter(|_| matches)?;
            self.entries_after(channel, Some(after), selection).next()
        });
        let ahead = here.or_else(|| last.and_then(|last| first_after(Some(last.id))));
        ahead.or_else(|| first_after(None))
    }
}
