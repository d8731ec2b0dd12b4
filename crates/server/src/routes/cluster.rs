//! The cluster: its nodes and groups, and how they change.

use std::sync::Arc;

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;
use willow_api::{
    Consistency, ErrorCode, Id, Problem,
    cluster::{Cluster, LeaderReply, LeavingReply, TransferLeaderRequest},
};
use willow_node::{GroupId, NodeId, SnapshotError};

use crate::{
    app::App,
    convert,
    extract::{self, Args, Parameters, RequestIdHeader},
    refusal,
    reply::{self, Answer},
};

/// No query parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// Get the cluster
///
/// Its nodes and groups as the node that answers sees them. It asks the others, and answers also when none of
/// them does: those are `unreachable` then.
#[utoipa::path(get, path = "/v1/cluster", tag = "operations",
    responses((status = 200, description = "The cluster", body = Cluster)),
    extensions(("x-willow-errors" = json!(["NODE_REMOVED"]))))]
pub(crate) async fn get_cluster(State(app): State<Arc<App>>, _: Parameters<NoParams>) -> Answer {
    let status = app.backend.status().await.map_err(refusal::read_error)?;
    let read = app.read(Consistency::Stale, |machine, _| (machine.revision(), machine.waiting()));
    let (revision, waiting) = read.await?;
    let (id, answered_by) = (Id::from_u128(status.cluster), status.answered_by.0);
    let groups = convert::cluster::groups(&status);
    Ok(reply::json(&Cluster {
        id,
        answered_by,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision,
        waiting: waiting as u64,
        nodes: convert::cluster::nodes(status, &groups),
        groups,
    }))
}

/// Remove a node
///
/// Every group lets it go, also one that is down for good. Answered when that is decided; the node is `leaving`
/// until it is done. Its id is never given out again.
#[utoipa::path(delete, path = "/v1/cluster/nodes/{node}", tag = "operations",
    params(("node" = u64, Path, description = "The node's id")),
    responses((status = 202, description = "It is leaving, or was removed before", body = LeavingReply)),
    extensions(("x-willow-errors" = json!(["NODE_NOT_FOUND", "LAST_NODE"]))))]
pub(crate) async fn remove_node(State(app): State<Arc<App>>, Args(node): Args<u64>, _: RequestIdHeader) -> Answer {
    // Removing it twice is removing it once: the id of the request is not needed.
    let state = app.backend.remove_node(NodeId(node)).await.map_err(refusal::cluster_error)?;
    Ok(reply::json_with(StatusCode::ACCEPTED, &LeavingReply { node, state: convert::cluster::node_state(state) }))
}

/// Make a node lead a group
///
/// Answered when it does.
#[utoipa::path(post, path = "/v1/cluster/groups/{group}/transfer-leader", tag = "operations",
    request_body = TransferLeaderRequest, params(("group" = u32, Path, description = "The group's id")),
    responses((status = 200, description = "It leads", body = LeaderReply)),
    extensions(("x-willow-errors" = json!(["NODE_NOT_FOUND", "GROUP_NOT_FOUND", "CANNOT_LEAD", "CHANGE_PENDING"]))))]
pub(crate) async fn transfer_leader(
    State(app): State<Arc<App>>,
    Args(group): Args<u32>,
    body: extract::Body<TransferLeaderRequest>,
) -> Answer {
    let (id, group) = (group, GroupId(group));
    if group != GroupId::CATALOGUE && group != GroupId::DATA {
        let detail = format!("there is no group {group}; `willow cluster status` lists them");
        return Err(Problem::new(ErrorCode::GroupNotFound, detail).into());
    }
    let to = NodeId(body.value.node);
    app.backend.transfer_leader(group, to).await.map_err(refusal::cluster_error)?;
    Ok(reply::json(&LeaderReply { group: id, leader: to.0 }))
}

/// A backup, as `willow server --restore` reads it.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
struct BackupFile(#[allow(dead_code, reason = "only its schema is used")] Vec<u8>);

/// Make a backup
///
/// All data as it is at some moment after the call began, streamed while it is read; whatever was acknowledged
/// before is in it. The file ends with a BLAKE3 checksum of itself: a stream that ends early is none.
#[utoipa::path(post, path = "/v1/cluster/backup", tag = "operations",
    responses((status = 200, description = "The file", body = BackupFile, content_type = "application/octet-stream")),
    extensions(("x-willow-errors" = json!([])), ("x-willow-read" = json!(true))))]
pub(crate) async fn backup_cluster(State(app): State<Arc<App>>, _: RequestIdHeader) -> Answer {
    let backup = app.backend.backup().await.map_err(refusal::backup_error)?;
    let parts = futures_util::stream::try_unfold(backup, |mut backup| async move {
        // An error ends the connection, so that the client sees that the file is not whole.
        Ok::<_, SnapshotError>(backup.next().await?.map(|part| (part, backup)))
    });
    let mut response = Response::new(Body::from_stream(parts));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}
