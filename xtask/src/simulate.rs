//! Simulates whole clusters from seeds: see `crates/sim`.

use xshell::{Shell, cmd};

/// Seeds that CI runs.
const SEEDS: u64 = 500;
/// Faults in each run.
const FAULTS: usize = 8;

/// What is handed on to the simulation.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = SEEDS)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// This seed only, as a failure names it
    #[arg(long)]
    seed: Option<u64>,
    /// With this known bug switched on
    #[arg(long)]
    bug: Option<String>,
    /// Find every known bug, and print the table of docs/reliability.md
    #[arg(long)]
    bugs: bool,
    /// Say what happens while it does, and write the history of the last seed that fails to this file
    #[arg(long)]
    trace: Option<String>,
    /// Go on after the first seed that fails
    #[arg(long)]
    keep_going: bool,
    /// Faults in each run
    #[arg(long, default_value_t = FAULTS)]
    faults: usize,
}

impl Default for Arguments {
    /// What CI runs.
    fn default() -> Self {
        Self {
            seeds: SEEDS,
            from: 0,
            seed: None,
            bug: None,
            bugs: false,
            trace: None,
            keep_going: false,
            faults: FAULTS,
        }
    }
}

pub(crate) fn run(sh: &Shell, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { seeds, from, seed, bug, bugs, trace, keep_going, faults } = arguments;
    let mut given = vec![format!("--seeds={seeds}"), format!("--from={from}"), format!("--faults={faults}")];
    given.extend(seed.map(|seed| format!("--seed={seed}")));
    given.extend(bug.as_ref().map(|bug| format!("--bug={bug}")));
    given.extend(trace.as_ref().map(|trace| format!("--trace={trace}")));
    given.extend(keep_going.then(|| "--keep-going".to_owned()));
    given.extend(bugs.then(|| "--bugs".to_owned()));
    Ok(cmd!(sh, "cargo run --quiet --profile sim --package willow-sim --bin simulate -- {given...}").run()?)
}
