//! The error codes: for each its status, whether a retry helps, its title and its page.

use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

/// One row per code: name, status, whether the same call may succeed later, title.
macro_rules! error_codes {
    ($($variant:ident $name:literal $status:literal $retryable:literal $title:literal;)+) => {
        /// A stable error code. Its page says what it means and what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = $title] #[serde(rename = $name)] $variant,)+
            /// A code that this version of the client does not know; never sent.
            #[serde(other, rename = "UNKNOWN")]
            Unknown,
        }

        impl ErrorCode {
            /// Every code that is ever sent.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ Self::Unknown => "UNKNOWN" }
            }

            /// The HTTP status that carries it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ Self::Unknown => 500 }
            }

            /// Whether the same call may succeed later without anything else changing.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)+ Self::Unknown => false }
            }

            /// What it is, in a few words; the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ Self::Unknown => "Unknown error" }
            }

            /// Its page in Markdown: what it means, what to do, which facts come with it.
            #[must_use]
            pub const fn page(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("../../../docs/errors/", $name, ".md")),)+
                    Self::Unknown => "",
                }
            }

            /// Where its page is: the `type` of a problem.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$variant => concat!("/docs/errors/", $name),)+ Self::Unknown => "about:blank" }
            }
        }
    };
}

error_codes! {
    // The request itself.
    InvalidJson "INVALID_JSON" 400 false "The body is not valid JSON";
    InvalidField "INVALID_FIELD" 400 false "A field of the body is missing, unknown or of the wrong type";
    OutOfBounds "OUT_OF_BOUNDS" 400 false "A value is out of its bounds";
    JsonTooDeep "JSON_TOO_DEEP" 400 false "The JSON is nested too deep";
    InvalidKeyValues "INVALID_KEY_VALUES" 400 false "The key values are not valid";
    ReservedKey "RESERVED_KEY" 403 false "A key belongs to Willow";
    InvalidName "INVALID_NAME" 400 false "The name is not valid";
    InvalidId "INVALID_ID" 400 false "The path has something else than an id";
    InvalidParameter "INVALID_PARAMETER" 400 false "A query parameter or header is not valid";
    InvalidQuery "INVALID_QUERY" 400 false "The query is not valid";
    PageTokenMismatch "PAGE_TOKEN_MISMATCH" 400 false "The page token belongs to another query";
    RequestIdMismatch "REQUEST_ID_MISMATCH" 400 false "Idempotency-Key and request_id differ";
    RequestIdReused "REQUEST_ID_REUSED" 422 false "The request id was used for another request";
    RouteNotFound "ROUTE_NOT_FOUND" 404 false "There is nothing at this path";
    MethodNotAllowed "METHOD_NOT_ALLOWED" 405 false "The path does not take this method";
    RequestTimeout "REQUEST_TIMEOUT" 408 true "The request came in too slowly";
    BodyTooLarge "BODY_TOO_LARGE" 413 false "The body is too large";
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" 415 false "The body is not declared as JSON";
    RevisionMismatch "REVISION_MISMATCH" 412 false "The resource has changed since it was read";
    AlreadyExists "ALREADY_EXISTS" 409 false "The name or the key values are taken";
    KeyValuesImmutable "KEY_VALUES_IMMUTABLE" 409 false "Key values never change";
    WaitCancelled "WAIT_CANCELLED" 409 true "The wait was cancelled";
    // Locker.
    LockHeld "LOCK_HELD" 409 true "The lock is held";
    LockNotFound "LOCK_NOT_FOUND" 404 false "Nobody holds or waits for this lock";
    LockNotHeld "LOCK_NOT_HELD" 409 false "The session does not hold the lock";
    StaleToken "STALE_TOKEN" 409 false "The fencing token is stale";
    LockModeMismatch "LOCK_MODE_MISMATCH" 409 true "The lock is in use as another kind";
    LockUpgradeDeadlock "LOCK_UPGRADE_DEADLOCK" 409 false "Two sessions want to upgrade the lock";
    DuplicateLock "DUPLICATE_LOCK" 400 false "A lock is named twice in one acquire";
    TooManyLocks "TOO_MANY_LOCKS" 409 false "The session holds as many locks as it may";
    SessionExpired "SESSION_EXPIRED" 410 false "The session has expired or never was";
    // Limiter.
    LimitReached "LIMIT_REACHED" 409 true "A limit is reached";
    RuleNotFound "RULE_NOT_FOUND" 404 false "There is no such rule";
    OverrideNotFound "OVERRIDE_NOT_FOUND" 404 false "There is no such override";
    CounterNotFound "COUNTER_NOT_FOUND" 404 false "There is no such counter";
    HoldNotFound "HOLD_NOT_FOUND" 404 false "There is no such hold";
    OverrideNotNarrower "OVERRIDE_NOT_NARROWER" 400 false "The override is not narrower than its rule";
    CounterUnderflow "COUNTER_UNDERFLOW" 409 false "The counter has less than was to be taken";
    CounterOverflow "COUNTER_OVERFLOW" 409 false "The counter cannot count that far";
    TooManyRules "TOO_MANY_RULES" 409 false "There are as many rules or overrides as there may be";
    // Queue.
    QueueNotFound "QUEUE_NOT_FOUND" 404 false "There is no such queue";
    QueueDeleting "QUEUE_DELETING" 409 true "The queue is being deleted";
    QueueFull "QUEUE_FULL" 429 true "The queue is full";
    QueueDraining "QUEUE_DRAINING" 409 false "The queue takes no new items";
    ChannelNotFound "CHANNEL_NOT_FOUND" 404 false "There is no such channel";
    ItemNotFound "ITEM_NOT_FOUND" 404 false "There is no such item";
    StaleLease "STALE_LEASE" 409 false "The lease token is stale";
    PauseNotFound "PAUSE_NOT_FOUND" 404 false "There is no such pause";
    TooManyPauses "TOO_MANY_PAUSES" 409 false "The queue has as many pauses as it may";
    TooMuchMetadata "TOO_MUCH_METADATA" 409 false "The channel has as much metadata as it may";
    // The cluster.
    NodeNotFound "NODE_NOT_FOUND" 404 false "There is no such node";
    GroupNotFound "GROUP_NOT_FOUND" 404 false "There is no such group";
    LastNode "LAST_NODE" 409 false "The last node cannot be removed";
    CannotLead "CANNOT_LEAD" 409 false "The node cannot lead";
    ChangePending "CHANGE_PENDING" 409 true "The change has not come to pass yet";
    NodeRemoved "NODE_REMOVED" 503 false "The node was removed from the cluster";
    // The service.
    TooManyWaiters "TOO_MANY_WAITERS" 429 true "Too many calls are waiting";
    Overloaded "OVERLOADED" 503 true "The server is overloaded";
    ShuttingDown "SHUTTING_DOWN" 503 true "The server is shutting down";
    DiskFull "DISK_FULL" 503 true "The disk is full";
    StorageFailed "STORAGE_FAILED" 503 true "The log cannot be written";
    NotLeader "NOT_LEADER" 503 true "Another node leads";
    NoQuorum "NO_QUORUM" 503 true "No quorum could be reached";
    NoLeader "NO_LEADER" 503 true "No leader is known";
    OutcomeUnknown "OUTCOME_UNKNOWN" 503 true "It is not known whether it was done";
    Internal "INTERNAL" 500 false "Something is wrong in Willow itself";
}

