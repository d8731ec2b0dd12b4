//! Limiter rules and overrides.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use willow_api::{
    ErrorCode, Page, Problem, QueryInput,
    limiter::{CreateOverrideRequest, CreateRuleRequest, Override, Rule, UpdateOverrideRequest, UpdateRuleRequest},
    page::QuerySchema,
    queue::DoneReply,
};
use willow_core::{
    Command, Machine, Outcome,
    limiter::{self, CreateOverride, CreateRule, DeleteOverride, DeleteRule, UpdateOverride, UpdateRule},
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
    extract::{Args, Body, IfMatch, Named, Parameters, RequestIdHeader},
    reply::{self, Answer, Failure},
};

fn no_such_rule() -> Failure {
    Problem::new(ErrorCode::RuleNotFound, limiter::Error::NoSuchRule.to_string()).into()
}

fn no_such_override() -> Failure {
    Problem::new(ErrorCode::OverrideNotFound, limiter::Error::NoSuchOverride.to_string()).into()
}

fn rule_reply(status: StatusCode, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Limit(limiter::Outcome::Rule(view)) => Ok(reply::json_at(status, view.revision, &to::rule(view))),
        other => Err(Failure::unexpected(&other)),
    }
}

fn override_reply(status: StatusCode, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Limit(limiter::Outcome::Override(view)) => {
            Ok(reply::json_at(status, view.revision, &to::override_(view)))
        }
        other => Err(Failure::unexpected(&other)),
    }
}

fn deleted_reply(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Limit(limiter::Outcome::Deleted) => Ok(reply::json(&DoneReply {})),
        other => Err(Failure::unexpected(other)),
    }
}

/// Create a rule
///
/// A counter falls under the rule if it has all the rule's keys, each equal or `any`. Each distinct tuple of
/// the counter's values for the rule's keys is its own bucket with its own usage. Counters that exist
/// already are counted.
#[utoipa::path(post, path = "/v1/limiter/rules", tag = "limiter", request_body = CreateRuleRequest,
    responses((status = 201, description = "It is created", body = Rule)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_NAME", "INVALID_KEY_VALUES", "RESERVED_KEY",
        "ALREADY_EXISTS", "TOO_MANY_RULES", "COUNTER_OVERFLOW"]))))]
pub(crate) async fn create_rule(State(app): State<Arc<App>>, body: Body<CreateRuleRequest>) -> Answer {
    let request = body.value;
    let create = CreateRule {
        key_values: convert::key_values(&request.key_values, Origin::Pattern, "key_values")?,
        name: convert::name(request.name)?,
        limit: to::limit(request.limit),
        mode: to::mode(request.mode.unwrap_or_default()),
    };
    let outcome = app.propose(Command::Limit(limiter::Command::CreateRule(create)), body.request_id).await?;
    rule_reply(StatusCode::CREATED, outcome)
}

/// Query rules
///
/// With `matching`, the rules that a counter of those key values falls under.
#[utoipa::path(post, path = "/v1/limiter/rules/query", tag = "limiter", params(ReadParams),
    request_body = Option<QuerySchema>,
    responses((status = 200, description = "One page", body = Page<Rule>)),
    extensions(("x-willow-read" = json!(true)),
        ("x-willow-errors" = json!(["INVALID_QUERY", "PAGE_TOKEN_MISMATCH"]))))]
pub(crate) async fn query_rules(
    State(app): State<Arc<App>>,
    Parameters(params): Parameters<ReadParams>,
    body: Body<QueryInput>,
) -> Answer {
    let look = Look {
        collection: |_: &_| Some(Collection::Rules),
        read: |machine: &Machine, query: &Query, lookup: Lookup<'_>| {
            machine.limiter().query_rules(query, lookup).map(Some)
        },
        item: to::rule,
        missing: no_such_rule,
    };
    lookup::answer(&app, params.consistency, convert::query(&body.value)?, look).await
}

/// Get a rule
#[utoipa::path(get, path = "/v1/limiter/rules/{rule}", tag = "limiter",
    params(("rule" = String, Path, description = "The rule's id or name"), ReadParams),
    responses((status = 200, description = "The rule", body = Rule)),
    extensions(("x-willow-errors" = json!(["RULE_NOT_FOUND"]))))]
