//! Simulates whole clusters from seeds: see `crates/sim`.

use xshell::{Shell, cmd};

#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// Passed on: --seeds, --from, --seed, --bug, --bugs, --trace, --keep-going, --faults, --check
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Without arguments it does what CI runs.
pub(crate) fn run(sh: &Shell, Arguments { arguments }: &Arguments) -> anyhow::Result<()> {
    Ok(cmd!(sh, "cargo run --quiet --profile sim --package willow-sim --bin simulate -- {arguments...}").run()?)
}
