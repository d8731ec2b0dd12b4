//! Commands that wait to be proposed: gathered into batches as they come, bounded, and refused when the
//! node cannot take them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use willow_core::command::CancelWait;
use willow_core::{Batch, Command, Envelope};

use crate::config::COMMAND_BYTES;
use crate::proposal::{Proposal, Slot};
use crate::record::{self, RecordError};
use crate::{Config, ProposeError};

/// Shortest time a refused caller is told to stay away.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(20);
/// Longest time a refused caller is told to stay away.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

/// Bounds of the queue, from [`Config`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    batch_commands: usize,
    batch_bytes: usize,
    batches_in_flight: usize,
    queue_commands: usize,
    queue_bytes: usize,
}

impl From<&Config> for Bounds {
    fn from(config: &Config) -> Self {
        Self {
            batch_commands: config.batch_commands,
            batch_bytes: config.batch_bytes,
            batches_in_flight: config.batches_in_flight,
            queue_commands: config.queue_commands,
            queue_bytes: config.queue_bytes,
        }
    }
}

/// A command with its encoding, ready to be queued. Encoding is the caller's work, done on the caller's
/// core and outside of every lock.
#[derive(Debug)]
pub(crate) struct Encoded {
    envelope: Envelope,
    /// Shared with whoever may have to send it elsewhere.
    bytes: Bytes,
}

impl Encoded {
    pub(crate) fn new(envelope: Envelope) -> Result<Self, ProposeError> {
        // A small command has about this many bytes.
        let bytes = record::append(Vec::with_capacity(128), &envelope).map_err(unencodable)?;
        if bytes.len() > COMMAND_BYTES {
            return Err(ProposeError::TooLarge { bytes: bytes.len(), limit: COMMAND_BYTES });
        }
        Ok(Self { envelope, bytes: bytes.into() })
    }

    /// A command that another node encoded.
    pub(crate) fn from_bytes(bytes: Bytes) -> Result<Self, ProposeError> {
        if bytes.len() > COMMAND_BYTES {
            return Err(ProposeError::TooLarge { bytes: bytes.len(), limit: COMMAND_BYTES });
        }
        let envelope = record::decode_envelope(&bytes).map_err(unencodable)?;
        Ok(Self { envelope, bytes })
    }

    /// The encoding.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// A batch being gathered.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    envelopes: Vec<Envelope>,
    encoded: Vec<u8>,
    slots: Vec<Option<Slot>>,
}

impl Gathering {
    fn has_room(&self, bytes: usize, bounds: &Bounds) -> bool {
        self.envelopes.len() < bounds.batch_commands && self.encoded.len().saturating_add(bytes) <= bounds.batch_bytes
    }

    fn push(&mut self, Encoded { envelope, bytes }: Encoded, slot: Option<Slot>) {
        self.envelopes.push(envelope);
        self.encoded.extend_from_slice(&bytes);
        self.slots.push(slot);
    }

    /// Stamps the batch.
    pub(crate) fn seal(self, time_ms: u64) -> Result<Proposal, RecordError> {
        let Self { envelopes, encoded, slots } = self;
        let encoded = record::encode_batch(time_ms, envelopes.len(), &encoded)?;
        Ok(Proposal::new(Batch { time_ms, envelopes }, encoded, slots))
    }

    fn fail(self, error: &ProposeError) {
        for slot in self.slots.into_iter().flatten() {
            slot.fail(error.clone());
        }
    }
}

/// Names a batch while it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    started: Instant,
    /// Absent between taking the batch and stamping it.
    proposal: Option<Proposal>,
}

/// Why nothing is taken from callers, or handed to the log.
#[derive(Debug)]
enum Gate {
    Open,
    /// Callers are refused with this; what is queued already still goes out.
    Refusing(ProposeError),
    /// Callers are refused with this, and nothing goes out: the log could not take it.
    Stalled(ProposeError),
}