pub(crate) async fn get_rule(
    State(app): State<Arc<App>>,
    Args(Named(rule)): Args<Named>,
    Parameters(params): Parameters<ReadParams>,
) -> Answer {
    let view = app.read(params.consistency, |machine, _| machine.limiter().rule(&rule)).await?;
    let view = view.ok_or_else(no_such_rule)?;
    Ok(reply::json_at(StatusCode::OK, view.revision, &to::rule(view)))
}

/// Change a rule
///
/// Replaces limit and mode, and the name if given. Usage above a lowered limit stays and drains.
#[utoipa::path(put, path = "/v1/limiter/rules/{rule}", tag = "limiter", request_body = UpdateRuleRequest,
    params(("rule" = String, Path, description = "The rule's id or name")),
    responses((status = 200, description = "It is changed", body = Rule)),
    extensions(("x-willow-edit" = json!(true)), ("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_NAME",
        "INVALID_KEY_VALUES", "RESERVED_KEY", "RULE_NOT_FOUND", "ALREADY_EXISTS", "KEY_VALUES_IMMUTABLE",
        "REVISION_MISMATCH"]))))]
pub(crate) async fn update_rule(
    State(app): State<Arc<App>>,
    Args(Named(rule)): Args<Named>,
    IfMatch(if_match): IfMatch,
    body: Body<UpdateRuleRequest>,
) -> Answer {
    let request = body.value;
    let update = UpdateRule {
        rule,
        key_values: convert::some_key_values(request.key_values.as_ref(), Origin::Pattern, "key_values")?,
        name: request.name.map(convert::name).transpose()?,
        limit: to::limit(request.limit),
        mode: to::mode(request.mode),
        if_match,
    };
    let outcome = app.propose(Command::Limit(limiter::Command::UpdateRule(update)), body.request_id).await?;
    rule_reply(StatusCode::OK, outcome)
}

/// Delete a rule
///
/// With all its overrides. Who waits for room under it is served.
#[utoipa::path(delete, path = "/v1/limiter/rules/{rule}", tag = "limiter",
    params(("rule" = String, Path, description = "The rule's id or name")),
    responses((status = 200, description = "It is gone", body = DoneReply)),
    extensions(("x-willow-edit" = json!(true)),
        ("x-willow-errors" = json!(["RULE_NOT_FOUND", "REVISION_MISMATCH"]))))]
pub(crate) async fn delete_rule(
    State(app): State<Arc<App>>,
    Args(Named(rule)): Args<Named>,
    IfMatch(if_match): IfMatch,
    RequestIdHeader(request_id): RequestIdHeader,
) -> Answer {
    let delete = DeleteRule { rule, if_match };
    deleted_reply(&app.propose(Command::Limit(limiter::Command::DeleteRule(delete)), request_id).await?)
}

/// Create an override
///
/// More specific key values with their own limit. Where overrides match, they replace their rule's limit, and
/// every one that matches is enforced on its own bucket.
#[utoipa::path(post, path = "/v1/limiter/rules/{rule}/overrides", tag = "limiter",
    request_body = CreateOverrideRequest,
    params(("rule" = String, Path, description = "The rule's id or name")),
    responses((status = 201, description = "It is created", body = Override)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_NAME", "INVALID_KEY_VALUES", "RESERVED_KEY",
        "RULE_NOT_FOUND", "ALREADY_EXISTS", "OVERRIDE_NOT_NARROWER", "TOO_MANY_RULES", "COUNTER_OVERFLOW"]))))]
pub(crate) async fn create_override(
    State(app): State<Arc<App>>,
    Args(Named(rule)): Args<Named>,
    body: Body<CreateOverrideRequest>,
) -> Answer {
    let request = body.value;
    let create = CreateOverride {
        rule,
        key_values: convert::key_values(&request.key_values, Origin::Pattern, "key_values")?,
        name: convert::name(request.name)?,
        limit: to::limit(request.limit),
    };
    let outcome = app.propose(Command::Limit(limiter::Command::CreateOverride(create)), body.request_id).await?;
    override_reply(StatusCode::CREATED, outcome)
}

/// Query a rule's overrides
#[utoipa::path(post, path = "/v1/limiter/rules/{rule}/overrides/query", tag = "limiter",
    request_body = Option<QuerySchema>,
    params(("rule" = String, Path, description = "The rule's id or name"), ReadParams),
    responses((status = 200, description = "One page", body = Page<Override>)),
    extensions(("x-willow-read" = json!(true)),
        ("x-willow-errors" = json!(["RULE_NOT_FOUND", "INVALID_QUERY", "PAGE_TOKEN_MISMATCH"]))))]
