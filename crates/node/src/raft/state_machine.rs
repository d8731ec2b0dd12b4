//! The machine as the consensus library sees it.
//!
//! Snapshots are written by [`crate::snapshots`] when its own policy says so, and only then shown to the
//! library: an error while writing one (a full disk) would otherwise end the node.

use std::future::Future;
use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{AsyncRuntime, BasicNode, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta};

use super::types::{
    Leader, RaftLogId, RaftPayload, RaftStoredMembership, TypeConfig, entry_id, log_id, members, stored_membership,
};
use crate::SnapshotError;
use crate::clock::Clock;
use crate::record::{EntryId, RecordError};
use crate::replica::Replica;
use crate::snapshots::{Kept, Sending, Snapshots};
use crate::tasks::{Tasks, blocking};

/// A snapshot in this node's store. The network that receives one puts it there.
#[derive(Clone, Debug)]
pub(crate) struct StoredSnapshot {
    snapshots: Arc<Snapshots>,
    id: u64,
    tasks: Arc<dyn Tasks>,
}

impl StoredSnapshot {
    /// Opens it to be sent.
    pub(crate) fn send(self) -> impl Future<Output = Result<Sending, SnapshotError>> + Send {
        let Self { snapshots, id, tasks } = self;
        async move {
            let sending = Arc::clone(&tasks);
            let opened = blocking(tasks.as_ref(), move || snapshots.send(id, sending)).await;
            opened.unwrap_or_else(|| Err(SnapshotError("it could not be opened".to_owned())))
        }
    }
}

type RaftSnapshot = Snapshot<Leader, u64, BasicNode, StoredSnapshot>;
type RaftSnapshotMeta = SnapshotMeta<Leader, u64, BasicNode>;

/// One group's machine.
#[derive(Clone, Debug)]
pub(crate) struct StateMachine {
    pub(crate) replica: Arc<Replica>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) tasks: Arc<dyn Tasks>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Only the library has it: lets whoever stops it see when the machine is let go.
    pub(crate) _alive: Option<Arc<()>>,
}

impl StateMachine {
    fn apply_one(&self, id: EntryId, payload: RaftPayload) -> Result<(), RecordError> {
        match payload {
            EntryPayload::Blank => self.replica.apply_blank(id),
            EntryPayload::Membership(membership) => self.replica.apply_members(id, members(&membership)),
            EntryPayload::Normal(proposal) => self.replica.apply_batch(id, &proposal)?,
        }
        Ok(())
    }

    /// Does not count as the machine: the library may keep it.
    fn builder(&self) -> LatestSnapshot {
        LatestSnapshot(Self { _alive: None, ..self.clone() })
    }

    fn latest(&self) -> io::Result<Option<RaftSnapshot>> {
        self.snapshots.latest().map(|kept| self.stored(kept)).transpose()
    }

    /// A snapshot of the store, as the library knows it.
    pub(crate) fn stored(&self, kept: Kept) -> io::Result<RaftSnapshot> {
        let Kept { id, head } = kept;
        let last_membership = stored_membership(head.members_at, &head.members).map_err(io::Error::other)?;
        let meta = SnapshotMeta { last_log_id: head.last.map(log_id), last_membership };
        let snapshot = StoredSnapshot { snapshots: Arc::clone(&self.snapshots), id, tasks: Arc::clone(&self.tasks) };
        Ok(Snapshot { meta, snapshot })
    }
}

impl<R: AsyncRuntime> RaftStateMachine<TypeConfig<R>> for StateMachine {
    type SnapshotData = StoredSnapshot;
    type SnapshotBuilder = LatestSnapshot;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, RaftStoredMembership), io::Error> {
        let (applied, members) =
            self.replica.read(|state| (state.applied, stored_membership(state.members_at, &state.members)));
        Ok((applied.map(log_id), members.map_err(io::Error::other)?))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig<R>>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            self.apply_one(entry_id(&entry.log_id), entry.payload).map_err(io::Error::other)?;
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, is_needed: bool) -> Option<LatestSnapshot> {
        if is_needed {
            let Self { replica, snapshots, tasks, clock, .. } = self.clone();
            if let Err(error) = snapshots.write(&replica, clock.monotonic_ms(), tasks.as_ref()).await {
                tracing::error!(%error, "a snapshot that is needed was not written");
            }
        }
        let is_there = self.snapshots.latest().is_some();
        (is_there || is_needed).then(|| self.builder())
    }

    async fn get_snapshot_builder(&mut self) -> LatestSnapshot {
        self.builder()
    }

    async fn install_snapshot(&mut self, _meta: &RaftSnapshotMeta, snapshot: StoredSnapshot) -> Result<(), io::Error> {
        let Self { replica, snapshots, tasks, .. } = self.clone();
        let busy = snapshots.quiet().await;
        let installing = move || {
            let _busy = busy;
            // One that came from a leader is in this store already.
            if !Arc::ptr_eq(&snapshot.snapshots, &snapshots) {
                snapshots.import(&snapshot.snapshots, snapshot.id)?;
            }
            snapshots.restore(&replica)
        };
        let installed = blocking(tasks.as_ref(), installing).await;
        installed.ok_or_else(|| io::Error::other("the snapshot could not be read"))?.map_err(io::Error::other)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        self.latest()
    }
}

/// Shows the library the newest snapshot, which is written already.
#[derive(Debug)]
pub(crate) struct LatestSnapshot(StateMachine);

impl<R: AsyncRuntime> RaftSnapshotBuilder<TypeConfig<R>> for LatestSnapshot {
    type SnapshotData = StoredSnapshot;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        self.0.latest()?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no snapshot was written"))
    }
}
