//! Queues: settings, pauses, purge, dead letters.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use willow_api::{
    Page, QueryInput,
    item::Item,
    page::QuerySchema,
    queue::{
        CreateQueueRequest, DeadLetterActionRequest, DeletingReply, DoneReply, Queue, QueueActionRequest, QueueState,
        RedriveReply, RemovedReply, UpdateQueueRequest,
    },
};
use willow_core::{
    Command, Machine, Outcome,
    limiter::Selector,
    limits,
    machine::{Collection, Lookup},
    queue::{self, DeleteQueue, Pause, PauseKind, Purge, PurgeDeadLetters, Redrive, Resume, UpdateQueue},
};
use willow_query::Query;

use super::{
    ReadParams,
    items::DataParams,
    lookup::{self, Look},
};
use crate::{
    app::App,
    convert::{self, queue as to},
    extract::{Args, Body, IfMatch, Named, Parameters, RequestIdHeader},
    reply::{self, Answer, Failure},
};

fn queue_reply(status: StatusCode, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Queue(queue::Outcome::Queue(view)) => Ok(reply::json_at(status, view.revision, &to::queue(view))),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Create a queue
#[utoipa::path(post, path = "/v1/queues", tag = "queue", request_body = CreateQueueRequest,
    responses((status = 201, description = "It is created", body = Queue)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_NAME", "INVALID_KEY_VALUES", "RESERVED_KEY",
        "ALREADY_EXISTS", "QUEUE_DELETING"]))))]
pub(crate) async fn create_queue(State(app): State<Arc<App>>, body: Body<CreateQueueRequest>) -> Answer {
    let create = queue::Command::CreateQueue(to::create(body.value)?);
    queue_reply(StatusCode::CREATED, app.propose(Command::Queue(create), body.request_id).await?)
}

/// Query queues
#[utoipa::path(post, path = "/v1/queues/query", tag = "queue", params(ReadParams), request_body = Option<QuerySchema>,
    responses((status = 200, description = "One page", body = Page<Queue>)),
    extensions(("x-willow-read" = json!(true)),
        ("x-willow-errors" = json!(["INVALID_QUERY", "PAGE_TOKEN_MISMATCH"]))))]
pub(crate) async fn query_queues(
    State(app): State<Arc<App>>,
    Parameters(params): Parameters<ReadParams>,
    body: Body<QueryInput>,
) -> Answer {
    let look = Look {
        collection: |_: &_| Some(Collection::Queues),
        read: |machine: &Machine, query: &Query, lookup: Lookup<'_>| {
            machine.queues().query_queues(query, lookup).map(Some)
        },
        item: to::queue,
        missing: to::no_such_queue,
    };
    lookup::answer(&app, params.consistency, convert::query(&body.value)?, look).await
}

/// Get a queue
#[utoipa::path(get, path = "/v1/queues/{queue}", tag = "queue",
    params(("queue" = String, Path, description = "The queue's id or name"), ReadParams),
    responses((status = 200, description = "The queue", body = Queue)),
    extensions(("x-willow-errors" = json!(["QUEUE_NOT_FOUND"]))))]
pub(crate) async fn get_queue(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    Parameters(params): Parameters<ReadParams>,
) -> Answer {
    let view = app.read(params.consistency, |machine, _| machine.queues().queue(&queue)).await?;
    let view = view.ok_or_else(to::no_such_queue)?;
    Ok(reply::json_at(StatusCode::OK, view.revision, &to::queue(view)))
}

/// Change a queue
///
/// Replaces all settings: what is absent gets its default. Items that wait keep what they were enqueued with.
#[utoipa::path(put, path = "/v1/queues/{queue}", tag = "queue", request_body = UpdateQueueRequest,
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 200, description = "It is changed", body = Queue)),
    extensions(("x-willow-edit" = json!(true)), ("x-willow-errors" = json!(["OUT_OF_BOUNDS", "QUEUE_NOT_FOUND",
        "QUEUE_DELETING", "REVISION_MISMATCH"]))))]
