//! The machine's state as a stream of chunks, read between applies, and back.
//!
//! ```text
//!  snapshot_begin ──► chunk 0: Header (time, revision, cluster)      the state as it was at `begin`,
//!  snapshot_next  ──► chunk 1…n: Rows (one table each, slot order)   whatever is applied meanwhile
//!                 ──► None                                           (copy-on-write in `Table`)
//! ```
//! Indexes, timers, bucket usage and lines of waiters are derived: a restore rebuilds them.

use serde::{Deserialize, Serialize};
use willow_model::bugs::{self, Bug};

use crate::{
    Machine,
    command::Initialize,
    machine::Cluster,
    table::{self, Snapshot},
};

/// Version of the chunks. Bump it when a row changes shape, and keep reading the one before.
const VERSION: u8 = 3;
/// The oldest version this program reads: it has no catalogue.
const VERSION_OLDEST: u8 = 2;

#[derive(Debug, Serialize, Deserialize)]
enum Chunk {
    Header(Header),
    Rows { table: u8, rows: Vec<(u32, Vec<u8>)> },
}

/// All state that is not in a table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Header {
    now_ms: u64,
    clock_ms: u64,
    revision: u64,
    next_waiter: u64,
    cluster: Cluster,
}

/// A snapshot being read; keep it beside the machine and hand it to [`Machine::snapshot_next`].
#[derive(Debug)]
pub struct Reader {
    header: Option<Header>,
    table: usize,
}

/// A snapshot could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of a version this program does not know.
    #[error(
        "the snapshot has version {found}, this program reads {VERSION_OLDEST} to {VERSION}; start the version of willow that \
         wrote it"
    )]
    Version {
        /// What it says.
        found: u8,
    },
    /// Not a chunk.
    #[error("a chunk of the snapshot does not decode: {0}")]
    Decode(#[from] postcard::Error),
    /// A chunk for a table that is not there.
    #[error("the snapshot names table {0}, which this program does not have")]
    NoSuchTable(u8),
    /// Chunks are missing or out of order.
    #[error("the snapshot has no header, or two")]
    Header,
    /// The revisions are used up.
    #[error("the snapshot's revision is too large to go on from")]
    Revisions,
    /// A row is broken.
    #[error("table {table}: {source}")]
    Row {
        /// Which table.
        table: u8,
        /// What is wrong.
        source: table::Error,
    },
}

impl Machine {
    /// Begins to read the state as it is now. Only one reading at a time: a new one ends the other.
    pub fn snapshot_begin(&mut self) -> Reader {
        self.tables().into_iter().for_each(|(_, table)| table.begin());
        Reader { header: Some(self.header()), table: 0 }
    }

    /// The next chunk, of about `bytes`; `None` at the end.
    pub fn snapshot_next(&mut self, reader: &mut Reader, bytes: usize) -> Option<Vec<u8>> {
        if let Some(header) = reader.header.take() {
            return Some(encode(&Chunk::Header(header)));
        }
        let mut tables = self.tables();
        while let Some((tag, table)) = tables.get_mut(reader.table) {
            let is_left_out = *tag == 0 && bugs::is_on(Bug::RecordNotInSnapshot);
            if let Some(rows) = table.read(bytes).filter(|_| !is_left_out) {
                return Some(encode(&Chunk::Rows { table: *tag, rows }));
            }
            reader.table += 1;
        }
        None
    }

    /// Gives up a reading before its end.
    pub fn snapshot_abort(&mut self, _reader: Reader) {
        self.tables().into_iter().for_each(|(_, table)| table.abort());
    }

    /// BLAKE3 over all replicated state: the same on every replica that applied the same batches.
    #[must_use]
    pub fn digest(&mut self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&encode(&Chunk::Header(self.header())));
        for (tag, table) in self.tables() {
            hasher.update(&[tag]);
            table.visit(&mut |slot, row| {
                hasher.update(&slot.to_le_bytes());
                hasher.update(row);
            });
        }
        *hasher.finalize().as_bytes()
    }

    fn header(&self) -> Header {
        Header {
            now_ms: self.cx.now_ms,
            clock_ms: self.cx.clock_ms,
            revision: self.cx.revision,
            next_waiter: self.cx.next_waiter,
            cluster: self.cluster,
        }
    }

    /// Every table with the tag that names it in snapshots. A tag is never used for anything else:
    /// 0–9 are the machine's own, 10–19 the Locker's, 20–29 the Limiter's, 30–39 the Queue's.
    fn tables(&mut self) -> Vec<(u8, &mut dyn Snapshot)> {
        let mut tables: Vec<(u8, &mut dyn Snapshot)> =
            vec![(0, &mut self.dedup.records), (1, &mut self.cursors.rows), (2, &mut self.catalogue.nodes)];
        tables.extend(self.locker.tables());
        tables.extend(self.limiter.tables());
        tables.extend(self.queues.tables());
        tables
    }
}

