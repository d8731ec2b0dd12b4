//! Three real servers, killed, paused and cut off under load.

use xshell::{Shell, cmd};

use crate::demo::target;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Passed on: --seed, --seconds, --faults, --acquisitions, --items, --output, --plot and more
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(sh: &Shell, arguments: &Arguments) -> anyhow::Result<()> {
    cmd!(sh, "cargo build --release --package willow --package willow-chaos").run()?;
    let chaos = format!("{}/release/willow-chaos", target(sh));
    let arguments = &arguments.arguments;
    Ok(cmd!(sh, "{chaos} run {arguments...}").run()?)
}
