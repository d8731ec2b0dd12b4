//! Problems: RFC 9457 with a stable code and the facts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ErrorCode,
    keys::{Id, IdSchema, Revision},
    limiter::Blocking,
    lock::Holder,
};

/// Content type of a [`Problem`].
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Longest `detail` and longest `field`, bytes: what the caller sent may be quoted in them, and a
/// refusal must not send a megabyte back.
const TEXT_BYTES: usize = 1024;

/// Why a call failed (RFC 9457), with a stable code and the facts that belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "type": "/docs/errors/LOCK_HELD", "title": "The lock is held", "status": 409, "code": "LOCK_HELD",
    "detail": "the lock is held; wait with wait_ms, or retry later", "retryable": true,
    "lock": "0190163d-8694-739b-aea5-966c26f8ad91",
    "holders": [{"owner": "deployer-7", "mode": "exclusive", "token": 17, "depth": 1, "held_for_ms": 1200,
                 "expires_in_ms": 28800}],
    "position": 1, "retry_after_ms": 28800
}))]
pub struct Problem {
    /// Where the code's page is, relative to the server.
    #[serde(rename = "type")]
    pub type_: String,
    /// What it is; the same for every occurrence of the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code, to match on.
    pub code: ErrorCode,
    /// What happened this time, and what to do.
    pub detail: String,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// Facts that belong to the code.
    #[serde(flatten)]
    pub facts: Box<Facts>,
}

/// Facts of a [`Problem`]; which ones are present depends on the code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Facts {
    /// When a retry may help, ms; also the `Retry-After` header, in seconds rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub retry_after_ms: Option<u64>,
    /// The field, parameter or header that is wrong, as a path such as `items[3].key_values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub field: Option<String>,
    /// The lock concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<IdSchema>)]
    pub lock: Option<Id>,
    /// Who holds the lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub holders: Option<Vec<Holder>>,
    /// Place in line that the caller had, or would have had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub position: Option<u32>,
    /// Every limit in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub denied_by: Option<Vec<Blocking>>,
    /// The item concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<IdSchema>)]
    pub item: Option<Id>,
    /// The resource that is in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<IdSchema>)]
    pub existing: Option<Id>,
    /// The resource's revision now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<u64>)]
    pub current_revision: Option<Revision>,
    /// What could be taken from the counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub available: Option<u64>,
    /// The queue's bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_items: Option<u64>,
    /// The bound of a body, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_bytes: Option<u64>,
    /// The node that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub leader: Option<u64>,
}

impl Problem {
    /// A problem without facts.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            type_: code.path().to_owned(),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: shortened(detail.into()),
            retryable: code.is_retryable(),
            facts: Box::default(),
        }
    }

    /// The same problem with facts.
    #[must_use]
    pub fn with(mut self, add: impl FnOnce(&mut Facts)) -> Self {
        add(&mut self.facts);
        self
    }

    /// The same problem, about a field.
    #[must_use]
    pub fn at(self, field: impl Into<String>) -> Self {
        self.with(|facts| facts.field = Some(shortened(field.into())))
    }
}

/// Cuts out the middle of what is too long: the start says what it is about, the end what to do.
fn shortened(text: String) -> String {
    if text.len() <= TEXT_BYTES {
        return text;
    }
    let half = TEXT_BYTES / 2 - '…'.len_utf8();
    let (head, tail) = (text.floor_char_boundary(half), text.ceil_char_boundary(text.len() - half));
    format!("{}…{}", &text[..head], &text[tail..])
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caller_sent_is_not_sent_back_at_any_length() {
        for filler in ["x", "é", "\u{1F600}"] {
            let long = format!("unknown {} here", filler.repeat(100_000));
            let problem = Problem::new(ErrorCode::InvalidField, long.clone()).at(long);
            let field = problem.facts.field.unwrap_or_default();
            for text in [problem.detail, field] {
                assert!(text.len() <= TEXT_BYTES, "{} bytes", text.len());
                assert!(text.starts_with("unknown ") && text.contains('…') && text.ends_with(" here"), "{text}");
            }
        }
        assert_eq!(Problem::new(ErrorCode::InvalidField, "short").detail, "short");
    }
}
