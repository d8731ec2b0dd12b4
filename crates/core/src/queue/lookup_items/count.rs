//! How many items there are: channels keep the lengths of their lines, so only channels are looked at.

use willow_query::{Count, Filter, PageTokens, Query, Run};

use super::{BUDGET, INNER, Selection};
use crate::queue::{ItemState, Queues};

impl Queues {
    /// Counts what is selected. Past the budget it estimates, from the channels seen so far and the number of
    /// those that match.
    pub(super) fn count_items(&self, selection: &Selection) -> Count {
        if let Some(ids) = &selection.ids {
            return Count { value: self.named(selection, ids).count() as u64, exact: true };
        }
        if selects_all_channels(&selection.channels) {
            return Count { value: self.known_count(selection), exact: true };
        }
        let (mut value, mut seen) = (0, 0);
        let all = self.each_channel(selection, BUDGET, |channel| {
            value += self.count_in(channel, selection);
            seen += 1;
        });
        if all {
            return Count { value, exact: true };
        }
        let counting = Query { count: true, limit: 1, ..selection.channels.clone() };
        let index = &self.state(selection.queue).index;
        let matching = index.run(&counting, &Run::new(&INNER.0, INNER.1)).ok().and_then(|page| page.count);
        let matching = matching.map_or(seen, |count| count.value.max(seen));
        let value = u128::from(value) * u128::from(matching) / u128::from(seen.max(1));
        Count { value: u64::try_from(value).unwrap_or(u64::MAX), exact: false }
    }

    /// What the queue counts anyway.
    fn known_count(&self, selection: &Selection) -> u64 {
        let counts = self.state(selection.queue).counts;
        let states = [
            (ItemState::Waiting, counts.waiting),
            (ItemState::Delayed, counts.delayed),
            (ItemState::InFlight, counts.in_flight),
        ];
        states.into_iter().filter(|(state, _)| selection.takes(*state)).map(|(_, count)| count).sum()
    }

    /// Selected items of one channel.
    pub(super) fn count_in(&self, channel: u32, selection: &Selection) -> u64 {
        self.lines(channel, selection).map(|line| line.len() as u64).sum()
    }

    /// Visits the channels that match, by id; false when that would be more than `budget` channels to look at.
    pub(super) fn each_channel(&self, selection: &Selection, mut budget: usize, mut visit: impl FnMut(u32)) -> bool {
        let mut query = Query { explain: true, ..selection.channels.clone() };
        // What the order excludes does not match; else order does not matter here.
        query.order_by.retain(|order| order.missing == willow_query::Missing::Exclude);
        let tokens = PageTokens::new(&INNER.0, INNER.1, &query.clone());
        loop {
            let run = Run { budget, ..Run::new(&INNER.0, INNER.1) };
            let Ok(found) = self.state(selection.queue).index.run(&query, &run) else { return true };
            let looked_at = found.plan.map_or(0, |plan| plan.actual_rows as usize).max(found.docs.len());
            budget = budget.saturating_sub(looked_at);
            found.docs.into_iter().for_each(&mut visit);
            if found.next_page_token.as_ref().is_none_or(|token| tokens.open(token).is_err()) {
                return true;
            }
            if budget == 0 {
                return false;
            }
            query.page_token = found.next_page_token;
        }
    }
}

fn selects_all_channels(query: &Query) -> bool {
    query.filter == Filter::all()
        && query.key_count.is_none()
        && query.matching.is_none()
        && query.order_by.iter().all(|order| order.missing != willow_query::Missing::Exclude)
}
