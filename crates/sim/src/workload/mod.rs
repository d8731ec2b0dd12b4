//! Clients: what they ask for, how they retry, pause, abandon and let leases end. All chance comes from seeds.
//!
//! ```text
//!   script (locks, limits, queue, reads, walks) ──► Actor::call(action), here of a Caller
//!                                              │ attempt: command ──► Endpoint (some node)
//!                                              │ no answer: the same request id at another node
//!                                              ▼
//!                                           Recorder ──► History
//! ```

mod caller;
mod endpoint;
mod names;
mod recorder;
mod translate;
mod walks;

pub use caller::Caller;
pub use endpoint::{CallError, Endpoint, Look, Looked};
pub use names::{CHANNELS, COUNTERS, LOCKS, SHELF, UPDATED, WORK, census, prepare, setup};
pub use recorder::Recorder;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::history::Micros;
use crate::scripts::{limits, locks, queue, reads};
use crate::time;

/// How many clients of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Clients of locks.
    pub lockers: u32,
    /// Clients of counters.
    pub counters: u32,
    /// Producers, and as many consumers.
    pub producers: u32,
    /// Readers.
    pub readers: u32,
    /// They begin nothing new from here on.
    pub until_us: Micros,
    /// Mean pause between two calls of a client.
    pub think_us: Micros,
}

/// Runs all clients to their end.
pub async fn run(crowd: Crowd, recorder: &Recorder, endpoint: &std::sync::Arc<dyn Endpoint>, seed: u64) {
    let ended = std::sync::Arc::new(());
    let mut rng = StdRng::seed_from_u64(seed);
    let mut client = 0;
    let mut start = |kind: u32, count: u32| {
        for place in 0..count {
            client += 1;
            let caller = Caller::new(client, recorder.clone(), std::sync::Arc::clone(endpoint), rng.random(), crowd);
            let ended = std::sync::Arc::clone(&ended);
            time::spawn(async move {
                match kind {
                    0 => locks::run(caller).await,
                    1 => limits::run(caller).await,
                    2 if place % 2 == 0 => queue::produce(caller).await,
                    2 => queue::consume(caller).await,
                    _ if place % 2 == 0 => reads::run(caller).await,
                    _ => walks::run(caller).await,
                }
                drop(ended);
            });
        }
    };
    start(0, crowd.lockers);
    start(1, crowd.counters);
    start(2, crowd.producers * 2);
    start(3, crowd.readers);
    while std::sync::Arc::strong_count(&ended) > 1 {
        time::sleep_us(20_000).await;
    }
}
