//! The REST server: HTTP in front of a [`willow_node::Node`].
//!
//! ```text
//!  socket ─► serve (time-outs, bounds) ─► router ─► extract ─► convert ─► Node::propose / read
//!         ◄─────────────────── reply / refusal ◄─── convert ◄─────────────┘
//! ```
//! **Architecture invariants.** No state of its own but counters: whatever a client is told comes from the
//! machine. Wire types are converted here and nowhere else. Every refusal maps to one error code by an
//! exhaustive match. No series of the metrics and no line of the access log has a key, a name or a session
//! of a user.
#![warn(missing_docs)]
#![allow(unused_qualifications, reason = "the macros of utoipa expand to qualified paths")]

mod app;
mod backend;
mod config;
mod convert;
mod extract;
mod metrics;
mod openapi;
mod pages;
mod peering;
mod refusal;
mod reply;
mod router;
mod routes;
mod serve;

#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError};
pub use peering::PeeringError;
pub use serve::{RunError, Server, run};