pub(crate) async fn query_overrides(
    State(app): State<Arc<App>>,
    Args(Named(rule)): Args<Named>,
    Parameters(params): Parameters<ReadParams>,
    body: Body<QueryInput>,
) -> Answer {
    let look = Look {
        collection: |machine: &Machine| machine.limiter().rule(&rule).map(|rule| Collection::Overrides(rule.id)),
        read: |machine: &Machine, query: &Query, lookup: Lookup<'_>| {
            machine.limiter().query_overrides(&rule, query, lookup)
        },
        item: to::override_,
        missing: no_such_rule,
    };
    lookup::answer(&app, params.consistency, convert::query(&body.value)?, look).await
}

/// Get an override
#[utoipa::path(get, path = "/v1/limiter/rules/{rule}/overrides/{override}", tag = "limiter",
    params(("rule" = String, Path, description = "The rule's id or name"),
        ("override" = String, Path, description = "The override's id or name"), ReadParams),
    responses((status = 200, description = "The override", body = Override)),
    extensions(("x-willow-errors" = json!(["RULE_NOT_FOUND", "OVERRIDE_NOT_FOUND"]))))]
pub(crate) async fn get_override(
    State(app): State<Arc<App>>,
    Args((Named(rule), Named(override_))): Args<(Named, Named)>,
    Parameters(params): Parameters<ReadParams>,
) -> Answer {
    let read = app.read(params.consistency, |machine, _| {
        let found = machine.limiter().override_(&rule, &override_);
        found.ok_or_else(|| machine.limiter().rule(&rule).is_some())
    });
    match read.await? {
        Ok(view) => Ok(reply::json_at(StatusCode::OK, view.revision, &to::override_(view))),
        Err(has_rule) => Err(if has_rule { no_such_override() } else { no_such_rule() }),
    }
}

/// Change an override
///
/// Replaces the limit, and the name if given.
#[utoipa::path(put, path = "/v1/limiter/rules/{rule}/overrides/{override}", tag = "limiter",
    request_body = UpdateOverrideRequest,
    params(("rule" = String, Path, description = "The rule's id or name"),
        ("override" = String, Path, description = "The override's id or name")),
    responses((status = 200, description = "It is changed", body = Override)),
    extensions(("x-willow-edit" = json!(true)), ("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_NAME",
        "INVALID_KEY_VALUES", "RESERVED_KEY", "RULE_NOT_FOUND", "OVERRIDE_NOT_FOUND", "ALREADY_EXISTS",
        "KEY_VALUES_IMMUTABLE", "REVISION_MISMATCH"]))))]
pub(crate) async fn update_override(
    State(app): State<Arc<App>>,
    Args((Named(rule), Named(override_))): Args<(Named, Named)>,
    IfMatch(if_match): IfMatch,
    body: Body<UpdateOverrideRequest>,
) -> Answer {
    let request = body.value;
    let update = UpdateOverride {
        rule,
        override_,
        key_values: convert::some_key_values(request.key_values.as_ref(), Origin::Pattern, "key_values")?,
        name: request.name.map(convert::name).transpose()?,
        limit: to::limit(request.limit),
        if_match,
    };
    let outcome = app.propose(Command::Limit(limiter::Command::UpdateOverride(update)), body.request_id).await?;
    override_reply(StatusCode::OK, outcome)
}

/// Delete an override
#[utoipa::path(delete, path = "/v1/limiter/rules/{rule}/overrides/{override}", tag = "limiter",
    params(("rule" = String, Path, description = "The rule's id or name"),
        ("override" = String, Path, description = "The override's id or name")),
    responses((status = 200, description = "It is gone", body = DoneReply)),
    extensions(("x-willow-edit" = json!(true)),
        ("x-willow-errors" = json!(["RULE_NOT_FOUND", "OVERRIDE_NOT_FOUND", "REVISION_MISMATCH"]))))]
pub(crate) async fn delete_override(
    State(app): State<Arc<App>>,
    Args((Named(rule), Named(override_))): Args<(Named, Named)>,
    IfMatch(if_match): IfMatch,
    RequestIdHeader(request_id): RequestIdHeader,
) -> Answer {
    let delete = DeleteOverride { rule, override_, if_match };
    deleted_reply(&app.propose(Command::Limit(limiter::Command::DeleteOverride(delete)), request_id).await?)
}