pub(crate) async fn update_queue(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    IfMatch(if_match): IfMatch,
    body: Body<UpdateQueueRequest>,
) -> Answer {
    let UpdateQueueRequest { max_items, max_dead_letters, defaults, .. } = body.value;
    let config = to::config(max_items, max_dead_letters, defaults)?;
    let update = queue::Command::UpdateQueue(UpdateQueue { queue, config, if_match });
    queue_reply(StatusCode::OK, app.propose(Command::Queue(update), body.request_id).await?)
}

/// Delete a queue
///
/// With all it holds. It answers at once, and the queue is gone for callers; what it holds is removed in the
/// background.
#[utoipa::path(delete, path = "/v1/queues/{queue}", tag = "queue",
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 202, description = "It is being deleted", body = DeletingReply)),
    extensions(("x-willow-edit" = json!(true)), ("x-willow-errors" = json!(["QUEUE_NOT_FOUND", "QUEUE_DELETING",
        "REVISION_MISMATCH"]))))]
pub(crate) async fn delete_queue(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    IfMatch(if_match): IfMatch,
    RequestIdHeader(request_id): RequestIdHeader,
) -> Answer {
    let delete = queue::Command::DeleteQueue(DeleteQueue { queue, if_match });
    match app.propose(Command::Queue(delete), request_id).await? {
        Outcome::Queue(queue::Outcome::Deleting) => {
            Ok(reply::json_with(StatusCode::ACCEPTED, &DeletingReply { state: QueueState::Deleting }))
        }
        other => Err(Failure::unexpected(&other)),
    }
}

async fn pause(app: &App, queue: Selector, body: Body<QueueActionRequest>, kind: PauseKind) -> Answer {
    let query = convert::some_query(body.value.query.as_ref())?;
    let pause = queue::Command::Pause(Pause { queue, query, kind });
    paused_reply(&app.propose(Command::Queue(pause), body.request_id).await?)
}

fn paused_reply(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Queue(queue::Outcome::Paused) => Ok(reply::json(&DoneReply {})),
        other => Err(Failure::unexpected(other)),
    }
}

/// Pause a queue
///
/// Stops handing out items, of the whole queue or of the channels that match, also of channels to come.
#[utoipa::path(post, path = "/v1/queues/{queue}/pause", tag = "queue", request_body = Option<QueueActionRequest>,
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 200, description = "It is paused", body = DoneReply)),
    extensions(("x-willow-errors" = json!(["INVALID_QUERY", "QUEUE_NOT_FOUND", "QUEUE_DELETING",
        "TOO_MANY_PAUSES"]))))]
pub(crate) async fn pause_queue(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    body: Body<QueueActionRequest>,
) -> Answer {
    pause(&app, queue, body, PauseKind::Dequeue).await
}

/// Drain a queue
///
/// Stops taking in items, of the whole queue or on the channels that match, so that it runs dry.
#[utoipa::path(post, path = "/v1/queues/{queue}/drain", tag = "queue", request_body = Option<QueueActionRequest>,
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 200, description = "It is draining", body = DoneReply)),
    extensions(("x-willow-errors" = json!(["INVALID_QUERY", "QUEUE_NOT_FOUND", "QUEUE_DELETING",
        "TOO_MANY_PAUSES"]))))]
pub(crate) async fn drain_queue(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    body: Body<QueueActionRequest>,
) -> Answer {
    pause(&app, queue, body, PauseKind::Enqueue).await
}

/// Resume a queue
///
/// Ends the pauses and drains with this very query, or those of the whole queue.
#[utoipa::path(post, path = "/v1/queues/{queue}/resume", tag = "queue", request_body = Option<QueueActionRequest>,
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 200, description = "It goes on", body = DoneReply)),
    extensions(("x-willow-errors" = json!(["INVALID_QUERY", "QUEUE_NOT_FOUND", "QUEUE_DELETING",
        "PAUSE_NOT_FOUND"]))))]
pub(crate) async fn resume_queue(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    body: Body<QueueActionRequest>,
) -> Answer {
    let query = convert::some_query(body.value.query.as_ref())?;
    let resume = queue::Command::Resume(Resume { queue, query });
    paused_reply(&app.propose(Command::Queue(resume), body.request_id).await?)
}

fn removed_reply(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Queue(queue::Outcome::Removed { items, continuing }) => {
            Ok(reply::json(&RemovedReply { items: *items, continuing: *continuing }))
        }
        other => Err(Failure::unexpected(other)),
    }
}

