//! Items and dequeues.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::value::RawValue;
use willow_api::{
    item::{
        self as wire, Death, DequeueOrder, DequeueRequest, Direction, EnqueueReply, EnqueueStatus, Item, ItemState,
        Missing, NackReply, NackStatus, NewItem, RawJson, Toleration, TolerationOperator,
    },
    keys::LeaseToken,
};
use willow_core::{limiter::Selector, limits, queue as core};
use willow_model::{Id, Key, Origin, limits::ITEM_DATA_BYTES};
use willow_query::OrderBy;

use super::{key_values, label, misplaced, out_of_bounds, queue, readable};
use crate::{config::JSON_DEPTH, refusal, reply::Failure};

/// Content type of `data`.
const JSON: &str = "application/json";
/// Content type of `data_base64` that names none.
const BYTES: &str = "application/octet-stream";

/// An item to add. `prefix` is where it stands in the body.
pub(crate) fn new_item(item: NewItem, prefix: &str) -> Result<core::NewItem, Failure> {
    let at = |field: &str| format!("{prefix}{field}");
    let key_values = key_values(&item.key_values, Origin::User, &at("key_values"))?;
    let (data, content_type) = data(item.data, item.data_base64, item.content_type, prefix)?;
    Ok(core::NewItem {
        key_values,
        data,
        content_type,
        updatable: item.updatable,
        max_attempts: match item.max_attempts {
            Some(attempts) => Some(queue::max_attempts(attempts, &at("max_attempts"))?),
            None => None,
        },
        backoff: item.backoff.map(|backoff| queue::backoff(backoff, &at("backoff"))).transpose()?,
        retry_position: item.retry_position.map(queue::position),
        lease_ms: item.lease_ms,
        priority: item.priority,
        weight: item.weight,
        delay_ms: item.delay_ms.unwrap_or(0),
        expires_in_ms: item.expires_in_ms,
        idempotency_key: item.idempotency_key.map(Into::into),
    })
}

fn data(
    json: Option<RawJson>,
    base64: Option<String>,
    content_type: Option<String>,
    prefix: &str,
) -> Result<(core::Data, Box<str>), Failure> {
    let at = |field: &str| format!("{prefix}{field}");
    let (bytes, field): (core::Data, _) = match (json, base64) {
        (Some(_), Some(_)) => {
            return Err(misplaced(&at("data_base64"), "give either `data` or `data_base64`, not both"));
        }
        (Some(json), None) => {
            if let Err(error) = readable::check(json.get()) {
                let detail = format!("not every reader could read this JSON: {error}; send it as data_base64");
                return Err(misplaced(&at("data"), &detail));
            }
            (json.get().as_bytes().into(), at("data"))
        }
        (None, Some(text)) => match BASE64.decode(text) {
            Ok(bytes) => (bytes.into(), at("data_base64")),
            Err(error) => {
                let detail = format!("data_base64 is not base64 (RFC 4648, section 4, with padding): {error}");
                return Err(misplaced(&at("data_base64"), &detail));
            }
        },
        (None, None) => {
            let content_type = checked_type(content_type, &at("content_type"))?.unwrap_or_else(|| BYTES.into());
            return Ok((core::Data::from([]), content_type));
        }
    };
    if bytes.len() > ITEM_DATA_BYTES {
        return Err(out_of_bounds(&field, &format!("at most {ITEM_DATA_BYTES} bytes")));
    }
    let is_json = field.ends_with("data");
    let content_type = checked_type(content_type, &at("content_type"))?;
    match content_type {
        Some(given) if is_json && &*given != JSON => {
            Err(misplaced(&at("content_type"), "`data` is JSON; use `data_base64` for another content type"))
        }
        Some(given) => Ok((bytes, given)),
        None => Ok((bytes, if is_json { JSON } else { BYTES }.into())),
    }
}

fn checked_type(content_type: Option<String>, field: &str) -> Result<Option<Box<str>>, Failure> {
    match label(content_type, field)? {
        Some(text) if text.is_empty() || text.chars().any(char::is_control) => {
            Err(out_of_bounds(field, "1 to 256 bytes without control characters"))
        }
        checked => Ok(checked),
    }
}