/// What a snapshot's first chunk says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Time of the machine, ms since the Unix epoch.
    pub now_ms: u64,
    /// The newest revision given out.
    pub revision: u64,
    /// The cluster.
    pub cluster: u128,
}

/// The facts in a snapshot's first chunk.
///
/// # Errors
/// When it is not a first chunk.
pub fn facts(first: &[u8]) -> Result<Facts, Error> {
    let Chunk::Header(header) = decode(first)? else { return Err(Error::Header) };
    Ok(Facts { now_ms: header.now_ms, revision: header.revision, cluster: header.cluster.id })
}

/// The first chunk of the same state in another cluster, whose revisions begin beyond all that the old one can
/// give out: every token of the new cluster is greater than any of the old. Page tokens of the old one are not
/// taken by the new.
///
/// # Errors
/// When it is not a first chunk, or there are no more revisions.
pub fn rebrand(first: &[u8], to: Initialize, revisions: u64) -> Result<Vec<u8>, Error> {
    let Chunk::Header(mut header) = decode(first)? else { return Err(Error::Header) };
    header.revision = header.revision.checked_add(revisions).ok_or(Error::Revisions)?;
    header.cluster = Cluster { id: to.cluster, secret: to.secret };
    Ok(encode(&Chunk::Header(header)))
}

/// Builds a machine from the chunks of a snapshot, in their order.
#[derive(Debug, Default)]
pub struct Restore {
    machine: Machine,
    seen_header: bool,
}

impl Restore {
    /// Takes the next chunk.
    ///
    /// # Errors
    /// When the chunk is not one that [`Machine::snapshot_next`] gave, or not the next.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        match decode(chunk)? {
            Chunk::Header(header) => {
                if std::mem::replace(&mut self.seen_header, true) {
                    return Err(Error::Header);
                }
                self.machine.cluster = header.cluster;
                self.machine.cx.now_ms = header.now_ms;
                self.machine.cx.clock_ms = header.clock_ms;
                self.machine.cx.revision = header.revision;
                self.machine.cx.next_waiter = header.next_waiter;
            }
            Chunk::Rows { table: number, rows } => {
                let mut tables = self.machine.tables();
                let (_, table) = tables.iter_mut().find(|(tag, _)| *tag == number).ok_or(Error::NoSuchTable(number))?;
                for (slot, row) in rows {
                    table.restore(slot, &row).map_err(|source| Error::Row { table: number, source })?;
                }
            }
        }
        Ok(())
    }

    /// The machine, with all that is derived rebuilt.
    ///
    /// # Errors
    /// When there was no header.
    pub fn finish(self) -> Result<Machine, Error> {
        let Self { mut machine, seen_header } = self;
        if !seen_header {
            return Err(Error::Header);
        }
        machine.tables().into_iter().for_each(|(_, table)| table.finish_restore());
        machine.dedup.rebuild();
        machine.cursors.rebuild();
        machine.locker.rebuild(&mut machine.cx);
        machine.limiter.rebuild(&mut machine.cx);
        machine.queues.rebuild(&mut machine.limiter, &mut machine.cx);
        Ok(machine)
    }
}

fn encode(chunk: &Chunk) -> Vec<u8> {
    postcard::to_extend(chunk, vec![VERSION]).expect("chunks have no unsupported types")
}

fn decode(bytes: &[u8]) -> Result<Chunk, Error> {
    let (version, body) = bytes.split_first().ok_or(Error::Decode(postcard::Error::DeserializeUnexpectedEnd))?;
    if !(VERSION_OLDEST..=VERSION).contains(version) {
        return Err(Error::Version { found: *version });
    }
    Ok(postcard::from_bytes(body)?)
}
