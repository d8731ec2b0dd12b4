//! Every task of this repository in one place: `cargo xtask <task>`.

mod bench;
mod setup;
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
    /// Install what the tests and benchmarks need from Debian and PyPI
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
        Task::Test => test::run(&sh),
        Task::Tidy => tidy::run(&root()),
    }
}

/// The repository's root.
fn root() -> std::path::PathBuf {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("xtask lies in the root")
        .to_path_buf()
}
