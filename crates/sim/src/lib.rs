//! Whole clusters under test: what was observed, and whether it is what Willow promises.
//!
//! ```text
//!   clients ──► operations ──► History ──► check::all ──► violations
//!                                 ▲
//!      simulated cluster, or real processes through willow-client: the same format, the same checkers
//! ```
//! **Architecture invariants.** Nothing of the product depends on this crate. A checker knows nothing of
//! Raft, of nodes or of the machine's code: only what callers saw, and what nodes say of their state at the
//! end. Everything that a checker needs is in the [`history`], which is plain data.
#![warn(missing_docs)]

#[cfg(feature = "cluster")]
pub mod bugs;
pub mod check;
#[cfg(feature = "cluster")]
pub mod cluster;
#[cfg(feature = "cluster")]
pub mod faults;
pub mod history;
pub mod scripts;
#[cfg(feature = "cluster")]
pub mod solo;
#[cfg(feature = "cluster")]
pub mod time;
#[cfg(feature = "cluster")]
pub mod workload;
