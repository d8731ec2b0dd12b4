//! Plans of faults.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::history::Micros;

/// What is left of a disk after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process was killed: everything written survives.
    KeepAll,
    /// The power went: nothing survives that was not synced.
    LoseUnsynced,
    /// The power went: of what was not synced, some sectors survive.
    Torn,
}

/// What a disk is at when a bit of it flips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// In use: the node runs on until it crashes.
    InUse(Crash),
    /// The node has crashed.
    Down(Crash),
}

/// How the network falls apart. Nodes are counted from 0, in the order of `nodes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One node reaches nobody.
    Isolated(usize),
    /// Two parts; these nodes are the smaller one.
    Split(Vec<usize>),
    /// Two halves that meet in one node only, which reaches all.
    Bridge(usize),
    /// Messages from this node arrive nowhere, but it hears the others.
    Mute(usize),
    /// This node hears nobody, but its messages arrive.
    Deaf(usize),
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The network falls apart for a while.
    Partition(Shape),
    /// Messages are lost, late, doubled and out of order for a while: this many in a hundred.
    Lossy(u32),
    /// A node stops dead, and starts again after a while.
    Crash(usize, Crash),
    /// A node stops dead in the middle of its nth write from now, and starts again after a while.
    CrashInWrite(usize, u64, Crash),
    /// Every node stops dead at once, and starts again after a while.
    Blackout(Crash),
    /// A node's disk is full for a while.
    DiskFull(usize),
    /// A node's syncs fail a few times.
    SyncFails(usize),
    /// Nothing reaches a node, and nothing leaves it, for a while; then all of it does, late.
    Freeze(usize),
    /// Nothing of a node runs for a while; its clocks go on.
    Pause(usize),
    /// The same, for the leader, whoever it is.
    PauseLeader,
    /// Every write of a node takes 50 ms and more for a while, at most so many us.
    SlowDisk(usize, u64),
    /// A node's wall clock is set, by so many ms.
    ClockJump(usize, i64),
    /// The leader is asked to hand over to a node.
    Transfer(usize),
    /// A node writes a snapshot and forgets the log before it.
    Snapshot(usize),
    /// A node is removed for good, and a new one joins.
    Replace(usize),
    /// A bit of a node's disk flips, while it runs or while it is down; it is restarted, and replaced.
    BitFlip(usize, Rest),
    /// The leader stops dead, whoever it is.
    CrashLeader(Crash),
    /// The leader is cut off, whoever it is.
    IsolateLeader,
}

/// A fault with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it begins.
    pub at_us: Micros,
    /// How long it lasts, for those that last.
    pub for_us: Micros,
    /// What it is.
    pub kind: Kind,
}

/// All faults of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order of time.
    pub faults: Vec<Fault>,
    /// By how much each node's wall clock is wrong from the start, ms.
    pub skew_ms: Vec<i64>,
}

/// Draws a plan: about `count` faults between `from_us` and `until_us`.
#[must_use]
pub fn plan(seed: u64, nodes: usize, count: usize, from_us: Micros, until_us: Micros) -> Plan {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed_fa17);
    let skew_ms = (0..nodes * 2).map(|_| rng.random_range(-60_000..=60_000)).collect();
    let mut faults = Vec::new();
    for _ in 0..count {
        let at_us = rng.random_range(from_us..until_us.max(from_us + 1));
        let for_us = rng.random_range(200_000..3_500_000);
        faults.push(Fault { at_us, for_us, kind: kind(&mut rng, nodes) });
    }
    // One replacement is enough to look at, and costs a snapshot; and only one disk may be damaged at a time.
    let mut replaced = false;
    faults.retain(|fault| {
        let replaces = matches!(fault.kind, Kind::Replace(_) | Kind::BitFlip(..));
        !replaces || !std::mem::replace(&mut replaced, true)
    });
    faults.sort_by_key(|fault| fault.at_us);
    Plan { faults, skew_ms }
}

