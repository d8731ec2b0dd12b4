//! From what the core and the node refuse to problems: each variant maps to one code.

use willow_api::{ErrorCode, Problem};
use willow_core::{Refusal, catalogue, cursor, limiter, locker, queue};
use willow_node::{BackupError, ClusterError, ProposeError, ReadError, Unavailable};

use crate::{convert, reply::Failure};

/// Why a proposal has no outcome. `repeatable`: it carried a request id, so a repeat is not done twice.
pub(crate) fn propose_error(error: ProposeError, repeatable: bool) -> Problem {
    let detail = error.to_string();
    match error {
        ProposeError::Refused(refusal) => problem(refusal),
        ProposeError::Overloaded { retry_after } => {
            let retry_after_ms = u64::try_from(retry_after.as_millis()).ok();
            Problem::new(ErrorCode::Overloaded, detail).with(|facts| facts.retry_after_ms = retry_after_ms)
        }
        ProposeError::Unavailable(unavailable) => self::unavailable(&unavailable, detail),
        ProposeError::OutcomeUnknown { .. } | ProposeError::NoQuorum { .. } => {
            let mut problem = Problem::new(ErrorCode::OutcomeUnknown, detail);
            problem.retryable = repeatable;
            problem
        }
        ProposeError::ShuttingDown => {
            Problem::new(ErrorCode::ShuttingDown, detail).with(|facts| facts.retry_after_ms = Some(1000))
        }
        ProposeError::NotLeader { leader } => {
            let leader = leader.map(|node| node.0);
            Problem::new(ErrorCode::NotLeader, detail).with(|facts| facts.leader = leader)
        }
        ProposeError::TooLarge { limit, .. } => {
            let detail = format!("{detail}; send fewer or smaller items at once");
            Problem::new(ErrorCode::BodyTooLarge, detail).with(|facts| facts.max_bytes = u64::try_from(limit).ok())
        }
    }
}

fn unavailable(why: &Unavailable, detail: String) -> Problem {
    match why {
        Unavailable::DiskFull => {
            Problem::new(ErrorCode::DiskFull, detail).with(|facts| facts.retry_after_ms = Some(5000))
        }
        Unavailable::Storage(_) | Unavailable::Stopped(_) => Problem::new(ErrorCode::StorageFailed, detail),
        Unavailable::NoLeader => {
            Problem::new(ErrorCode::NoLeader, detail).with(|facts| facts.retry_after_ms = Some(500))
        }
        Unavailable::Removed => Problem::new(ErrorCode::NodeRemoved, detail),
    }
}

/// Why the cluster was not changed.
pub(crate) fn cluster_error(error: ClusterError) -> Failure {
    let detail = error.to_string();
    let problem = match error {
        ClusterError::NoSuchNode(_) => Problem::new(ErrorCode::NodeNotFound, detail),
        ClusterError::CannotLead(_) | ClusterError::NoAnswer(..) => Problem::new(ErrorCode::CannotLead, detail),
        ClusterError::LastNode(_) => Problem::new(ErrorCode::LastNode, detail),
        ClusterError::Propose(error) => propose_error(error, true),
        ClusterError::Slow(_) => Problem::new(ErrorCode::ChangePending, detail),
    };
    problem.into()
}

/// Why a read was not served.
pub(crate) fn read_error(error: ReadError) -> Failure {
    let detail = error.to_string();
    let problem = match error {
        ReadError::NotLeader { leader } => {
            let leader = leader.map(|node| node.0);
            Problem::new(ErrorCode::NotLeader, detail).with(|facts| facts.leader = leader)
        }
        ReadError::NoQuorum => {
            Problem::new(ErrorCode::NoQuorum, detail).with(|facts| facts.retry_after_ms = Some(1000))
        }
        ReadError::Stopped => Problem::new(ErrorCode::StorageFailed, detail),
        ReadError::NoLeader => unavailable(&Unavailable::NoLeader, detail),
        ReadError::Removed => unavailable(&Unavailable::Removed, detail),
    };
    problem.into()
}

