//! Lookups over items: the channels that match, in their order, each with its items in theirs.
//!
//! Items have their channel's key values and nothing else to be found by but their ids, so they need no index
//! of their own. A page token holds the channel's place in the query's order and the item's place in the
//! channel; what has not moved meanwhile is returned exactly once.

mod count;
mod pick;

use std::collections::BTreeSet;

use willow_model::{
    Id, Key, ValueRef,
    bugs::{self, Bug},
};
use willow_query::{Direction, Missing, OrderBy, PageTokens, Pick, Position, Query, Run};

use super::{
    ItemState, ItemView, Queues,
    line::{Entry, Line},
    lookup::scope,
    view::state_of,
};
use crate::{
    limiter::Selector,
    machine::{Listing, Lookup},
};

/// Items and channels looked at for one page or one count; past it the page ends short, and the count is an
/// estimate.
const BUDGET: usize = if cfg!(test) { 40 } else { 100_000 };
/// Tokens between one page of channels and the next never leave the machine.
const INNER: ([u8; 32], &[u8]) = ([0; 32], b"channels of items");
/// Before all entries of a channel, and after them.
const BEFORE: Entry = Entry { inverse_priority: i32::MIN, position: i64::MIN, item: 0 };
const PAST: Entry = Entry { inverse_priority: i32::MAX, position: i64::MAX, item: u32::MAX };

/// What a lookup over items is about.
#[derive(Debug)]
pub(super) struct Selection {
    queue: u32,
    /// What must hold for their channels, and the channels' order.
    channels: Query,
    /// Only items in these; all when there are none.
    states: Vec<ItemState>,
    /// Only these items, when given.
    ids: Option<BTreeSet<Id>>,
}

impl Selection {
    pub(super) fn new(queue: u32, query: &Query, states: &[ItemState]) -> Self {
        let Query { filter, key_count, matching, order_by, ids, .. } = query.clone();
        let channels = Query { filter, key_count, matching, order_by, limit: 1000, ..Query::default() };
        let mut states = states.to_vec();
        states.sort_unstable();
        states.dedup();
        Self { queue, channels, states, ids: ids.map(|ids| ids.into_iter().collect()) }
    }

    fn takes(&self, state: ItemState) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }
}

impl Queues {
    /// One page of a queue's live items in the given states (none named: all) whose channel matches;
    /// `None` when there is no such queue. Ties of the order break by channel id, then place in the
    /// channel.
    ///
    /// # Errors
    /// When the page token is not of this query.
    pub fn query_items(
        &self,
        queue: &Selector,
        query: &Query,
        states: &[ItemState],
        lookup: Lookup<'_>,
    ) -> Result<Option<Listing<ItemView>>, willow_query::Error> {
        let Some(queue) = self.find(queue) else { return Ok(None) };
        let selection = Selection::new(queue, query, states);
        let mut listing = match &query.pick {
            None => self.item_page(&selection, query, lookup)?,
            // The cursor is moved by a command; who looks without one gets any.
            Some(Pick::Random | Pick::RoundRobin { .. }) => {
                let item = self.random_item(&selection, lookup.seed);
                Listing { items: item.into_iter().collect(), next_page_token: None, count: None, plan: None }
            }
        };
        if query.count {
            listing.count = Some(self.count_items(&selection));
        }
        if query.explain {
            let explained = Query { limit: 1, explain: true, ..selection.channels };
            let page = self.state(queue).index.run(&explained, &Run::new(&INNER.0, INNER.1));
            listing.plan = page.ok().and_then(|page| page.plan);
        }
        let Listing { items, next_page_token, count, plan } = listing;
        let items = items.into_iter().map(|slot| self.item_view(slot, lookup.now_ms)).collect();
        Ok(Some(Listing { items, next_page_token, count, plan }))
    }

