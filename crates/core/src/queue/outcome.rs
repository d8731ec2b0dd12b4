//! What Queue commands answer, and how queues, channels and items look to a reader.

use serde::{Deserialize, Serialize};
use willow_model::{Id, KeyValues, Revision};
use willow_query::Query;

use super::{Backoff, Data, Error, LeaseToken, PauseKind, Position, QueueConfig, Taint};
use crate::limiter::Blocking;

/// Answers of Queue commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// A queue was created or changed.
    Queue(QueueView),
    /// A queue is being deleted.
    Deleting,
    /// One answer per item, in order.
    Enqueued(Vec<Result<Enqueued, Error>>),
    /// Items taken; empty when the wait ended without one.
    Dequeued(Vec<Delivery>),
    /// One answer per item, in order.
    Acked(Vec<Result<(), Error>>),
    /// What became of a failed item.
    Nacked(Nacked),
    /// An item was handed back.
    Released,
    /// A lease was renewed.
    Extended {
        /// Left of it, ms.
        expires_in_ms: u64,
    },
    /// A channel's metadata was changed; `None` when that ended the channel.
    Channel(Option<ChannelView>),
    /// A pause began or ended.
    Paused,
    /// This many items were removed at once; the rest follows in steps.
    Removed {
        /// So far.
        items: u64,
        /// True when more is removed in the background.
        continuing: bool,
    },
    /// Dead letters moved back.
    Redriven {
        /// How many.
        items: u64,
        /// Matching ones are left.
        more: bool,
    },
}

/// What an enqueue did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enqueued {
    /// The item.
    pub item: Id,
    /// Its channel.
    pub channel: Id,
    /// Of the item now.
    pub revision: Revision,
    /// Whether it is new.
    pub how: How,
}

/// Created, updated, or there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// A new item.
    Created,
    /// A waiting updatable item got new data.
    Updated,
    /// The idempotency key was seen before.
    Duplicate,
}

/// An item handed to a consumer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The item.
    pub item: Id,
    /// Its channel.
    pub channel: Id,
    /// The channel's key values.
    pub key_values: KeyValues,
    /// Its bytes.
    pub data: Data,
    /// Of the bytes.
    pub content_type: Box<str>,
    /// Deliveries so far, this one included.
    pub attempt: u32,
    /// Of the item's data: larger is newer.
    pub revision: Revision,
    /// To ack, nack, release, extend.
    pub token: LeaseToken,
    /// Left of the lease, ms.
    pub expires_in_ms: u64,
    /// Its priority.
    pub priority: i32,
    /// Since it was enqueued, ms.
    pub age_ms: u64,
}

impl Delivery {
    /// All but the bytes.
    #[must_use]
    pub fn without_data(&self) -> Self {
        Self { data: Data::from([]), ..self.clone() }
    }
}

/// What became of a failed item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nacked {
    /// It is tried again.
    Retry {
        /// In this many ms.
        delay_ms: u64,
    },
    /// It had its last attempt: it is a dead letter.
    DeadLetter,
    /// A newer one waits in its place; the failed one is gone.
    Superseded,
}

/// A queue as anyone may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueView {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: Box<str>,
    /// Its labels.
    pub key_values: Option<KeyValues>,
    /// Its settings.
    pub config: QueueConfig,
    /// Revision of its last change.
    pub revision: Revision,
    /// Rows are being removed.
    pub deleting: bool,
    /// Standing pauses.
    pub pauses: Vec<(PauseKind, Option<Query>)>,
    /// How much it holds.
    pub counts: Counts,
    /// Channels.
    pub channels: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Consumers waiting.
    pub consumers_waiting: u64,
}

/// Items by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Due.
    pub waiting: u64,
    /// Not due yet.
    pub delayed: u64,
    /// Delivered, lease running.
    pub in_flight: u64,
}

/// A channel as anyone may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelView {
    /// Its id.
    pub id: Id,
    /// What it is.
    pub key_values: KeyValues,
    /// Its metadata, if any.
    pub metadata: Option<KeyValues>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Of its last change in metadata.
    pub revision: Revision,
    /// Items.
    pub counts: Counts,
    /// Since its oldest waiting item was enqueued, ms.
    pub oldest_waiting_ms: Option<u64>,
    /// Since its last delivery, ms.
    pub idle_ms: Option<u64>,
}

/// Where an item is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ItemState {
    /// Due.
    Waiting,
    /// Not due yet.
    Delayed,
    /// Delivered, lease running.
    InFlight,
    /// Given up.
    Dead,
}

/// An item as anyone may see it: no lease token.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemView {
    /// Its id.
    pub id: Id,
    /// Its channel.
    pub channel: Id,
    /// The channel's key values.
    pub key_values: KeyValues,
    /// Where it is.
    pub state: ItemState,
    /// Its bytes.
    pub data: Data,
    /// Of the bytes.
    pub content_type: Box<str>,
    /// Of its data.
    pub revision: Revision,
    /// Can it be updated?
    pub updatable: bool,
    /// Deliveries so far.
    pub attempts: u32,
    /// `None` is without end.
    pub max_attempts: Option<u32>,
    /// Between attempts.
    pub backoff: Backoff,
    /// Where it goes when it fails.
    pub retry_position: Position,
    /// Visibility timeout, ms.
    pub lease_ms: u64,
    /// Its priority.
    pub priority: i32,
    /// What it counts for under the Limiter.
    pub weight: u32,
    /// Since it was enqueued, ms.
    pub age_ms: u64,
    /// Until it is due, ms.
    pub due_in_ms: Option<u64>,
    /// Until it expires, ms.
    pub expires_in_ms: Option<u64>,
    /// Until its lease ends, ms.
    pub lease_expires_in_ms: Option<u64>,
    /// Who has it.
    pub consumer: Option<Box<str>>,
    /// Of its last failure.
    pub reason: Option<Box<str>>,
    /// Why it is dead.
    pub death: Option<Death>,
}

/// Why an item is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Death {
    /// It had its last attempt.
    AttemptsExhausted,
    /// Its time was up.
    Expired,
}

/// Why a channel is not running, all reasons that hold. Answer of [`crate::Machine::explain_channel`].
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelExplanation {
    /// The revision that the answer saw.
    pub revision: Revision,
    /// The channel.
    pub channel: ChannelView,
    /// A consumer whose query and tolerations fit would get an item now.
    pub eligible: bool,
    /// What is in the way, or what is there to know.
    pub reasons: Vec<Reason>,
    /// Consumers waiting whose query and tolerations fit.
    pub matching_consumers: u64,
}

/// One reason why a channel is not running.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// Nothing waits.
    Empty,
    /// Nothing is due for this many ms.
    NotDue {
        /// How long.
        due_in_ms: u64,
    },
    /// By these standing pauses; `None` is the whole queue's.
    Paused(Vec<Option<Query>>),
    /// Only who tolerates these.
    Tainted(Vec<Taint>),
    /// By these limits.
    Limited(Vec<Blocking>),
    /// No waiting consumer's query and tolerations fit.
    NoConsumerMatches {
        /// Consumers waiting on the queue in all.
        waiting: u64,
    },
    /// An updatable item is in flight: the next waits for it.
    InFlight {
        /// How many.
        items: u64,
    },
}
