//! Runs seeds, in parallel, and says which fail and how to run one again.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use clap::Parser;
use willow_model::bugs::{self, Bug};
use willow_sim::check;
use willow_sim::cluster::{Options, Report, run};
use willow_sim::history::History;

/// Simulates whole clusters, each from one seed.
#[derive(Parser)]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// This seed only
    #[arg(long)]
    seed: Option<u64>,
    /// With this known bug switched on
    #[arg(long)]
    bug: Option<String>,
    /// Run nothing: check the history in this file
    #[arg(long)]
    check: Option<std::path::PathBuf>,
    /// Find every known bug, and print the table of docs/reliability.md
    #[arg(long)]
    bugs: bool,
    /// Say what goes wrong while it does, and keep the history of what fails in this file
    #[arg(long)]
    trace: Option<std::path::PathBuf>,
    /// Go on after the first seed that fails
    #[arg(long)]
    keep_going: bool,
    /// Faults in each run
    #[arg(long, default_value_t = 8)]
    faults: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.check {
        return check_file(path);
    }
    let bug = match arguments.bug.as_deref().map(|name| Bug::named(name).ok_or(name)) {
        None => None,
        Some(Ok(bug)) => Some(bug),
        Some(Err(name)) => {
            eprintln!("there is no bug {name}; there are {:?}", Bug::ALL);
            return ExitCode::FAILURE;
        }
    };
    let options = Options { verbose: arguments.trace.is_some(), faults: arguments.faults, ..Options::default() };
    let (from, seeds) = match arguments.seed {
        Some(seed) => (seed, 1),
        None => (arguments.from, arguments.seeds),
    };
    if arguments.bugs {
        return if find_bugs(&options, arguments.seeds) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    bugs::switch(bug);
    if !is_repeatable(from, &options) {
        return ExitCode::FAILURE;
    }
    let failed = all(from, seeds, bug, &options, &arguments);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The same seed must give the same run, or no failure could be looked into.
fn is_repeatable(seed: u64, options: &Options) -> bool {
    let quiet = Options { verbose: false, ..options.clone() };
    let (first, again) = (run(seed, &quiet), run(seed, &quiet));
    if first.trace != again.trace {
        eprintln!("seed {seed} gave two different runs: {:016x} and {:016x}", first.trace, again.trace);
    }
    first.trace == again.trace
}

/// Says what is wrong with a history that was written before, by a simulation or by a test of real processes.
fn check_file(path: &std::path::Path) -> ExitCode {
    let history = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let history = history.and_then(|text| History::from_json(&text).map_err(|error| error.to_string()));
    match history.map(|history| check::all(&history)) {
        Ok(violations) if violations.is_empty() => ExitCode::SUCCESS,
        Ok(violations) => {
            violations.iter().for_each(|violation| eprintln!("{violation}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// Switches one bug on after the other, and runs seeds until one fails. True if all were found.
fn find_bugs(options: &Options, seeds: u64) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let found = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = find_bug(*bug, options, seeds);
                    eprintln!("{bug:?}: {row:?}");
                    if let Ok(mut found) = found.lock() {
                        found.push((*bug, row));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_default();
    found.sort_by_key(|(bug, _)| *bug);
    for (bug, row) in &found {
        let (seed, checkers) = row.clone().unwrap_or_else(|| ("none".to_owned(), "not found".to_owned()));
        let row = format!("| `{bug:?}` | {seed} | {checkers} |\n");
        let _unread = std::io::Write::write_all(&mut std::io::stdout(), row.as_bytes());
    }
    found.iter().all(|(_, row)| row.is_some())
}

/// The first seed that fails with a bug, and the checkers that found it.
fn find_bug(bug: Bug, options: &Options, seeds: u64) -> Option<(String, String)> {
    bugs::switch(Some(bug));
    let report = (0..seeds).map(|seed| run(seed, options)).find(|report| !report.is_good());
    bugs::switch(None);
    let Report { seed, violations, .. } = report?;
    let mut checkers: Vec<&str> = violations.iter().map(|violation| violation.checker).collect();
    checkers.sort_unstable();
    checkers.dedup();
    Some((seed.to_string(), if checkers.is_empty() { "void".to_owned() } else { checkers.join(", ") }))
}

/// Runs the seeds; returns how many failed.
fn all(from: u64, seeds: u64, bug: Option<Bug>, options: &Options, arguments: &Arguments) -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, failed, stop) = (AtomicU64::new(from), AtomicUsize::new(0), AtomicBool::new(false));
    let (done, calls, virtual_us) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                bugs::switch(bug);
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let report = run(seed, options);
                    calls.fetch_add(report.done as u64, Ordering::Relaxed);
                    virtual_us.fetch_add(report.virtual_us, Ordering::Relaxed);
                    let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if !report.is_good() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        stop.store(!arguments.keep_going, Ordering::Relaxed);
                        tell(&report, arguments);
                    }
                    if count % 50 == 0 {
                        eprintln!("{count} of {seeds} seeds, {:.0} s", begun.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    eprintln!(
        "{} seeds, {failed} failed; {} calls answered in {} s of virtual time; {:.1} s",
        done.into_inner(),
        calls.into_inner(),
        virtual_us.into_inner() / 1_000_000,
        begun.elapsed().as_secs_f64()
    );
    failed
}

fn tell(report: &Report, arguments: &Arguments) {
    let Report { seed, violations, calls, done, .. } = report;
    if report.is_void() {
        eprintln!("seed {seed} is void: only {done} of {calls} calls were answered");
    }
    for violation in violations.iter().take(10) {
        eprintln!("seed {seed}: {violation}");
    }
    let bug = arguments.bug.as_ref().map_or_else(String::new, |bug| format!(" --bug {bug}"));
    eprintln!("again: cargo xtask simulate --seed {seed} --faults {}{bug} --trace history.jsonl", arguments.faults);
    if let Some(path) = &arguments.trace
        && let Err(error) = std::fs::write(path, report.history.to_json())
    {
        eprintln!("{}: {error}", path.display());
    }
}
