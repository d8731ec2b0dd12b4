//! Path arguments, query parameters and headers.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Query, path::ErrorKind, rejection::PathRejection};
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use willow_api::{ErrorCode, Id, Problem, Revision};
use willow_core::{RequestId, limiter::Selector};

use crate::{app::App, reply::Failure};

/// Arguments in the path.
#[derive(Debug)]
pub(crate) struct Args<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Args<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, app).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(bad_path(rejection).into()),
        }
    }
}

fn bad_path(rejection: PathRejection) -> Problem {
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else {
        return Problem::new(ErrorCode::Internal, rejection.to_string());
    };
    match failed.into_kind() {
        ErrorKind::DeserializeError { key, message, .. } => Problem::new(ErrorCode::InvalidId, message).at(key),
        ErrorKind::InvalidUtf8InPathParam { key } => {
            Problem::new(ErrorCode::InvalidId, "a part of the path is not UTF-8; percent-encode UTF-8").at(key)
        }
        other => Problem::new(ErrorCode::InvalidId, other.to_string()),
    }
}

/// A path argument that is an id or a name.
#[derive(Clone, Debug)]
pub(crate) struct Named(pub(crate) Selector);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self(text.parse::<Id>().map_or_else(|_| Selector::Name(text.into()), Selector::Id)))
    }
}

/// Query parameters of the URL.
#[derive(Debug)]
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for Parameters<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _app: &Arc<App>) -> Result<Self, Failure> {
        parts.extensions.insert(ParametersRead);
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(bad_query_string(&rejection.body_text()).into()),
        }
    }
}

/// Left behind by [`Parameters`].
#[derive(Clone, Copy, Debug)]
struct ParametersRead;

/// Refuses query parameters of a call that takes none: to pass over them would be to say yes to a
/// `request_id` or `wait_ms` that was meant for the body. For extractors that come last.
pub(super) fn refuse_unread(parts: &Parts) -> Result<(), Failure> {
    let query = parts.uri.query().unwrap_or_default();
    if query.is_empty() || parts.extensions.get::<ParametersRead>().is_some() {
        return Ok(());
    }
    let name = query.split(['=', '&']).next().unwrap_or_default();
    let detail = "this call takes no query parameters; send what it takes in the body";
    Err(Problem::new(ErrorCode::InvalidParameter, detail).at(name).into())
}

/// The rejection reads `Failed to deserialize query string: NAME: why`, or names it in backquotes.
fn bad_query_string(text: &str) -> Problem {
    let why = text.split_once("query string: ").map_or(text, |(_, why)| why);
    let problem = Problem::new(ErrorCode::InvalidParameter, why);
    let quoted = |start: &str| why.strip_prefix(start).and_then(|rest| rest.split_once('`'));
    match (why.split_once(": "), quoted("duplicate field `")) {
        (_, Some((name, _))) | (Some((name, _)), None) => problem.at(name),
        (None, None) => problem,
    }
}

/// The `If-Match` header of an edit: the revision that the caller has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IfMatch(pub(crate) Option<Revision>);

impl FromRequestParts<Arc<App>> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _app: &Arc<App>) -> Result<Self, Failure> {
        let Some(value) = single(&parts.headers, &header::IF_MATCH)? else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        // `*` asks only that the resource is there, which every edit does.
        if text == "*" {
            return Ok(Self(None));
        }
        let bare = unquote(text);
        match bare.bytes().all(|byte| byte.is_ascii_digit()).then(|| bare.parse().ok()).flatten() {
            Some(revision) => Ok(Self(Some(Revision(revision)))),
            None => {
                let detail = "If-Match takes one revision, as in the ETag: \"17\"";
                Err(Problem::new(ErrorCode::InvalidParameter, detail).at("If-Match").into())
            }
        }
    }
}

/// The `Idempotency-Key` header of a call without a body.
#[derive(Clone, Debug)]
pub(crate) struct RequestIdHeader(pub(crate) Option<RequestId>);

impl FromRequestParts<Arc<App>> for RequestIdHeader {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _app: &Arc<App>) -> Result<Self, Failure> {
        refuse_unread(parts)?;
        request_id(&parts.headers, None).map(Self)
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header's value; a header that is there twice says nothing certain.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Failure> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => {
            let detail = format!("the header {name} is there more than once; send it once");
            Err(Problem::new(ErrorCode::InvalidParameter, detail).at(name.as_str()).into())
        }
    }
}

/// The request id: from the body, the header, or both if they agree.
pub(super) fn request_id(headers: &HeaderMap, in_body: Option<String>) -> Result<Option<RequestId>, Failure> {
    let in_header = match single(headers, &IDEMPOTENCY_KEY)? {
        None => None,
        Some(value) => match value.to_str() {
            Ok(text) => Some(unquote(text.trim())),
            Err(_) => return Err(bad_request_id("Idempotency-Key")),
        },
    };
    let (text, field) = match (&in_body, in_header) {
        (None, None) => return Ok(None),
        (Some(body), None) => (body.as_str(), "request_id"),
        (None, Some(header)) => (header, "Idempotency-Key"),
        (Some(body), Some(header)) if body == header => (header, "Idempotency-Key"),
        (Some(_), Some(_)) => {
            let detail = "the Idempotency-Key header and request_id differ; give one of them, or the same in both";
            return Err(Problem::new(ErrorCode::RequestIdMismatch, detail).at("Idempotency-Key").into());
        }
    };
    RequestId::new(text).map(Some).ok_or_else(|| bad_request_id(field))
}

fn bad_request_id(field: &str) -> Failure {
    let detail = format!("{field} is out of bounds: 1 to {} bytes of text", willow_core::limits::REQUEST_ID_BYTES);
    Problem::new(ErrorCode::OutOfBounds, detail).at(field).into()
}

/// Headers like these are quoted strings; a bare one is taken too.
fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// A list in a query parameter, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commas<T>(pub(crate) Vec<T>);

impl<T> Default for Commas<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Commas<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{Error as _, IntoDeserializer as _, value::StrDeserializer};
        let text = String::deserialize(deserializer)?;
        let parts = text.split(',').filter(|part| !part.is_empty());
        let read = |part: &str| {
            let part: StrDeserializer<'_, D::Error> = part.into_deserializer();
            T::deserialize(part)
        };
        parts.map(read).collect::<Result<_, _>>().map(Self).map_err(D::Error::custom)
    }
}
