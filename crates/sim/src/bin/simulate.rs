//! Runs seeds, in parallel, and says which fail and how to run one again.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Parser;
use willow_model::bugs::Bug;
use willow_sim::cluster::{Flips, Options, Report, run};
use willow_sim::history::History;
use willow_sim::{bugs, check};

/// Of a hundred objects, the search for a linear order may give up on at most so many: what is undecided is not shown.
const UNDECIDED_PERCENT: u64 = 1;
/// Three nodes twice, and five.
const REPEATED: [u64; 3] = [0, 4, 13];

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
    let repeated = REPEATED.into_iter().map(|after| from + after).filter(|seed| *seed < from + seeds);
    if !are_repeatable(&repeated.collect::<Vec<_>>(), bug, &options) {
        return ExitCode::FAILURE;
    }
    if all(from, seeds, bug, &options, &arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The same seed must give the same run, or no failure could be looked into.
fn are_repeatable(seeds: &[u64], bug: Option<Bug>, options: &Options) -> bool {
    let quiet = Options { verbose: false, ..options.clone() };
    let runs: Vec<u64> = seeds.iter().flat_map(|seed| [*seed, *seed]).collect();
    let reports = side_by_side(&runs, |seed| {
        bugs::switch(bug);
        run(*seed, &quiet).trace
    });
    let different = reports.chunks_exact(2).zip(seeds).filter(|(pair, _)| pair[0] != pair[1]);
    let different: Vec<u64> = different.map(|(_, seed)| *seed).collect();
    if !different.is_empty() {
        eprintln!("the same seed gave two different runs: {different:?}");
    }
    different.is_empty()
}

/// Does `work` on each, on as many threads as there are processors; answers in the order of `all`.
fn side_by_side<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(all.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(place) else { return };
                    let result = work(one);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((place, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
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

/// A bug, found.
struct Row {
    /// The first seed in which anything was wrong.
    first: u64,
    /// The first in which a checker said what is wrong, if one did.
    seed: Option<u64>,
    /// The checkers that said so.
    finders: Vec<&'static str>,
    /// Those that said something else.
    others: Vec<&'static str>,
}

/// Switches one bug on after the other, and runs seeds until a checker that states what it breaks finds it. True if
/// all were found.
fn find_bugs(options: &Options, seeds: u64) -> bool {
    let rows = side_by_side(Bug::ALL, |bug| {
        let row = find_bug(*bug, options, seeds);
        eprintln!("{bug:?}: {}", row.as_ref().map_or_else(|| "not found".to_owned(), Row::line));
        row
    });
    for (bug, row) in Bug::ALL.iter().zip(&rows) {
        let row = row.as_ref().map_or_else(|| "none | none | not found |".to_owned(), Row::line);
        let row = format!("| `{bug:?}` | {row}\n");
        let _unread = std::io::Write::write_all(&mut std::io::stdout(), row.as_bytes());
    }
    rows.iter().all(|row| row.as_ref().is_some_and(|row| row.seed.is_some()))
}

impl Row {
    fn line(&self) -> String {
        let Self { first, seed, finders, others } = self;
        let seed = seed.map_or_else(|| "none".to_owned(), |seed| seed.to_string());
        let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
        format!("{first} | {seed} | {}{others} |", finders.join(", "))
    }
}

/// Runs seeds with a bug until a checker that states what it breaks speaks.
fn find_bug(bug: Bug, options: &Options, seeds: u64) -> Option<Row> {
    bugs::switch(Some(bug));
    let mut row: Option<Row> = None;
    for seed in 0..seeds {
        let report = run(seed, options);
        if report.is_good() {
            continue;
        }
        let mut checkers: Vec<&str> = report.violations.iter().map(|violation| violation.checker).collect();
        checkers.sort_unstable();
        checkers.dedup();
        let (finders, others): (Vec<_>, Vec<_>) =
            checkers.into_iter().partition(|checker| bugs::finders(bug).contains(checker));
        let first = row.map_or(seed, |row| row.first);
        let is_found = !finders.is_empty();
        row = Some(Row { first, seed: is_found.then_some(seed), finders, others });
        if is_found {
            break;
        }
    }
    bugs::switch(None);
    row
}

/// What all runs came to.
#[derive(Default)]
struct Sum {
    done: u64,
    failed: u64,
    calls: u64,
    virtual_us: u64,
    objects: u64,
    undecided: u64,
    flipped: u64,
    refused: u64,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        let Flips { flipped, refused, .. } = report.flips;
        self.done += 1;
        self.failed += u64::from(!report.is_good());
        self.calls += report.done as u64;
        self.virtual_us += report.virtual_us;
        self.objects += report.objects;
        self.undecided += report.undecided;
        self.flipped += flipped;
        self.refused += refused;
    }

    /// Too much was left undecided to show anything.
    fn is_void(&self) -> bool {
        self.undecided * 100 > self.objects * UNDECIDED_PERCENT
    }
}

/// Runs the seeds. True if all is well.
fn all(from: u64, seeds: u64, bug: Option<Bug>, options: &Options, arguments: &Arguments) -> bool {
    let (sum, stop, begun) = (Mutex::new(Sum::default()), AtomicBool::new(false), Instant::now());
    let numbers: Vec<u64> = (from..from.saturating_add(seeds)).collect();
    side_by_side(&numbers, |seed| {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        bugs::switch(bug);
        let report = run(*seed, options);
        let done = {
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            sum.add(&report);
            sum.done
        };
        if !report.is_good() {
            stop.store(!arguments.keep_going, Ordering::Relaxed);
            tell(&report, arguments);
        }
        if done % 50 == 0 {
            eprintln!("{done} of {seeds} seeds, {:.0} s", begun.elapsed().as_secs_f64());
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Sum { done, failed, calls, virtual_us, objects, undecided, flipped, refused } = &sum;
    eprintln!(
        "{done} seeds, {failed} failed; {calls} calls answered in {} s of virtual time; linearizability undecided for \
         {undecided} of {objects} objects; {flipped} disks with a flipped bit, of which {refused} were refused; {:.1} s",
        virtual_us / 1_000_000,
        begun.elapsed().as_secs_f64()
    );
    if sum.is_void() {
        eprintln!("void: more than {UNDECIDED_PERCENT} in a hundred objects are undecided");
    }
    *failed == 0 && !sum.is_void()
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
