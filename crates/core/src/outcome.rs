//! What a command answers.

use serde::{Deserialize, Serialize};

use crate::{catalogue, cursor, limiter, locker, queue};

/// Answer to one envelope.
pub type Reply = Result<Outcome, Refusal>;

/// Names a waiting command; unique over the life of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WaiterId(pub u64);

/// What a command did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done; nothing to tell.
    Done,
    /// Not yet: an [`crate::Effect::Resolve`] for this waiter brings the reply.
    Waiting(WaiterId),
    /// Locker.
    Lock(locker::Outcome),
    /// Limiter.
    Limit(limiter::Outcome),
    /// Queue.
    Queue(queue::Outcome),
    /// A round-robin lookup.
    Cursor(cursor::Advanced),
    /// Catalogue: the node as it is now.
    Catalogue(catalogue::Outcome),
}

/// Why a command did nothing. Each variant is one operation family's error; the API maps each to
/// one error code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The request id was used for another command before.
    #[error("request_id was already used for a different request; choose a new one")]
    RequestIdReused,
    /// The cluster has an id already, or has none yet.
    #[error("the cluster is already initialized")]
    AlreadyInitialized,
    /// Locker.
    #[error(transparent)]
    Lock(#[from] locker::Error),
    /// Limiter.
    #[error(transparent)]
    Limit(#[from] limiter::Error),
    /// Queue.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// A query inside a command was refused.
    #[error(transparent)]
    Cursor(#[from] cursor::Error),
    /// The waiting caller was cancelled.
    #[error("the wait was cancelled")]
    WaitCancelled,
    /// Too many callers wait already.
    #[error("too many callers are waiting; retry later")]
    TooManyWaiters,
    /// Catalogue.
    #[error(transparent)]
    Catalogue(#[from] catalogue::Error),
}

impl Outcome {
    /// Whether anything changed. A batch whose every part was refused, and a dequeue that found
    /// nothing, are refusals in all but form: a repeat may try afresh.
    #[must_use]
    pub(crate) fn has_changed(&self) -> bool {
        match self {
            Self::Queue(queue::Outcome::Enqueued(answers)) => answers.iter().any(Result::is_ok),
            Self::Queue(queue::Outcome::Acked(answers)) => answers.iter().any(Result::is_ok),
            Self::Queue(queue::Outcome::Dequeued(deliveries)) => !deliveries.is_empty(),
            _ => true,
        }
    }

    /// The outcome without item bytes: what the record of request ids keeps. A repeat gets the bytes
    /// from the queue again, as long as the lease lives.
    #[must_use]
    pub fn without_payload(&self) -> Self {
        match self {
            Self::Queue(queue::Outcome::Dequeued(deliveries)) => {
                Self::Queue(queue::Outcome::Dequeued(deliveries.iter().map(queue::Delivery::without_data).collect()))
            }
            other => other.clone(),
        }
    }
}
