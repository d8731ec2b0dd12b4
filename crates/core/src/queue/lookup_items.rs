//! Lookups over items: the channels that match, in their order, each with its items in theirs.
//!
//! Items have their channel's key values and nothing else to be found by, so they need no index of
//! their own. A page token holds the channel's place in the query's order and the item's place in the
//! channel; what has not moved meanwhile is returned exactly once.

use willow_model::{Id, Key, ValueRef};
use willow_query::{Direction, Missing, OrderBy, PageTokens, Pick, Position, Query, Run};

use super::{ItemState, ItemView, Queues, line::Entry, lookup::scope, view::state_of};
use crate::{
    limiter::Selector,
    machine::{Listing, Lookup},
};

/// Items and channels looked at for one page; past it the page ends short.
const BUDGET: usize = 100_000;
/// Tokens between one page of channels and the next never leave the machine.
const INNER: ([u8; 32], &[u8]) = ([0; 32], b"channels of items");

/// How far a page has come.
struct Page {
    items: Vec<u32>,
    /// The channel and the item looked at last.
    at: Option<(u32, Entry)>,
    budget: usize,
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
        let wanted = |slot: u32| states.is_empty() || states.contains(&state_of(self.item_row(slot)));
        let channels = Query { page_token: None, limit: 1000, count: false, pick: None, ..query.clone() };
        let mut listing = match &query.pick {
            None => self.item_page(queue, query, &channels, &wanted, states, lookup)?,
            Some(Pick::Random | Pick::RoundRobin { .. }) => {
                let item = self.random_item(queue, &channels, &wanted, lookup.seed);
                Listing { items: item.into_iter().collect(), next_page_token: None, count: None, plan: None }
            }
        };
        if query.count {
            listing.count = Some(self.count_items(queue, &channels, &wanted));
        }
        if query.explain {
            let explained = Query { limit: 1, ..channels };
            let page = self.state(queue).index.run(&explained, &Run::new(&INNER.0, INNER.1));
            listing.plan = page.ok().and_then(|page| page.plan);
        }
        let Listing { items, next_page_token, count, plan } = listing;
        let items = items.into_iter().map(|slot| self.item_view(slot, lookup.now_ms)).collect();
        Ok(Some(Listing { items, next_page_token, count, plan }))
    }

    fn item_page(
        &self,
        queue: u32,
        query: &Query,
        channels: &Query,
        wanted: &impl Fn(u32) -> bool,
        states: &[ItemState],
        lookup: Lookup<'_>,
    ) -> Result<Listing<u32>, willow_query::Error> {
        let mut scope = scope(b"items", self.queue_row(queue).id);
        let mut states: Vec<u8> = states.iter().map(|state| *state as u8).collect();
        states.sort_unstable();
        states.dedup();
        scope.extend(states);
        let tokens = PageTokens::new(lookup.secret, &scope, &with_item_key(query));
        let after = query.page_token.as_ref().map(|token| {
            tokens
                .open(token)
                .map_err(|error| willow_query::Error { path: "page_token".to_owned(), reason: error.to_string() })
        });
        let after = after.transpose()?.and_then(split);
        let mut page = Page { items: Vec::new(), at: None, budget: BUDGET };
        let limit = query.page_limit();
        let more = self.fill(queue, channels, after, wanted, limit, &mut page);
        let position = page.at.filter(|_| more).map(|(channel, entry)| {
            let position = self.state(queue).index.position(channel, &query.order_by);
            join(position, entry)
        });
        let next_page_token = position.map(|position| tokens.seal(&position));
        Ok(Listing { items: page.items, next_page_token, count: None, plan: None })
    }

    /// Fills a page; true when something may be left.
    fn fill(
        &self,
        queue: u32,
        channels: &Query,
        after: Option<(Position, Entry)>,
        wanted: &impl Fn(u32) -> bool,
        limit: usize,
        page: &mut Page,
    ) -> bool {
        let index = &self.state(queue).index;
        let mut place = None;
        if let Some((position, entry)) = after {
            // The channel in which the page before ended may be gone, or match no longer.
            let compiled = index.compile(channels);
            let here = self.channel_of(queue, position.id).filter(|slot| index.matches(*slot, &compiled));
            if here.is_some_and(|slot| self.fill_from(slot, Some(entry), wanted, limit, page)) {
                return true;
            }
            place = Some(position);
        }
        let tokens = PageTokens::new(&INNER.0, INNER.1, channels);
        loop {
            let query = Query { page_token: place.as_ref().map(|place| tokens.seal(place)), ..channels.clone() };
            let Ok(found) = index.run(&query, &Run::new(&INNER.0, INNER.1)) else { return false };
            for channel in found.docs {
                if self.fill_from(channel, None, wanted, limit, page) {
                    return true;
                }
            }
            place = match found.next_page_token.and_then(|token| tokens.open(&token).ok()) {
                Some(place) => Some(place),
                None => return false,
            };
        }
    }

    /// Takes items of one channel; true when the page is full or the budget spent with something left.
    fn fill_from(
        &self,
        channel: u32,
        after: Option<Entry>,
        wanted: &impl Fn(u32) -> bool,
        limit: usize,
        page: &mut Page,
    ) -> bool {
        page.budget = page.budget.saturating_sub(1);
        for entry in self.entries_after(channel, after) {
            let takes = wanted(entry.item);
            if takes && page.items.len() == limit || page.budget == 0 && page.at.is_some() {
                return true;
            }
            page.budget = page.budget.saturating_sub(1);
            if takes {
                page.items.push(entry.item);
            }
            page.at = Some((channel, entry));
        }
        false
    }

    /// Items of a channel in whatever state, by place.
    pub(super) fn entries_after(&self, channel: u32, after: Option<Entry>) -> impl Iterator<Item = Entry> {
        let live = &self.channel_row(channel).live;
        let mut lines = [&live.in_flight, &live.waiting, &live.delayed].map(|line| line.after(after).peekable());
        std::iter::from_fn(move || {
            let heads = lines.iter_mut().enumerate().filter_map(|(line, entries)| Some((*entries.peek()?, line)));
            let (_, first) = heads.min()?;
            lines[first].next()
        })
    }

    /// Every matching item with equal chance: the seed's place among all of them.
    fn random_item(&self, queue: u32, channels: &Query, wanted: &impl Fn(u32) -> bool, seed: u64) -> Option<u32> {
        let mut total = 0;
        self.each_item(queue, channels, |item| total += u64::from(wanted(item)));
        if total == 0 {
            return None;
        }
        let mut left = seed % total;
        let mut picked = None;
        self.each_item(queue, channels, |item| {
            if wanted(item) {
                picked = if left == 0 { Some(item) } else { picked };
                left = left.wrapping_sub(1);
            }
        });
        picked
    }

    fn count_items(&self, queue: u32, channels: &Query, wanted: &impl Fn(u32) -> bool) -> willow_query::Count {
        let mut value = 0;
        self.each_item(queue, channels, |item| value += u64::from(wanted(item)));
        willow_query::Count { value, exact: true }
    }

    fn each_item(&self, queue: u32, channels: &Query, mut each: impl FnMut(u32)) {
        let mut after: Option<Id> = None;
        let by_id = Query { order_by: Vec::new(), explain: false, ..channels.clone() };
        loop {
            let (found, next) = self.channels_after(queue, &by_id, after, 1000);
            for channel in found {
                self.entries_after(channel, None).for_each(|entry| each(entry.item));
            }
            after = next;
            if after.is_none() {
                return;
            }
        }
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
    ValueRef::String(&format!("{} {}", entry.inverse_priority, entry.position)).encode_into(&mut bytes);
    values.push(Some(bytes.into()));
    Position { values, id }
}

/// `None` for what [`join`] did not make; the token's MAC lets nothing else through.
fn split(position: Position) -> Option<(Position, Entry)> {
    let Position { mut values, id } = position;
    let bytes = values.pop()??;
    let Ok(ValueRef::String(text)) = ValueRef::decode(&bytes) else { return None };
    let (priority, place) = text.split_once(' ')?;
    // Places in a channel are unique: whatever the row, the next entry has another place.
    let entry = Entry { inverse_priority: priority.parse().ok()?, position: place.parse().ok()?, item: u32::MAX };
    Some((Position { values, id }, entry))
}