fn kind(rng: &mut StdRng, nodes: usize) -> Kind {
    let node = rng.random_range(0..nodes);
    match rng.random_range(0..100) {
        0..12 => Kind::Partition(shape(rng, nodes)),
        12..19 => Kind::Lossy(rng.random_range(2..25)),
        19..28 => Kind::Crash(node, crash(rng)),
        28..35 => Kind::CrashInWrite(node, rng.random_range(1..12), crash(rng)),
        35..39 => Kind::Blackout(crash(rng)),
        39..43 => Kind::DiskFull(node),
        43..45 => Kind::SyncFails(node),
        45..49 => Kind::SlowDisk(node, rng.random_range(100_000..2_000_000)),
        49..52 => Kind::Freeze(node),
        52..55 => Kind::Pause(node),
        55..59 => Kind::PauseLeader,
        59..65 => {
            let far = if rng.random_bool(0.5) { 60_000 } else { 3_600_000 };
            Kind::ClockJump(node, rng.random_range(-far..=far))
        }
        65..70 => Kind::Transfer(node),
        70..76 => Kind::Snapshot(node),
        76..79 => Kind::Replace(node),
        79..83 => {
            let crash = crash(rng);
            Kind::BitFlip(node, if rng.random_bool(0.5) { Rest::InUse(crash) } else { Rest::Down(crash) })
        }
        83..93 => Kind::CrashLeader(crash(rng)),
        _ => Kind::IsolateLeader,
    }
}

fn shape(rng: &mut StdRng, nodes: usize) -> Shape {
    let node = rng.random_range(0..nodes);
    match rng.random_range(0..5) {
        0 => Shape::Isolated(node),
        1 => {
            let mut all: Vec<usize> = (0..nodes).collect();
            all.shuffle(rng);
            all.truncate(nodes / 2);
            Shape::Split(all)
        }
        2 => Shape::Bridge(node),
        3 => Shape::Mute(node),
        _ => Shape::Deaf(node),
    }
}

fn crash(rng: &mut StdRng) -> Crash {
    match rng.random_range(0..3) {
        0 => Crash::KeepAll,
        1 => Crash::LoseUnsynced,
        _ => Crash::Torn,
    }
}

impl Shape {
    /// Whether messages from one node to another get through.
    #[must_use]
    pub fn lets_through(&self, from: usize, to: usize, nodes: usize) -> bool {
        match self {
            Self::Isolated(node) => from != *node && to != *node,
            Self::Split(part) => part.contains(&from) == part.contains(&to),
            Self::Bridge(bridge) => {
                let side = |node: usize| usize::from((node + nodes - bridge) % nodes > nodes / 2);
                from == *bridge || to == *bridge || side(from) == side(to)
            }
            Self::Mute(node) => from != *node,
            Self::Deaf(node) => to != *node,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        assert_eq!(plan(7, 3, 20, 0, 1000), plan(7, 3, 20, 0, 1000));
        assert_ne!(plan(7, 3, 20, 0, 1000), plan(8, 3, 20, 0, 1000));
    }

    #[test]
    fn plans_are_in_order_and_in_time() {
        for seed in 0..50 {
            let plan = plan(seed, 5, 10, 100, 10_000);
            assert!(plan.faults.windows(2).all(|pair| pair[0].at_us <= pair[1].at_us));
            assert!(plan.faults.iter().all(|fault| (100..10_000).contains(&fault.at_us)));
        }
    }

    #[test]
    fn a_bridge_reaches_both_halves_and_they_do_not_reach_each_other() {
        let shape = Shape::Bridge(2);
        let reach = |from, to| shape.lets_through(from, to, 5);
        assert!((0..5).all(|node| reach(2, node) && reach(node, 2)));
        let apart = (0..5).flat_map(|from| (0..5).map(move |to| (from, to)));
        let apart = apart.filter(|(from, to)| from != to && !reach(*from, *to)).count();
        assert_eq!(apart, 8, "two and two that do not reach each other, both ways");
    }
}
