//! Everything that speaks to the consensus library, and nothing else does.

mod consensus;
mod log_store;
mod member;
mod network;
mod runtime;
mod state_machine;
mod types;

pub(crate) use consensus::{Change, Consensus, Ended, Leadership, Membership, Parts, open};
pub(crate) use runtime::Runtime;

#[cfg(test)]
mod tests;
