//! The group's log as the consensus library sees it.
//!
//! Entries stay in memory from being appended until they are applied, so that apply gets the very batch
//! that was gathered, with its callers, and nothing is decoded on that way. Everyone else reads from
//! storage, which has a cache of its own.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{AsyncRuntime, EntryPayload, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use willow_model::bugs::{self, Bug};
use willow_storage::log::Record;

use super::types::{
    RaftEntry, RaftLogId, RaftVote, TypeConfig, entry_id, log_id, members, membership, vote, vote_record,
};
use crate::NodeId;
use crate::group_log::{GroupLog, key};
use crate::proposal::Proposal;
use crate::record::{self, Body, EntryId, Members, RecordError, VoteRecord};

/// Bytes of entries read from storage at once while replaying.
const READ_BYTES: u64 = 4 * 1024 * 1024;

/// Reads and writes one group's log. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: Arc<GroupLog>,
    node: NodeId,
    /// Appended and not yet read by apply, oldest first, without gaps.
    recent: Arc<Mutex<VecDeque<RaftEntry>>>,
    /// Known to be committed, and not yet said so on disk. Goes with the next append, where it is free.
    committed: Option<EntryId>,
    /// This node is the only voter: whatever is in its log is committed, and need not be said so.
    is_alone: bool,
}

impl LogStore {
    pub(crate) fn new(log: Arc<GroupLog>, node: NodeId) -> Result<Self, RecordError> {
        let mut store = Self { log, node, recent: Arc::default(), committed: None, is_alone: false };
        let members: Option<Members> = store.state(key::MEMBERS)?;
        store.is_alone = members.is_some_and(|members| store.is_only_voter(&members));
        Ok(store)
    }

    fn is_only_voter(&self, members: &Members) -> bool {
        matches!(members.configs.as_slice(), [voters] if voters.iter().eq([&self.node.0]))
    }

    fn state<T: DeserializeOwned>(&self, key: u16) -> Result<Option<T>, RecordError> {
        match self.log.state(key) {
            Some(bytes) if !bytes.is_empty() => record::decode(&bytes).map(Some),
            _ => Ok(None),
        }
    }

    fn state_record<T: Serialize>(&self, key: u16, value: &T) -> io::Result<Record> {
        let value = record::encode(value).map_err(io::Error::other)?;
        Ok(Record::State { group: self.log.group(), key, value: Bytes::from(value) })
    }

    /// Last entry in the log, or the last purged when it is empty.
    pub(crate) fn last(&self) -> io::Result<Option<EntryId>> {
        match self.log.bounds().last() {
            Some((index, _term)) => {
                let entries = self.read(index..index.saturating_add(1))?;
                Ok(entries.last().map(|entry| entry_id(&entry.log_id)))
            }
            None => self.purged(),
        }
    }

    pub(crate) fn purged(&self) -> io::Result<Option<EntryId>> {
        self.state(key::PURGED).map_err(io::Error::other)
    }

    /// Known to be committed. Where this node is the only voter, every entry in its log is: nobody else
    /// was asked, or could say otherwise.
    fn committed(&self) -> io::Result<Option<EntryId>> {
        if self.is_alone { self.last() } else { self.state(key::COMMITTED).map_err(io::Error::other) }
    }

    fn encode(&self, entry: &RaftEntry) -> io::Result<Record> {
        let id = entry_id(&entry.log_id);
        let payload = Bytes::from(encode_entry(entry)?);
        Ok(Record::Entry { group: self.log.group(), index: id.index, term: id.term, payload })
    }

    /// Entries of `range` that storage holds, decoded.
    fn read(&self, range: std::ops::Range<u64>) -> io::Result<Vec<RaftEntry>> {
        let entries = self.log.read(range, u64::MAX)?;
        entries.iter().map(|entry| decode_entry(&entry.payload)).collect()
    }