    fn item_page(
        &self,
        selection: &Selection,
        query: &Query,
        lookup: Lookup<'_>,
    ) -> Result<Listing<u32>, willow_query::Error> {
        let mut scope = scope(b"items", self.queue_row(selection.queue).id);
        scope.extend(selection.states.iter().map(|state| *state as u8));
        let tokens = PageTokens::new(lookup.secret, &scope, &with_item_key(query));
        let after = query.page_token.as_ref().map(|token| {
            tokens
                .open(token)
                .map_err(|error| willow_query::Error { path: "page_token".to_owned(), reason: error.to_string() })
        });
        let mut after = after.transpose()?.and_then(split);
        if let Some((_, entry)) = &mut after
            && bugs::is_on(Bug::PageForgetsPlace)
        {
            *entry = PAST;
        }
        let mut items = Vec::new();
        let limit = query.page_limit();
        let stopped = match &selection.ids {
            Some(ids) => self.page_of_named(selection, ids, after, limit, &mut items),
            None => self.fill(selection, after, limit, &mut items),
        };
        let next_page_token = stopped.map(|(position, entry)| tokens.seal(&join(position, entry)));
        Ok(Listing { items, next_page_token, count: None, plan: None })
    }

    /// Fills a page; returns where it stopped if something may be left.
    fn fill(
        &self,
        selection: &Selection,
        after: Option<(Position, Entry)>,
        limit: usize,
        items: &mut Vec<u32>,
    ) -> Option<(Position, Entry)> {
        let Selection { queue, channels, .. } = selection;
        let index = &self.state(*queue).index;
        let mut budget = BUDGET;
        let mut place = None;
        let mut fill_from = |channel: u32, after: Option<Entry>, budget: &mut usize| {
            let stopped = self.fill_from(channel, after, selection, limit, items, budget)?;
            Some((index.position(channel, &channels.order_by), stopped))
        };
        if let Some((position, entry)) = after {
            // The channel in which the page before ended may be gone, or match no longer.
            let compiled = index.compile(channels);
            let here = self.channel_of(*queue, position.id).filter(|slot| index.matches(*slot, &compiled));
            if let Some(stopped) = here.and_then(|slot| fill_from(slot, Some(entry), &mut budget)) {
                return Some(stopped);
            }
            place = Some(position);
        }
        let tokens = PageTokens::new(&INNER.0, INNER.1, channels);
        loop {
            let page_token = place.as_ref().map(|place| tokens.seal(place));
            let query = Query { page_token, explain: true, ..channels.clone() };
            let found = index.run(&query, &Run { budget, ..Run::new(&INNER.0, INNER.1) }).ok()?;
            budget = budget.saturating_sub(found.plan.map_or(0, |plan| plan.actual_rows as usize));
            for channel in found.docs {
                if let Some(stopped) = fill_from(channel, None, &mut budget) {
                    return Some(stopped);
                }
            }
            let next = tokens.open(&found.next_page_token?).ok()?;
            if budget == 0 {
                return Some((next, PAST));
            }
            place = Some(next);
        }
    }

    /// Takes items of one channel; when the page is full or the budget spent with something left, returns
    /// after which entry.
    fn fill_from(
        &self,
        channel: u32,
        after: Option<Entry>,
        selection: &Selection,
        limit: usize,
        items: &mut Vec<u32>,
        budget: &mut usize,
    ) -> Option<Entry> {
        let mut last = after.unwrap_or(BEFORE);
        for entry in self.entries_after(channel, after, selection) {
            if items.len() == limit || *budget == 0 {
                return Some(last);
            }
            *budget -= 1;
            items.push(entry.item);
            last = entry;
        }
        *budget = budget.saturating_sub(1);
        None
    }

