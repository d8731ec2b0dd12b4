//! Bytes of what a node persists: log entries, the vote, the head of a snapshot.
//!
//! ```text
//! record  =  version (1 byte)  ·  body (postcard)
//! entry   =  version  ·  term, node, index  ·  kind (1 byte)  ·  batch | membership | nothing
//! ```
//!
//! The structures here are this crate's own, so that neither the consensus library nor a change of it can
//! change what is on disk. Version N writes N and reads N and N−1; anything else is refused by name, never
//! guessed at.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use willow_core::{Batch, Envelope};

/// What this build writes.
const VERSION: u8 = 2;
/// The oldest version this build reads. What version 1 had was never released, and changed since.
const VERSION_OLDEST: u8 = 2;

/// Why a persisted record was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No bytes at all.
    #[error("an empty record")]
    Empty,
    /// Written by a build this one does not know.
    #[error(
        "record version {found}, but this build reads {oldest} to {newest}; use a build that reads version {found}"
    )]
    Version {
        /// Version of the record.
        found: u8,
        /// Oldest version this build reads.
        oldest: u8,
        /// Newest version this build reads.
        newest: u8,
    },
    /// The version is known, the rest does not decode.
    #[error("a malformed record: {0}")]
    Malformed(String),
}

/// Name of a log entry: who wrote it, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct EntryId {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) index: u64,
}

/// Who belongs to a group: voter sets (two while a change is under way) and addresses by node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Members {
    pub(crate) configs: Vec<BTreeSet<u64>>,
    pub(crate) nodes: BTreeMap<u64, String>,
}

/// What an entry carries. A batch stays encoded: it was encoded while it was gathered, and is decoded
/// when it is applied, if at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    /// Nothing: a new leader's first entry.
    Blank,
    /// An encoded [`Batch`].
    Batch(&'a [u8]),
    /// A change of members.
    Members(Members),
}

const KIND_BLANK: u8 = 0;
const KIND_BATCH: u8 = 1;
const KIND_MEMBERS: u8 = 2;

/// The vote of a group on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteRecord {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) committed: bool,
}

/// First chunk of a snapshot; the machine's own chunks follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotHead {
    pub(crate) group: u32,
    /// Last entry the snapshot covers.
    pub(crate) last: Option<EntryId>,
    /// The entry that set `members`.
    pub(crate) members_at: Option<EntryId>,
    pub(crate) members: Members,
}

/// A record of `body`.
pub(crate) fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, RecordError> {
    append(vec![VERSION], body)
}

/// The body of a record.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    whole(checked(bytes)?)
}

/// The record of a log entry.
pub(crate) fn encode_entry(id: EntryId, body: &Body<'_>) -> Result<Vec<u8>, RecordError> {
    // 40 bytes hold the version, three varints and the kind.
    let room = 40 + if let Body::Batch(batch) = body { batch.len() } else { 0 };
    let mut bytes = Vec::with_capacity(room);
    bytes.push(VERSION);
    let mut bytes = append(bytes, &id)?;
    match body {
        Body::Blank => bytes.push(KIND_BLANK),
        Body::Batch(batch) => {
            bytes.push(KIND_BATCH);
            bytes.extend_from_slice(batch);
        }
        Body::Members(members) => {
            bytes.push(KIND_MEMBERS);
            bytes = append(bytes, members)?;
        }
    }
    Ok(bytes)
}

/// The log entry of a record.
pub(crate) fn decode_entry(bytes: &[u8]) -> Result<(EntryId, Body<'_>), RecordError> {
    let (id, rest) = take::<EntryId>(checked(bytes)?)?;
    let Some((kind, rest)) = rest.split_first() else {
        return Err(RecordError::Malformed("it ends before its kind".to_owned()));
    };
    match *kind {
        KIND_BLANK if rest.is_empty() => Ok((id, Body::Blank)),
        KIND_BLANK => Err(trailing(rest)),
        KIND_BATCH => Ok((id, Body::Batch(rest))),
        KIND_MEMBERS => whole(rest).map(|members| (id, Body::Members(members))),
        other => Err(RecordError::Malformed(format!("unknown kind {other}"))),
    }
}

/// The encoding of a batch, from the encodings of its envelopes one after the other. The same bytes as
/// encoding the [`Batch`] itself would give, as the tests check.
pub(crate) fn encode_batch(time_ms: u64, count: usize, envelopes: &[u8]) -> Result<Vec<u8>, RecordError> {
    // 20 bytes hold two varints.
    let bytes = append(Vec::with_capacity(20 + envelopes.len()), &time_ms)?;
    let mut bytes = append(bytes, &count)?;
    bytes.extend_from_slice(envelopes);
    Ok(bytes)
}

/// The batch of an entry's [`Body::Batch`].
pub(crate) fn decode_batch(bytes: &[u8]) -> Result<Batch, RecordError> {
    whole(bytes)
}

/// The envelope that another node encoded.
pub(crate) fn decode_envelope(bytes: &[u8]) -> Result<Envelope, RecordError> {
    whole(bytes)
}

/// Appends the encoding of `value`.
pub(crate) fn append<T: Serialize>(bytes: Vec<u8>, value: &T) -> Result<Vec<u8>, RecordError> {
    postcard::to_extend(value, bytes).map_err(malformed)
}

fn checked(bytes: &[u8]) -> Result<&[u8], RecordError> {
    let (&found, body) = bytes.split_first().ok_or(RecordError::Empty)?;
    if (VERSION_OLDEST..=VERSION).contains(&found) {
        Ok(body)
    } else {
        Err(RecordError::Version { found, oldest: VERSION_OLDEST, newest: VERSION })
    }
}

fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    let (value, rest) = take(bytes)?;
    if rest.is_empty() { Ok(value) } else { Err(trailing(rest)) }
}

fn take<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), RecordError> {
    postcard::take_from_bytes(bytes).map_err(malformed)
}

fn malformed(error: postcard::Error) -> RecordError {
    RecordError::Malformed(error.to_string())
}

fn trailing(rest: &[u8]) -> RecordError {
    RecordError::Malformed(format!("{} bytes too many", rest.len()))
}

#[cfg(test)]
mod tests;
