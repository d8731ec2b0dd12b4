//! Replies: JSON, and problems as RFC 9457.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use willow_api::{ErrorCode, Problem, Revision, problem};

/// A problem on its way out.
#[derive(Debug)]
pub(crate) struct Failure(Box<Problem>);

/// What a handler answers.
pub(crate) type Answer = Result<Response, Failure>;

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl Failure {
    /// An outcome that does not belong to the command: a mistake of ours.
    pub(crate) fn unexpected(outcome: &impl std::fmt::Debug) -> Self {
        tracing::error!(?outcome, "a command answered what it should not");
        Problem::new(ErrorCode::Internal, "the machine gave an answer that does not belong to the command").into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = *self.0;
        let mut response = body(problem.status, problem::CONTENT_TYPE, &problem);
        if let Some(ms) = problem.facts.retry_after_ms {
            // Whole seconds, rounded up: never sooner than may help.
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        response
    }
}

/// 200 with JSON.
pub(crate) fn json(value: &impl Serialize) -> Response {
    body(200, "application/json", value)
}

/// Another status with JSON.
pub(crate) fn json_with(status: StatusCode, value: &impl Serialize) -> Response {
    body(status.as_u16(), "application/json", value)
}

/// JSON with the resource's revision as its `ETag`.
pub(crate) fn json_at(status: StatusCode, revision: Revision, value: &impl Serialize) -> Response {
    let mut response = json_with(status, value);
    if let Ok(tag) = HeaderValue::try_from(format!("\"{revision}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn body(status: u16, content_type: &'static str, value: &impl Serialize) -> Response {
    // Most replies fit; larger ones grow.
    let mut bytes = Vec::with_capacity(512);
    if let Err(error) = serde_json::to_writer(&mut bytes, value) {
        // Every wire type has string keys; only our own mistake gets here.
        tracing::error!(%error, "a reply could not be written as JSON");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
