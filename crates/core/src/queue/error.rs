//! Why a Queue command did nothing.

use serde::{Deserialize, Serialize};
use willow_model::{Id, Revision};

/// Refusals of Queue commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// No such queue.
    #[error("no such queue; create it with POST /v1/queues")]
    NoSuchQueue,
    /// The queue is being deleted.
    #[error("the queue is being deleted; retry when it is gone")]
    QueueDeleting,
    /// The name is taken.
    #[error("a queue with this name exists already")]
    AlreadyExists {
        /// Its id.
        existing: Id,
    },
    /// `If-Match` does not match.
    #[error("the revision is {current}; read it again, then repeat the edit")]
    RevisionMismatch {
        /// What it is.
        current: Revision,
    },
    /// The queue holds `max_items`.
    #[error("the queue is full ({max_items} items); retry when some are done")]
    QueueFull {
        /// Its bound.
        max_items: u64,
    },
    /// The queue, or this channel of it, takes nothing in.
    #[error("the queue is draining and takes no new items")]
    Draining,
    /// No such channel.
    #[error("no such channel: it has no items and no metadata")]
    NoSuchChannel,
    /// No such item.
    #[error("no such item: it was acknowledged, removed, or never there")]
    NoSuchItem,
    /// The lease token is not the one of the running delivery.
    #[error("the lease token is stale: the lease ended or the item was delivered anew")]
    StaleLease {
        /// Which item.
        item: Id,
    },
    /// No pause with this query.
    #[error("no pause with this query stands")]
    NoSuchPause,
    /// As many pauses as there may be.
    #[error("the queue has as many standing pauses as it may")]
    TooManyPauses,
    /// A value is out of its bounds.
    #[error("{field} is out of bounds: {bounds}")]
    OutOfBounds {
        /// Which field.
        field: Box<str>,
        /// What it may be.
        bounds: Box<str>,
    },
    /// The query cannot be used here.
    #[error("the query was refused: {reason}")]
    BadQuery {
        /// Why.
        reason: Box<str>,
    },
    /// The channel has as much metadata as it may.
    #[error("the channel has as many metadata pairs or taints as it may")]
    TooMuchMetadata,
}
