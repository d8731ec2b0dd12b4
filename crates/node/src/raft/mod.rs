//! Everything that speaks to the consensus library, and nothing else does.

mod consensus;
mod log_store;
mod network;
mod runtime;
mod state_machine;
mod types;

pub(crate) use consensus::{Consensus, Ended};

#[cfg(test)]
mod tests;
