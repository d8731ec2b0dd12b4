//! A batch on its way through the log, and the callers who wait for it.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use willow_core::{Batch, Reply};

use crate::ProposeError;
use crate::record::{self, RecordError};
use crate::waiters::Waiter;

/// What a caller hears of its command.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The machine's final answer.
    Done(Reply),
    /// The command waits; the handle brings the answer.
    Waiting(Waiter),
    /// The log gave no answer.
    Failed(ProposeError),
}

/// Where one caller waits for one command.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) answer: oneshot::Sender<Answer>,
    /// Nobody can ask for the outcome again (there is no request id): if the caller goes away while the
    /// command waits, the wait is cancelled.
    pub(crate) cancel_on_drop: bool,
}

impl Slot {
    pub(crate) fn fail(self, error: ProposeError) {
        // A caller who went away needs no answer.
        let _gone = self.answer.send(Answer::Failed(error));
    }
}

/// One log entry's worth of commands.
///
/// The same allocation travels from the proposer through the log's memory to the apply: there the batch is
/// taken out as it was gathered, without decoding, and the callers with it. A copy read back from disk has
/// only the bytes and no callers. The callers are shared with the proposer, who fails them when the log
/// cannot answer; whoever takes them first answers, so that each caller is answered once.
#[derive(Clone)]
pub(crate) struct Proposal(Arc<Inner>);

struct Inner {
    encoded: Vec<u8>,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    batch: Option<Batch>,
    /// One per envelope; `None` where the node itself asked.
    slots: Vec<Option<Slot>>,
}

impl Proposal {
    /// A batch of this node's own callers. `encoded` is the encoding of `batch`.
    pub(crate) fn new(batch: Batch, encoded: Vec<u8>, slots: Vec<Option<Slot>>) -> Self {
        debug_assert_eq!(batch.envelopes.len(), slots.len(), "one slot per envelope");
        Self(Arc::new(Inner { encoded, live: Mutex::new(Live { batch: Some(batch), slots }) }))
    }

    /// A batch read back from the log.
    pub(crate) fn from_log(encoded: &[u8]) -> Self {
        Self(Arc::new(Inner { encoded: encoded.to_vec(), live: Mutex::default() }))
    }

    /// Whether this very node gathered it, in this life.
    pub(crate) fn is_own(&self) -> bool {
        self.0.live.lock().batch.is_some()
    }

    /// Bytes of the batch.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.0.encoded
    }

    /// The batch, and who waits for it. The batch is there however often it is asked for; the callers go
    /// to the first who asks.
    pub(crate) fn take(&self) -> Result<(Batch, Vec<Option<Slot>>), RecordError> {
        let Live { batch, slots } = std::mem::take(&mut *self.0.live.lock());
        let batch = match batch {
            Some(batch) => batch,
            None => record::decode_batch(&self.0.encoded)?,
        };
        Ok((batch, slots))
    }

    /// Answers whoever still waits with `error`.
    pub(crate) fn fail(&self, error: &ProposeError) {
        let slots = std::mem::take(&mut self.0.live.lock().slots);
        for slot in slots.into_iter().flatten() {
            slot.fail(error.clone());
        }
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposal").field("bytes", &self.0.encoded.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.encoded.len())
    }
}
