//! Chaos: three real `willow server` processes under load, while they are killed, paused, cut off and replaced.
//!
//! ```text
//!   scripts (locks, limits, queue, reads, floods) ─► Caller ─► willow-client ─► three processes
//!                                                      │                          ▲       ▲
//!                                                      ▼             kill, pause, │       │ TCP proxies: cut,
//!                                              Recorder: history     wipe, restart└faults─┘ slow, one-way
//!                                                      │
//!      a round: load and faults ─► heal ─► what must be possible now ─► census ─► the checkers of willow-sim
//! ```
//! A run is rounds on one cluster. Every round has names of its own and ends quiet, so that the whole history of
//! each is checked by every checker; nothing is sampled.
#![warn(missing_docs)]

mod caller;
mod census;
mod cluster;
mod failover;
mod faults;
mod host;
mod names;
mod net;
mod plot;
mod recorder;
mod report;
mod round;
mod scripts;
mod wire;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use tokio::task::JoinHandle;
use willow_sim::{
    check::{self, Found, Violation},
    history::History,
};

pub use failover::FailOver;
pub use faults::{Fault, Kind};
pub use host::host;
pub use plot::draw;
pub use recorder::Tally;
pub use report::{Delay, Report};
pub use scripts::Crowd;

use cluster::Cluster;
use faults::Done;
use recorder::{Figures, Recorder};

/// Histories kept of rounds in which something is wrong: one is a hundred MB.
const MOST_KEPT: u64 = 5;

/// What a run is to be. It goes on, round by round, until all of its aims are reached.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Of the dice of clients and faults
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Seconds of load, at least
    #[arg(long, default_value_t = 75)]
    pub seconds: u64,
    /// Faults, at least
    #[arg(long, default_value_t = 0)]
    pub faults: u64,
    /// Locks granted, at least
    #[arg(long, default_value_t = 0)]
    pub acquisitions: u64,
    /// Items taken in, at least
    #[arg(long, default_value_t = 0)]
    pub items: u64,
    /// No round begins after so many seconds
    #[arg(long, default_value_t = 3600)]
    pub most_seconds: u64,
    /// Seconds of faults in a round
    #[arg(long, default_value_t = 40)]
    pub round_seconds: u64,
    /// Make these faults only, one after the other, instead of all by chance
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULT")]
    pub only: Vec<Kind>,
    /// Seconds that anything may take once all nodes run and reach each other again
    #[arg(long, default_value_t = 10)]
    pub bound_seconds: u64,
    /// The clients
    #[command(flatten)]
    pub crowd: Crowd,
    /// Where histories go in which something is wrong
    #[arg(long, default_value = "target/chaos")]
    pub folder: PathBuf,
}

impl Options {
    /// A short run with few clients, for tests: one round, and all the time in the world on a busy machine.
    #[must_use]
    pub fn brief(seed: u64, seconds: u64) -> Self {
        let crowd = Crowd {
            lockers: 4,
            counters: 2,
            producers: 2,
            readers: 2,
            flood_lockers: 2,
            flood_producers: 1,
            batch: 10,
        };
        Self {
            seed,
            seconds,
            faults: 0,
            acquisitions: 0,
            items: 0,
            most_seconds: seconds,
            round_seconds: seconds,
            only: Vec::new(),
            bound_seconds: 120,
            crowd,
            folder: std::env::temp_dir().join("willow-chaos"),
        }
    }
}

/// Runs `willow` three times, does all that to it, and checks what its callers saw.
///
/// # Errors
/// When the cluster cannot be started or a history not be kept. A run that could not go on to its end is reported as
/// far as it came, and why it ended with it.
pub async fn run(willow: &Path, options: &Options) -> anyhow::Result<Report> {
    let cluster = Cluster::start(willow).await?;
    names::prepare(&round::stubborn(&cluster)?).await?;
    let recorder = Recorder::new();
    let progress = ProgressBar::new_spinner();
    let shown = tokio::spawn(show(progress.clone(), recorder.clone()));
    let report = rounds(&cluster, &recorder, options, &progress).await;
    shown.abort();
    progress.finish_and_clear();
    let mut report = report?;
    report.add_figures(recorder.figures(), recorder.now_us() as f64 / 1e6);
    Ok(report)
}

