//! Queues and channels.

use willow_api::{
    ErrorCode, Problem, QueryInput,
    channel::{Channel, ChannelExplanation, PatchMetadataRequest, PauseScope, Reason, Taint},
    item::TaintEffect,
    limiter::Limit,
    queue::{
        Backoff, CreateQueueRequest, ItemCounts, ItemDefaults, PauseKind, Position, Queue, QueueState, StandingPause,
    },
};
use willow_core::queue as core;
use willow_model::{Key, KeyValues, Origin, Value};

use super::{limiter, misplaced, out_of_bounds, some_key_values};
use crate::{refusal, reply::Failure};

/// Dead letters a queue keeps when it does not say.
const MAX_DEAD_LETTERS: u64 = 10_000;
/// What items do when neither they nor their queue say.
const DEFAULTS: core::ItemOptions = core::ItemOptions {
    updatable: false,
    max_attempts: Some(5),
    backoff: core::Backoff { initial_ms: 1000, factor_milli: 2000, max_ms: 60_000, jitter_milli: 100 },
    retry_position: core::Position::Back,
    lease_ms: willow_core::limits::LEASE_DEFAULT_MS,
    priority: 0,
    weight: 1,
};

pub(crate) fn create(request: CreateQueueRequest) -> Result<core::CreateQueue, Failure> {
    Ok(core::CreateQueue {
        name: super::name(request.name)?,
        key_values: some_key_values(request.key_values.as_ref(), Origin::User, "key_values")?,
        config: config(request.max_items, request.max_dead_letters, request.defaults)?,
    })
}

pub(crate) fn config(
    max_items: Option<u64>,
    max_dead_letters: Option<u64>,
    defaults: Option<ItemDefaults>,
) -> Result<core::QueueConfig, Failure> {
    let defaults = defaults.unwrap_or_default();
    Ok(core::QueueConfig {
        max_items,
        max_dead_letters: max_dead_letters.unwrap_or(MAX_DEAD_LETTERS),
        defaults: core::ItemOptions {
            updatable: defaults.updatable.unwrap_or(DEFAULTS.updatable),
            max_attempts: match defaults.max_attempts {
                Some(attempts) => max_attempts(attempts, "defaults.max_attempts")?,
                None => DEFAULTS.max_attempts,
            },
            backoff: backoff(defaults.backoff.unwrap_or_default(), "defaults.backoff")?,
            retry_position: defaults.retry_position.map_or(DEFAULTS.retry_position, position),
            lease_ms: defaults.lease_ms.unwrap_or(DEFAULTS.lease_ms),
            priority: defaults.priority.unwrap_or(DEFAULTS.priority),
            weight: defaults.weight.unwrap_or(DEFAULTS.weight),
        },
    })
}

/// `None` is without end.
pub(crate) fn max_attempts(attempts: Limit, field: &str) -> Result<Option<u32>, Failure> {
    match attempts {
        Limit::Unlimited => Ok(None),
        Limit::At(attempts) => match u32::try_from(attempts) {
            Ok(attempts) if attempts >= 1 => Ok(Some(attempts)),
            _ => Err(out_of_bounds(field, &format!("1 to {}, or \"unlimited\"", u32::MAX))),
        },
    }
}

pub(crate) fn max_attempts_out(attempts: Option<u32>) -> Limit {
    attempts.map_or(Limit::Unlimited, |attempts| Limit::At(attempts.into()))
}

/// Largest growth per attempt: more is a mistake.
const FACTOR_MAX: f64 = 1000.0;

pub(crate) fn backoff(backoff: Backoff, field: &str) -> Result<core::Backoff, Failure> {
    let default = DEFAULTS.backoff;
    let factor_milli = match backoff.factor {
        None => default.factor_milli,
        Some(factor) => {
            let bounds = (1.0, FACTOR_MAX);
            thousandths(factor, bounds).ok_or_else(|| out_of_bounds(&format!("{field}.factor"), "1 to 1000"))?
        }
    };
    let jitter_milli = match backoff.jitter {
        None => default.jitter_milli,
        Some(jitter) => {
            thousandths(jitter, (0.0, 1.0)).ok_or_else(|| out_of_bounds(&format!("{field}.jitter"), "0 to 1"))?
        }
    };
    Ok(core::Backoff {
        initial_ms: backoff.initial_ms.unwrap_or(default.initial_ms),
        factor_milli,
        max_ms: backoff.max_ms.unwrap_or(default.max_ms),
        jitter_milli,
    })
}

fn thousandths(number: f64, (least, most): (f64, f64)) -> Option<u32> {
    // At most a million, so the conversion is exact but for rounding.
    (least..=most).contains(&number).then(|| (number * 1000.0).round() as u32)
}

pub(crate) fn backoff_out(backoff: core::Backoff) -> Backoff {
    Backoff {
        initial_ms: Some(backoff.initial_ms),
        factor: Some(f64::from(backoff.factor_milli) / 1000.0),
        max_ms: Some(backoff.max_ms),
        jitter: Some(f64::from(backoff.jitter_milli) / 1000.0),
    }
}

pub(crate) fn position(position: Position) -> core::Position {
    match position {
        Position::Front => core::Position::Front,
        Position::Back => core::Position::Back,
    }
}

