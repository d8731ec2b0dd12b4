//! One round: clients and faults, then healing, what must be possible now, and what there is.

use std::{sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};
use willow_client::{Client, Options, RetryPolicy};
use willow_sim::{
    history::{Action, Answer, Delivery, Digest, Mode, Outcome},
    scripts::Actor,
};

use crate::{
    caller::{Caller, Shared},
    census::{self, Consistency},
    cluster::{Cluster, NODES},
    faults::{Done, Kind, Nemesis},
    names::{self, Names, STAGE},
    recorder::Recorder,
    scripts::{self, Crowd},
    wire::Request,
};

/// All leases that clients ask for are shorter.
const LEASES: Duration = Duration::from_secs(4);
/// How long clients go on after healing.
const AFTER: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// The client of the probes.
const PROBER: u32 = 1000;

/// What a round is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) number: u32,
    pub(crate) seed: u64,
    /// How long faults are made.
    pub(crate) length: Duration,
    /// How long after healing anything may take.
    pub(crate) bound: Duration,
    pub(crate) crowd: Crowd,
    /// Faults to choose from; all if there is none.
    pub(crate) only: &'a [Kind],
}

/// Plays it: the history is the recorder's, and what was done is added to `done`, however far it came.
pub(crate) async fn play(
    plan: Plan<'_>,
    cluster: &Cluster,
    recorder: &Recorder,
    done: &mut Done,
) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(plan.seed ^ u64::from(plan.number) << 32);
    let names = Names::new(plan.number);
    let stubborn = stubborn(cluster)?;
    names.prepare(&stubborn).await?;
    recorder.begin(names::setup());
    let (end, over) = tokio::sync::watch::channel(false);
    let shared = Arc::new(Shared { cluster: cluster.clone(), names: names.clone(), recorder: recorder.clone(), over });
    let seed = rng.random();
    let clients = {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { scripts::run(plan.crowd, &shared, seed).await })
    };
    let mut nemesis = Nemesis { cluster, recorder, rng: StdRng::seed_from_u64(rng.random()), only: plan.only };
    if let Err(error) = nemesis.run(Instant::now() + plan.length, done).await {
        recorder.stuck(format!("{error:#}"));
    }
    if let Err(error) = nemesis.heal().await {
        recorder.stuck(format!("{error:#}"));
    }
    let healed_us = recorder.now_us();
    let bound_us = u64::try_from(plan.bound.as_micros()).unwrap_or(u64::MAX);
    recorder.facts(|facts| (facts.healed_us, facts.bound_us) = (Some(healed_us), bound_us));
    sleep(AFTER).await;
    end.send_replace(true);
    clients.await??;
    let seed = rng.random();
    settle(&shared, &stubborn, seed, plan.bound).await?;
    let ended_us = recorder.now_us();
    recorder.facts(|facts| facts.ended_us = ended_us);
    names.clear(&stubborn).await?;
    Ok(())
}

/// A client that does not give up soon: for what has to be there before and after.
pub(crate) fn stubborn(cluster: &Cluster) -> anyhow::Result<Client> {
    let retry = RetryPolicy { attempts: 60, ..RetryPolicy::default() };
    let url = cluster.urls().swap_remove(0);
    Ok(Client::with_options(&url, Options { retry, ..Options::default() })?)
}

/// Asks for what must be possible once every lease is over, and takes stock.
async fn settle(shared: &Arc<Shared>, client: &Client, seed: u64, bound: Duration) -> anyhow::Result<()> {
    sleep(LEASES).await;
    let mut prober = Caller::new(PROBER, Arc::clone(shared), seed)?;
    nothing_is_held(shared, client, bound).await?;
    locks_are_free(&mut prober).await;
    work_is_handed_out(&mut prober).await;
    let census = census::take(client, &shared.names, Consistency::Linearizable).await?;
    shared.recorder.facts(|facts| facts.census = Some(census));
    level(shared, bound).await
}

/// All leases are over: no lock is left, and nobody waits.
async fn nothing_is_held(shared: &Shared, client: &Client, bound: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + bound;
    loop {
        let held = census::locks(client, &shared.names, Consistency::Linearizable).await?;
        if held.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            shared.recorder.stuck(format!("all leases are over, and these locks are left: {held:?}"));
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

async fn locks_are_free(prober: &mut Caller) {
    let semaphore = Mode::Semaphore { permits: 3, max_permits: 3 };
    let exclusive = STAGE.exclusive.iter().map(|lock| (lock, Mode::Exclusive));
    for (lock, mode) in exclusive.chain(STAGE.semaphores.iter().map(|lock| (lock, semaphore))) {
        let (locks, owner) = (vec![((*lock).to_owned(), mode)], prober.label());
        let action = Action::Acquire { locks, session: None, ttl_ms: 5000, wait_ms: 0, owner };
        match prober.fast(action).await {
            Outcome::Ok(Answer::Acquired { session, grants, .. }) => {
                for grant in grants {
                    let (session, token) = (session.clone(), Some(grant.token));
                    prober.fast(Action::Release { lock: grant.lock, session, token }).await;
                }
            }
            other => {
                prober
                    .shared
                    .recorder
                    .stuck(format!("all leases are over, and lock {lock} is not to be had: {other:?}"));
            }
        }
    }
}

/// Takes all there is, and sees that who waits for work gets it.
async fn work_is_handed_out(prober: &mut Caller) {
    let queue = prober.shared.names.work.clone();
    for _ in 0..200 {
        let action = Action::Dequeue { queue: queue.clone(), max_items: 50, lease_ms: 5000, wait_ms: 0 };
        let Outcome::Ok(Answer::Delivered(deliveries)) = prober.fast(action).await else { break };
        if deliveries.is_empty() {
            break;
        }
        let ack = |Delivery { item, token, .. }| Action::Ack { queue: queue.clone(), item, token };
        let actions: Vec<Action> = deliveries.into_iter().map(ack).collect();
        prober.batch(Request::Ack(queue.clone(), actions.clone()), actions, Duration::ZERO).await;
    }
    let mut other = prober.other();
    let action = Action::Dequeue { queue: queue.clone(), max_items: 1, lease_ms: 60_000, wait_ms: 4000 };
    let brings = async {
        sleep(Duration::from_millis(300)).await;
        let (channel, data) = (STAGE.updated[0].to_owned(), other.label());
        other.fast(Action::Enqueue { queue, channel, data, updatable: true }).await;
    };
    let (got, ()) = tokio::join!(prober.fast(action), brings);
    if !matches!(&got, Outcome::Ok(Answer::Delivered(deliveries)) if !deliveries.is_empty()) {
        prober.shared.recorder.stuck(format!("work came, and who waited for it got {got:?}"));
    }
}

/// Waits until all replicas show the same, and writes down what they show.
async fn level(shared: &Shared, bound: Duration) -> anyhow::Result<()> {
    let clients: Result<Vec<Client>, _> = shared.cluster.urls().iter().map(|url| Client::new(url)).collect();
    let clients = clients?;
    let until = Instant::now() + bound;
    loop {
        let mut digests = Vec::new();
        for (node, client) in (0..).zip(&clients) {
            let digest = census::digest(client, &shared.names).await?;
            digests.push(Digest { node, group: 1, applied: 0, digest });
        }
        let is_level = digests.windows(2).all(|pair| pair[0].digest == pair[1].digest);
        if is_level || Instant::now() > until {
            debug_assert_eq!(digests.len(), NODES);
            shared.recorder.facts(|facts| facts.digests = digests);
            return Ok(());
        }
        sleep(LOOK).await;
    }
}
