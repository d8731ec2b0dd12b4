//! The `willow` program: every call of the API as a noun and a verb, and the server itself.
//!
//! ```text
//!  arguments ─► args (key values, queries, durations) ─► commands ─► willow-client ─► output
//!                                                   server, dev, bench, lock run
//! ```
//! Data goes to stdout, talk to stderr. `docs/cli.md` says how key values are quoted and what the exit
//! codes mean.

mod args;
mod bench;
mod commands;
mod dev;
mod embedded;
mod failure;
mod lock_run;
mod output;
mod server;
mod terms;

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};
use willow_client::{Client, Options};

use failure::Failure;
use output::{Format, Output};

/// Heading in the help of the options that every command has and only calls of a server use.
const CALLS: &str = "Options of calls";

/// Where a server listens unless told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7070";

#[derive(Parser)]
#[command(
    name = "willow",
    version,
    about = "Locks, limits and a work queue, addressed by key values",
    max_term_width = 100
)]
struct Args {
    /// The server to talk to [default: http://127.0.0.1:7070; `bench` starts its own]
    #[arg(long, global = true, help_heading = CALLS, env = "WILLOW_SERVER")]
    server: Option<String>,
    /// Form of the answer on stdout
    #[arg(long, short, global = true, help_heading = CALLS, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// How long a call may take beyond what it waits for
    #[arg(long, global = true, help_heading = CALLS, value_parser = args::duration, default_value = "30s")]
    timeout: Duration,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Locks: exclusive, shared, semaphore
    #[command(subcommand)]
    Lock(commands::lock::Verb),
    /// Sessions, which locks hang on
    #[command(subcommand)]
    Session(commands::session::Verb),
    /// Limiter rules
    #[command(subcommand)]
    Rule(commands::rule::Verb),
    /// Overrides of a rule
    #[command(subcommand)]
    Override(commands::rule::OverrideVerb),
    /// Counters under the rules
    #[command(subcommand)]
    Counter(commands::counter::Verb),
    /// Increments bound to a lease
    #[command(subcommand)]
    Hold(commands::counter::HoldVerb),
    /// Why a limit applies, or not
    #[command(subcommand)]
    Limit(commands::rule::LimitVerb),
    /// Queues
    #[command(subcommand)]
    Queue(commands::queue::Verb),
    /// Items of a queue
    #[command(subcommand)]
    Item(commands::item::Verb),
    /// Channels of a queue
    #[command(subcommand)]
    Channel(commands::channel::Verb),
    /// Items that were given up
    #[command(subcommand)]
    DeadLetter(commands::dead_letter::Verb),
    /// The nodes
    #[command(subcommand)]
    Cluster(commands::cluster::Verb),
    /// Run a server
    Server(server::Arguments),
    /// Run a server with sample data, to try things out
    Dev(dev::Arguments),
    /// Measure a server, its own unless told which: rates and percentiles
    Bench(bench::Arguments),
    /// Print the completion script of a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder
    Man {
        /// Which folder
        folder: std::path::PathBuf,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(args: Args) -> Result<ExitCode, Failure> {
    let output = Output::new(args.output);
    match args.command {
        Command::Server(arguments) => server::run(arguments)?,
        Command::Dev(arguments) => dev::run(arguments)?,
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "willow", &mut std::io::stdout());
        }
        Command::Man { folder } => man(&folder)?,
        command => {
            let options = Options { timeout: args.timeout, ..Options::default() };
            let runtime =
                tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from)?;
            let server = args.server.as_deref();
            if let Command::Bench(arguments) = command {
                runtime.block_on(bench::run(server, options, arguments, &output))?;
                return Ok(ExitCode::SUCCESS);
            }
            let client = Client::with_options(server.unwrap_or(DEFAULT_SERVER), options)?;
            return runtime.block_on(call(command, &client, &output));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn call(command: Command, client: &Client, output: &Output) -> Result<ExitCode, Failure> {
    match command {
        Command::Lock(commands::lock::Verb::Run(run)) => return lock_run::run(client, run).await,
        Command::Lock(verb) => commands::lock::run(client, verb, output).await?,
        Command::Session(verb) => commands::session::run(client, verb, output).await?,
        Command::Rule(verb) => commands::rule::run(client, verb, output).await?,
        Command::Override(verb) => commands::rule::run_override(client, verb, output).await?,
        Command::Limit(verb) => commands::rule::run_limit(client, verb, output).await?,
        Command::Counter(verb) => commands::counter::run(client, verb, output).await?,
        Command::Hold(verb) => commands::counter::run_hold(client, verb, output).await?,
        Command::Queue(verb) => commands::queue::run(client, verb, output).await?,
        Command::Item(verb) => commands::item::run(client, verb, output).await?,
        Command::Channel(verb) => commands::channel::run(client, verb, output).await?,
        Command::DeadLetter(verb) => commands::dead_letter::run(client, verb, output).await?,
        Command::Cluster(verb) => commands::cluster::run(client, verb, output).await?,
        Command::Bench(_) | Command::Server(_) | Command::Dev(_) | Command::Completion { .. } | Command::Man { .. } => {
            unreachable!("handled before a client is made")
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One page for each command and subcommand.
fn man(folder: &std::path::Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(anyhow::Error::from)?;
    clap_mangen::generate_to(Args::command(), folder).map_err(anyhow::Error::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_new_limit_does_not_silently_end_a_rule_s_shadow_mode() {
        let update = ["willow", "rule", "update", "r", "--limit", "2"];
        assert!(Args::try_parse_from(update).is_err());
        assert!(Args::try_parse_from(update.into_iter().chain(["--mode", "shadow"])).is_ok());
    }
}