/// Data as JSON if it says so and is, else as base64.
fn data_out(data: &[u8], content_type: &str) -> (Option<RawJson>, Option<String>) {
    if content_type == JSON
        && let Some(json) = as_json(data)
    {
        return (Some(json), None);
    }
    (None, (!data.is_empty()).then(|| BASE64.encode(data)))
}

/// `None` also for JSON that not every reader can read, or nested deeper than a reply may be: data that came
/// as base64 was not checked.
fn as_json(data: &[u8]) -> Option<RawJson> {
    let text = std::str::from_utf8(data).ok()?;
    crate::extract::check_depth(data, JSON_DEPTH / 2).ok()?;
    readable::check(text).ok()?;
    RawValue::from_string(text.to_owned()).ok().map(RawJson)
}

pub(crate) fn dequeue(request: DequeueRequest, queue: Selector) -> Result<core::Dequeue, Failure> {
    if request.tolerations.len() > limits::TOLERATIONS {
        return Err(out_of_bounds("tolerations", &format!("at most {}", limits::TOLERATIONS)));
    }
    let tolerations = request.tolerations.into_iter().enumerate().map(|(at, toleration)| tolerate(toleration, at));
    Ok(core::Dequeue {
        queue,
        tolerations: tolerations.collect::<Result<_, _>>()?,
        query: super::some_query(request.query.as_ref())?.unwrap_or_default(),
        order: order(request.order.unwrap_or_default())?,
        max_items: request.max_items.unwrap_or(1),
        lease_ms: request.lease_ms,
        wait_ms: request.wait_ms.unwrap_or(0),
        consumer: label(request.consumer, "consumer")?,
    })
}

fn order(order: DequeueOrder) -> Result<core::Order, Failure> {
    Ok(match order {
        DequeueOrder::Oldest => core::Order::Oldest,
        DequeueOrder::Priority => core::Order::Priority,
        DequeueOrder::Random => core::Order::Random,
        DequeueOrder::LongestIdle => core::Order::LongestIdle,
        DequeueOrder::RoundRobin(round_robin) => {
            let bytes = willow_model::limits::CURSOR_NAME_BYTES;
            if !(1..=bytes).contains(&round_robin.cursor.len()) {
                return Err(out_of_bounds("order.round_robin.cursor", &format!("1 to {bytes} bytes")));
            }
            core::Order::RoundRobin { cursor: round_robin.cursor.into() }
        }
        DequeueOrder::OrderBy(keys) => {
            let most = willow_model::limits::QUERY_ORDER_KEYS;
            if !(1..=most).contains(&keys.len()) {
                return Err(out_of_bounds("order.order_by", &format!("1 to {most} keys")));
            }
            let keys = keys.into_iter().enumerate().map(|(at, by)| order_by(by, at));
            core::Order::By(keys.collect::<Result<_, _>>()?)
        }
    })
}

fn order_by(by: wire::OrderBy, at: usize) -> Result<OrderBy, Failure> {
    let field = format!("order.order_by[{at}].key");
    Ok(OrderBy {
        key: Key::new(by.key).map_err(|error| Failure::from(refusal::key_values(&error, field)))?,
        direction: match by.direction {
            Direction::Asc => willow_query::Direction::Asc,
            Direction::Desc => willow_query::Direction::Desc,
        },
        missing: match by.missing {
            Missing::Last => willow_query::Missing::Last,
            Missing::First => willow_query::Missing::First,
            Missing::Exclude => willow_query::Missing::Exclude,
        },
    })
}

fn tolerate(toleration: Toleration, at: usize) -> Result<core::Toleration, Failure> {
    let field = |name: &str| format!("tolerations[{at}].{name}");
    let operator = match (toleration.operator, toleration.value) {
        (TolerationOperator::Exists, None) => core::TolerationOperator::Exists,
        (TolerationOperator::Exists, Some(_)) => {
            return Err(misplaced(&field("value"), "`Exists` takes no value; use `Equal`"));
        }
        (TolerationOperator::Equal, value) => core::TolerationOperator::Equal(value.unwrap_or_default().into()),
    };
    if toleration.key.is_none() && operator != core::TolerationOperator::Exists {
        return Err(misplaced(&field("key"), "give a key, or `\"operator\": \"Exists\"` to tolerate every key"));
    }
    Ok(core::Toleration { key: toleration.key.map(Into::into), operator, effect: toleration.effect.map(queue::effect) })
}

