//! The machine as the consensus library sees it.
//!
//! Snapshots are written by [`crate::snapshots`] when its own policy says so, and only then shown to the
//! library: an error while writing one (a full disk) would otherwise end the node.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{BasicNode, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta};

use super::types::{
    Leader, RaftLogId, RaftPayload, RaftStoredMembership, TypeConfig, entry_id, log_id, members, stored_membership,
};
use crate::record::{EntryId, RecordError};
use crate::replica::Replica;
use crate::snapshots::Snapshots;

/// The newest snapshot in a node's store. A transport that receives one puts it into this node's store.
#[derive(Clone, Debug)]
pub(crate) struct StoredSnapshot(Arc<Snapshots>);

type RaftSnapshot = Snapshot<Leader, u64, BasicNode, StoredSnapshot>;
type RaftSnapshotMeta = SnapshotMeta<Leader, u64, BasicNode>;

/// One group's machine.
#[derive(Clone, Debug)]
pub(crate) struct StateMachine {
    pub(crate) replica: Arc<Replica>,
    pub(crate) snapshots: Arc<Snapshots>,
    /// Lets whoever stops the library see when the machine is let go.
    pub(crate) _alive: Arc<()>,
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
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = StoredSnapshot;
    type SnapshotBuilder = LatestSnapshot;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, RaftStoredMembership), io::Error> {
        let (applied, members) =
            self.replica.read(|state| (state.applied, stored_membership(state.members_at, &state.members)));
        Ok((applied.map(log_id), members.map_err(io::Error::other)?))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
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
            let Self { replica, snapshots, .. } = self.clone();
            match tokio::task::spawn_blocking(move || snapshots.write(&replica)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a snapshot that is needed was not written"),
                Err(error) => tracing::error!(%error, "a snapshot that is needed was not written"),
            }
        }
        let is_there = self.snapshots.latest().is_some();
        (is_there || is_needed).then(|| LatestSnapshot(Arc::clone(&self.snapshots)))
    }

    async fn get_snapshot_builder(&mut self) -> LatestSnapshot {
        LatestSnapshot(Arc::clone(&self.snapshots))
    }

    async fn install_snapshot(&mut self, _meta: &RaftSnapshotMeta, snapshot: StoredSnapshot) -> Result<(), io::Error> {
        let Self { replica, snapshots, .. } = self.clone();
        let installing = move || {
            if !Arc::ptr_eq(&snapshot.0, &snapshots) {
                snapshots.import(&snapshot.0)?;
            }
            snapshots.restore(&replica)
        };
        tokio::task::spawn_blocking(installing).await?.map_err(io::Error::other)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        latest(&self.snapshots)
    }
}

/// Shows the library the newest snapshot, which is written already.
#[derive(Debug)]
pub(crate) struct LatestSnapshot(Arc<Snapshots>);

impl RaftSnapshotBuilder<TypeConfig> for LatestSnapshot {
    type SnapshotData = StoredSnapshot;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        latest(&self.0)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no snapshot was written"))
    }
}

fn latest(snapshots: &Arc<Snapshots>) -> io::Result<Option<RaftSnapshot>> {
    let Some(head) = snapshots.latest() else { return Ok(None) };
    let last_membership = stored_membership(head.members_at, &head.members).map_err(io::Error::other)?;
    let meta = SnapshotMeta { last_log_id: head.last.map(log_id), last_membership };
    Ok(Some(Snapshot { meta, snapshot: StoredSnapshot(Arc::clone(snapshots)) }))
}
