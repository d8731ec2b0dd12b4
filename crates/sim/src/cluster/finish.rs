//! The end of a run: wait until all is quiet, ask for what must be possible now, and take stock.

use std::sync::Arc;

use willow_node::{GroupId, Role};

use super::endpoint::World;
use super::host::Host;
use super::nemesis::role;
use crate::history::{Action, Answer, Digest, Micros, Mode, Outcome};
use crate::scripts::{Actor, Call};
use crate::time;
use crate::workload::{self, Caller, Crowd, Endpoint, LOCKS, Recorder, UPDATED, WORK};

/// All leases that clients ask for are shorter.
const LEASES_US: Micros = 3_000_000;
/// How long replicas may take to be equal once nothing is written.
const LEVEL_US: Micros = 10_000_000;
/// The client of the probes.
const PROBER: u32 = 1000;

/// Waits until the first members lead, follow and vote in all groups.
pub(super) async fn formed(world: &World, within_us: Micros) -> bool {
    let give_up_us = time::now_us() + within_us;
    while time::now_us() < give_up_us {
        if world.members().iter().all(is_voter) {
            return true;
        }
        time::sleep_us(50_000).await;
    }
    false
}

fn is_voter(host: &Host) -> bool {
    let voter = |role: Option<Role>| matches!(role, Some(Role::Leader | Role::Follower));
    host.node()
        .is_some_and(|(node, _)| [GroupId::CATALOGUE, GroupId::DATA].into_iter().all(|group| voter(role(&node, group))))
}

/// Asks for what must be possible once every lease is over, and counts what there is.
pub(super) async fn settle(world: &World, recorder: &Recorder, crowd: Crowd) {
    time::sleep_us(LEASES_US).await;
    let endpoint: Arc<dyn Endpoint> = Arc::new(world.clone());
    let mut prober = Caller::new(PROBER, recorder.clone(), endpoint, 7, crowd);
    locks_are_free(&mut prober, recorder).await;
    work_is_handed_out(&mut prober, recorder).await;
    take_census(world, &mut prober, recorder).await;
    level(world, recorder).await;
}

async fn locks_are_free(prober: &mut Caller, recorder: &Recorder) {
    for lock in LOCKS {
        let mode = if lock.starts_with('s') { Mode::Semaphore { permits: 3, max_permits: 3 } } else { Mode::Exclusive };
        let locks = vec![(lock.to_owned(), mode)];
        let owner = prober.label();
        let action = Action::Acquire { locks, session: None, ttl_ms: 5000, wait_ms: 0, owner };
        match prober.call(action, Call::SAFE).await {
            Outcome::Ok(Answer::Acquired { session, grants, .. }) => {
                for grant in grants {
                    let (session, token) = (session.clone(), Some(grant.token));
                    prober.call(Action::Release { lock: grant.lock, session, token }, Call::SAFE).await;
                }
            }
            other => recorder.facts(|facts| {
                facts.stuck.push(format!("all leases are over, and lock {lock} is not to be had: {other:?}"));
            }),
        }
    }
}

/// Takes all there is, and sees that who waits for work gets it.
async fn work_is_handed_out(prober: &mut Caller, recorder: &Recorder) {
    for _ in 0..200 {
        let action = Action::Dequeue { queue: WORK.to_owned(), max_items: 20, lease_ms: 5000, wait_ms: 0 };
        let Outcome::Ok(Answer::Delivered(deliveries)) = prober.call(action, Call::SAFE).await else { break };
        if deliveries.is_empty() {
            break;
        }
        for delivery in deliveries {
            let action = Action::Ack { queue: WORK.to_owned(), item: delivery.item, token: delivery.token };
            prober.call(action, Call::SAFE).await;
        }
    }
    let mut other = prober.other();
    let action = Action::Dequeue { queue: WORK.to_owned(), max_items: 1, lease_ms: 60_000, wait_ms: 4000 };
    let waits = prober.call(action, Call::SAFE);
    let brings = async {
        time::sleep_us(300_000).await;
        let (queue, channel, data) = (WORK.to_owned(), UPDATED[0].to_owned(), other.label());
        other.call(Action::Enqueue { queue, channel, data, updatable: true }, Call::SAFE).await;
    };
    let (got, ()) = futures_util::future::join(waits, brings).await;
    if !matches!(&got, Outcome::Ok(Answer::Delivered(deliveries)) if !deliveries.is_empty()) {
        recorder.facts(|facts| facts.stuck.push(format!("work came, and who waited for it got {got:?}")));
    }
}

/// One item is in flight now, and nothing else.
async fn take_census(world: &World, prober: &mut Caller, recorder: &Recorder) {
    let _looked = prober.look(Action::ReadCounter { counter: "t0.j0".to_owned(), stale: false }, None).await;
    for host in world.members() {
        let Some((node, life)) = host.node() else { continue };
        let now_ms = node.now_ms();
        let read = life.run(async move { node.read(|machine| workload::census(machine, now_ms)).await });
        if let Some(Some(Ok(census))) = time::within_us(3_000_000, read).await {
            return recorder.facts(|facts| facts.census = Some(census));
        }
    }
    recorder.facts(|facts| facts.stuck.push("no node answers a read".to_owned()));
}

/// Waits until all replicas have applied the same, and compares them.
async fn level(world: &World, recorder: &Recorder) {
    let give_up_us = time::now_us() + LEVEL_US;
    loop {
        let digests: Vec<Digest> = world.members().iter().filter_map(digest).collect();
        let all_there = digests.len() == world.members().len();
        let is_level = digests.windows(2).all(|pair| pair[0].applied == pair[1].applied);
        if (all_there && is_level) || time::now_us() >= give_up_us {
            return recorder.facts(|facts| {
                if !(all_there && is_level) {
                    let applied: Vec<_> = digests.iter().map(|digest| (digest.node, digest.applied)).collect();
                    let failures: Vec<_> = world.members().iter().filter_map(Host::failure).collect();
                    facts.stuck.push(format!("replicas do not catch up: {applied:?} {failures:?}"));
                }
                facts.digests.extend(digests);
            });
        }
        time::sleep_us(100_000).await;
    }
}

/// A replica's digest, with how far it has applied the log.
pub(super) fn digest(host: &Host) -> Option<Digest> {
    let (node, _) = host.node()?;
    let report = node.report().groups.into_iter().find(|report| report.group == GroupId::DATA)?;
    let digest = node.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    let node = u32::try_from(node.id().0).unwrap_or(u32::MAX);
    Some(Digest { node, group: report.group.0, applied: report.applied_index, digest })
}