pub(crate) fn position_out(position: core::Position) -> Position {
    match position {
        core::Position::Front => Position::Front,
        core::Position::Back => Position::Back,
    }
}

pub(crate) fn queue(view: core::QueueView) -> Queue {
    let defaults = view.config.defaults;
    Queue {
        id: view.id,
        name: view.name.into(),
        key_values: view.key_values,
        max_items: view.config.max_items,
        max_dead_letters: view.config.max_dead_letters,
        defaults: ItemDefaults {
            updatable: Some(defaults.updatable),
            max_attempts: Some(max_attempts_out(defaults.max_attempts)),
            backoff: Some(backoff_out(defaults.backoff)),
            retry_position: Some(position_out(defaults.retry_position)),
            lease_ms: Some(defaults.lease_ms),
            priority: Some(defaults.priority),
            weight: Some(defaults.weight),
        },
        revision: view.revision,
        state: if view.deleting { QueueState::Deleting } else { QueueState::Active },
        pauses: view.pauses.into_iter().map(standing_pause).collect(),
        counts: counts(view.counts),
        channels: view.channels,
        dead_letters: view.dead_letters,
        consumers_waiting: view.consumers_waiting,
    }
}

fn standing_pause((kind, query): (core::PauseKind, Option<willow_query::Query>)) -> StandingPause {
    let kind = match kind {
        core::PauseKind::Dequeue => PauseKind::Dequeue,
        core::PauseKind::Enqueue => PauseKind::Enqueue,
    };
    StandingPause { kind, query: query.map(QueryInput::from) }
}

fn counts(counts: core::Counts) -> ItemCounts {
    ItemCounts { waiting: counts.waiting, delayed: counts.delayed, in_flight: counts.in_flight }
}

pub(crate) fn channel(view: core::ChannelView) -> Channel {
    Channel {
        id: view.id,
        key_values: view.key_values,
        metadata: view.metadata,
        taints: view.taints.into_iter().map(taint_out).collect(),
        revision: view.revision,
        counts: counts(view.counts),
        oldest_waiting_ms: view.oldest_waiting_ms,
        idle_ms: view.idle_ms,
    }
}

pub(crate) fn effect(effect: TaintEffect) -> core::TaintEffect {
    match effect {
        TaintEffect::NoSchedule => core::TaintEffect::NoSchedule,
    }
}

fn taint(taint: Taint) -> core::Taint {
    core::Taint { key: taint.key.into(), value: taint.value.into(), effect: effect(taint.effect) }
}

fn taint_out(taint: core::Taint) -> Taint {
    let core::Taint { key, value, effect: core::TaintEffect::NoSchedule } = taint;
    Taint { key: key.into(), value: value.into(), effect: TaintEffect::NoSchedule }
}

/// Pairs to set or remove, and taints.
pub(crate) type MetadataPatch = (Vec<(Key, Option<Value>)>, Option<Vec<core::Taint>>);

pub(crate) fn metadata(request: PatchMetadataRequest) -> Result<MetadataPatch, Failure> {
    if request.set.is_empty() && request.taints.is_none() {
        return Err(misplaced("set", "give `set`, `taints` or both"));
    }
    let pairs = request.set.into_iter().map(|(key, value)| {
        let field = format!("set.{key}");
        let bad = |error: willow_model::Error| Failure::from(refusal::key_values(&error, field.clone()));
        if let Some(value) = &value {
            KeyValues::builder(Origin::User).push(key.as_str(), value.clone()).map_err(bad)?;
        }
        Ok((Key::new(key).map_err(bad)?, value))
    });
    let set = pairs.collect::<Result<_, Failure>>()?;
    Ok((set, request.taints.map(|taints| taints.into_iter().map(taint).collect())))
}

pub(crate) fn channel_explanation(explanation: core::ChannelExplanation) -> ChannelExplanation {
    ChannelExplanation {
        revision: explanation.revision,
        channel: channel(explanation.channel),
        eligible: explanation.eligible,
        reasons: explanation.reasons.into_iter().map(reason).collect(),
        matching_consumers: explanation.matching_consumers,
    }
}

fn reason(reason: core::Reason) -> Reason {
    match reason {
        core::Reason::Empty => Reason::Empty,
        core::Reason::NotDue { due_in_ms } => Reason::NotDue { due_in_ms },
        core::Reason::Paused(queries) => {
            let scope = |query: Option<willow_query::Query>| PauseScope { query: query.map(QueryInput::from) };
            Reason::Paused { pauses: queries.into_iter().map(scope).collect() }
        }
        core::Reason::Tainted(taints) => Reason::Tainted { taints: taints.into_iter().map(taint_out).collect() },
        core::Reason::Limited(denied_by) => {
            Reason::Limited { denied_by: denied_by.into_iter().map(limiter::blocking).collect() }
        }
        core::Reason::NoConsumerMatches { waiting } => Reason::NoConsumerMatches { waiting },
        core::Reason::InFlight { items } => Reason::InFlight { items },
    }
}

/// The code of a queue that is not there, for reads.
pub(crate) fn no_such_queue() -> Failure {
    Problem::new(ErrorCode::QueueNotFound, core::Error::NoSuchQueue.to_string()).into()
}
