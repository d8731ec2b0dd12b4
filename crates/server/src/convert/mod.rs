//! From wire types to the log's types and back.

pub(crate) mod cluster;
pub(crate) mod item;
pub(crate) mod limiter;
pub(crate) mod lock;
pub(crate) mod queue;
mod readable;

use willow_api::{ErrorCode, KeyValues, KeyValuesInput, Page, Problem, QueryInput, page};
use willow_core::machine::Listing;
use willow_model::Origin;
use willow_query::Query;

use crate::{refusal, reply::Failure};

/// Checks key values at the field that has them.
pub(crate) fn key_values(input: &KeyValuesInput, origin: Origin, field: &str) -> Result<KeyValues, Failure> {
    input.check(origin).map_err(|error| refusal::key_values(&error, field).into())
}

/// Checks key values that may be absent.
pub(crate) fn some_key_values(
    input: Option<&KeyValuesInput>,
    origin: Origin,
    field: &str,
) -> Result<Option<KeyValues>, Failure> {
    input.map(|input| key_values(input, origin, field)).transpose()
}

/// Checks the query that is the body.
pub(crate) fn query(input: &QueryInput) -> Result<Query, Failure> {
    input.check().map_err(|error| refusal::query(&error, "").into())
}

/// Checks the query in the field `query`, if it is there.
pub(crate) fn some_query(input: Option<&QueryInput>) -> Result<Option<Query>, Failure> {
    let query = input.map(|input| input.check().map_err(|error| refusal::query(&error, "query")));
    query.transpose().map_err(Into::into)
}

/// Checks the name of a rule, an override or a queue.
pub(crate) fn name(name: String) -> Result<Box<str>, Failure> {
    match willow_model::check_name(&name) {
        Ok(()) => Ok(name.into()),
        Err(error) => Err(Problem::new(ErrorCode::InvalidName, error.to_string()).at("name").into()),
    }
}

/// Checks the length of a text for people.
pub(crate) fn label(text: Option<String>, field: &str) -> Result<Option<Box<str>>, Failure> {
    let Some(text) = text else { return Ok(None) };
    if text.len() > willow_core::limits::LABEL_BYTES {
        return Err(out_of_bounds(field, &format!("at most {} bytes", willow_core::limits::LABEL_BYTES)));
    }
    Ok(Some(text.into()))
}

/// A value is out of its bounds.
pub(crate) fn out_of_bounds(field: &str, bounds: &str) -> Failure {
    Problem::new(ErrorCode::OutOfBounds, format!("{field} is out of bounds: {bounds}")).at(field).into()
}

/// A field does not go with the others.
pub(crate) fn misplaced(field: &str, detail: &str) -> Failure {
    Problem::new(ErrorCode::InvalidField, detail).at(field).into()
}

/// One page of a lookup.
pub(crate) fn page<V, T>(listing: Listing<V>, item: impl FnMut(V) -> T) -> Page<T> {
    Page {
        items: listing.items.into_iter().map(item).collect(),
        next_page_token: listing.next_page_token,
        count: listing.count.map(|count| page::Count { total: count.value, exact: count.exact }),
        plan: listing.plan.as_ref().and_then(plan),
    }
}

/// The engine's plan has the same fields, but types of its own that it does not export.
fn plan(plan: &willow_query::Plan) -> Option<page::Plan> {
    let read = serde_json::to_value(plan).and_then(serde_json::from_value);
    read.inspect_err(|error| tracing::error!(%error, "a plan does not read as its wire type")).ok()
}

/// Text that is on its way out.
pub(crate) fn owned(text: Option<Box<str>>) -> Option<String> {
    text.map(Into::into)
}
