//! Willow: storage.
#![warn(missing_docs)]

mod error;
pub mod log;
pub mod snapshot;
pub mod vfs;

pub use error::{IoError, OpenError, ReadError, SnapshotError, WriteError};