/// Purge a queue
///
/// Removes waiting and delayed items, of the whole queue or of the channels that match. What is in flight
/// stays.
#[utoipa::path(post, path = "/v1/queues/{queue}/purge", tag = "queue", request_body = Option<QueueActionRequest>,
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 200, description = "Items are removed", body = RemovedReply)),
    extensions(("x-willow-errors" = json!(["INVALID_QUERY", "QUEUE_NOT_FOUND", "QUEUE_DELETING"]))))]
pub(crate) async fn purge_queue(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    body: Body<QueueActionRequest>,
) -> Answer {
    let query = convert::some_query(body.value.query.as_ref())?;
    let purge = queue::Command::Purge(Purge { queue, query });
    removed_reply(&app.propose(Command::Queue(purge), body.request_id).await?)
}

/// Query dead letters
///
/// Items that had their last attempt, or expired.
#[utoipa::path(post, path = "/v1/queues/{queue}/dead-letters/query", tag = "queue",
    request_body = Option<QuerySchema>,
    params(("queue" = String, Path, description = "The queue's id or name"), DataParams),
    responses((status = 200, description = "One page", body = Page<Item>)),
    extensions(("x-willow-read" = json!(true)),
        ("x-willow-errors" = json!(["QUEUE_NOT_FOUND", "INVALID_QUERY", "PAGE_TOKEN_MISMATCH"]))))]
pub(crate) async fn query_dead_letters(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    Parameters(params): Parameters<DataParams>,
    body: Body<QueryInput>,
) -> Answer {
    let look = Look {
        collection: |machine: &Machine| machine.queues().queue(&queue).map(|queue| Collection::DeadLetters(queue.id)),
        read: |machine: &Machine, query: &Query, lookup: Lookup<'_>| {
            machine.queues().query_dead_letters(&queue, query, lookup)
        },
        item: params.converter(),
        missing: to::no_such_queue,
    };
    lookup::answer(&app, params.consistency, convert::query(&body.value)?, look).await
}

/// How many dead letters to act on.
fn dead_letters(max_items: Option<u32>) -> Result<u32, Failure> {
    let most = u32::try_from(limits::ROWS_PER_STEP).unwrap_or(u32::MAX);
    let max_items = max_items.unwrap_or(most);
    if (1..=most).contains(&max_items) {
        Ok(max_items)
    } else {
        Err(convert::out_of_bounds("max_items", &format!("1 to {most}")))
    }
}

/// Redrive dead letters
///
/// Moves dead letters back to their channels, oldest first, with attempts reset.
#[utoipa::path(post, path = "/v1/queues/{queue}/dead-letters/redrive", tag = "queue",
    request_body = Option<DeadLetterActionRequest>,
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 200, description = "They are moved", body = RedriveReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_QUERY", "QUEUE_NOT_FOUND", "QUEUE_DELETING",
        "QUEUE_FULL", "QUEUE_DRAINING"]))))]
pub(crate) async fn redrive_dead_letters(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    body: Body<DeadLetterActionRequest>,
) -> Answer {
    let query = convert::some_query(body.value.query.as_ref())?;
    let max_items = dead_letters(body.value.max_items)?;
    let redrive = queue::Command::Redrive(Redrive { queue, query, max_items });
    match app.propose(Command::Queue(redrive), body.request_id).await? {
        Outcome::Queue(queue::Outcome::Redriven { items, more }) => Ok(reply::json(&RedriveReply { items, more })),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Purge dead letters
///
/// Removes dead letters for good.
#[utoipa::path(post, path = "/v1/queues/{queue}/dead-letters/purge", tag = "queue",
    request_body = Option<DeadLetterActionRequest>,
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 200, description = "They are removed", body = RemovedReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_QUERY", "QUEUE_NOT_FOUND",
        "QUEUE_DELETING"]))))]
pub(crate) async fn purge_dead_letters(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    body: Body<DeadLetterActionRequest>,
) -> Answer {
    let query = convert::some_query(body.value.query.as_ref())?;
    let max_items = dead_letters(body.value.max_items)?;
    let purge = queue::Command::PurgeDeadLetters(PurgeDeadLetters { queue, query, max_items });
    removed_reply(&app.propose(Command::Queue(purge), body.request_id).await?)
}
