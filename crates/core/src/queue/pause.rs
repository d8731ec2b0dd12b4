//! Standing pauses. They are evaluated when a channel's head is tried, so that pausing and resuming
//! cost the same however many channels match; what was tried is parked under the pause.

use willow_model::{Id, KeyValues};
use willow_query::{Query, eval::pattern_matches};

use super::{
    Error, Outcome, Pause, PauseKind, Queues, Resume,
    place::value_of,
    rows::{Channel, Parked, PauseRow},
    validate,
};
use crate::{Context, Reply, limiter::Limiter, limits};

impl Queues {
    pub(super) fn pause(&mut self, command: Pause, cx: &mut Context) -> Reply {
        let slot = self.active(&command.queue)?;
        let query = command.query.map(selection);
        if let Some(query) = &query {
            validate::query(query)?;
        }
        let pauses = &self.queue_row(slot).pauses;
        if pauses.iter().any(|pause| pause.kind == command.kind && pause.query == query) {
            return Ok(Outcome::Paused.into());
        }
        if pauses.len() >= limits::PAUSES_PER_QUEUE {
            return Err(Error::TooManyPauses.into());
        }
        let id = cx.next_revision();
        self.queue_mut(slot).pauses.push(PauseRow { id, kind: command.kind, query });
        Ok(Outcome::Paused.into())
    }

    pub(super) fn resume(&mut self, command: &Resume, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        let slot = self.active(&command.queue)?;
        let query = command.query.clone().map(selection);
        let row = self.queue_mut(slot);
        let (ended, standing): (Vec<PauseRow>, Vec<PauseRow>) =
            std::mem::take(&mut row.pauses).into_iter().partition(|pause| pause.query == query);
        row.pauses = standing;
        if ended.is_empty() {
            return Err(Error::NoSuchPause.into());
        }
        cx.next_revision();
        for pause in ended.iter().filter(|pause| pause.kind == PauseKind::Dequeue) {
            if pause.query.is_none() {
                self.resumed.push_back(slot);
            } else {
                self.open_set(slot, Parked::Pause(pause.id), limiter);
            }
        }
        Ok(Outcome::Paused.into())
    }
}

/// The part of a query that selects.
pub(super) fn selection(query: Query) -> Query {
    let Query { filter, ids, key_count, matching, .. } = query;
    Query { filter, ids, key_count, matching, ..Query::default() }
}

/// Does the selecting part of a query hold for a channel, there or to come?
pub(super) fn holds(query: &Query, id: Id, key_values: &KeyValues, channel: Option<&Channel>) -> bool {
    query.ids.as_ref().is_none_or(|ids| ids.contains(&id))
        && query.key_count.is_none_or(|count| count.contains(key_values.user_len()))
        && query.matching.as_ref().is_none_or(|probe| pattern_matches(key_values, probe))
        && query.filter.matches(&|key: &str| value_of(key_values, channel, key))
}