/// Why there is no backup.
pub(crate) fn backup_error(error: BackupError) -> Failure {
    let detail = error.to_string();
    match error {
        BackupError::Read(error) => read_error(error),
        BackupError::Snapshot(_) => Problem::new(ErrorCode::StorageFailed, detail).into(),
        BackupError::CatchingUp => {
            Problem::new(ErrorCode::NotLeader, detail).with(|facts| facts.retry_after_ms = Some(1000)).into()
        }
    }
}

/// Why the machine refused a command.
pub(crate) fn problem(refusal: Refusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        Refusal::RequestIdReused => Problem::new(ErrorCode::RequestIdReused, detail),
        Refusal::AlreadyInitialized => Problem::new(ErrorCode::Internal, detail),
        Refusal::WaitCancelled => Problem::new(ErrorCode::WaitCancelled, detail),
        Refusal::TooManyWaiters => {
            Problem::new(ErrorCode::TooManyWaiters, detail).with(|facts| facts.retry_after_ms = Some(1000))
        }
        Refusal::Lock(error) => lock(error, detail),
        Refusal::Limit(error) => limit(error, detail),
        Refusal::Queue(error) => queue(error, detail),
        Refusal::Cursor(error) => cursor(error, detail),
        Refusal::Catalogue(error) => catalogue(&error, detail),
    }
}

fn lock(error: locker::Error, detail: String) -> Problem {
    use locker::Error as E;
    let about = |code, lock| Problem::new(code, detail.clone()).with(|facts| facts.lock = Some(lock));
    match error {
        E::Held { lock, holders, position, retry_after_ms } => about(ErrorCode::LockHeld, lock).with(|facts| {
            facts.holders = Some(holders.into_iter().map(convert::lock::holder).collect());
            facts.position = Some(position);
            facts.retry_after_ms = retry_after_ms;
        }),
        E::SessionExpired => Problem::new(ErrorCode::SessionExpired, detail),
        E::NotHeld { lock } => about(ErrorCode::LockNotHeld, lock),
        E::StaleToken { lock } => about(ErrorCode::StaleToken, lock),
        E::NoSuchLock { lock } => about(ErrorCode::LockNotFound, lock),
        E::ModeMismatch { lock } => about(ErrorCode::LockModeMismatch, lock),
        E::UpgradeDeadlock { lock } => about(ErrorCode::LockUpgradeDeadlock, lock),
        E::OutOfBounds { field, .. } => Problem::new(ErrorCode::OutOfBounds, detail).at(field),
        E::DuplicateLock => Problem::new(ErrorCode::DuplicateLock, detail).at("locks"),
        E::TooManyLocks => Problem::new(ErrorCode::TooManyLocks, detail),
        E::Full { .. } => Problem::new(ErrorCode::Overloaded, detail).with(|facts| facts.retry_after_ms = Some(1000)),
    }
}

fn limit(error: limiter::Error, detail: String) -> Problem {
    use limiter::Error as E;
    let plain = |code| Problem::new(code, detail.clone());
    match error {
        E::LimitReached { denied_by, retry_after_ms } => plain(ErrorCode::LimitReached).with(|facts| {
            facts.denied_by = Some(denied_by.into_iter().map(convert::limiter::blocking).collect());
            facts.retry_after_ms = retry_after_ms;
        }),
        E::NoSuchRule => plain(ErrorCode::RuleNotFound),
        E::NoSuchOverride => plain(ErrorCode::OverrideNotFound),
        E::NoSuchCounter => plain(ErrorCode::CounterNotFound),
        E::NoSuchHold => plain(ErrorCode::HoldNotFound),
        E::AlreadyExists { existing } => plain(ErrorCode::AlreadyExists).with(|facts| facts.existing = Some(existing)),
        E::RevisionMismatch { current } => {
            plain(ErrorCode::RevisionMismatch).with(|facts| facts.current_revision = Some(current))
        }
        E::KeyValuesChanged => plain(ErrorCode::KeyValuesImmutable).at("key_values"),
        E::NotNarrower { key } => plain(ErrorCode::OverrideNotNarrower).at(format!("key_values.{key}")),
        E::Underflow { available } => {
            plain(ErrorCode::CounterUnderflow).with(|facts| facts.available = Some(available))
        }
        E::Overflow => plain(ErrorCode::CounterOverflow),
        E::OutOfBounds { field, .. } => plain(ErrorCode::OutOfBounds).at(field),
        E::TooMany => plain(ErrorCode::TooManyRules),
    }
}

