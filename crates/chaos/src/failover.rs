//! From the death of a leader to the next grant, as two kinds of callers see it.
//!
//! - Through a surviving node: a lock is asked for every few ms, each time with a new request on a connection of
//!   its own, so that no request that hangs hides a grant; the first grant ends the measurement.
//! - As a client of the dead node, with `willow-client` as it is, which knows all three addresses: it takes and
//!   gives back a lock in a tight loop, and has to find another node when its connection breaks.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, interval, sleep, timeout},
};
use willow_api::lock::{AcquireReply, AcquireRequest};
use willow_client::{Client, Error};
use willow_model::KeyValues;

use crate::cluster::{Cluster, NODES, once};

/// Between two requests through a surviving node.
const EVERY: Duration = Duration::from_millis(10);
/// No fail-over takes so long.
const GIVE_UP: Duration = Duration::from_secs(30);
/// How long the client has taken locks before the leader dies.
const WARM_UP: Duration = Duration::from_millis(150);
/// Lease of the locks.
const TTL_MS: u64 = 2000;
/// A grant that comes so soon after the death was on its way before: no election is so fast.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// Makes locks that nobody else wants.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// One death of a leader, ms to the next grant.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FailOver {
    /// Through each surviving node.
    pub through_survivors_ms: Vec<f64>,
    /// As a client of the dead node.
    pub reconnecting_ms: Option<f64>,
    /// All nodes were up when it died. If one was still coming back from an earlier fault, there is no majority until
    /// it has: that is how long a start takes, not an election.
    pub from_whole: bool,
}

/// A client of the node that will die, which knows the others, too.
pub(crate) struct Victim {
    grants: tokio::sync::mpsc::UnboundedReceiver<Instant>,
    task: JoinHandle<()>,
}

impl Victim {
    /// Begins to take locks through `leader`.
    pub(crate) async fn start(cluster: &Cluster, leader: usize) -> anyhow::Result<Self> {
        let mut urls = cluster.urls();
        urls.rotate_left(leader);
        let client = Client::new(&urls.join(","))?;
        let (send, grants) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while !send.is_closed() {
                let Ok(reply) = client.locks().acquire(&request()).await else { continue };
                // Nobody listens any more when this fails.
                let _sent = send.send(Instant::now());
                let _ended = client.sessions().end(reply.session).await;
            }
        });
        sleep(WARM_UP).await;
        Ok(Self { grants, task })
    }

    /// Time from the death of the leader to the first grant after it.
    async fn first_grant(mut self, died: Instant) -> Option<Duration> {
        let first = timeout(GIVE_UP, async {
            loop {
                match self.grants.recv().await {
                    Some(at) if at > died + ON_ITS_WAY => return Some(at - died),
                    Some(_) => {}
                    None => return None,
                }
            }
        });
        let first = first.await.ok().flatten();
        self.task.abort();
        first
    }
}

/// Waits until locks are granted again after `leader` has died.
pub(crate) async fn measure(cluster: &Cluster, victim: Victim, leader: usize, died: Instant) -> FailOver {
    let mut survivors = JoinSet::new();
    for node in (0..NODES).filter(|node| *node != leader) {
        let cluster = cluster.clone();
        survivors.spawn(async move { first_grant(&cluster, node, died).await });
    }
    let reconnecting = victim.first_grant(died).await;
    let mut fail_over = FailOver { reconnecting_ms: reconnecting.map(millis), ..FailOver::default() };
    while let Some(survivor) = survivors.join_next().await {
        fail_over.through_survivors_ms.extend(survivor.ok().flatten().map(millis));
    }
    fail_over
}

async fn first_grant(cluster: &Cluster, node: usize, died: Instant) -> Option<Duration> {
    let client = Client::with_options(&cluster.urls()[node], once(GIVE_UP)).ok()?;
    let mut tries: JoinSet<Result<Instant, Error>> = JoinSet::new();
    let mut ticks = interval(EVERY);
    let give_up = died + GIVE_UP;
    while Instant::now() < give_up {
        tokio::select! {
            _ = ticks.tick() => {
                let client = client.clone();
                tries.spawn(async move {
                    let reply: AcquireReply = client.locks().acquire(&request()).await?;
                    let granted = Instant::now();
                    // Only to tidy up: the lease is short.
                    let _ended = client.sessions().end(reply.session).await;
                    Ok(granted)
                });
            }
            Some(Ok(Ok(granted))) = tries.join_next() => {
                return Some(granted.saturating_duration_since(died));
            }
        }
    }
    None
}

fn request() -> AcquireRequest {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let key_values = KeyValues::user([("probe", number.to_string())]).expect("a number is a valid value");
    AcquireRequest { key_values: Some(key_values.into()), ttl_ms: Some(TTL_MS), ..AcquireRequest::default() }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
