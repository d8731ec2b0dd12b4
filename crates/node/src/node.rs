//! A node: starts, serves and stops the groups of one data directory. Today there is one group.

use std::sync::Arc;

use willow_core::{Command, Machine, Outcome, RequestId};

use crate::group::Group;
use crate::health::Health;
use crate::stats::Stats;
use crate::waiters::Waiter;
use crate::{Config, ProposeError, ReadError, StartError};

/// What a command came to.
#[derive(Debug)]
pub enum Proposed {
    /// The machine's final answer.
    Done(Outcome),
    /// The command waits; the handle brings the answer.
    Waiting(Waiter),
}

/// A running node. Clones are handles to the same node.
///
/// A command goes to the group that holds what it is about. There is one group today, so every method goes
/// to it; which group a command belongs to is the node's business, not the caller's.
#[derive(Clone, Debug)]
pub struct Node {
    data: Arc<Group>,
}

impl Node {
    /// Opens the data directory, reads back what is there and begins to serve. An empty directory becomes
    /// a new cluster of one.
    ///
    /// # Errors
    /// When the directory cannot be used, holds something this build cannot read, or misses a part.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.validate()?;
        let data = Group::start(config).await?;
        Ok(Self { data })
    }

    /// Gets `command` into the log, applies it, and answers what came of it. A command that waits is waited
    /// for; dropping the future then cancels the wait, unless there is a `request_id`.
    ///
    /// Answered means durable: the entry was synced to disk by every node whose vote was needed.
    ///
    /// # Errors
    /// See [`ProposeError`]; each variant says whether anything was done.
    pub async fn propose(&self, command: Command, request_id: Option<RequestId>) -> Result<Outcome, ProposeError> {
        match self.propose_waiting(command, request_id).await? {
            Proposed::Done(outcome) => Ok(outcome),
            Proposed::Waiting(waiter) => waiter.await,
        }
    }

    /// Like [`Node::propose`], but answers with a handle as soon as the command waits.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose_waiting(
        &self,
        command: Command,
        request_id: Option<RequestId>,
    ) -> Result<Proposed, ProposeError> {
        self.data.propose(command, request_id).await
    }

    /// Reads the machine, seeing everything that was answered anywhere before this call began. The closure
    /// keeps applies waiting: bound its work.
    ///
    /// # Errors
    /// When this node cannot be sure to have the newest state.
    pub async fn read<T>(&self, read: impl FnOnce(&Machine) -> T) -> Result<T, ReadError> {
        self.data.read(read).await
    }

    /// Reads the machine as this node has it, however old that is.
    pub fn read_stale<T>(&self, read: impl FnOnce(&Machine) -> T) -> T {
        self.data.read_stale(read)
    }

    /// What time it would be in the log, were something written now. The machine's own time stands at the last
    /// entry.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.data.now_ms()
    }

    /// Digest over all replicated state. Walks everything while applies wait: for tests and tools.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.data.digest()
    }

    /// Writes a snapshot now and drops the log before it.
    ///
    /// # Errors
    /// When the snapshot could not be written; the node goes on without it.
    pub async fn snapshot(&self) -> Result<(), crate::SnapshotError> {
        self.data.snapshot().await
    }

    /// What the node can do now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.data.health()
    }

    /// Follows [`Node::health`].
    #[must_use]
    pub fn watch_health(&self) -> tokio::sync::watch::Receiver<Health> {
        self.data.watch_health()
    }

    /// What the node did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.data.stats()
    }

    /// Takes no more work, sends everyone who waits away with [`ProposeError::ShuttingDown`], finishes what
    /// is queued and stops. Safe to call twice.
    pub async fn shutdown(&self) {
        self.data.shutdown().await;
    }
}
