//! The vocabulary of the log: what a [`Batch`] may ask of the machine.

use serde::{Deserialize, Serialize};

use crate::{Outcome, WaiterId, catalogue, cursor, limiter, locker, queue};

/// One Raft log entry: commands gathered by the leader, stamped once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Leader's clock, milliseconds since the Unix epoch. The machine never lets its own time go back.
    pub time_ms: u64,
    /// Applied in order. Empty is a tick: it only lets time pass.
    pub envelopes: Vec<Envelope>,
}

/// A command with what the edge adds to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Client-chosen id that makes a repeat of this command answer from the record.
    pub request_id: Option<RequestId>,
    /// 128 random bits drawn by the edge; the only randomness a command may use.
    pub entropy: u128,
    /// What to do.
    pub command: Command,
}

/// Client-chosen request id, 1–128 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Checks the bound of 1 to [`crate::limits::REQUEST_ID_BYTES`] bytes; `None` when it is broken.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (1..=crate::limits::REQUEST_ID_BYTES).contains(&text.len()).then(|| Self(text.into()))
    }

    /// The text the client chose.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Everything that can change the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// First entry of a cluster.
    Initialize(Initialize),
    /// The caller of a waiting command went away for good.
    CancelWait(CancelWait),
    /// Locker.
    Lock(locker::Command),
    /// Limiter.
    Limit(limiter::Command),
    /// Queue.
    Queue(queue::Command),
    /// A lookup with `pick: round_robin`, which moves a named cursor.
    AdvanceCursor(cursor::AdvanceCursor),
    /// Who belongs to the cluster; only in group 0.
    Catalogue(catalogue::Command),
}

impl Command {
    /// Whether doing it twice is doing it once: it sets the end of a lease anew, and no more.
    #[must_use]
    pub fn is_renewal(&self) -> bool {
        matches!(
            self,
            Self::Lock(locker::Command::HeartbeatLock(_) | locker::Command::HeartbeatSession(_))
                | Self::Limit(limiter::Command::HeartbeatHold(_))
                | Self::Queue(queue::Command::Extend(_))
        )
    }

    /// Whether the answer may be a long time coming: the caller is ready to wait for it.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        let wait_ms = match self {
            Self::Lock(locker::Command::Acquire(acquire)) => acquire.wait_ms,
            Self::Limit(limiter::Command::Increment(increment)) => increment.wait_ms,
            Self::Queue(queue::Command::Dequeue(dequeue)) => dequeue.wait_ms,
            _ => 0,
        };
        wait_ms > 0
    }
}

/// Names the cluster and sets the secret that authenticates page tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Initialize {
    /// Random id of the cluster.
    pub cluster: u128,
    /// Key of the page tokens' MAC; the same on every node.
    pub secret: [u8; 32],
}

/// Removes a waiter; gives back what it was granted if the grant came first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CancelWait {
    /// Whose wait ends.
    pub waiter: WaiterId,
    /// The grant that nobody is left to hear about, if one was made meanwhile.
    pub undelivered: Option<Box<Outcome>>,
}
