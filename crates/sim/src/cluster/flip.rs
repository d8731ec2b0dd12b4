//! A bit of a node's disk flips. The node may not go on with it: it finds out, says what to do, and is replaced;
//! or the bit was of no use to it, which the checkers of everything else see.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use willow_storage::vfs::FaultVfs;

use super::endpoint::World;
use super::host::Host;
use super::nemesis::Replacing;
use crate::faults::Rest;
use crate::history::Micros;
use crate::time;

/// After so long a restarted node has started, or has said why not.
const STARTED_US: Micros = 2_500_000;
/// How often that is looked at.
const LOOK_US: Micros = 20_000;
/// One of these is in what a node says that refuses its disk: what to do.
const ADVICE: [&str; 2] = ["join it again", "start it on an empty data directory"];

/// What became of flipped bits.
#[derive(Clone, Debug, Default)]
pub struct Flips {
    /// How many there were.
    pub flipped: u64,
    /// After which the node did not start.
    pub refused: u64,
    /// After which the node did not tell what to do, or panicked.
    pub complaints: Vec<String>,
}

/// Flips a bit, restarts the node, sees what it says, and has it replaced.
pub(super) async fn strike(world: World, host: Host, rest: Rest, for_us: Micros, seed: u64, replacing: Replacing) {
    let Some(id) = host.id() else { return };
    if let Rest::Down(mode) = rest {
        host.crash(mode);
    }
    let Some((path, bit)) = flip(host.disk(), seed) else { return host.start() };
    replacing.say(|| format!("{} us: n{}: bit {bit} of {} flips", time::now_us(), host.place(), path.display()));
    time::sleep_us(for_us).await;
    if let Rest::InUse(mode) = rest {
        host.crash(mode);
    }
    host.start();
    let refusal = refusal(&host).await;
    replacing.say(|| format!("{} us: n{}: {refusal:?}", time::now_us(), host.place()));
    {
        let mut flips = world.flips.lock();
        flips.flipped += 1;
        flips.refused += u64::from(refusal.is_some());
        if let Some(why) = refusal.filter(|why| !ADVICE.iter().any(|advice| why.contains(advice))) {
            flips.complaints.push(format!("n{} does not say what to do: {why}", host.place()));
        }
    }
    replacing.run(world, host, id).await;
}

/// Why the node does not start; `None` when it does, or something else is in its way.
async fn refusal(host: &Host) -> Option<String> {
    let give_up_us = time::now_us() + STARTED_US;
    while time::now_us() < give_up_us && host.node().is_none() {
        time::sleep_us(LOOK_US).await;
        if let Some(failure) = host.failure() {
            return Some(failure);
        }
    }
    None
}

/// Flips a bit of what was written; returns where.
fn flip(disk: &FaultVfs, seed: u64) -> Option<(PathBuf, u64)> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0xf11b);
    let of = |kind: &str| -> Vec<PathBuf> {
        let is_of = |path: &PathBuf| path.extension().is_some_and(|extension| extension == kind);
        disk.paths().into_iter().filter(is_of).collect()
    };
    let (log, snapshots, names) = (of("seg"), of("snap"), of("json"));
    let files = match rng.random_range(0..10) {
        0 => names,
        1..=3 if !snapshots.is_empty() => snapshots,
        _ => log,
    };
    let path = files.choose(&mut rng)?.clone();
    let bit = used_byte(disk, &path, &mut rng)? * 8 + rng.random_range(0..8);
    disk.flip_bit(&path, bit);
    Some((path, bit))
}

/// A byte that is not zero: most of a segment is not written yet.
fn used_byte(disk: &FaultVfs, path: &Path, rng: &mut StdRng) -> Option<u64> {
    let bytes = disk.contents(path)?;
    let used: Vec<u64> = (0..).zip(&bytes).filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
    used.choose(rng).copied()
}

/// Where they are counted.
pub(super) type Counted = Arc<Mutex<Flips>>;
