//! The machine as this node holds it, and what follows from applying an entry.
//!
//! Apply never waits for anything but the machine's lock: readers and the snapshot hold it for a bounded
//! time. Callers are answered from here, without another hop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use willow_core::effect::Audit;
use willow_core::{Applied, Effect, Machine, Outcome};

use crate::clock::LogClock;
use crate::proposal::{Answer, Proposal, Slot};
use crate::record::{EntryId, Members, RecordError};
use crate::stats::{self, Cells};
use crate::timer::Timer;
use crate::waiters::Waiters;

/// State at one point of the log. Only this survives in a snapshot.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) machine: Machine,
    /// Last entry applied.
    pub(crate) applied: Option<EntryId>,
    /// The entry that set `members`.
    pub(crate) members_at: Option<EntryId>,
    pub(crate) members: Members,
}

/// When a snapshot is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotPolicy {
    pub(crate) log_bytes: u64,
    pub(crate) commands: u64,
}

/// Called with the id of a leader's first entry once everything before it is applied.
pub(crate) type NewTerm = Box<dyn Fn(EntryId) + Send>;

/// One group's state on this node.
pub(crate) struct Replica {
    state: RwLock<State>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) timer: Arc<Timer>,
    pub(crate) stats: Arc<Cells>,
    pub(crate) clock: Arc<LogClock>,
    policy: SnapshotPolicy,
    /// Who waits until an entry is applied, by its index.
    reached: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
    /// Hears of every leader's first entry.
    new_term: Mutex<Option<NewTerm>>,
    /// Wakes who follows the catalogue.
    pub(crate) changed: Notify,
    /// Wakes the task that writes snapshots.
    pub(crate) snapshot_due: Notify,
    /// False while the log of an earlier life is read back: its effects have been seen then.
    is_live: AtomicBool,
}

impl Replica {
    pub(crate) fn new(waiters: Arc<Waiters>, clock: Arc<LogClock>, stats: Arc<Cells>, policy: SnapshotPolicy) -> Self {
        Self {
            state: RwLock::default(),
            waiters,
            timer: Arc::new(Timer::new()),
            stats,
            clock,
            policy,
            reached: Mutex::default(),
            new_term: Mutex::default(),
            changed: Notify::new(),
            snapshot_due: Notify::new(),
            is_live: AtomicBool::new(false),
        }
    }

    /// From now on, what is applied is new.
    pub(crate) fn go_live(&self) {
        self.is_live.store(true, Ordering::Relaxed);
    }

    fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Relaxed)
    }

    /// Reads the state. The closure keeps applies waiting: it must be short.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read())
    }

    /// For reading that marks what it has read (snapshots), not for changing what is replicated.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.write())
    }

    /// From now on `hear` is called with every leader's first entry.
    pub(crate) fn on_new_term(&self, hear: NewTerm) {
        *self.new_term.lock() = Some(hear);
    }

    /// Puts a restored state in place of the present one.
    pub(crate) fn install(&self, state: State) {
        let next_ms = state.machine.next_deadline_ms();
        let time_ms = state.machine.now_ms();
        let index = state.applied.map_or(0, |id| id.index);
        // The old machine is dropped outside of the lock.
        let _old = std::mem::replace(&mut *self.state.write(), state);
        if time_ms > 0 {
            self.clock.observe(time_ms);
        }
        self.note(index);
        self.timer.set(next_ms);
    }

    /// Applies an entry without commands: a leader's first.
    pub(crate) fn apply_blank(&self, id: EntryId) {
        self.state.write().applied = Some(id);
        if let Some(hear) = &*self.new_term.lock() {
            hear(id);
        }
        self.note(id.index);
    }

    /// Applies a change of members.
    pub(crate) fn apply_members(&self, id: EntryId, members: Members) {
        {
            let mut state = self.state.write();
            state.applied = Some(id);
            state.members_at = Some(id);
            state.members = members;
        }
        self.note(id.index);
    }

    /// Ends once entry `index` is applied.
    pub(crate) async fn reached(&self, index: u64) {
        let reached = {
            let mut waiting = self.reached.lock();
            if self.read(|state| state.applied.is_some_and(|id| id.index >= index)) {
                return;
            }
            let (sender, reached) = oneshot::channel();
            waiting.entry(index).or_default().push(sender);
            reached
        };
        // The sender is dropped unheard only with this replica.
        let _reached = reached.await;
    }

    /// Everything up to `index` is applied.
    fn note(&self, index: u64) {
        self.stats.applied_index.store(index, Ordering::Relaxed);
        self.changed.notify_one();
        let mut waiting = self.reached.lock();
        if waiting.first_key_value().is_none_or(|(first, _)| *first > index) {
            return;
        }
        let later = waiting.split_off(&index.saturating_add(1));
        let reached = std::mem::replace(&mut *waiting, later);
        drop(waiting);
        for sender in reached.into_values().flatten() {
            let _gone = sender.send(());
        }
    }

    /// Applies a batch and answers its callers.
    pub(crate) fn apply_batch(&self, id: EntryId, proposal: &Proposal) -> Result<(), RecordError> {
        let started = Instant::now();
        let is_own = proposal.is_own();
        let (batch, slots) = proposal.take()?;
        if !is_own {
            self.clock.observe(batch.time_ms);
        }
        let commands = stats::count(batch.envelopes.len());
        let (applied, next_ms) = {
            let mut state = self.state.write();
            state.applied = Some(id);
            let applied = state.machine.apply(batch);
            (applied, state.machine.next_deadline_ms())
        };
        self.answer(slots, applied);
        self.timer.set(next_ms);
        self.count(id, commands, stats::count(proposal.encoded().len()));
        if self.is_live() {
            self.stats.commands.fetch_add(commands, Ordering::Relaxed);
            self.stats.batch_commands.observe(commands);
            self.stats.apply_us.observe_us(started.elapsed());
        }
        Ok(())
    }

    /// Registers every wait before handing out any effect, so that a wait which began and ended in the
    /// same apply is heard of.
    fn answer(&self, slots: Vec<Option<Slot>>, applied: Applied) {
        let Applied { replies, effects } = applied;
        for (slot, reply) in slots.into_iter().zip(replies) {
            let Some(slot) = slot else { continue };
            match reply {
                Ok(Outcome::Waiting(wait)) => self.waiters.register(wait, slot),
                reply => {
                    // A caller who went away needs no answer.
                    let _gone = slot.answer.send(Answer::Done(reply));
                }
            }
        }
        for effect in effects {
            match effect {
                Effect::Resolve { waiter, reply } => self.waiters.resolve(waiter, reply),
                Effect::Audit(audit) => self.audit(&audit),
            }
        }
    }

    fn audit(&self, audit: &Audit) {
        if self.is_live() {
            tracing::info!(
                target: "willow::audit",
                action = audit.action,
                resource = %audit.resource,
                by = audit.by.as_deref(),
                reason = audit.reason.as_deref(),
                time_ms = audit.time_ms,
                "audit"
            );
        }
    }

    fn count(&self, id: EntryId, commands: u64, bytes: u64) {
        self.note(id.index);
        let stats = &*self.stats;
        let log_commands = add(&stats.log_commands, commands);
        let log_bytes = add(&stats.log_bytes, bytes);
        let bytes_due = self.policy.log_bytes.max(stats::load(&stats.snapshot_bytes));
        if log_bytes >= bytes_due || log_commands >= self.policy.commands {
            self.snapshot_due.notify_one();
        }
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").finish_non_exhaustive()
    }
}

fn add(cell: &AtomicU64, n: u64) -> u64 {
    cell.fetch_add(n, Ordering::Relaxed).saturating_add(n)
}
