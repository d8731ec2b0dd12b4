//! The log and the machine under the consensus library's own suite for storage, and where they meet.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, RaftLogReader, StorageError};
use willow_core::Batch;
use willow_core::command::CancelWait;
use willow_storage::log::{Log, Options};
use willow_storage::snapshot::SnapshotOptions;
use willow_storage::vfs::FaultVfs;

use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::types::{RaftEntry, TypeConfig as Generic, log_id};
use crate::clock::LogClock;
use crate::group_log::{GroupLog, LogEvents};
use crate::proposal::Proposal;
use crate::record::{self, EntryId};
use crate::replica::{Replica, SnapshotPolicy};
use crate::snapshots::Snapshots;
use crate::stats::Cells;
use crate::waiters::{Cancel, Waiters};
use crate::{Config, GroupId, NodeId, Unavailable};

type TypeConfig = Generic<super::Runtime>;

struct Nobody;

impl Cancel for Nobody {
    fn cancel(&self, _cancel: CancelWait) {}
}

impl LogEvents for Nobody {
    fn log_stalled(&self, why: Unavailable) {
        panic!("{why}");
    }

    fn log_resumed(&self) {}
}

fn log_store(vfs: &FaultVfs) -> LogStore {
    let options = Options { retry_interval: Duration::ZERO, ..Options::small_inline() };
    let (log, _) = Log::open(Arc::new(vfs.clone()), Path::new("data/log"), options).unwrap();
    LogStore::new(GroupLog::new(GroupId::DATA, log, Arc::new(Nobody), Arc::new(Cells::new())), NodeId(1)).unwrap()
}

fn state_machine(vfs: &FaultVfs) -> StateMachine {
    let stats = Arc::new(Cells::new());
    let policy = SnapshotPolicy { log_bytes: u64::MAX, commands: u64::MAX };
    let mut config = Config::new("data");
    let (tasks, clock) = (config.runtime.tasks(), Arc::clone(&config.clock));
    let log_clock = Arc::new(LogClock::new(Arc::clone(&clock)));
    let waiters = Arc::new(Waiters::new(Arc::new(Nobody)));
    let replica = Replica::new(waiters, log_clock, Arc::clone(&stats), policy);
    config.vfs = Arc::new(vfs.clone());
    config.snapshots = SnapshotOptions { keep: 2, min_free_bytes: 0 };
    let snapshots = Snapshots::open(&config, GroupId::DATA, stats).unwrap();
    StateMachine { replica: Arc::new(replica), snapshots: Arc::new(snapshots), tasks, clock, _alive: None }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine> for Builder {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<TypeConfig>> {
        let vfs = FaultVfs::new(1);
        Ok(((), log_store(&vfs), state_machine(&vfs)))
    }
}

#[tokio::test]
async fn log_and_machine_pass_the_library_s_suite() {
    Suite::<TypeConfig, LogStore, StateMachine, Builder, ()>::test_all(Builder).await.unwrap();
}

fn batch(index: u64, size: usize) -> RaftEntry {
    let empty = Batch { time_ms: index, envelopes: vec![] };
    let mut encoded = record::encode_batch(index, 0, &[]).unwrap();
    // Only the size matters to who reads it.
    encoded.resize(encoded.len() + size, 0);
    let proposal = Proposal::new(empty, encoded, vec![]);
    RaftEntry { log_id: log_id(EntryId { term: 1, node: 1, index }), payload: EntryPayload::Normal(proposal) }
}

async fn append(store: &mut LogStore, entries: Vec<RaftEntry>) {
    let (sender, flushed) = TypeConfig::oneshot();
    RaftLogStorage::<TypeConfig>::append(store, entries, IOFlushed::signal(sender)).await.unwrap();
    flushed.await.unwrap().unwrap();
}

async fn streamed(store: &mut LogStore, since: u64, end: u64) -> Vec<u64> {
    let stream = RaftLogReader::<TypeConfig>::entries_stream(store, since..end).await;
    stream.map(|entry| entry.unwrap().log_id.index()).collect().await
}

/// Apply must get the batch that was gathered, not a copy read back: its callers hang on it.
#[tokio::test]
async fn apply_gets_the_very_batch_that_was_appended() {
    let mut store = log_store(&FaultVfs::new(1));
    append(&mut store, vec![batch(0, 0), batch(1, 0), batch(2, 0)]).await;
    // Replication reads without taking.
    assert_eq!(RaftLogReader::<TypeConfig>::try_get_log_entries(&mut store, 0..3).await.unwrap().len(), 3);
    assert_eq!(streamed(&mut store, 0, 2).await, [0, 1]);
    assert_eq!(streamed(&mut store, 2, 3).await, [2]);
    // Taken once; whoever asks again gets it from storage.
    assert_eq!(streamed(&mut store, 0, 3).await, [0, 1, 2]);
    assert_eq!(RaftLogReader::<TypeConfig>::try_get_log_entries(&mut store, 1..9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_long_replay_comes_in_pieces_and_whole() {
    let vfs = FaultVfs::new(1);
    let mut store = log_store(&vfs);
    for index in 0..150 {
        append(&mut store, vec![batch(index, 40_000)]).await;
    }
    drop(store);
    let mut store = log_store(&vfs);
    assert_eq!(streamed(&mut store, 0, 150).await, (0..150).collect::<Vec<_>>());
    // Past the end there is nothing that could be committed; before the beginning something is missing.
    assert_eq!(streamed(&mut store, 149, 151).await, [149]);
    RaftLogStorage::<TypeConfig>::purge(&mut store, log_id(EntryId { term: 1, node: 1, index: 9 })).await.unwrap();
    let mut stream = std::pin::pin!(RaftLogReader::<TypeConfig>::entries_stream(&mut store, 9..11).await);
    assert!(stream.next().await.is_some_and(|entry| entry.is_err()));
}
