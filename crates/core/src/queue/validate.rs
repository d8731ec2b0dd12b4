//! Bounds of what commands carry. The edge checks them too; here they protect the state.

use willow_model::limits as model_limits;
use willow_query::Query;

use super::{Backoff, Error, ItemOptions, NewItem, QueueConfig};
use crate::limits;

/// Bytes of an idempotency key: as many as of a request id.
const IDEMPOTENCY_KEY_BYTES: u64 = limits::REQUEST_ID_BYTES as u64;
/// Growth of a backoff, thousandths: a thousandfold is beyond use.
const FACTOR_MAX_MILLI: u64 = 1_000_000;
/// What one delivery may count for: sums of weights stay far from overflow.
const WEIGHT_MAX: u64 = 1_000_000;

pub(super) fn out_of_bounds(field: &str, bounds: impl Into<Box<str>>) -> Error {
    Error::OutOfBounds { field: field.into(), bounds: bounds.into() }
}

pub(super) fn range(field: &str, value: u64, min: u64, max: u64) -> Result<(), Error> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(out_of_bounds(field, format!("{min} to {max}"))) }
}

pub(super) fn batch(field: &str, len: usize) -> Result<(), Error> {
    range(field, len as u64, 1, limits::BATCH_ITEMS as u64)
}

pub(super) fn step(field: &str, items: u32) -> Result<(), Error> {
    range(field, u64::from(items), 1, limits::ROWS_PER_STEP as u64)
}

pub(super) fn length(field: &str, len: usize, max: usize) -> Result<(), Error> {
    if len <= max { Ok(()) } else { Err(out_of_bounds(field, format!("at most {max}"))) }
}

pub(super) fn lease(lease_ms: u64) -> Result<(), Error> {
    range("lease_ms", lease_ms, limits::LEASE_MIN_MS, limits::LEASE_MAX_MS)
}

pub(super) fn label(field: &str, text: Option<&str>) -> Result<(), Error> {
    match text {
        Some(text) if text.len() > limits::LABEL_BYTES => {
            Err(out_of_bounds(field, format!("at most {} bytes", limits::LABEL_BYTES)))
        }
        _ => Ok(()),
    }
}

pub(super) fn query(query: &Query) -> Result<(), Error> {
    query.check().map_err(|error| Error::BadQuery { reason: error.to_string().into() })
}

fn backoff(backoff: &Backoff) -> Result<(), Error> {
    range("backoff.initial_ms", backoff.initial_ms, 0, limits::ITEM_DELAY_MAX_MS)?;
    range("backoff.max_ms", backoff.max_ms, 0, limits::ITEM_DELAY_MAX_MS)?;
    range("backoff.factor", u64::from(backoff.factor_milli), 1000, FACTOR_MAX_MILLI)?;
    range("backoff.jitter", u64::from(backoff.jitter_milli), 0, 1000)
}

pub(super) fn options(options: &ItemOptions) -> Result<(), Error> {
    if options.max_attempts == Some(0) {
        return Err(out_of_bounds("max_attempts", "at least 1"));
    }
    backoff(&options.backoff)?;
    lease(options.lease_ms)?;
    range("weight", u64::from(options.weight), 1, WEIGHT_MAX)
}

pub(super) fn config(config: &QueueConfig) -> Result<(), Error> {
    options(&config.defaults)
}

pub(super) fn delay(field: &str, delay_ms: u64) -> Result<(), Error> {
    range(field, delay_ms, 0, limits::ITEM_DELAY_MAX_MS)
}

/// All of a new item but its options.
pub(super) fn item(item: &NewItem) -> Result<(), Error> {
    length("data", item.data.len(), model_limits::ITEM_DATA_BYTES)?;
    label("content_type", Some(&item.content_type))?;
    delay("delay_ms", item.delay_ms)?;
    if let Some(expires_in_ms) = item.expires_in_ms {
        range("expires_in_ms", expires_in_ms, 1, limits::ITEM_DELAY_MAX_MS)?;
    }
    if let Some(key) = &item.idempotency_key {
        range("idempotency_key", key.len() as u64, 1, IDEMPOTENCY_KEY_BYTES)?;
    }
    Ok(())
}
