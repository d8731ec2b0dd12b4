//! What clients do: a few quarrel about a few things in every way there is, by the scripts of the simulation; many
//! take and give back as fast as they can, so that a run has its millions of operations.

mod flood;

use std::sync::Arc;

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;
use willow_sim::scripts::{limits, locks, queue, reads};

use crate::caller::{Caller, Shared};

/// How many clients of each kind.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Crowd {
    /// Clients that quarrel about few locks
    #[arg(long, default_value_t = 6)]
    pub lockers: u32,
    /// Clients of counters under limits
    #[arg(long, default_value_t = 4)]
    pub counters: u32,
    /// Producers of single items, and as many consumers
    #[arg(long, default_value_t = 3)]
    pub producers: u32,
    /// Readers
    #[arg(long, default_value_t = 3)]
    pub readers: u32,
    /// Clients that take and give back locks as fast as they can
    #[arg(long, default_value_t = 24)]
    pub flood_lockers: u32,
    /// Producers of batches, and as many consumers
    #[arg(long, default_value_t = 2)]
    pub flood_producers: u32,
    /// Items of a batch
    #[arg(long, default_value_t = 50)]
    pub batch: u32,
}

/// Runs all clients until the round is over for them.
pub(crate) async fn run(crowd: Crowd, shared: &Arc<Shared>, seed: u64) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut clients = JoinSet::new();
    let mut client = 0;
    let mut next = |shared: &Arc<Shared>| {
        client += 1;
        Caller::new(client, Arc::clone(shared), rng.random())
    };
    for _ in 0..crowd.lockers {
        clients.spawn(locks::run(next(shared)?));
    }
    for _ in 0..crowd.counters {
        clients.spawn(limits::run(next(shared)?));
    }
    for _ in 0..crowd.producers {
        clients.spawn(queue::produce(next(shared)?));
        clients.spawn(queue::consume(next(shared)?));
    }
    for _ in 0..crowd.readers {
        clients.spawn(reads::run(next(shared)?));
    }
    for _ in 0..crowd.flood_lockers {
        clients.spawn(flood::locks(next(shared)?));
    }
    for _ in 0..crowd.flood_producers {
        clients.spawn(flood::produce(next(shared)?, crowd.batch));
        clients.spawn(flood::consume(next(shared)?, crowd.batch));
    }
    while let Some(ended) = clients.join_next().await {
        ended?;
    }
    Ok(())
}
