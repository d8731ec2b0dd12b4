//! Bounds and times of connections between nodes.

use std::{ops::RangeInclusive, time::Duration};

/// Longest request or answer. Snapshots travel in chunks and batches of the log are far below it, so a longer
/// one is a fault.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// What may wait to be written on one connection; who has more waits before it is queued. One longest frame
/// fits.
pub(crate) const MAX_QUEUED_BYTES: usize = MAX_FRAME_BYTES;

/// What a connection may queue of small frames that nobody waits for (cancellations, refusals) before its
/// peer counts as one that does not read.
pub(crate) const MAX_CONTROL_BYTES: usize = 1 << 20;

/// Requests of one connection that wait for their answers. A node takes 20,000 requests of clients by default,
/// and a follower forwards them all.
pub(crate) const MAX_CALLS: usize = 32_768;

/// Bytes of requests that each connection may have for itself, so that nobody's snapshots keep others' votes out.
pub(crate) const OWN_REQUEST_BYTES: usize = 16 << 20;

/// Bytes of requests beyond that, which all connections of a listener share.
pub(crate) const MAX_REQUEST_BYTES: usize = 256 << 20;

/// Connections of one listener: four lanes for each peer, with room for clusters beyond any sense.
pub(crate) const MAX_CONNECTIONS: usize = 1024;

/// Connections that have not yet shown that they are peers.
pub(crate) const MAX_HANDSHAKES: usize = 128;

/// How long a stranger may take for TLS and hello.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// A side that is called is this much more patient than the one that calls, which decides.
pub(crate) const PATIENCE: u32 = 3;

/// The protocol versions that this build speaks.
pub(crate) const VERSIONS: RangeInclusive<u16> = 1..=1;

/// Times of the transport. The defaults are meant to be used; tests change them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For address look-up, TCP, TLS and hello together, until a call is told that its peer is unreachable.
    pub connect_timeout: Duration,
    /// How often each side of a connection looks whether it still lives.
    pub ping_every: Duration,
    /// After so many looks without a byte from the peer, the connection is broken.
    pub missed_pings: u32,
    /// A connection without calls for so long is closed.
    pub idle_timeout: Duration,
    /// The protocol versions to offer.
    pub versions: RangeInclusive<u16>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            ping_every: Duration::from_millis(400),
            missed_pings: 4,
            idle_timeout: Duration::from_secs(300),
            versions: VERSIONS,
        }
    }
}
