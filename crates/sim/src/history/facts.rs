//! What nodes say of their own state, beside the answers to clients.

use serde::{Deserialize, Serialize};

use super::Micros;

/// What was learnt from nodes, mostly at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// State hashes.
    pub digests: Vec<Digest>,
    /// What was stored when all was quiet.
    pub census: Option<Census>,
    /// When the last fault was over, and all nodes ran and reached each other.
    pub healed_us: Option<Micros>,
    /// How long after that anything may take.
    pub bound_us: Micros,
    /// When the run ended.
    pub ended_us: Micros,
    /// Complaints of the driver itself about what should have come to pass after healing.
    pub stuck: Vec<String>,
}

/// The hash of a replica's whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Whose.
    pub node: u32,
    /// Of which group.
    pub group: u32,
    /// Having applied the log up to here.
    pub applied: u64,
    /// The hash.
    pub digest: String,
}

/// What is stored, by one linearizable read when all was quiet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Census {
    /// Items, live and dead.
    pub items: Vec<Stored>,
    /// Counters, those of channels included.
    pub counters: Vec<CounterCensus>,
    /// What the channels have in flight.
    pub channels: Vec<ChannelCensus>,
    /// Deadlines that had passed and were not dealt with, ms overdue of the worst.
    pub overdue_ms: u64,
    /// Locks still in use.
    pub locks: u64,
    /// Callers still waiting.
    pub waiting: u64,
}

/// An item that is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Of which queue.
    pub queue: String,
    /// In which channel.
    pub channel: String,
    /// Which.
    pub item: String,
    /// Of its data.
    pub revision: u64,
    /// Its bytes.
    pub data: String,
    /// Where it is.
    pub state: ItemState,
}

/// Where an item is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// Due.
    Waiting,
    /// Not due yet.
    Delayed,
    /// Delivered, lease running.
    InFlight,
    /// Given up.
    Dead,
}

/// A counter as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterCensus {
    /// The counter, or the channel whose deliveries it counts.
    pub counter: String,
    /// All it counts.
    pub amount: u64,
    /// Of which bound to holds and to deliveries.
    pub held: u64,
}

/// A channel as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelCensus {
    /// The channel.
    pub channel: String,
    /// Weight of its items in flight.
    pub in_flight: u64,
}
