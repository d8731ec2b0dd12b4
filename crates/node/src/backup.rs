//! Backup and restore of all data: a snapshot in a file of its own, and a new cluster founded from one.
//!
//! ```text
//!  file   =  "WLWBKP01"  ·  frame: head (JSON)  ·  frames: chunks of the machine  ·  empty frame  ·  BLAKE3 of all that
//!  frame  =  length (4 bytes, little endian)  ·  bytes
//! ```
//! A restored cluster is another one: it has an id of its own, one node, and revisions that begin 2^32 beyond the
//! backup's. Whatever the old cluster gave out after the backup was made, no token of it is greater than one of the
//! new cluster, unless it gave out four billion.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use willow_core::Machine;
use willow_core::command::Initialize;
use willow_core::snapshot;
use willow_storage::log::{Log, Record};
use willow_storage::snapshot::SnapshotStore;

use crate::clock::secret;
use crate::group::Group;
use crate::group_log::key;
use crate::identity::Identity;
use crate::record::{self, EntryId, Members, SnapshotHead, VoteRecord};
use crate::snapshots::{self, Sending};
use crate::{Config, GroupId, Node, ReadError, SnapshotError};

const MAGIC: &[u8; 8] = b"WLWBKP01";
const VERSION: u32 = 1;
/// Bytes of one frame; a chunk of a snapshot is far smaller.
const FRAME_BYTES: u32 = 64 << 20;
/// Bytes handed out at a time.
const PART_BYTES: usize = 256 << 10;
/// How far revisions jump.
const REVISIONS: u64 = 1 << 32;
/// The entry that a restored group begins after.
const FIRST: EntryId = EntryId { term: 1, node: 1, index: 1 };

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHead {
    /// Of the file's form.
    pub version: u32,
    /// Version of the software that wrote it.
    pub willow: String,
    /// The cluster that it is of, in hexadecimal.
    pub cluster: String,
    /// The newest revision in it.
    pub revision: u64,
    /// Time of the data in it, ms since the Unix epoch.
    pub time_ms: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// This node cannot be sure to have the newest state.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The snapshot could not be written or read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A newer snapshot is on its way in from the leader.
    #[error("this node is catching up; ask another, or again later")]
    CatchingUp,
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It cannot be read, or is not one, or is damaged.
    #[error("the backup cannot be used: {0}")]
    Backup(String),
    /// There is something in the data directory.
    #[error("the data directory is not empty: a backup founds a new cluster, on an empty one")]
    NotEmpty,
    /// The data directory cannot be written.
    #[error("the data directory cannot be written: {0}")]
    Write(String),
}

/// A backup on its way out.
#[derive(Debug)]
pub struct Backup {
    sending: Option<Sending>,
    hasher: blake3::Hasher,
    began: bool,
}

impl Node {
    /// A backup of all data, as it is at some moment after this call began: everything that was answered anywhere
    /// before is in it. It is read from disk while it is handed out.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub async fn backup(&self) -> Result<Backup, BackupError> {
        self.data().backup().await
    }
}

impl Group {
    async fn backup(self: &Arc<Self>) -> Result<Backup, BackupError> {
        self.confirm_read().await?;
        let index = |id: Option<EntryId>| id.map(|id| id.index);
        let least = index(self.replica.read(|state| state.applied));
        self.snapshot().await?;
        let kept = self.snapshots.latest().filter(|kept| index(kept.head.last) >= least);
        let kept = kept.ok_or(BackupError::CatchingUp)?;
        let sending = self.snapshots.send(kept.id, Arc::clone(&self.tasks))?;
        Ok(Backup { sending: Some(sending), hasher: blake3::Hasher::new(), began: false })
    }
}

impl Backup {
    /// The next bytes of the file; `None` at its end.
    ///
    /// # Errors
    /// When the snapshot cannot be read: the file would not be whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let Some(sending) = self.sending.take() else { return Ok(None) };
        let (sending, chunks) = sending.next(PART_BYTES).await.map_err(SnapshotError)?;
        let mut out = Vec::with_capacity(PART_BYTES + PART_BYTES / 2);
        if !std::mem::replace(&mut self.began, true) {
            let first = chunks.first().ok_or_else(|| SnapshotError("it has no chunk".to_owned()))?;
            out.extend_from_slice(MAGIC);
            frame(&mut out, &head(first)?);
        }
        for chunk in &chunks {
            frame(&mut out, chunk);
        }
        if chunks.is_empty() {
            frame(&mut out, &[]);
            self.hasher.update(&out);
            out.extend_from_slice(self.hasher.finalize().as_bytes());
        } else {
            self.hasher.update(&out);
            self.sending = Some(sending);
        }
        Ok(Some(out.into()))
    }
}

fn head(first: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let failed = |error: &dyn Display| SnapshotError(error.to_string());
    let facts = snapshot::facts(first).map_err(|error| failed(&error))?;
    let head = BackupHead {
        version: VERSION,
        willow: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: format!("{:032x}", facts.cluster),
        revision: facts.revision,
        time_ms: facts.now_ms,
    };
    serde_json::to_vec(&head).map_err(|error| failed(&error))
}

