//! How nodes talk: requests and answers over TCP, with mutual TLS.
//!
//! ```text
//!  node                            one connection for each (address, lane)                          node
//!   call(to, lane, bytes)                                                                  answer(bytes)
//!    │                 ┌─ Link ───────────┐               ┌─ Connection ──────┐                  ▲
//!    └─► PeerTransport ┤ calls by id      │   hello, then │ requests by id    ├ PeerListener ─────┘
//!   bytes, Broken ◄────┤ Outbox ► frames ═╪══ TLS, TCP ══╪═► one task each   │  counts, bounds
//!   or Unreachable     │ keepalive        │    frames     │ Outbox, keepalive │
//!                      └──────────────────┘               └───────────────────┘
//! ```
//! A connection begins with TLS (both sides show a certificate of the cluster's own CA), then each side says
//! which protocol versions it speaks ([`hello`]), then there are frames ([`frame`]).
//!
//! **Architecture invariants.** Nothing here knows what is in a request. A call ends `Unreachable` only when no
//! byte of it can have been given to the socket, or when the peer said that it will not look at it. Nothing is
//! allocated for a length before its bound is checked, and nothing is queued without one. No log line is
//! written for every connection of a stranger.
#![warn(missing_docs)]

pub mod certs;
mod connection;
mod dial;
mod frame;
mod hello;
mod keepalive;
mod link;
mod listener;
mod outbox;
mod security;
mod settings;
mod throttle;
mod transport;

#[cfg(test)]
mod tests;

pub use listener::{BindError, PeerListener};
pub use security::{PeerTls, Security, TlsError};
pub use settings::{MAX_FRAME_BYTES, Settings};
pub use transport::PeerTransport;