pub(crate) fn delivered(item: Id, token: LeaseToken) -> core::Delivered {
    let revision = willow_model::Revision(token.revision);
    core::Delivered { item, token: core::LeaseToken { revision, nonce: token.nonce } }
}

pub(crate) fn delivery(delivery: core::Delivery) -> wire::Delivery {
    let (data, data_base64) = data_out(&delivery.data, &delivery.content_type);
    wire::Delivery {
        item: delivery.item,
        channel: delivery.channel,
        key_values: delivery.key_values,
        data,
        data_base64,
        content_type: delivery.content_type.into(),
        attempt: delivery.attempt,
        revision: delivery.revision,
        lease_token: LeaseToken { revision: delivery.token.revision.0, nonce: delivery.token.nonce },
        expires_in_ms: delivery.expires_in_ms,
        priority: delivery.priority,
        age_ms: delivery.age_ms,
    }
}

pub(crate) fn enqueued(done: &core::Enqueued) -> EnqueueReply {
    EnqueueReply {
        item: done.item,
        channel: done.channel,
        revision: done.revision,
        status: match done.how {
            core::How::Created => EnqueueStatus::Created,
            core::How::Updated => EnqueueStatus::Updated,
            core::How::Duplicate => EnqueueStatus::Duplicate,
        },
    }
}

pub(crate) fn nacked(nacked: core::Nacked) -> NackReply {
    match nacked {
        core::Nacked::Retry { delay_ms } => NackReply { status: NackStatus::Retry, delay_ms: Some(delay_ms) },
        core::Nacked::DeadLetter => NackReply { status: NackStatus::DeadLetter, delay_ms: None },
        core::Nacked::Superseded => NackReply { status: NackStatus::Superseded, delay_ms: None },
    }
}

pub(crate) fn state(state: ItemState) -> core::ItemState {
    match state {
        ItemState::Waiting => core::ItemState::Waiting,
        ItemState::Delayed => core::ItemState::Delayed,
        ItemState::InFlight => core::ItemState::InFlight,
        ItemState::Dead => core::ItemState::Dead,
    }
}

fn state_out(state: core::ItemState) -> ItemState {
    match state {
        core::ItemState::Waiting => ItemState::Waiting,
        core::ItemState::Delayed => ItemState::Delayed,
        core::ItemState::InFlight => ItemState::InFlight,
        core::ItemState::Dead => ItemState::Dead,
    }
}

/// An item to look at, with or without its data.
pub(crate) fn item(view: core::ItemView, with_data: bool) -> Item {
    let (data, data_base64) = if with_data { data_out(&view.data, &view.content_type) } else { (None, None) };
    Item {
        id: view.id,
        channel: view.channel,
        key_values: view.key_values,
        state: state_out(view.state),
        data,
        data_base64,
        content_type: view.content_type.into(),
        data_bytes: view.data.len() as u64,
        revision: view.revision,
        updatable: view.updatable,
        attempts: view.attempts,
        max_attempts: queue::max_attempts_out(view.max_attempts),
        backoff: queue::backoff_out(view.backoff),
        retry_position: queue::position_out(view.retry_position),
        lease_ms: view.lease_ms,
        priority: view.priority,
        weight: view.weight,
        age_ms: view.age_ms,
        due_in_ms: view.due_in_ms,
        expires_in_ms: view.expires_in_ms,
        lease_expires_in_ms: view.lease_expires_in_ms,
        consumer: super::owned(view.consumer),
        reason: super::owned(view.reason),
        death: view.death.map(|death| match death {
            core::Death::AttemptsExhausted => Death::AttemptsExhausted,
            core::Death::Expired => Death::Expired,
        }),
    }
}
