//! Channels of a queue.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use willow_api::{
    ErrorCode, Id, Page, Problem, QueryInput,
    channel::{Channel, ChannelExplanation, PatchMetadataReply, PatchMetadataRequest},
    page::QuerySchema,
    queue::RemovedReply,
};
use willow_core::{
    Command, Machine, Outcome,
    machine::{Collection, Lookup},
    queue::{self, DeleteChannel, PatchMetadata},
};
use willow_query::Query;

use super::{
    ReadParams,
    lookup::{self, Look},
};
use crate::{
    app::App,
    convert::{self, queue as to},
    extract::{Args, Body, IfMatch, Named, Parameters, RequestIdHeader},
    reply::{self, Answer, Failure},
};

fn missing(has_queue: bool) -> Failure {
    if has_queue {
        Problem::new(ErrorCode::ChannelNotFound, queue::Error::NoSuchChannel.to_string()).into()
    } else {
        to::no_such_queue()
    }
}

/// Query channels
///
/// Channel metadata is addressed as `metadata.<key>`.
#[utoipa::path(post, path = "/v1/queues/{queue}/channels/query", tag = "queue", request_body = Option<QuerySchema>,
    params(("queue" = String, Path, description = "The queue's id or name"), ReadParams),
    responses((status = 200, description = "One page", body = Page<Channel>)),
    extensions(("x-willow-read" = json!(true)),
        ("x-willow-errors" = json!(["QUEUE_NOT_FOUND", "INVALID_QUERY", "PAGE_TOKEN_MISMATCH"]))))]
pub(crate) async fn query_channels(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    Parameters(params): Parameters<ReadParams>,
    body: Body<QueryInput>,
) -> Answer {
    let look = Look {
        collection: |machine: &Machine| machine.queues().queue(&queue).map(|queue| Collection::Channels(queue.id)),
        read: |machine: &Machine, query: &Query, lookup: Lookup<'_>| {
            machine.queues().query_channels(&queue, query, lookup)
        },
        item: to::channel,
        missing: to::no_such_queue,
    };
    lookup::answer(&app, params.consistency, convert::query(&body.value)?, look).await
}

/// Get a channel
#[utoipa::path(get, path = "/v1/queues/{queue}/channels/{channel}", tag = "queue",
    params(("queue" = String, Path, description = "The queue's id or name"),
        ("channel" = willow_api::keys::IdSchema, Path, description = "The channel's id"), ReadParams),
    responses((status = 200, description = "The channel", body = Channel)),
    extensions(("x-willow-errors" = json!(["QUEUE_NOT_FOUND", "CHANNEL_NOT_FOUND"]))))]
pub(crate) async fn get_channel(
    State(app): State<Arc<App>>,
    Args((Named(queue), channel)): Args<(Named, Id)>,
    Parameters(params): Parameters<ReadParams>,
) -> Answer {
    let read = app.read(params.consistency, |machine, lookup| {
        let found = machine.queues().channel(&queue, channel, lookup);
        found.ok_or_else(|| machine.queues().queue(&queue).is_some())
    });
    let view = read.await?.map_err(missing)?;
    Ok(reply::json_at(StatusCode::OK, view.revision, &to::channel(view)))
}

/// Delete a channel
///
/// Removes its waiting and delayed items and its metadata. What is in flight may still be acknowledged.
#[utoipa::path(delete, path = "/v1/queues/{queue}/channels/{channel}", tag = "queue",
    params(("queue" = String, Path, description = "The queue's id or name"),
        ("channel" = willow_api::keys::IdSchema, Path, description = "The channel's id")),
    responses((status = 200, description = "Its items are removed", body = RemovedReply)),
    extensions(("x-willow-errors" = json!(["QUEUE_NOT_FOUND", "QUEUE_DELETING", "CHANNEL_NOT_FOUND"]))))]
pub(crate) async fn delete_channel(
    State(app): State<Arc<App>>,
    Args((Named(queue), channel)): Args<(Named, Id)>,
    RequestIdHeader(request_id): RequestIdHeader,
) -> Answer {
    let delete = queue::Command::DeleteChannel(DeleteChannel { queue, channel });
    match app.propose(Command::Queue(delete), request_id).await? {
        Outcome::Queue(queue::Outcome::Removed { items, continuing }) => {
            Ok(reply::json(&RemovedReply { items, continuing }))
        }
        other => Err(Failure::unexpected(&other)),
    }
}

/// Change a channel's metadata
///
/// Sets and removes mutable pairs, and replaces taints. They do not define the channel, and outlive its items
/// for as long as they are set.
#[utoipa::path(patch, path = "/v1/queues/{queue}/channels/{channel}/metadata", tag = "queue",
    request_body = PatchMetadataRequest,
    params(("queue" = String, Path, description = "The queue's id or name"),
        ("channel" = willow_api::keys::IdSchema, Path, description = "The channel's id")),
    responses((status = 200, description = "It is changed", body = PatchMetadataReply)),
    extensions(("x-willow-edit" = json!(true)), ("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_KEY_VALUES",
        "RESERVED_KEY", "QUEUE_NOT_FOUND", "QUEUE_DELETING", "CHANNEL_NOT_FOUND", "TOO_MUCH_METADATA",
        "REVISION_MISMATCH"]))))]
pub(crate) async fn patch_channel_metadata(
    State(app): State<Arc<App>>,
    Args((Named(queue), channel)): Args<(Named, Id)>,
    IfMatch(if_match): IfMatch,
    body: Body<PatchMetadataRequest>,
) -> Answer {
    let (set, taints) = to::metadata(body.value)?;
    let patch = queue::Command::PatchMetadata(PatchMetadata { queue, channel, set, taints, if_match });
    match app.propose(Command::Queue(patch), body.request_id).await? {
        Outcome::Queue(queue::Outcome::Channel(Some(view))) => {
            let revision = view.revision;
            let channel = Some(to::channel(view));
            Ok(reply::json_at(StatusCode::OK, revision, &PatchMetadataReply { channel }))
        }
        Outcome::Queue(queue::Outcome::Channel(None)) => Ok(reply::json(&PatchMetadataReply { channel: None })),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Explain a channel
///
/// Why is it not running: empty, not due, paused, tainted, limited and by what, no consumer matches, in
/// flight. All reasons that hold.
#[utoipa::path(get, path = "/v1/queues/{queue}/channels/{channel}/explain", tag = "queue",
    params(("queue" = String, Path, description = "The queue's id or name"),
        ("channel" = willow_api::keys::IdSchema, Path, description = "The channel's id"), ReadParams),
    responses((status = 200, description = "The reasons", body = ChannelExplanation)),
    extensions(("x-willow-errors" = json!(["QUEUE_NOT_FOUND", "CHANNEL_NOT_FOUND"]))))]
pub(crate) async fn explain_channel(
    State(app): State<Arc<App>>,
    Args((Named(queue), channel)): Args<(Named, Id)>,
    Parameters(params): Parameters<ReadParams>,
) -> Answer {
    let read = app.read(params.consistency, |machine, lookup| {
        let found = machine.queues().explain(&queue, channel, machine.limiter(), lookup);
        found.ok_or_else(|| machine.queues().queue(&queue).is_some())
    });
    let explanation = read.await?.map_err(missing)?;
    Ok(reply::json(&to::channel_explanation(explanation)))
}
