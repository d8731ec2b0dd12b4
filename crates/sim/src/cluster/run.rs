//! One run from one seed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;
use willow_node::Start;

use super::endpoint::World;
use super::flip::Flips;
use super::host::{Host, addr};
use super::net::Net;
use super::{finish, nemesis, panics};
use crate::check::{self, Found, Violation};
use crate::faults::plan;
use crate::history::{History, Micros};
use crate::time;
use crate::workload::{self, CallError, Crowd, Endpoint, Recorder};

/// How long a cluster may take to form.
const FORM_US: Micros = 30_000_000;
/// How long clients go on after everything is healed.
const AFTER_US: Micros = 4_000_000;
/// How long anything may take once all is healed: an election, a client's patience with a node, and its pauses.
const BOUND_US: Micros = 6_000_000;
/// A run in which fewer calls were answered shows nothing.
const ENOUGH: usize = 150;

/// How a run is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long faults and clients go on, virtual time.
    pub length_us: Micros,
    /// About how many faults.
    pub faults: usize,
    /// Says what happens while it does.
    pub verbose: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { length_us: 14_000_000, faults: 8, verbose: false }
    }
}

impl Options {
    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            let mut line = what();
            line.push('\n');
            // Nothing is lost if nobody reads it.
            let _unread = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        }
    }

    /// Runs differ in how often they write snapshots.
    pub(super) fn snapshot_commands(&self, seed: u64) -> u64 {
        [60, 200, 500, 100_000][(seed % 4) as usize]
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// From which seed.
    pub seed: u64,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// Calls that were made.
    pub calls: usize,
    /// Of which answered with success.
    pub done: usize,
    /// Messages between nodes.
    pub messages: u64,
    /// Hash over all that was sent, asked and answered: the same for the same seed.
    pub trace: u64,
    /// How long it took, virtual time.
    pub virtual_us: Micros,
    /// Objects whose linearizability was looked at.
    pub objects: u64,
    /// Of which the search gave up.
    pub undecided: u64,
    /// What became of bits that flipped.
    pub flips: Flips,
    /// What was seen.
    pub history: History,
}

impl Report {
    /// Too little was answered to show anything.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.done < ENOUGH
    }

    /// Nothing is wrong, and enough was seen to say so.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && !self.is_void()
    }
}

/// Makes a run, and checks it.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Report {
    panics::listen();
    let recorder = Recorder::new(workload::setup());
    let founders = if seed % 5 == 4 { 5 } else { 3 };
    let net = Net::new(seed, founders);
    let world = World::new(net.clone());
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut runtime = SimRuntime::with_seed(seed);
        runtime.block_on(play(seed, options, founders, &world, &recorder))
    }));
    let flips = std::mem::take(&mut *world.flips.lock());
    recorder.facts(|facts| facts.stuck.extend(flips.complaints.iter().cloned()));
    let history = recorder.take();
    let (sent, messages) = net.trace();
    let mut hasher = DefaultHasher::new();
    (sent, history.to_json()).hash(&mut hasher);
    let Found { mut violations, objects, undecided } = check::judge(&history);
    let complaint = |what: String| Violation { checker: "no panic", what, operations: vec![] };
    violations.extend(panics::take().into_iter().map(complaint));
    if played.is_err() && violations.is_empty() {
        violations.push(complaint("the run ended in a panic".to_owned()));
    }
    Report {
        seed,
        violations,
        calls: history.operations.len(),
        done: history.operations.iter().filter(|operation| operation.is_ok()).count(),
        messages,
        trace: hasher.finish(),
        virtual_us: history.facts.ended_us,
        objects,
        undecided,
        flips,
        history,
    }
}

async fn play(seed: u64, options: &Options, founders: usize, world: &World, recorder: &Recorder) {
    let skews = plan(seed, founders, 0, 0, 1).skew_ms;
    for (place, skew_ms) in skews.into_iter().enumerate().take(founders) {
        let others = (0..founders).filter(|other| *other != place).map(addr).collect();
        let start = if place == 0 { Start::Bootstrap { others } } else { Start::Join { members: others } };
        let commands = options.snapshot_commands(seed);
        let host = Host::new(seed, place, start, skew_ms, commands, world.net.clone());
        world.add(host.clone());
        host.start();
    }
    if !finish::formed(world, FORM_US).await || !prepare(world).await {
        let failures: Vec<_> = world.members().iter().map(Host::failure).collect();
        return recorder.facts(|facts| {
            facts.healed_us = Some(0);
            facts.stuck.push(format!("the cluster did not form: {failures:?}"));
        });
    }
    let begun_us = time::now_us();
    options.say(|| format!("{begun_us} us: the cluster has formed"));
    let healed_us = begun_us + options.length_us;
    let until_us = healed_us + BOUND_US + AFTER_US;
    let crowd = Crowd { lockers: 4, counters: 2, producers: 2, readers: 2, until_us, think_us: 120_000 };
    let faults = plan(seed, founders, options.faults, begun_us + 500_000, healed_us);
    let endpoint: Arc<dyn Endpoint> = Arc::new(world.clone());
    let clients = workload::run(crowd, recorder, &endpoint, seed);
    let trouble = async {
        nemesis::run(world, &faults, seed, options).await;
        time::sleep_until_us(healed_us).await;
        nemesis::heal(world);
        // What was to be undone later is undone by then, and must not come back.
        time::sleep_us(1).await;
        options.say(|| format!("{} us: healed", time::now_us()));
        recorder.facts(|facts| (facts.healed_us, facts.bound_us) = (Some(healed_us), BOUND_US));
    };
    let compare = async {
        while time::now_us() < until_us {
            time::sleep_us(1_000_000).await;
            options.say(|| format!("{} us: {}", time::now_us(), standing(world)));
            let digests: Vec<_> = world.members().iter().filter_map(finish::digest).collect();
            recorder.facts(|facts| facts.digests.extend(digests));
        }
    };
    futures_util::future::join3(clients, trouble, compare).await;
    options.say(|| format!("{} us: the clients are done", time::now_us()));
    finish::settle(world, recorder, crowd).await;
    recorder.facts(|facts| facts.ended_us = time::now_us());
}

/// How the nodes are, in a line.
fn standing(world: &World) -> String {
    let mut line = String::new();
    for host in world.members() {
        let Some((node, _)) = host.node() else {
            line.push_str(&format!("n{} {} {:?}; ", host.place(), host.is_up(), host.failure()));
            continue;
        };
        let report = node.report();
        line.push_str(&format!("n{}={} {:?}", host.place(), node.id(), report.health));
        for group in report.groups {
            line.push_str(&format!(
                " {}:{:?} t{} l{:?} {}/{}/{}/s{}",
                group.group,
                group.role,
                group.term,
                group.leader.map(|leader| leader.0),
                group.applied_index,
                group.committed_index,
                group.last_index,
                group.snapshot_index
            ));
        }
        line.push_str("; ");
    }
    line
}

/// Sets up what clients quarrel about.
async fn prepare(world: &World) -> bool {
    for command in workload::prepare() {
        let mut tries = 0;
        loop {
            let node = tries % world.nodes().max(1);
            let proposed = time::within_us(3_000_000, world.propose(node, command.clone(), None)).await;
            match proposed {
                // Done before, by a try whose answer was lost.
                Some(Ok(_) | Err(CallError::Refused(_))) => break,
                Some(Err(_)) | None if tries < 20 => tries += 1,
                Some(Err(_)) | None => return false,
            }
            time::sleep_us(200_000).await;
        }
    }
    true
}
