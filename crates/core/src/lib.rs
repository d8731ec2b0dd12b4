//! The deterministic machine behind Willow: locks, limits and the queue of one shard.
//!
//! ```text
//!            Batch { time_ms, envelopes }                    (one Raft log entry)
//!                        │
//!                        ▼
//!  ┌──────────────── Machine::apply ───────────────────────────────────────────┐
//!  │ 1. fire every timer due at time_ms   (expiry is a consequence of the log) │
//!  │ 2. each envelope: dedup ─► Command ─► Locker │ Limiter │ Queue            │
//!  │                                         │        ▲  │      │              │
//!  │                                         │        └──┼──────┘ a claim and  │
//!  │                                         ▼           ▼        its limits:  │
//!  │                               Tables (slots = doc ids), Timers   one apply│
//!  └───────────────────────┬───────────────────────────────────────────────────┘
//!                          ▼
//!        Applied { replies: one per envelope, effects: data for the edge }
//! ```
//!
//! **Architecture invariants.** Nothing here reads a clock, an RNG, a file, a socket or the
//! environment: time and entropy arrive in the [`Batch`]. No iteration over a hash map decides an
//! outcome. Everything that changes replicated state goes through [`Machine::apply`]. Two machines
//! fed the same batches have the same [`Machine::digest`], also when one of them was restored from
//! a snapshot on the way.
#![warn(missing_docs)]

pub mod catalogue;
pub mod command;
pub mod context;
pub mod cursor;
pub mod dedup;
pub mod effect;
pub mod limiter;
pub mod limits;
pub mod locker;
mod lookup;
pub mod machine;
pub mod outcome;
pub mod queue;
pub mod snapshot;
pub mod table;
pub mod timer;

pub use command::{Batch, Command, Envelope, RequestId};
pub use context::Context;
pub use effect::Effect;
pub use machine::{Applied, Machine};
pub use outcome::{Outcome, Refusal, Reply, WaiterId};
