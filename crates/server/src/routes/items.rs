//! Items.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use willow_api::{
    Consistency, ErrorCode, Id, Page, Problem, QueryInput,
    item::{
        AckBatchReply, AckBatchRequest, AckResult, DequeueReply, DequeueRequest, EnqueueBatchReply,
        EnqueueBatchRequest, EnqueueReply, EnqueueRequest, EnqueueResult, EnqueueStatus, ExtendRequest, Item,
        ItemError, ItemState, LeaseRequest, NackReply, NackRequest,
    },
    lock::RenewedReply,
    page::QuerySchema,
    queue::DoneReply,
};
use willow_core::{
    Command, Machine, Outcome, RequestId,
    limiter::Selector,
    limits,
    machine::{Collection, Lookup},
    queue::{self, Ack, Enqueue, Enqueued, Extend, ItemView, Nack, NewItem, Release},
};
use willow_query::Query;

use super::lookup::{self, Look};
use crate::{
    app::App,
    convert::{self, item as to, queue::no_such_queue},
    extract::{Args, Body, Commas, Named, Parameters},
    refusal,
    reply::{self, Answer, Failure},
};

/// Query parameters of a lookup of items.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DataParams {
    /// How fresh the answer must be. `linearizable`, the default, sees everything acknowledged before
    /// the call; `stale` may lag.
    #[param(inline)]
    pub(crate) consistency: Consistency,
    /// Whether to show the items' data: of the first 8 MiB of the page, that is. Ask for the rest one by one.
    data: bool,
}

/// Bytes of data shown on one page of items: bounds what one lookup can make the server hold.
const PAGE_DATA_BYTES: usize = 8 * 1024 * 1024;

impl DataParams {
    /// Converts items one after the other, with their data for as long as there is room.
    pub(crate) fn converter(self) -> impl FnMut(ItemView) -> Item {
        converter(self.data)
    }
}

fn converter(with_data: bool) -> impl FnMut(ItemView) -> Item {
    let mut room = if with_data { PAGE_DATA_BYTES } else { 0 };
    move |view| {
        let shown = view.data.len() <= room;
        if shown {
            room -= view.data.len();
        }
        to::item(view, with_data && shown)
    }
}

async fn enqueue(
    app: &App,
    queue: Selector,
    items: Vec<NewItem>,
    request_id: Option<RequestId>,
) -> Result<Vec<Result<Enqueued, queue::Error>>, Failure> {
    let enqueue = queue::Command::Enqueue(Enqueue { queue, items });
    match app.propose(Command::Queue(enqueue), request_id).await? {
        Outcome::Queue(queue::Outcome::Enqueued(results)) => Ok(results),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Enqueue an item
///
/// Adds an item to the channel of its key values. If the channel's last waiting item is `updatable`, that one
/// gets the new data instead, and a new revision.
#[utoipa::path(post, path = "/v1/queues/{queue}/items", tag = "queue", request_body = EnqueueRequest,
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 201, description = "A new item", body = EnqueueReply),
        (status = 200, description = "A waiting item was updated, or the item was there already", body = EnqueueReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_KEY_VALUES", "RESERVED_KEY", "QUEUE_NOT_FOUND",
        "QUEUE_DELETING", "QUEUE_DRAINING", "QUEUE_FULL"]))))]
pub(crate) async fn enqueue_item(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    body: Body<EnqueueRequest>,
) -> Answer {
    let (item, _taken) = body.value.split();
    let item = to::new_item(item, "")?;
    match enqueue(&app, queue, vec![item], body.request_id).await?.pop() {
        Some(Ok(done)) => {
            let done = to::enqueued(&done);
            let is_new = done.status == EnqueueStatus::Created;
            Ok(reply::json_with(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &done))
        }
        Some(Err(error)) => Err(refusal::queue_item(error).into()),
        None => Err(Failure::unexpected(&"no answer to one item")),
    }
}

