//! Willow's REST wire types: one request and one reply struct for each call, and the table of error
//! codes. Used by the server, the client and the command line.
//!
//! ```text
//! client, cli ──► request struct ──JSON──► server ──► core::Command
//!             ◄── reply struct   ◄──JSON──         ◄── core::Outcome
//!             ◄── Problem { code: ErrorCode, … }   ◄── core::Refusal
//! ```
//! **Architecture invariants.** Wire types are separate from the log's types, so that the API and
//! the log change independently; the server converts between them. Unknown fields are refused in
//! requests and ignored in replies, so that an older client can talk to a newer server. Durations
//! are `*_ms`, never wall-clock deadlines.
#![warn(missing_docs)]
#![allow(unused_qualifications, reason = "the derive of ToSchema expands to qualified paths")]

pub mod channel;
pub mod cluster;
pub mod code;
mod delivery;
pub mod item;
pub mod keys;
pub mod limiter;
pub mod lock;
mod object;
pub mod page;
pub mod path;
pub mod problem;
pub mod queue;

pub use code::ErrorCode;
pub use keys::{Id, KeyValues, KeyValuesInput, Revision};
pub use page::{Consistency, Page, QueryInput};
pub use problem::Problem;
