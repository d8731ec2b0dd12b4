//! Snapshots: files written chunk by chunk, complete or not there.
//!
//! ```text
//! 000000000000002a.snap
//! ┌──────────────────────────────────────────────────────────────────────┐
//! │ magic 8 │ version 2 │ 0 2 │ id 8 │ meta length 4 │ crc32 4 │ meta     │
//! ├──────────────────────────────────────────────────────────────────────┤
//! │ length 4 (> 0) │ crc32 of length, chunk number and bytes 4 │ bytes    │ × chunks
//! ├──────────────────────────────────────────────────────────────────────┤
//! │ length 4 (= 0) │ crc32 4 │ chunks 8 │ bytes 8 │ BLAKE3 of all above 32│
//! └──────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A snapshot is written under another name, synced, renamed and its directory synced, so a file
//! with the suffix `.snap` was complete once. It is read through before it is used; one that is
//! damaged is passed over for the one before it. Memory is bounded by one chunk both ways.

mod format;
mod reader;
mod store;
mod writer;

pub use format::{MAX_CHUNK_BYTES, MAX_META_BYTES};
pub use reader::SnapshotReader;
pub use store::{Latest, SnapshotOptions, SnapshotStore};
pub use writer::{SnapshotInfo, SnapshotWriter};