/// Enqueue items
///
/// Adds up to 1000 items in one step. Each has its own answer: one refused item does not stop the others. A
/// malformed one refuses the whole call.
#[utoipa::path(post, path = "/v1/queues/{queue}/items/batch", tag = "queue", request_body = EnqueueBatchRequest,
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 200, description = "One answer for each item", body = EnqueueBatchReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_KEY_VALUES", "RESERVED_KEY", "QUEUE_NOT_FOUND",
        "QUEUE_DELETING"]))))]
pub(crate) async fn enqueue_items(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    body: Body<EnqueueBatchRequest>,
) -> Answer {
    check_batch(body.value.items.len())?;
    let items = body.value.items.into_iter().enumerate().map(|(at, item)| to::new_item(item, &format!("items[{at}].")));
    let items = items.collect::<Result<Vec<_>, _>>()?;
    let result = |result| match result {
        Ok(done) => EnqueueResult::Added(to::enqueued(&done)),
        Err(error) => EnqueueResult::Refused(ItemError { error: Box::new(refusal::queue_item(error)) }),
    };
    let results = enqueue(&app, queue, items, body.request_id).await?.into_iter().map(result).collect();
    Ok(reply::json(&EnqueueBatchReply { results }))
}

fn check_batch(items: usize) -> Result<(), Failure> {
    if (1..=limits::BATCH_ITEMS).contains(&items) {
        Ok(())
    } else {
        Err(convert::out_of_bounds("items", &format!("1 to {} items", limits::BATCH_ITEMS)))
    }
}

/// Dequeue items
///
/// Takes items of the channels that match, in the order asked for, within every limit: a claim checks the
/// limits and counts under them in the same step. With `wait_ms` the call waits for the first item. Items
/// come with a lease token: acknowledge them before the lease ends, or extend it.
#[utoipa::path(post, path = "/v1/queues/{queue}/dequeue", tag = "queue", request_body = Option<DequeueRequest>,
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 200, description = "The items taken; none when there were none in time", body = DequeueReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "INVALID_QUERY", "INVALID_KEY_VALUES", "QUEUE_NOT_FOUND",
        "QUEUE_DELETING", "WAIT_CANCELLED", "TOO_MANY_WAITERS"]))))]
pub(crate) async fn dequeue_items(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    body: Body<DequeueRequest>,
) -> Answer {
    let dequeue = queue::Command::Dequeue(to::dequeue(body.value, queue)?);
    match app.propose(Command::Queue(dequeue), body.request_id).await? {
        Outcome::Queue(queue::Outcome::Dequeued(deliveries)) => {
            Ok(reply::json(&DequeueReply { items: deliveries.into_iter().map(to::delivery).collect() }))
        }
        other => Err(Failure::unexpected(&other)),
    }
}

async fn ack(
    app: &App,
    queue: Selector,
    items: Vec<queue::Delivered>,
    request_id: Option<RequestId>,
) -> Result<Vec<Result<(), queue::Error>>, Failure> {
    let ack = queue::Command::Ack(Ack { queue, items });
    match app.propose(Command::Queue(ack), request_id).await? {
        Outcome::Queue(queue::Outcome::Acked(results)) => Ok(results),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Ack items
///
/// Says that up to 1000 items are done. Each has its own answer.
#[utoipa::path(post, path = "/v1/queues/{queue}/items/ack", tag = "queue", request_body = AckBatchRequest,
    params(("queue" = String, Path, description = "The queue's id or name")),
    responses((status = 200, description = "One answer for each item", body = AckBatchReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "QUEUE_NOT_FOUND", "QUEUE_DELETING"]))))]
pub(crate) async fn ack_items(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    body: Body<AckBatchRequest>,
) -> Answer {
    check_batch(body.value.items.len())?;
    let delivered = body.value.items.iter().map(|item| to::delivered(item.item, item.lease_token)).collect();
    let answers = ack(&app, queue, delivered, body.request_id).await?;
    let result = |(item, answer): (willow_api::item::Delivered, Result<(), queue::Error>)| AckResult {
        item: item.item,
        acked: answer.is_ok(),
        error: answer.err().map(|error| Box::new(refusal::queue_item(error))),
    };
    let results = body.value.items.into_iter().zip(answers).map(result).collect();
    Ok(reply::json(&AckBatchReply { results }))
}

