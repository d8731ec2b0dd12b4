//! `cargo xtask chaos` builds and calls this.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about = "Three real servers under load while they are killed, paused, cut off and replaced")]
struct Args {
    /// The willow program; by default the one beside this program
    #[arg(long)]
    willow: Option<PathBuf>,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Faults, and the checkers of the simulation over what clients saw
    Run {
        #[command(flatten)]
        options: Box<willow_chaos::Options>,
        /// How to print the result
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
        /// Where to write the plot
        #[arg(long, default_value = "target/chaos.svg")]
        plot: PathBuf,
    },
    /// A cluster for another program, which gets its addresses with `--server`
    Host {
        /// Kill the leader so often
        #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
        kill_leader_every: Duration,
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let willow = match args.willow {
        Some(willow) => willow,
        None => std::env::current_exe()?.with_file_name("willow"),
    };
    match args.task {
        Task::Run { options, output, plot } => {
            let report = willow_chaos::run(&willow, &options).await.context("the run could not go on")?;
            willow_chaos::draw(&plot, &report)?;
            match output {
                Output::Table => print(&report.tables()),
                Output::Json => print(&serde_json::to_string_pretty(&report)?),
            }
            eprintln!("plot: {}", plot.display());
            Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Task::Host { kill_leader_every, command } => {
            let (status, killed) = willow_chaos::host(&willow, kill_leader_every, &command).await?;
            eprintln!("leaders killed meanwhile: {killed}");
            Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// The result goes to stdout.
#[expect(clippy::print_stdout, reason = "a program's result")]
fn print(text: &str) {
    println!("{text}");
}