fn frame(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("chunks of a snapshot are far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A backup being read.
struct Source {
    file: BufReader<File>,
    hasher: blake3::Hasher,
}

impl Source {
    fn open(path: &Path) -> Result<(Self, BackupHead), RestoreError> {
        let file = File::open(path).map_err(|error| bad(format!("{}: {error}", path.display())))?;
        let mut source = Self { file: BufReader::new(file), hasher: blake3::Hasher::new() };
        let mut magic = [0; MAGIC.len()];
        source.exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(bad("it is not a backup of willow"));
        }
        let head = source.next()?.ok_or_else(|| bad("it is empty"))?;
        let head: BackupHead = serde_json::from_slice(&head).map_err(bad)?;
        if head.version != VERSION {
            return Err(bad(format!("it has version {}, and this build reads {VERSION}", head.version)));
        }
        Ok((source, head))
    }

    /// The next frame; `None` after the last, whose checksum is right.
    fn next(&mut self) -> Result<Option<Vec<u8>>, RestoreError> {
        let mut length = [0; 4];
        self.exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > FRAME_BYTES {
            return Err(bad("a length in it is too large"));
        }
        if length == 0 {
            let (right, mut found) = (self.hasher.finalize(), [0; 32]);
            self.file.read_exact(&mut found).map_err(cut_short)?;
            let is_over = self.file.read(&mut [0]).map_err(bad)? == 0;
            return if right == found && is_over { Ok(None) } else { Err(bad("its checksum is wrong")) };
        }
        // Read as it comes: nothing is allocated for a length that the file does not have.
        let mut bytes = Vec::new();
        (&mut self.file).take(length.into()).read_to_end(&mut bytes).map_err(bad)?;
        if bytes.len() as u64 != u64::from(length) {
            return Err(bad("it is cut short"));
        }
        self.hasher.update(&bytes);
        Ok(Some(bytes))
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), RestoreError> {
        self.file.read_exact(bytes).map_err(cut_short)?;
        self.hasher.update(bytes);
        Ok(())
    }
}

fn bad(error: impl Display) -> RestoreError {
    RestoreError::Backup(error.to_string())
}

fn cut_short(error: std::io::Error) -> RestoreError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => bad("it is cut short"),
        _ => bad(error),
    }
}

/// Founds a new cluster of one node with the data of a backup, in an empty data directory. `peer_addr` is where
/// the node will be reached by others, if at all. Start the node on the directory afterwards. Blocks.
///
/// A restore that was interrupted leaves a directory that no node starts on as a member, and that is not empty.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(config: &Config, backup: &Path, peer_addr: &str) -> Result<BackupHead, RestoreError> {
    let write = |error: &dyn Display| RestoreError::Write(error.to_string());
    let (vfs, dir) = (config.vfs.as_ref(), config.data_dir.as_path());
    vfs.create_dir_all(dir).map_err(|error| write(&error))?;
    if !vfs.list(dir).map_err(|error| write(&error))?.is_empty() {
        return Err(RestoreError::NotEmpty);
    }
    // Twice: the second time to write it, once it is known to be whole and readable.
    check(backup)?;
    let mut identity = Identity::new(config.entropy.draw().max(1));
    (identity.cluster, identity.node) = (config.entropy.draw().max(1), FIRST.node);
    let head = write_snapshot(config, backup, peer_addr, identity.cluster)?;
    write_log(config)?;
    // Last: from now on it is a member's.
    identity.write(vfs, dir).map_err(|error| write(&error))?;
    Ok(head)
}

fn check(backup: &Path) -> Result<(), RestoreError> {
    let (mut source, _head) = Source::open(backup)?;
    let mut restore = snapshot::Restore::default();
    while let Some(chunk) = source.next()? {
        restore.push(&chunk).map_err(bad)?;
    }
    restore.finish().map(|_machine: Machine| ()).map_err(bad)
}

fn write_snapshot(config: &Config, backup: &Path, peer_addr: &str, cluster: u128) -> Result<BackupHead, RestoreError> {
    let write = |error: &dyn Display| RestoreError::Write(error.to_string());
    let secret = secret(config.entropy.as_ref());
    let nodes = [(FIRST.node, peer_addr.to_owned())].into();
    let members = Members { configs: vec![[FIRST.node].into()], nodes };
    let head = SnapshotHead { group: GroupId::DATA.0, last: Some(FIRST), members_at: Some(FIRST), members };
    let dir = snapshots::dir(config, GroupId::DATA);
    let store = SnapshotStore::open(Arc::clone(&config.vfs), &dir, config.snapshots);
    let store = store.map_err(|error| write(&error))?;
    let head = record::encode(&head).map_err(|error| write(&error))?;
    let mut writer = store.create(&head).map_err(|error| write(&error))?;
    let (mut source, told) = Source::open(backup)?;
    let first = source.next()?.ok_or_else(|| bad("it has no data"))?;
    let first = snapshot::rebrand(&first, Initialize { cluster, secret }, REVISIONS).map_err(bad)?;
    writer.write_chunk(&first).map_err(|error| write(&error))?;
    while let Some(chunk) = source.next()? {
        writer.write_chunk(&chunk).map_err(|error| write(&error))?;
    }
    writer.finish().map_err(|error| write(&error))?;
    Ok(told)
}

/// A log that goes on after the snapshot.
fn write_log(config: &Config) -> Result<(), RestoreError> {
    let write = |error: &dyn Display| RestoreError::Write(error.to_string());
    let group = GroupId::DATA.0;
    let state = |key, record: Result<Vec<u8>, crate::RecordError>| match record {
        Ok(value) => Ok(Record::State { group, key, value: value.into() }),
        Err(error) => Err(write(&error)),
    };
    let vote = VoteRecord { term: FIRST.term, node: FIRST.node, committed: true };
    let records = vec![
        state(key::VOTE, record::encode(&vote))?,
        state(key::PURGED, record::encode(&FIRST))?,
        Record::Purge { group, up_to: FIRST.index },
    ];
    let opened = Log::open(Arc::clone(&config.vfs), &config.data_dir.join("log"), config.log.clone());
    let (log, _recovered) = opened.map_err(|error| write(&error))?;
    let written = log.append(records);
    log.close();
    written.map_err(|error| write(&error))
}
