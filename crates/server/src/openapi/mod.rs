//! The OpenAPI document: 3.1 from the handlers and wire types, and a 3.0.3 copy.

mod downgrade;
mod exact;
mod responses;
mod visit;

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Value, json};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use willow_api::Problem;

use crate::routes;

/// The document, OpenAPI 3.1.
pub(crate) fn document() -> Value {
    let calls = routes::calls().into_iter();
    let router = calls.fold(OpenApiRouter::default(), |router, call| router.routes(call));
    let (_, mut openapi) = router.split_for_parts();
    let components = openapi.components.get_or_insert_default();
    let mut schemas = vec![("Problem".to_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let mut document = serde_json::to_value(&openapi).unwrap_or_default();
    document["info"] = info();
    document["servers"] = json!([{"url": "/", "description": "The server that this document comes from"}]);
    document["tags"] = tags();
    responses::complete(&mut document);
    exact::complete(&mut document);
    document
}

/// The same as OpenAPI 3.0.3, for generators that reject 3.1.
pub(crate) fn document_30() -> Value {
    downgrade::to_30(document())
}

/// A document as it is checked in and served.
pub(crate) fn pretty(document: &Value) -> String {
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

pub(crate) fn json_31() -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| pretty(&document()).into());
    TEXT.clone()
}

pub(crate) fn json_30() -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| pretty(&document_30()).into());
    TEXT.clone()
}

fn info() -> Value {
    json!({
        "title": "Willow",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "Locks, concurrency limits and a work queue, all addressed by key values.",
        "description": "Locks (Locker), concurrency limits (Limiter) and a work queue (Queue), all addressed by sets \
            of key-value pairs instead of names, and one query language over all of them.\n\n\
            - `{rule}`, `{override}` and `{queue}` take an id or a name, the others an id.\n\
            - Times are durations in ms, never wall-clock deadlines.\n\
            - Every mutating call takes a `request_id` (or the `Idempotency-Key` header): a repeat is answered from \
            the record and not done twice, for ten minutes.\n\
            - Edits take `If-Match` with the revision, which is also the `ETag`.\n\
            - Unknown fields are refused.\n\
            - Errors are `application/problem+json` (RFC 9457) with a stable `code`; each has a page under \
            `/docs/errors`.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    })
}

fn tags() -> Value {
    json!([
        {"name": "locks", "description": "Exclusive, shared and semaphore locks on key values, with sessions, leases \
            and fencing tokens."},
        {"name": "limiter", "description": "Rules with wildcards, overrides, counters, lease-bound holds, and the \
            reason for every verdict."},
        {"name": "queue", "description": "Channels of items by key values, dequeued by query, within the limits."},
        {"name": "operations", "description": "The cluster, and the health of the node."},
    ])
}
