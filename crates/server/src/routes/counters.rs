//! Counters, holds, explain.

use std::sync::Arc;

use axum::extract::State;
use willow_api::{
    ErrorCode, Id, Page, Problem, QueryInput,
    limiter::{
        Counter, DecrementRequest, ExplainRequest, Explanation, HeartbeatHoldRequest, IncrementReply, IncrementRequest,
        ReleaseHoldReply, SetCounterRequest,
    },
    lock::RenewedReply,
    page::QuerySchema,
};
use willow_core::{
    Command, Machine, Outcome,
    limiter::{self, Decrement, HeartbeatHold, Increment, ReleaseHold, SetCounter},
    limits,
    machine::{Collection, Lookup},
};
use willow_model::Origin;
use willow_query::Query;

use super::{
    ReadParams,
    lookup::{self, Look},
};
use crate::{
    app::App,
    convert::{self, limiter as to},
    extract::{Args, Body, Parameters, RequestIdHeader},
    refusal,
    reply::{self, Answer, Failure},
};

fn no_such_counter() -> Failure {
    Problem::new(ErrorCode::CounterNotFound, limiter::Error::NoSuchCounter.to_string()).into()
}

/// Increment a counter
///
/// Adds the amount only if every bucket the counter falls in stays within its limit, all in one step. With
/// `hold` the amount is bound to a lease: the end of the lease gives it back. With `wait_ms` the call waits
/// in line for room. A denial names every limit in the way.
#[utoipa::path(post, path = "/v1/limiter/counters/increment", tag = "limiter", request_body = IncrementRequest,
    responses((status = 200, description = "It is counted", body = IncrementReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_KEY_VALUES", "RESERVED_KEY", "LIMIT_REACHED",
        "COUNTER_OVERFLOW", "WAIT_CANCELLED", "TOO_MANY_WAITERS"]))))]
pub(crate) async fn increment_counter(State(app): State<Arc<App>>, body: Body<IncrementRequest>) -> Answer {
    let request = body.value;
    let increment = Increment {
        key_values: convert::key_values(&request.key_values, Origin::User, "key_values")?,
        amount: request.amount.unwrap_or(1),
        hold_ttl_ms: request.hold.map(|hold| hold.ttl_ms),
        wait_ms: request.wait_ms.unwrap_or(0),
    };
    match app.propose(Command::Limit(limiter::Command::Increment(increment)), body.request_id).await? {
        Outcome::Limit(limiter::Outcome::Incremented(done)) => Ok(reply::json(&to::incremented(done))),
        other => Err(Failure::unexpected(&other)),
    }
}

fn counter_reply(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Limit(limiter::Outcome::Counter(view)) => Ok(reply::json(&to::counter(view))),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Decrement a counter
///
/// Takes from what no hold accounts for. A counter at 0 is gone.
#[utoipa::path(post, path = "/v1/limiter/counters/decrement", tag = "limiter", request_body = DecrementRequest,
    responses((status = 200, description = "It is taken off", body = Counter)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_KEY_VALUES", "RESERVED_KEY",
        "COUNTER_NOT_FOUND", "COUNTER_UNDERFLOW"]))))]
pub(crate) async fn decrement_counter(State(app): State<Arc<App>>, body: Body<DecrementRequest>) -> Answer {
    let request = body.value;
    let decrement = Decrement {
        key_values: convert::key_values(&request.key_values, Origin::User, "key_values")?,
        amount: request.amount.unwrap_or(1),
    };
    counter_reply(app.propose(Command::Limit(limiter::Command::Decrement(decrement)), body.request_id).await?)
}

/// Set a counter
///
/// Sets what no hold accounts for, without asking any limit: for repair.
#[utoipa::path(put, path = "/v1/limiter/counters", tag = "limiter", request_body = SetCounterRequest,
    responses((status = 200, description = "It is set", body = Counter)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_KEY_VALUES", "RESERVED_KEY",
        "COUNTER_OVERFLOW", "COUNTER_NOT_FOUND"]))))]
pub(crate) async fn set_counter(State(app): State<Arc<App>>, body: Body<SetCounterRequest>) -> Answer {
    let request = body.value;
    let set = SetCounter {
        key_values: convert::key_values(&request.key_values, Origin::User, "key_values")?,
        amount: request.amount,
    };
    counter_reply(app.propose(Command::Limit(limiter::Command::SetCounter(set)), body.request_id).await?)
}

/// Query counters
#[utoipa::path(post, path = "/v1/limiter/counters/query", tag = "limiter", params(ReadParams),
    request_body = Option<QuerySchema>,
    responses((status = 200, description = "One page", body = Page<Counter>)),
    extensions(("x-willow-read" = json!(true)),
        ("x-willow-errors" = json!(["INVALID_QUERY", "PAGE_TOKEN_MISMATCH"]))))]