/// Ack an item
///
/// Says that the item is done: it is gone, and its slots under the limits are free.
#[utoipa::path(post, path = "/v1/queues/{queue}/items/{item}/ack", tag = "queue", request_body = LeaseRequest,
    params(("queue" = String, Path, description = "The queue's id or name"),
        ("item" = willow_api::keys::IdSchema, Path, description = "The item's id")),
    responses((status = 200, description = "It is done", body = DoneReply)),
    extensions(("x-willow-errors" = json!(["QUEUE_NOT_FOUND", "QUEUE_DELETING", "ITEM_NOT_FOUND", "STALE_LEASE"]))))]
pub(crate) async fn ack_item(
    State(app): State<Arc<App>>,
    Args((Named(queue), item)): Args<(Named, Id)>,
    body: Body<LeaseRequest>,
) -> Answer {
    let delivered = to::delivered(item, body.value.lease_token);
    match ack(&app, queue, vec![delivered], body.request_id).await?.pop() {
        Some(Ok(())) => Ok(reply::json(&DoneReply {})),
        Some(Err(error)) => Err(refusal::queue_item(error).into()),
        None => Err(Failure::unexpected(&"no answer to one ack")),
    }
}

/// Nack an item
///
/// Says that the item failed. It is tried again after its backoff, or goes to the dead letters after its last
/// attempt. A failed updatable item yields to a newer one that waits.
#[utoipa::path(post, path = "/v1/queues/{queue}/items/{item}/nack", tag = "queue", request_body = NackRequest,
    params(("queue" = String, Path, description = "The queue's id or name"),
        ("item" = willow_api::keys::IdSchema, Path, description = "The item's id")),
    responses((status = 200, description = "What became of it", body = NackReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "QUEUE_NOT_FOUND", "QUEUE_DELETING", "ITEM_NOT_FOUND",
        "STALE_LEASE"]))))]
pub(crate) async fn nack_item(
    State(app): State<Arc<App>>,
    Args((Named(queue), item)): Args<(Named, Id)>,
    body: Body<NackRequest>,
) -> Answer {
    let NackRequest { lease_token, delay_ms, position, reason, .. } = body.value;
    let nack = Nack {
        queue,
        delivered: to::delivered(item, lease_token),
        delay_ms,
        position: position.map(convert::queue::position),
        reason: convert::label(reason, "reason")?,
    };
    match app.propose(Command::Queue(queue::Command::Nack(nack)), body.request_id).await? {
        Outcome::Queue(queue::Outcome::Nacked(nacked)) => Ok(reply::json(&to::nacked(nacked))),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Release an item
///
/// Hands the item back unharmed: no attempt is charged, and it waits again at the front.
#[utoipa::path(post, path = "/v1/queues/{queue}/items/{item}/release", tag = "queue", request_body = LeaseRequest,
    params(("queue" = String, Path, description = "The queue's id or name"),
        ("item" = willow_api::keys::IdSchema, Path, description = "The item's id")),
    responses((status = 200, description = "It waits again", body = DoneReply)),
    extensions(("x-willow-errors" = json!(["QUEUE_NOT_FOUND", "QUEUE_DELETING", "ITEM_NOT_FOUND", "STALE_LEASE"]))))]
pub(crate) async fn release_item(
    State(app): State<Arc<App>>,
    Args((Named(queue), item)): Args<(Named, Id)>,
    body: Body<LeaseRequest>,
) -> Answer {
    let release = Release { queue, delivered: to::delivered(item, body.value.lease_token) };
    match app.propose(Command::Queue(queue::Command::Release(release)), body.request_id).await? {
        Outcome::Queue(queue::Outcome::Released) => Ok(reply::json(&DoneReply {})),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Extend an item's lease
///
/// The heartbeat of whoever works on the item.
#[utoipa::path(post, path = "/v1/queues/{queue}/items/{item}/extend", tag = "queue", request_body = ExtendRequest,
    params(("queue" = String, Path, description = "The queue's id or name"),
        ("item" = willow_api::keys::IdSchema, Path, description = "The item's id")),
    responses((status = 200, description = "The lease is renewed", body = RenewedReply)),
    extensions(("x-willow-errors" = json!(["OUT_OF_BOUNDS", "QUEUE_NOT_FOUND", "QUEUE_DELETING", "ITEM_NOT_FOUND",
        "STALE_LEASE"]))))]
