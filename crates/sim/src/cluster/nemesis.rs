//! Makes go wrong what the plan says.

use std::io;

use willow_node::{GroupId, NodeId, Role, Start};
use willow_storage::vfs::Op;

use super::endpoint::World;
use super::flip;
use super::host::{Host, addr};
use super::run::Options;
use crate::faults::{Crash, Fault, Kind, Plan, Shape};
use crate::history::Micros;
use crate::time;

/// Runs the plan to its end.
pub(super) async fn run(world: &World, plan: &Plan, seed: u64, options: &Options) {
    for fault in &plan.faults {
        time::sleep_until_us(fault.at_us).await;
        options.say(|| format!("{} us: {:?} for {} us", time::now_us(), fault.kind, fault.for_us));
        strike(world, fault, plan, seed, options);
    }
}

/// All is well again from here on.
pub(super) fn heal(world: &World) {
    world.net.heal();
    for host in world.members() {
        host.disk().heal();
        host.disk().set_capacity(None);
        host.resume();
        host.speed().recover();
        if host.disk().has_crashed() {
            host.crash(Crash::LoseUnsynced);
        }
        // A log that could not be synced is only trusted again after a restart.
        let is_broken = host.node().is_some_and(|(node, _)| {
            matches!(
                node.health(),
                willow_node::Health::ReadOnly(
                    willow_node::Unavailable::Storage(_) | willow_node::Unavailable::Stopped(_)
                )
            )
        });
        if is_broken {
            host.crash(Crash::KeepAll);
        }
        host.start();
        // A crash that was to come with a write that has not come yet.
        time::spawn(async move {
            for _ in 0..20 {
                time::sleep_us(100_000).await;
                if host.disk().has_crashed() {
                    host.crash(Crash::LoseUnsynced);
                    host.start();
                }
            }
        });
    }
}

fn strike(world: &World, fault: &Fault, plan: &Plan, seed: u64, options: &Options) {
    let for_us = fault.for_us;
    let replacing = || Replacing { skew_ms: plan.skew_ms.clone(), seed, options: options.clone() };
    match &fault.kind {
        Kind::Partition(shape) => cut(world, shape.clone(), for_us),
        Kind::Lossy(percent) => {
            let (net, name) = (world.net.clone(), world.net.lose(*percent));
            time::spawn(async move {
                time::sleep_us(for_us).await;
                net.mend(name);
            });
        }
        Kind::Crash(place, mode) => world.host(*place).into_iter().for_each(|host| crash(&host, *mode, for_us)),
        Kind::CrashInWrite(place, ops, mode) => {
            if let Some(host) = world.host(*place) {
                crash_in_write(host, *ops, *mode, for_us);
            }
        }
        Kind::Blackout(mode) => world.members().iter().for_each(|host| crash(host, *mode, for_us)),
        Kind::DiskFull(place) => world.host(*place).into_iter().for_each(|host| fill(host, for_us)),
        Kind::SyncFails(place) => world.host(*place).into_iter().for_each(|host| fail_sync(host, for_us)),
        Kind::Freeze(place) => world.net.freeze(*place, time::now_us() + for_us),
        Kind::Pause(place) => world.host(*place).into_iter().for_each(|host| pause(world, &host, for_us)),
        Kind::PauseLeader => leader(world).into_iter().for_each(|host| pause(world, &host, for_us)),
        Kind::SlowDisk(place, up_to_us) => {
            world.host(*place).into_iter().for_each(|host| host.speed().slow(time::now_us() + for_us, *up_to_us));
        }
        Kind::ClockJump(place, by_ms) => world.host(*place).into_iter().for_each(|host| host.set_clock(*by_ms)),
        Kind::Transfer(place) => transfer(world, *place),
        Kind::Snapshot(place) => {
            if let Some((node, life)) = world.host(*place).and_then(|host| host.node()) {
                time::spawn(async move {
                    let _over = life.run(async move { node.snapshot().await }).await;
                });
            }
        }
        Kind::Replace(place) => {
            let host = world.host(*place).filter(|host| !host.is_retired());
            if let Some((host, id)) = host.and_then(|host| host.node().map(|(node, _)| (host, node.id()))) {
                let (world, replacing) = (world.clone(), replacing());
                time::spawn(async move { replacing.run(world, host, id).await });
            }
        }
        Kind::BitFlip(place, rest) => {
            if let Some(host) = world.host(*place).filter(|host| !host.is_retired()) {
                time::spawn(flip::strike(world.clone(), host, *rest, for_us, seed, replacing()));
            }
        }
        Kind::CrashLeader(mode) => leader(world).into_iter().for_each(|host| crash(&host, *mode, for_us)),
        Kind::IsolateLeader => {
            if let Some(host) = leader(world) {
                cut(world, Shape::Isolated(host.place()), for_us);
            }
        }
    }
}