pub(crate) async fn query_counters(
    State(app): State<Arc<App>>,
    Parameters(params): Parameters<ReadParams>,
    body: Body<QueryInput>,
) -> Answer {
    let look = Look {
        collection: |_: &_| Some(Collection::Counters),
        read: |machine: &Machine, query: &Query, lookup: Lookup<'_>| {
            machine.limiter().query_counters(query, lookup).map(Some)
        },
        item: to::counter,
        missing: no_such_counter,
    };
    lookup::answer(&app, params.consistency, convert::query(&body.value)?, look).await
}

/// Get a counter
#[utoipa::path(get, path = "/v1/limiter/counters/{counter}", tag = "limiter",
    params(("counter" = willow_api::keys::IdSchema, Path, description = "The counter's id"), ReadParams),
    responses((status = 200, description = "The counter", body = Counter)),
    extensions(("x-willow-errors" = json!(["COUNTER_NOT_FOUND"]))))]
pub(crate) async fn get_counter(
    State(app): State<Arc<App>>,
    Args(counter): Args<Id>,
    Parameters(params): Parameters<ReadParams>,
) -> Answer {
    let query = Query { ids: Some(vec![counter]), limit: 1, ..Query::default() };
    let found =
        app.read(params.consistency, |machine, lookup| machine.limiter().query_counters(&query, lookup)).await?;
    let listing = found.map_err(|error| refusal::query(&error, ""))?;
    let view = listing.items.into_iter().next().ok_or_else(no_such_counter)?;
    Ok(reply::json(&to::counter(view)))
}

/// Heartbeat a hold
///
/// Renews the lease of an increment that was made with `hold`.
#[utoipa::path(post, path = "/v1/limiter/holds/{hold}/heartbeat", tag = "limiter",
    request_body = Option<HeartbeatHoldRequest>,
    params(("hold" = willow_api::keys::IdSchema, Path, description = "The hold's id")),
    responses((status = 200, description = "The lease is renewed", body = RenewedReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "HOLD_NOT_FOUND"]))))]
pub(crate) async fn heartbeat_hold(
    State(app): State<Arc<App>>,
    Args(hold): Args<Id>,
    body: Body<HeartbeatHoldRequest>,
) -> Answer {
    let heartbeat = HeartbeatHold { hold, ttl_ms: body.value.ttl_ms };
    match app.propose(Command::Limit(limiter::Command::HeartbeatHold(heartbeat)), body.request_id).await? {
        Outcome::Limit(limiter::Outcome::Renewed { expires_in_ms }) => Ok(reply::json(&RenewedReply { expires_in_ms })),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Release a hold
///
/// Gives its amount back, exactly once.
#[utoipa::path(delete, path = "/v1/limiter/holds/{hold}", tag = "limiter",
    params(("hold" = willow_api::keys::IdSchema, Path, description = "The hold's id")),
    responses((status = 200, description = "It is given back", body = ReleaseHoldReply)),
    extensions(("x-willow-errors" = json!(["HOLD_NOT_FOUND"]))))]
pub(crate) async fn release_hold(
    State(app): State<Arc<App>>,
    Args(hold): Args<Id>,
    RequestIdHeader(request_id): RequestIdHeader,
) -> Answer {
    let release = limiter::Command::ReleaseHold(ReleaseHold { hold });
    match app.propose(Command::Limit(release), request_id).await? {
        Outcome::Limit(limiter::Outcome::Released { amount }) => Ok(reply::json(&ReleaseHoldReply { amount })),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Explain limits
///
/// Why an increment would pass or not, for every rule with a key in common: the same evaluator as
/// `increment`, changing nothing. With `rules`, also "what if".
#[utoipa::path(post, path = "/v1/limiter/explain", tag = "limiter", params(ReadParams), request_body = ExplainRequest,
    responses((status = 200, description = "The verdict and its reasons", body = Explanation)),
    extensions(("x-willow-read" = json!(true)), ("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_NAME",
        "INVALID_KEY_VALUES", "RESERVED_KEY", "COUNTER_OVERFLOW"]))))]
pub(crate) async fn explain_limits(
    State(app): State<Arc<App>>,
    Parameters(params): Parameters<ReadParams>,
    body: Body<ExplainRequest>,
) -> Answer {
    let request = body.value;
    let key_values = convert::key_values(&request.key_values, Origin::Probe, "key_values")?;
    let amount = request.amount.unwrap_or(1);
    if amount == 0 {
        return Err(convert::out_of_bounds("amount", "at least 1"));
    }
    if request.rules.len() > limits::WHAT_IF_RULES {
        return Err(convert::out_of_bounds("rules", &format!("at most {}", limits::WHAT_IF_RULES)));
    }
    let rules = request.rules.into_iter().enumerate().map(|(at, rule)| to::unsaved(rule, at));
    let rules: Vec<_> = rules.collect::<Result<_, _>>()?;
    let explain =
        |machine: &Machine, lookup: Lookup<'_>| machine.limiter().explain(&key_values, amount, &rules, lookup);
    let explained = app.read(params.consistency, explain).await?;
    Ok(reply::json(&to::explanation(explained.map_err(|error| refusal::problem(error.into()))?)))
}