/// By hand: the derive would list the names of the variants, not those on the wire.
impl PartialSchema for ErrorCode {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A stable error code. Its page says what it means and what to do."))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}

impl ToSchema for ErrorCode {
    fn name() -> std::borrow::Cow<'static, str> {
        "ErrorCode".into()
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_has_an_error_status() {
        for code in ErrorCode::ALL {
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<ErrorCode>(&json).unwrap(), *code);
            assert!((400..=503).contains(&code.status()), "{code}");
            assert_eq!(code.path(), format!("/docs/errors/{code}"));
            assert!(code.page().starts_with(&format!("# {code}\n")), "{code}");
            assert!(code.page().contains("\n## What to do\n"), "{code}");
        }
    }

    #[test]
    fn no_page_is_left_of_a_code_that_is_gone() {
        let pages = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors")).unwrap();
        let mut names: Vec<String> =
            pages.map(|page| page.unwrap().file_name().into_string().unwrap().replace(".md", "")).collect();
        names.sort();
        let mut codes: Vec<String> = ErrorCode::ALL.iter().map(ToString::to_string).collect();
        codes.sort();
        assert_eq!(names, codes);
    }

    #[test]
    fn a_code_of_a_newer_server_is_unknown() {
        assert_eq!(serde_json::from_str::<ErrorCode>("\"FROM_THE_FUTURE\"").unwrap(), ErrorCode::Unknown);
    }
}