/// Plays and checks rounds: one is checked while the next is played.
async fn rounds(
    cluster: &Cluster,
    recorder: &Recorder,
    options: &Options,
    progress: &ProgressBar,
) -> anyhow::Result<Report> {
    let mut report = Report { seed: options.seed, ..Report::default() };
    let mut all = Done::default();
    let mut load = Duration::ZERO;
    let began = Instant::now();
    let mut checking: Option<JoinHandle<anyhow::Result<Verdict>>> = None;
    for number in 1.. {
        let left = Duration::from_secs(options.seconds).saturating_sub(load);
        let length = Duration::from_secs(options.round_seconds);
        // The last round is as long as is left, unless it is for another aim.
        let length = if left.is_zero() { length } else { length.min(left) };
        let bound = Duration::from_secs(options.bound_seconds);
        let plan = round::Plan { number, seed: options.seed, length, bound, crowd: options.crowd, only: &options.only };
        let played = round::play(plan, cluster, recorder, &mut all).await;
        let history = recorder.take();
        load += length;
        if let Some(checking) = checking.take() {
            checking.await??.add_to(&mut report);
        }
        if let Err(error) = played {
            // Half a round breaks promises that it would have kept in the end: it is for people to read.
            let file = keep(&options.folder, number, &history)?;
            let logs = (0..cluster::NODES).map(|node| format!("node {node}:\n{}\n", cluster.log(node, 12)));
            let logs = logs.collect::<String>();
            report.add_failure(format!("round {number} could not go on ({}): {error:#}\n{logs}", file.display()));
            break;
        }
        let is_stuck = !history.facts.stuck.is_empty();
        let keeps = report.failed_rounds < MOST_KEPT;
        let folder = options.folder.clone();
        checking = Some(tokio::task::spawn_blocking(move || Verdict::new(number, history, keeps, &folder)));
        report.add_use(cluster.memory_bytes(), cluster.disk_bytes());
        let Figures { acquisitions, items, .. } = recorder.figures();
        let line = format!(
            "round {number}: {:.0} s, {acquisitions} acquisitions, {items} items, {} faults, {} violations before it; \
             servers: {} MB memory, {} MB disk",
            began.elapsed().as_secs_f64(),
            all.faults.len(),
            report.checkers.values().sum::<u64>(),
            report.memory_bytes >> 20,
            report.disk_bytes >> 20,
        );
        progress.suspend(|| eprintln!("{line}"));
        let reached = load >= Duration::from_secs(options.seconds)
            && all.faults.len() as u64 >= options.faults
            && acquisitions >= options.acquisitions
            && items >= options.items;
        // A cluster that is stuck has nothing to show in another round.
        if reached || is_stuck || began.elapsed() >= Duration::from_secs(options.most_seconds) {
            break;
        }
    }
    if let Some(checking) = checking {
        checking.await??.add_to(&mut report);
    }
    report.add_faults(all.faults, &all.fail_overs);
    Ok(report)
}

/// What the checkers say of a round.
struct Verdict {
    round: u32,
    violations: Vec<Violation>,
    /// Objects whose linearizability took too long to decide, and objects in all.
    undecided: (u64, u64),
}

impl Verdict {
    /// Checks a history, and may keep it if something is wrong.
    fn new(round: u32, history: History, keeps: bool, folder: &Path) -> anyhow::Result<Self> {
        let Found { violations, objects, undecided } = check::judge(&history);
        if keeps && !violations.is_empty() {
            keep(folder, round, &history)?;
        }
        Ok(Self { round, violations, undecided: (undecided, objects) })
    }

    fn add_to(self, report: &mut Report) {
        report.add_verdict(self.round, &self.violations, self.undecided);
    }
}

/// Writes a history where people find it.
fn keep(folder: &Path, round: u32, history: &History) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join(format!("round-{round}.jsonl"));
    std::fs::write(&file, history.to_json())?;
    Ok(file)
}

/// One line, twice a second.
async fn show(progress: ProgressBar, recorder: Recorder) {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let Figures { acquisitions, items, series, .. } = recorder.figures();
        let done: u64 = series.iter().sum();
        progress.set_message(format!(
            "{:.0} s: {acquisitions} acquisitions, {items} items, {}/s",
            recorder.now_us() as f64 / 1e6,
            (done - before) * 2
        ));
        progress.tick();
        before = done;
    }
}
