//! Every task of this repository in one place: `cargo xtask <task>`.

mod bench;
mod chaos;
mod demo;
mod fuzz_api;
mod instructions;
mod setup;
mod simulate;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use xshell::Shell;

#[derive(Parser)]
#[command(about = "Every task of the Willow repository")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need; with --peers, what the benchmarks need from Debian too
    Setup {
        /// Also the peers that benchmarks compare with
        #[arg(long)]
        peers: bool,
    },
    /// Benchmarks; `cargo xtask bench --help` lists them
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// The main job: a CI over a git history on an embedded server; with --pods and --nodes a cluster trace too
    Demo(demo::Arguments),
    /// Schemathesis against a server of its own: no 5xx, nothing that the OpenAPI document does not say
    FuzzApi {
        /// Examples per operation
        #[arg(long, default_value_t = 50)]
        examples: u32,
    },
    /// Whole clusters in one process, from seeds, with faults and checkers
    Simulate(simulate::Arguments),
    /// Three real servers under load, killed, paused and cut off, and what their clients saw checked
    Chaos(chaos::Arguments),
    /// Page walks while a tenth of the resources come and go per (simulated) second, for minutes
    SoakPages,
    /// Format, lint and run every test, as CI does
    Test,
    /// Check the house rules: crate arrows, file lengths, dependency list
    Tidy,
}

fn main() -> anyhow::Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(root());
    match Args::parse().task {
        Task::Setup { peers } => setup::run(&sh, peers),
        Task::Bench { bench } => bench::run(&sh, bench),
        Task::Demo(arguments) => demo::run(&sh, &arguments),
        Task::FuzzApi { examples } => fuzz_api::run(&sh, examples),
        Task::Simulate(arguments) => simulate::run(&sh, &arguments),
        Task::Chaos(arguments) => chaos::run(&sh, &arguments),
        Task::SoakPages => test::soak_pages(&sh),
        Task::Test => test::run(&sh),
        Task::Tidy => tidy::run(&root()),
    }
}

/// The repository's root.
fn root() -> std::path::PathBuf {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the root").to_path_buf()
}