/// Why a queue command, or one item of a batch, was refused.
pub(crate) fn queue_item(error: queue::Error) -> Problem {
    let detail = error.to_string();
    queue(error, detail)
}

fn queue(error: queue::Error, detail: String) -> Problem {
    use queue::Error as E;
    let plain = |code| Problem::new(code, detail.clone());
    match error {
        E::NoSuchQueue => plain(ErrorCode::QueueNotFound),
        E::QueueDeleting => plain(ErrorCode::QueueDeleting).with(|facts| facts.retry_after_ms = Some(1000)),
        E::AlreadyExists { existing } => plain(ErrorCode::AlreadyExists).with(|facts| facts.existing = Some(existing)),
        E::RevisionMismatch { current } => {
            plain(ErrorCode::RevisionMismatch).with(|facts| facts.current_revision = Some(current))
        }
        E::QueueFull { max_items } => plain(ErrorCode::QueueFull).with(|facts| {
            facts.max_items = Some(max_items);
            facts.retry_after_ms = Some(1000);
        }),
        E::Draining => plain(ErrorCode::QueueDraining),
        E::NoSuchChannel => plain(ErrorCode::ChannelNotFound),
        E::NoSuchItem => plain(ErrorCode::ItemNotFound),
        E::StaleLease { item } => plain(ErrorCode::StaleLease).with(|facts| facts.item = Some(item)),
        E::NoSuchPause => plain(ErrorCode::PauseNotFound),
        E::TooManyPauses => plain(ErrorCode::TooManyPauses),
        E::OutOfBounds { field, .. } => plain(ErrorCode::OutOfBounds).at(field),
        E::BadQuery { .. } => plain(ErrorCode::InvalidQuery).at("query"),
        E::TooMuchMetadata => plain(ErrorCode::TooMuchMetadata),
    }
}

fn cursor(error: cursor::Error, detail: String) -> Problem {
    match error {
        cursor::Error::BadQuery { .. } => Problem::new(ErrorCode::InvalidQuery, detail),
        cursor::Error::NoSuchParent { what } => {
            let code = if &*what == "rule" { ErrorCode::RuleNotFound } else { ErrorCode::QueueNotFound };
            Problem::new(code, detail)
        }
    }
}

fn catalogue(error: &catalogue::Error, detail: String) -> Problem {
    use catalogue::Error as E;
    let code = match error {
        E::NoSuchNode { .. } => ErrorCode::NodeNotFound,
        E::Removed { .. } => ErrorCode::NodeRemoved,
        E::LastNode { .. } => ErrorCode::LastNode,
        // Answers to what nodes ask of each other, never a client.
        E::NotLeaving { .. } | E::NoFounder | E::TooLong | E::TooMany => ErrorCode::Internal,
    };
    Problem::new(code, detail)
}

/// What is wrong with key values, at the field that has them.
pub(crate) fn key_values(error: &willow_model::Error, field: impl Into<String>) -> Problem {
    let code = if error.is_reserved_key() { ErrorCode::ReservedKey } else { ErrorCode::InvalidKeyValues };
    Problem::new(code, error.to_string()).at(field)
}

/// What is wrong with a query. `field` is where the query stands in the body; empty when it is the body.
pub(crate) fn query(error: &willow_query::Error, field: &str) -> Problem {
    let code = if error.path == "page_token" { ErrorCode::PageTokenMismatch } else { ErrorCode::InvalidQuery };
    let path = match (field.is_empty(), error.path.is_empty()) {
        (true, _) => error.path.clone(),
        (false, true) => field.to_owned(),
        (false, false) => format!("{field}.{}", error.path),
    };
    let problem = Problem::new(code, error.to_string());
    if path.is_empty() { problem } else { problem.at(path) }
}
