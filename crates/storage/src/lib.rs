//! Willow's disk: a segmented log shared by the Raft groups of a node, and snapshot files.
//!
//! Bytes in, bytes out: nothing here knows Raft, the machine or the wire.
//!
//! ```text
//!  submit(records, on_durable)                        read(group, range)
//!        │ index changes at once (with an undo)             ▲
//!        ▼                                                  │ memory, else disk
//!     queue ──► writer: all that waits = one batch ──► one write ──► one sync ──► on_durable
//!                                                       │
//!  log directory                                        ▼
//!  ├─ LOCK                       held while open
//!  ├─ 0000000000000007.seg       oldest with live entries
//!  ├─ 0000000000000008.seg       written to
//!  ├─ 0000000000000009.seg       prepared: header, zeros or a recycled file's old bytes
//!  └─ 0000000000000005.spare     to be recycled
//!
//!  segment (64 MiB, written in place)
//!  ┌────────────────────────────────────────────────┐ 0
//!  │ magic 8 │ version 2 │ 0 2 │ nonce 8 │ number 8 │ header, a page of its own
//!  │ length 8 │ crc32 4 │ zeros                     │
//!  ├────────────────────────────────────────────────┤ 4096
//!  │ batch: checkpoint (marks and state of every    │ the first batch of a segment makes it
//!  │        group), then records                    │ independent of all earlier ones
//!  ├────────────────────────────────────────────────┤ next multiple of 512
//!  │ batch: records                                 │
//!  ├────────────────────────────────────────────────┤
//!  │ …                                              │
//!  └────────────────────────────────────────────────┘
//!
//!  batch = one write, one sync
//!  ┌────────────────────────────────────────────────────────────────────────────────┐
//!  │ magic 4 │ version 2 │ flags 2 │ nonce 8 │ segment 8 │ sequence 8 │ length 4     │
//!  │ records 4 │ crc32 of the records 4 │ crc32 of this header 4                     │
//!  ├────────────────────────────────────────────────────────────────────────────────┤
//!  │ record │ record │ … │ pad to 512                                                │
//!  └────────────────────────────────────────────────────────────────────────────────┘
//!
//!  record
//!  ┌────────────────────────────────────────────────────────────────────────────────┐
//!  │ version 1 │ kind 1 │ aux 2 │ group 4 │ index 8 │ term 8 │ length 4 │ crc32 4     │
//!  │ payload                                                                        │
//!  └────────────────────────────────────────────────────────────────────────────────┘
//!  kinds: entry, truncate, purge, state, forget; mark and mark-state in checkpoints; moved
//! ```
//!
//! Invariants:
//! - A batch is written only after the one before it was synced. So an intact batch proves that
//!   all earlier ones were durable, and recovery tells a torn tail from damage.
//! - After a write or sync has failed, nothing is written until the log is opened again.
//! - A segment goes only when every removal of its entries is durable, oldest first.
//! - Nothing is acknowledged that is not synced; nothing is shown after recovery that is not.
//! - All IO goes through [`vfs::Vfs`]; [`vfs::FaultVfs`] puts every fault there in a test.
//!
//! What happens on which fault, and the test that shows it: `docs/storage.md`.
#![warn(missing_docs)]

pub mod bugs;
mod error;
pub mod log;
pub mod snapshot;
pub mod vfs;

pub use error::{IoError, OpenError, ReadError, SnapshotError, WriteError};
