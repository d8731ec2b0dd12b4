//! The `willow` program.

mod server;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "willow", version, about = "Locks, limits and a work queue, addressed by key values")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server
    Server(server::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Server(arguments) => server::run(arguments),
    }
}