    /// Takes the entries from `since` up to before `end` for apply: from memory if they are there, else as
    /// many as storage gives at once; none past the end of the log.
    fn take(&self, since: u64, end: u64) -> io::Result<VecDeque<RaftEntry>> {
        {
            let mut recent = self.recent.lock();
            // Older entries came to apply some other way (a snapshot): nobody will ask for them.
            while recent.front().is_some_and(|entry| entry.log_id.index() < since) {
                recent.pop_front();
            }
            if recent.front().is_some_and(|entry| entry.log_id.index() == since) {
                let count = recent.iter().take_while(|entry| entry.log_id.index() < end).count();
                return Ok(recent.drain(..count).collect());
            }
        }
        let entries = self.log.read(since..end, READ_BYTES)?;
        let first = entries.first().map(|entry| entry.index);
        if first.is_some_and(|first| first != since) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("entry {since} is missing from the log, which has {first:?} next"),
            ));
        }
        entries.iter().map(|entry| decode_entry(&entry.payload)).collect()
    }

    /// Entries from `since` on that are still in memory, if that one is.
    fn recent_from(&self, since: u64, end: u64) -> Vec<RaftEntry> {
        let recent = self.recent.lock();
        let mut wanted = recent.iter().skip_while(|entry| entry.log_id.index() < since).peekable();
        match wanted.peek() {
            Some(first) if first.log_id.index() == since => {
                wanted.take_while(|entry| entry.log_id.index() < end).cloned().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Writes `records` and waits until they are durable.
    async fn write(&self, records: Vec<Record>) -> io::Result<()> {
        let (sender, durable) = oneshot::channel();
        self.log.write(
            records,
            Box::new(move || {
                let _gone = sender.send(());
            }),
        );
        durable.await.map_err(|_dropped| io::Error::other("the log cannot be written"))
    }
}

/// An entry as the record it is in the log, and on its way to a follower.
pub(crate) fn encode_entry(entry: &RaftEntry) -> io::Result<Vec<u8>> {
    let id = entry_id(&entry.log_id);
    let bytes = match &entry.payload {
        EntryPayload::Blank => record::encode_entry(id, &Body::Blank),
        EntryPayload::Normal(proposal) => record::encode_entry(id, &Body::Batch(proposal.encoded())),
        EntryPayload::Membership(change) => record::encode_entry(id, &Body::Members(members(change))),
    };
    bytes.map_err(io::Error::other)
}

/// The entry of such a record.
pub(crate) fn decode_entry(bytes: &[u8]) -> io::Result<RaftEntry> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let (id, body) = record::decode_entry(bytes).map_err(invalid)?;
    let payload = match body {
        Body::Blank => EntryPayload::Blank,
        Body::Batch(batch) => EntryPayload::Normal(Proposal::from_log(batch)),
        Body::Members(of) => EntryPayload::Membership(membership(&of).map_err(invalid)?),
    };
    Ok(RaftEntry { log_id: log_id(id), payload })
}

impl<R: AsyncRuntime> RaftLogReader<TypeConfig<R>> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<RaftEntry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (since, end) = half_open(&range);
        // Entries in memory may not be in storage (a full disk): they come last.
        let recent: Vec<RaftEntry> = {
            let recent = self.recent.lock();
            recent.iter().filter(|entry| (since..end).contains(&entry.log_id.index())).cloned().collect()
        };
        let stored_end = recent.first().map_or(end, |entry| entry.log_id.index());
        let mut entries = self.read(since..stored_end.max(since))?;
        entries.extend(recent);
        Ok(entries)
    }

    /// What goes to a follower in one message: bounded by bytes, for an entry may have megabytes.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<RaftEntry>, io::Error> {
        let mut entries = self.recent_from(start, end);
        if entries.is_empty() {
            let stored = self.log.read(start..end, READ_BYTES)?;
            return stored.iter().map(|entry| decode_entry(&entry.payload)).collect();
        }
        let mut bytes = 0_u64;
        let fits = entries.iter().take_while(|entry| {
            let is_within = bytes < READ_BYTES;
            if let EntryPayload::Normal(proposal) = &entry.payload {
                bytes = bytes.saturating_add(proposal.encoded().len() as u64);
            }
            is_within
        });
        let fits = fits.count();
        entries.truncate(fits);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        let record: Option<VoteRecord> = self.state(key::VOTE).map_err(io::Error::other)?;
        Ok(record.map(vote))
    }

    /// Only apply asks for this: see the head of the file.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<RaftEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (since, end) = half_open(&range);
        let state = (self.clone(), since, VecDeque::new());
        stream::try_unfold(state, move |(store, next, mut ready)| async move {
            if next >= end {
                return Ok(None);
            }
            if ready.is_empty() {
                ready = store.take(next, end)?;
            }
            Ok(ready.pop_front().map(|entry| (entry, (store, next + 1, ready))))
        })
    }
}

impl<R: AsyncRuntime> RaftLogStorage<TypeConfig<R>> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig<R>>, io::Error> {
        Ok(LogState { last_purged_log_id: self.purged()?.map(log_id), last_log_id: self.last()?.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        if bugs::is_on(Bug::VoteNotSaved) {
            return Ok(());
        }
        self.write(vec![self.state_record(key::VOTE, &vote_record(vote))?]).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        self.committed = committed.as_ref().map(entry_id);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        Ok(self.committed()?.map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig<R>>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        let mut records = Vec::with_capacity(entries.len() + 1);
        for entry in &entries {
            records.push(self.encode(entry)?);
            if let EntryPayload::Membership(change) = &entry.payload {
                let members = members(change);
                self.is_alone = self.is_only_voter(&members);
                records.push(self.state_record(key::MEMBERS, &members)?);
            }
        }
        if let Some(committed) = self.committed.take().filter(|_| !self.is_alone) {
            records.push(self.state_record(key::COMMITTED, &committed)?);
        }
        self.recent.lock().extend(entries);
        self.log.write(records, Box::new(move || callback.io_completed(Ok(()))));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |id| id.index().saturating_add(1));
        self.recent.lock().retain(|entry| entry.log_id.index() < from);
        let group = self.log.group();
        // The newest membership may be among what goes.
        self.is_alone = false;
        let forget = Record::State { group, key: key::MEMBERS, value: Bytes::new() };
        self.write(vec![Record::Truncate { group, from }, forget]).await
    }

    async fn purge(&mut self, up_to: RaftLogId) -> Result<(), io::Error> {
        self.recent.lock().retain(|entry| entry.log_id.index() > up_to.index());
        let purged = self.state_record(key::PURGED, &entry_id(&up_to))?;
        let purge = Record::Purge { group: self.log.group(), up_to: up_to.index() };
        self.log.write_if_possible(vec![purged, purge], "a purge of the log");
        Ok(())
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let since = match range.start_bound() {
        Bound::Included(since) => *since,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (since, end)
}
