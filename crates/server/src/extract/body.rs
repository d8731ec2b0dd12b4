//! JSON bodies of requests, within their bounds in size and time.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use willow_api::{ErrorCode, Problem, channel, cluster, item, limiter, lock, page, queue};
use willow_core::RequestId;

use super::{json, params};
use crate::{app::App, config, reply::Failure};

/// A request body, read, and the request id taken out of it or of the `Idempotency-Key` header.
#[derive(Debug)]
pub(crate) struct Body<T> {
    pub(crate) value: T,
    pub(crate) request_id: Option<RequestId>,
}

/// What the extractor must know of a request type.
pub(crate) trait Wire: DeserializeOwned {
    /// Whether an absent body stands for `{}`.
    const MAY_BE_ABSENT: bool = false;
    /// The largest body, if not the setting for ordinary ones.
    const MAX_BYTES: Option<usize> = None;

    /// Takes out the request id, if the type has one.
    fn take_request_id(&mut self) -> Option<String> {
        None
    }
}

/// Request types with a `request_id`, and how their bodies differ from the ordinary.
macro_rules! wire {
    ($($type:ty $({ $($constant:tt)* })?;)+) => {
        $(impl Wire for $type {
            $($($constant)*)?
            fn take_request_id(&mut self) -> Option<String> {
                self.request_id.take()
            }
        })+
    };
}

wire! {
    lock::AcquireRequest;
    lock::HeldLockRequest;
    lock::CreateSessionRequest { const MAY_BE_ABSENT: bool = true; };
    limiter::CreateRuleRequest;
    limiter::UpdateRuleRequest;
    limiter::CreateOverrideRequest;
    limiter::UpdateOverrideRequest;
    limiter::IncrementRequest;
    limiter::DecrementRequest;
    limiter::SetCounterRequest;
    limiter::HeartbeatHoldRequest { const MAY_BE_ABSENT: bool = true; };
    queue::CreateQueueRequest;
    queue::UpdateQueueRequest;
    queue::QueueActionRequest { const MAY_BE_ABSENT: bool = true; };
    queue::DeadLetterActionRequest { const MAY_BE_ABSENT: bool = true; };
    queue::EmptyRequest { const MAY_BE_ABSENT: bool = true; };
    item::EnqueueRequest { const MAX_BYTES: Option<usize> = Some(config::ENQUEUE_BYTES); };
    item::EnqueueBatchRequest { const MAX_BYTES: Option<usize> = Some(config::BATCH_BYTES); };
    item::DequeueRequest { const MAY_BE_ABSENT: bool = true; };
    item::LeaseRequest;
    item::AckBatchRequest;
    item::NackRequest;
    item::ExtendRequest;
    channel::PatchMetadataRequest;
}

impl Wire for cluster::TransferLeaderRequest {}
impl Wire for lock::ValidateRequest {}
impl Wire for limiter::ExplainRequest {}
impl Wire for page::QueryInput {
    const MAY_BE_ABSENT: bool = true;
}

impl<T: Wire> FromRequest<Arc<App>> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        params::refuse_unread(&parts)?;
        let max = T::MAX_BYTES.unwrap_or(app.config.max_body_bytes);
        let declared = content_length(&parts.headers);
        if declared.is_some_and(|bytes| bytes > max as u64) {
            return Err(too_large(max));
        }
        let collect = collect(app, body, max);
        let Ok(bytes) = tokio::time::timeout(app.config.body_timeout(), collect).await else {
            return Err(too_slow(app.config.body_timeout_ms));
        };
        let bytes = bytes?;
        let mut value = if bytes.is_empty() && T::MAY_BE_ABSENT {
            json::read::<T>(b"{}")?
        } else {
            check_content_type(&parts.headers)?;
            json::read::<T>(&bytes)?
        };
        let request_id = params::request_id(&parts.headers, value.take_request_id())?;
        Ok(Self { value, request_id })
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads the whole body. Most come in one piece, which is then not copied.
async fn collect(app: &App, mut body: axum::body::Body, max: usize) -> Result<Bytes, Failure> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut room = app.body_room();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Problem::new(ErrorCode::InvalidJson, format!("the body could not be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > max {
            return Err(too_large(max));
        }
        room.grow(data.len())?;
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// `application/json`, or a type with the `+json` suffix (RFC 6839); parameters do not matter.
fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    let encoding = params::single(headers, &header::CONTENT_ENCODING)?;
    if encoding.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let detail = "send the body as it is, without a Content-Encoding";
        return Err(Problem::new(ErrorCode::UnsupportedMediaType, detail).at("Content-Encoding").into());
    }
    let declared = params::single(headers, &header::CONTENT_TYPE)?;
    let declared = declared.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5 && essence.as_bytes()[essence.len() - 5..].eq_ignore_ascii_case(b"+json"));
    if is_json {
        return Ok(());
    }
    let detail = "send the body as JSON, with the header `Content-Type: application/json`";
    Err(Problem::new(ErrorCode::UnsupportedMediaType, detail).at("Content-Type").into())
}

fn too_large(max: usize) -> Failure {
    let detail = format!("the body has more than {max} bytes; send less at once");
    Problem::new(ErrorCode::BodyTooLarge, detail).with(|facts| facts.max_bytes = u64::try_from(max).ok()).into()
}

fn too_slow(timeout_ms: u64) -> Failure {
    let detail = format!("the body did not come in within {timeout_ms} ms; send it again, faster");
    Problem::new(ErrorCode::RequestTimeout, detail).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_taken() {
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            check_content_type(&headers).is_ok()
        };
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(check(good), "{good}");
        }
        for bad in ["", "text/plain", "application/jsonx", "+json", "application/x-www-form-urlencoded"] {
            assert!(!check(bad), "{bad}");
        }
    }
}