    /// One page of the items named: so few that all are looked at.
    fn page_of_named(
        &self,
        selection: &Selection,
        ids: &BTreeSet<Id>,
        after: Option<(Position, Entry)>,
        limit: usize,
        items: &mut Vec<u32>,
    ) -> Option<(Position, Entry)> {
        let order_by = &selection.channels.order_by;
        let index = &self.state(selection.queue).index;
        let place = |slot: u32| {
            let item = self.item_row(slot);
            (index.position(item.channel, order_by), item.entry(slot))
        };
        let mut places: Vec<(Position, Entry)> = self.named(selection, ids).map(place).collect();
        let compare = |one: &(Position, Entry), other: &(Position, Entry)| {
            one.0.compare(&other.0, order_by).then(one.1.cmp(&other.1))
        };
        places.sort_by(compare);
        if let Some(after) = after {
            places.retain(|place| compare(place, &after).is_gt());
        }
        let more = places.len() > limit;
        places.truncate(limit);
        items.extend(places.iter().map(|(_, entry)| entry.item));
        places.pop().filter(|_| more)
    }

    /// Those of the items named that are there and match.
    fn named(&self, selection: &Selection, ids: &BTreeSet<Id>) -> impl Iterator<Item = u32> {
        let index = &self.state(selection.queue).index;
        let compiled = index.compile(&selection.channels);
        ids.iter().filter_map(|id| self.item_slot(selection.queue, *id)).filter(move |slot| {
            let item = self.item_row(*slot);
            selection.takes(state_of(item)) && index.matches(item.channel, &compiled)
        })
    }

    /// The lines of a channel that hold what is selected.
    fn lines(&self, channel: u32, selection: &Selection) -> impl Iterator<Item = &Line> {
        let live = &self.channel_row(channel).live;
        let lines = [
            (ItemState::InFlight, &live.in_flight),
            (ItemState::Waiting, &live.waiting),
            (ItemState::Delayed, &live.delayed),
        ];
        lines.into_iter().filter(|(state, _)| selection.takes(*state)).map(|(_, line)| line)
    }

    /// Selected items of a channel, by place.
    fn entries_after(&self, channel: u32, after: Option<Entry>, selection: &Selection) -> impl Iterator<Item = Entry> {
        let by_doc_id = bugs::is_on(Bug::PageByDocId);
        let is_next = move |entry: &Entry| !by_doc_id || after.is_none_or(|last| i64::from(entry.item) > last.position);
        let after = after.filter(|_| !by_doc_id);
        let lines = self.lines(channel, selection).map(|line| line.after(after).filter(is_next).peekable());
        let mut lines: Vec<_> = lines.collect();
        std::iter::from_fn(move || {
            let heads = lines.iter_mut().enumerate().filter_map(|(line, entries)| Some((*entries.peek()?, line)));
            let (_, first) = heads.min()?;
            lines[first].next()
        })
    }
}

/// The query as page tokens of items see it: one more place to keep, the item's.
fn with_item_key(query: &Query) -> Query {
    let mut query = query.clone();
    let key = Key::new("_willow_queue_name").expect("a valid key");
    query.order_by.push(OrderBy { key, direction: Direction::Asc, missing: Missing::Last });
    query
}

fn join(channel: Position, entry: Entry) -> Position {
    let Position { mut values, id } = channel;
    let mut bytes = Vec::new();
    let place = if bugs::is_on(Bug::PageByDocId) { i64::from(entry.item) } else { entry.position };
    ValueRef::String(&format!("{} {place}", entry.inverse_priority)).encode_into(&mut bytes);
    values.push(Some(bytes.into()));
    Position { values, id }
}

/// `None` for what [`join`] did not make; the token's MAC lets nothing else through.
fn split(position: Position) -> Option<(Position, Entry)> {
    let Position { mut values, id } = position;
    let bytes = values.pop()??;
    let Ok(ValueRef::String(text)) = ValueRef::decode(&bytes) else { return None };
    let (priority, place) = text.split_once(' ')?;
    Some((Position { values, id }, last_at((priority.parse().ok()?, place.parse().ok()?))))
}

/// Places in a channel are unique: whatever the row, the next entry has another place.
fn last_at((inverse_priority, position): (i32, i64)) -> Entry {
    Entry { inverse_priority, position, item: u32::MAX }
}

#[cfg(test)]
mod tests;
