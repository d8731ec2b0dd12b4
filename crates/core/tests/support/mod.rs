//! What the tests of the machine share: a machine whose log is kept, and the check that replay and
//! restore give the same state and the same future.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod queue;

use willow_core::{Applied, Batch, Command, Effect, Envelope, Machine, Reply, RequestId, WaiterId, snapshot::Restore};
use willow_model::{KeyValues, Origin};

/// Milliseconds since the epoch at which every test begins.
pub(crate) const EPOCH_MS: u64 = 1_700_000_000_000;

/// A machine and the log that made it.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) machine: Machine,
    pub(crate) log: Vec<Batch>,
    pub(crate) now_ms: u64,
    entropy: u128,
    /// Waits that ended since they were last taken.
    pub(crate) resolved: Vec<(WaiterId, Reply)>,
    pub(crate) effects: Vec<Effect>,
}

impl Default for Logged {
    fn default() -> Self {
        Self {
            machine: Machine::default(),
            log: Vec::new(),
            now_ms: EPOCH_MS,
            entropy: 0x1234_5678_9abc_def0_1234_5678_9abc_def0,
            resolved: Vec::new(),
            effects: Vec::new(),
        }
    }
}

impl Logged {
    /// Applies one command.
    pub(crate) fn apply(&mut self, command: Command) -> Reply {
        self.apply_with(None, command)
    }

    /// Applies one command with a request id.
    pub(crate) fn apply_with(&mut self, request_id: Option<&str>, command: Command) -> Reply {
        // Weyl's sequence: as good as random for ids, and the same in every run.
        self.entropy = self.entropy.wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let request_id = request_id.map(|id| RequestId::new(id).expect("a short id"));
        let envelope = Envelope { request_id, entropy: self.entropy, command };
        let mut applied = self.batch(vec![envelope]);
        applied.replies.pop().expect("one reply per envelope")
    }

    /// Lets time pass, firing what is due.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.batch(Vec::new());
        // A storm of deadlines takes several entries.
        while self.machine.next_deadline_ms().is_some_and(|at_ms| at_ms <= self.now_ms) {
            self.batch(Vec::new());
        }
    }

    /// Takes the waits that ended.
    pub(crate) fn take_resolved(&mut self) -> Vec<(WaiterId, Reply)> {
        std::mem::take(&mut self.resolved)
    }

    fn batch(&mut self, envelopes: Vec<Envelope>) -> Applied {
        let batch = Batch { time_ms: self.now_ms, envelopes };
        self.log.push(batch.clone());
        let applied = self.machine.apply(batch);
        for effect in &applied.effects {
            match effect {
                Effect::Resolve { waiter, reply } => self.resolved.push((*waiter, reply.clone())),
                Effect::Audit(_) => self.effects.push(effect.clone()),
            }
        }
        applied
    }
}

/// Checks that the log gives the same state again, also when it goes through a snapshot that is read in
/// small steps while the log goes on, and that the restored machine answers the rest of it alike.
pub(crate) fn check_replay_and_restore(logged: &mut Logged, seed: u64) {
    let digest = logged.machine.digest();
    let log = &logged.log;
    let mut machine = Machine::default();
    let cut = usize::try_from(seed).unwrap_or(0) % (log.len() + 1);
    for batch in &log[..cut] {
        machine.apply(batch.clone());
    }
    let at_cut = machine.digest();
    let mut reader = machine.snapshot_begin();
    let mut restore = Restore::default();
    let mut answers = Vec::new();
    let mut rest = log[cut..].iter();
    loop {
        let chunk = machine.snapshot_next(&mut reader, 200);
        if let Some(chunk) = &chunk {
            restore.push(chunk).expect("a chunk just read restores");
        }
        let batch = rest.next();
        answers.extend(batch.map(|batch| machine.apply(batch.clone())));
        if chunk.is_none() && batch.is_none() {
            break;
        }
    }
    assert_eq!(machine.digest(), digest, "replay gives another state");

    let mut restored = restore.finish().expect("a whole snapshot restores");
    assert_eq!(restored.digest(), at_cut, "the snapshot is not the state at its beginning (cut {cut})");
    for (batch, expected) in log[cut..].iter().zip(answers) {
        assert_eq!(restored.apply(batch.clone()), expected, "the restored machine answers differently (cut {cut})");
    }
    assert_eq!(restored.digest(), digest, "the restored machine ends differently (cut {cut})");
}

/// Key values as a user gives them.
pub(crate) fn kv(text: &str) -> KeyValues {
    KeyValues::parse(Origin::User, text).expect("well-formed key values")
}

/// Key values as a pattern.
pub(crate) fn pattern(text: &str) -> KeyValues {
    KeyValues::parse(Origin::Pattern, text).expect("a well-formed pattern")
}