/// The host whose node says that it leads the data.
pub(super) fn leader(world: &World) -> Option<Host> {
    let leads = |host: &Host| host.node().is_some_and(|(node, _)| role(&node, GroupId::DATA) == Some(Role::Leader));
    world.members().into_iter().find(leads)
}

/// A node's part in a group, by its own word.
pub(super) fn role(node: &willow_node::Node, group: GroupId) -> Option<Role> {
    node.report().groups.iter().find(|report| report.group == group).map(|report| report.role)
}

fn cut(world: &World, shape: Shape, for_us: Micros) {
    let (net, name) = (world.net.clone(), world.net.cut(shape));
    time::spawn(async move {
        time::sleep_us(for_us).await;
        net.mend(name);
    });
}

/// Nothing of the node runs for a while, and nothing gets to it or away from it; its clocks go on.
fn pause(world: &World, host: &Host, for_us: Micros) {
    let Some(life) = host.pause() else { return };
    world.net.freeze(host.place(), time::now_us() + for_us);
    time::spawn(async move {
        time::sleep_us(for_us).await;
        life.resume();
    });
}

fn crash(host: &Host, mode: Crash, for_us: Micros) {
    if host.is_retired() || !host.is_up() {
        return;
    }
    host.crash(mode);
    let host = host.clone();
    time::spawn(async move {
        time::sleep_us(for_us).await;
        host.start();
    });
}

fn crash_in_write(host: Host, ops: u64, mode: Crash, for_us: Micros) {
    if host.is_retired() || !host.is_up() {
        return;
    }
    host.disk().crash_after(ops);
    time::spawn(async move {
        for _ in 0..50 {
            time::sleep_us(20_000).await;
            if host.disk().has_crashed() {
                return crash(&host, mode, for_us);
            }
        }
        // Nothing was written: it crashes all the same.
        crash(&host, mode, for_us);
    });
}

fn fill(host: Host, for_us: Micros) {
    host.disk().set_capacity(Some(host.disk().used_bytes() + 4096));
    time::spawn(async move {
        time::sleep_us(for_us).await;
        host.disk().set_capacity(None);
    });
}

fn fail_sync(host: Host, for_us: Micros) {
    host.disk().fail(Op::Sync, io::ErrorKind::Other, 0, 2);
    time::spawn(async move {
        time::sleep_us(for_us).await;
        host.disk().heal();
        crash(&host, Crash::KeepAll, 100_000);
    });
}

fn transfer(world: &World, place: usize) {
    let (Some(leader), Some(to)) = (leader(world), world.host(place)) else { return };
    let (Some((node, life)), Some((to, _))) = (leader.node(), to.node()) else { return };
    time::spawn(async move {
        let _over = life.run(async move { node.transfer_leader(GroupId::DATA, to.id()).await }).await;
    });
}

/// How a node is replaced.
pub(super) struct Replacing {
    skew_ms: Vec<i64>,
    seed: u64,
    options: Options,
}

impl Replacing {
    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        self.options.say(what);
    }

    /// Removes a node, throws its computer away, and lets a new one join.
    pub(super) async fn run(self, world: World, host: Host, id: NodeId) {
        let Self { skew_ms, seed, options } = self;
        if !removed(&world, &host, id).await {
            return;
        }
        host.retire();
        let fresh = world.hosts().len();
        let members = (0..fresh).map(addr).collect();
        let skew_ms = skew_ms.get(fresh).copied().unwrap_or(0);
        let commands = options.snapshot_commands(seed);
        let fresh = Host::new(seed, fresh, Start::Join { members }, skew_ms, commands, world.net.clone());
        options.say(|| format!("{} us: node {id} is removed, n{} joins", time::now_us(), fresh.place()));
        world.add(fresh.clone());
        fresh.start();
    }
}

/// Asks the others to let a node go, for a while.
async fn removed(world: &World, host: &Host, id: NodeId) -> bool {
    for _ in 0..20 {
        for other in world.members().into_iter().filter(|other| other.place() != host.place()) {
            let Some((node, life)) = other.node() else { continue };
            let asked = time::within_us(2_000_000, life.run(async move { node.remove_node(id).await })).await;
            if let Some(Some(Ok(_))) = asked {
                return true;
            }
        }
        time::sleep_us(500_000).await;
    }
    false
}