/// The queue. Plain data: [`crate::proposer::Proposer`] adds lock, clock and wake-up.
#[derive(Debug)]
pub(crate) struct Queue {
    bounds: Bounds,
    gate: Gate,
    /// This node leads: what others lead is not for this queue.
    is_leading: bool,
    gathered: VecDeque<Gathering>,
    commands: usize,
    bytes: usize,
    /// The node's own commands: few, small, and never refused.
    cancels: VecDeque<CancelWait>,
    /// A deadline has passed: an empty batch is wanted if no other goes out.
    tick: bool,
    in_flight: VecDeque<InFlight>,
    next_ticket: u64,
    /// How long the last batch took from being taken to being applied.
    batch_took: Duration,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            gate: Gate::Open,
            is_leading: true,
            gathered: VecDeque::new(),
            commands: 0,
            bytes: 0,
            cancels: VecDeque::new(),
            tick: false,
            in_flight: VecDeque::new(),
            next_ticket: 0,
            batch_took: Duration::from_millis(1),
        }
    }

    /// Commands waiting to be proposed.
    pub(crate) fn depth(&self) -> usize {
        self.commands + self.cancels.len()
    }

    /// True when nothing is queued or in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.depth() == 0 && self.in_flight.is_empty()
    }

    /// True when nothing goes out until the log can be written again.
    pub(crate) fn is_stalled(&self) -> bool {
        matches!(self.gate, Gate::Stalled(_))
    }

    /// True when nothing goes out until something changes.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_stalled() || !self.is_leading
    }

    /// Queues a caller's command, or says why not.
    pub(crate) fn push(&mut self, command: Encoded, slot: Slot) -> Result<(), ProposeError> {
        if let Gate::Refusing(error) | Gate::Stalled(error) = &self.gate {
            return Err(error.clone());
        }
        if !self.is_leading {
            return Err(ProposeError::NotLeader { leader: None });
        }
        let bytes = command.bytes.len();
        // One command always fits an empty queue, however large.
        let is_full = self.commands >= self.bounds.queue_commands
            || (self.commands > 0 && self.bytes.saturating_add(bytes) > self.bounds.queue_bytes);
        if is_full {
            return Err(ProposeError::Overloaded { retry_after: self.retry_after() });
        }
        self.commands += 1;
        self.bytes += bytes;
        match self.gathered.back_mut() {
            Some(last) if last.has_room(bytes, &self.bounds) => last.push(command, Some(slot)),
            _ => {
                let mut next = Gathering::default();
                next.push(command, Some(slot));
                self.gathered.push_back(next);
            }
        }
        Ok(())
    }

    /// Queues the cancellation of a wait.
    pub(crate) fn push_cancel(&mut self, cancel: CancelWait) {
        self.cancels.push_back(cancel);
    }

    /// Asks for a batch to let time pass.
    pub(crate) fn want_tick(&mut self) {
        self.tick = true;
    }

    /// True when a batch may go out now.
    pub(crate) fn is_ready(&self) -> bool {
        let is_wanted = self.tick || !self.gathered.is_empty() || !self.cancels.is_empty();
        is_wanted && self.is_leading && !self.is_stalled() && self.in_flight.len() < self.bounds.batches_in_flight
    }

    /// The next batch to propose, if one may go out now.
    pub(crate) fn take(&mut self, mut entropy: impl FnMut() -> u128) -> Option<(Ticket, Gathering)> {
        if !self.is_ready() {
            return None;
        }
        // Any batch lets time pass.
        self.tick = false;
        let mut gathering = self.gathered.pop_front().unwrap_or_default();
        self.commands -= gathering.envelopes.len();
        self.bytes -= gathering.encoded.len();
        while gathering.envelopes.len() < self.bounds.batch_commands {
            let Some(cancel) = self.cancels.pop_front() else { break };
            let command = Command::CancelWait(cancel);
            match Encoded::new(Envelope { request_id: None, entropy: entropy(), command }) {
                Ok(encoded) => gathering.push(encoded, None),
                // The machine's own deadline ends the wait instead.
                Err(error) => tracing::error!(%error, "a cancellation was lost"),
            }
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.in_flight.push_back(InFlight { ticket, started: Instant::now(), proposal: None });
        Some((ticket, gathering))
    }

    /// Notes the stamped batch of `ticket`, unless the log stalled or another node leads since it was taken: then
    /// nothing was done, its callers hear so, and it must not be proposed.
    pub(crate) fn launch(&mut self, ticket: Ticket, proposal: &Proposal) -> bool {
        let refusal = match &self.gate {
            Gate::Stalled(error) => Some(error.clone()),
            _ if !self.is_leading => Some(ProposeError::NotLeader { leader: None }),
            _ => None,
        };
        if let Some(error) = refusal {
            proposal.fail(&error);
            self.finish(ticket);
            return false;
        }
        if let Some(entry) = self.in_flight.iter_mut().find(|entry| entry.ticket == ticket) {
            entry.proposal = Some(proposal.clone());
        }
        true
    }

    /// The batch of `ticket` is applied, or never will be.
    pub(crate) fn finish(&mut self, ticket: Ticket) {
        // Batches end in order but for failures: it is the first.
        if let Some(at) = self.in_flight.iter().position(|entry| entry.ticket == ticket)
            && let Some(entry) = self.in_flight.remove(at)
        {
            self.batch_took = entry.started.elapsed();
        }
    }

    /// Takes nothing more from callers.
    pub(crate) fn refuse(&mut self, error: ProposeError) {
        if !self.is_stalled() {
            self.gate = Gate::Refusing(error);
        }
    }

    /// The log cannot be written: what is queued fails with `refusal` (nothing was done), what is in
    /// flight with `unknown`, and nothing goes out until [`Queue::resume`].
    pub(crate) fn stall(&mut self, refusal: ProposeError, unknown: &ProposeError) {
        self.fail(&refusal, unknown);
        self.gate = Gate::Stalled(refusal);
    }

    /// This node leads from now on.
    pub(crate) fn lead(&mut self) {
        self.is_leading = true;
    }

    /// Another node leads, or nobody: what is queued was not done; of what is in flight nobody knows.
    pub(crate) fn follow(&mut self, unknown: &ProposeError) {
        self.is_leading = false;
        self.fail(&ProposeError::NotLeader { leader: None }, unknown);
    }

    /// Cancellations that are the leader's to make.
    pub(crate) fn take_cancels(&mut self) -> Vec<CancelWait> {
        if self.is_leading { Vec::new() } else { self.cancels.drain(..).collect() }
    }

    fn fail(&mut self, refusal: &ProposeError, unknown: &ProposeError) {
        for gathering in self.gathered.drain(..) {
            gathering.fail(refusal);
        }
        self.commands = 0;
        self.bytes = 0;
        for entry in &self.in_flight {
            if let Some(proposal) = &entry.proposal {
                proposal.fail(unknown);
            }
        }
    }

    /// The log can be written again.
    pub(crate) fn resume(&mut self) {
        if self.is_stalled() {
            self.gate = Gate::Open;
        }
    }

    /// About how long the queue needs to drain.
    fn retry_after(&self) -> Duration {
        let batches = u32::try_from(self.gathered.len()).unwrap_or(u32::MAX);
        self.batch_took.saturating_mul(batches).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}

fn unencodable(error: RecordError) -> ProposeError {
    ProposeError::OutcomeUnknown { reason: format!("the command cannot be encoded: {error}") }
}

#[cfg(test)]
mod tests;