pub(crate) async fn extend_item(
    State(app): State<Arc<App>>,
    Args((Named(queue), item)): Args<(Named, Id)>,
    body: Body<ExtendRequest>,
) -> Answer {
    let ExtendRequest { lease_token, lease_ms, .. } = body.value;
    let extend = Extend { queue, delivered: to::delivered(item, lease_token), lease_ms };
    match app.propose(Command::Queue(queue::Command::Extend(extend)), body.request_id).await? {
        Outcome::Queue(queue::Outcome::Extended { expires_in_ms }) => Ok(reply::json(&RenewedReply { expires_in_ms })),
        other => Err(Failure::unexpected(&other)),
    }
}

/// Query parameters of a lookup of live items.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ItemParams {
    /// How fresh the answer must be. `linearizable`, the default, sees everything acknowledged before
    /// the call; `stale` may lag.
    #[param(inline)]
    consistency: Consistency,
    /// Whether to show the items' data: of the first 8 MiB of the page, that is. Ask for the rest one by one.
    data: bool,
    /// Only items in these states, separated by commas: `waiting`, `delayed`, `in_flight`. All when absent.
    #[param(value_type = String, example = "waiting,in_flight")]
    states: Commas<ItemState>,
}

/// Query items
///
/// Looks at live items without taking them. The query is over the key values of their channels.
#[utoipa::path(post, path = "/v1/queues/{queue}/items/query", tag = "queue", request_body = Option<QuerySchema>,
    params(("queue" = String, Path, description = "The queue's id or name"), ItemParams),
    responses((status = 200, description = "One page", body = Page<Item>)),
    extensions(("x-willow-read" = json!(true)),
        ("x-willow-errors" = json!(["QUEUE_NOT_FOUND", "INVALID_QUERY", "PAGE_TOKEN_MISMATCH"]))))]
pub(crate) async fn query_items(
    State(app): State<Arc<App>>,
    Args(Named(queue)): Args<Named>,
    Parameters(params): Parameters<ItemParams>,
    body: Body<QueryInput>,
) -> Answer {
    let states: Vec<_> = params.states.0.into_iter().map(to::state).collect();
    let look = Look {
        collection: |machine: &Machine| {
            let queue = machine.queues().queue(&queue)?.id;
            Some(Collection::Items { queue, states: states.clone() })
        },
        read: |machine: &Machine, query: &Query, lookup: Lookup<'_>| {
            machine.queues().query_items(&queue, query, &states, lookup)
        },
        item: converter(params.data),
        missing: no_such_queue,
    };
    lookup::answer(&app, params.consistency, convert::query(&body.value)?, look).await
}

/// Get an item
///
/// Looks at one item, live or dead, with its data.
#[utoipa::path(get, path = "/v1/queues/{queue}/items/{item}", tag = "queue",
    params(("queue" = String, Path, description = "The queue's id or name"),
        ("item" = willow_api::keys::IdSchema, Path, description = "The item's id"), super::ReadParams),
    responses((status = 200, description = "The item", body = Item)),
    extensions(("x-willow-errors" = json!(["QUEUE_NOT_FOUND", "ITEM_NOT_FOUND"]))))]
pub(crate) async fn get_item(
    State(app): State<Arc<App>>,
    Args((Named(queue), item)): Args<(Named, Id)>,
    Parameters(params): Parameters<super::ReadParams>,
) -> Answer {
    let read = app.read(params.consistency, |machine, lookup| {
        let found = machine.queues().item(&queue, item, lookup);
        found.ok_or_else(|| machine.queues().queue(&queue).is_some())
    });
    match read.await? {
        Ok(view) => Ok(reply::json(&to::item(view, true))),
        Err(true) => Err(Problem::new(ErrorCode::ItemNotFound, queue::Error::NoSuchItem.to_string()).into()),
        Err(false) => Err(no_such_queue()),
    }
}
