//! Benchmarks of the whole server, beside its peers. `cargo xtask bench …` builds and calls this.

#[cfg(feature = "peers")]
mod load;
#[cfg(feature = "peers")]
mod peers;
#[cfg(feature = "postgres")]
mod query;
mod restart;
mod willow;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Benchmarks of Willow beside its peers")]
struct Args {
    /// The willow program under test
    #[arg(long, default_value = "target/release/willow")]
    willow: String,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Locks, queues and limits, client and server on the same cores, every write synced
    #[cfg(feature = "peers")]
    Peers {
        /// Measured seconds of each run
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Concurrent clients, in turn
        #[arg(long, value_delimiter = ',', default_values_t = [1, 32])]
        clients: Vec<usize>,
        /// Only jobs whose name contains this
        #[arg(long)]
        only: Option<String>,
    },
    /// Three nodes beside three of etcd, all on this machine: lock + unlock, by turns
    #[cfg(feature = "peers")]
    Cluster(peers::cluster::Arguments),
    /// The query engine in process, beside PostgreSQL on the same data
    #[cfg(feature = "postgres")]
    Query(query::Arguments),
    /// Fill with counters, `kill -9`, and time until the node answers again
    Restart {
        /// How many
        #[arg(long, default_value_t = 1_000_000)]
        counters: u64,
    },
    /// Resident bytes per lock, counter and waiting item
    Memory {
        /// How many of each
        #[arg(long, default_value_t = 200_000)]
        count: u64,
    },
}

// One thread, which leaves the other core to the server.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.task {
        #[cfg(feature = "peers")]
        Task::Peers { seconds, clients, only } => {
            let span = load::Span {
                warm_up: std::time::Duration::from_secs(1),
                measured: std::time::Duration::from_secs(seconds),
            };
            peers::run(&args.willow, &clients, span, only.as_deref()).await
        }
        #[cfg(feature = "peers")]
        Task::Cluster(arguments) => peers::cluster::run(&args.willow, &arguments).await,
        #[cfg(feature = "postgres")]
        Task::Query(arguments) => tokio::task::spawn_blocking(move || query::run(&arguments)).await?,
        Task::Restart { counters } => restart::run(&args.willow, counters).await,
        Task::Memory { count } => restart::memory(&args.willow, count).await,
    }
}

/// Tables are this program's data: they go to stdout.
#[expect(clippy::print_stdout, reason = "a program's result")]
fn print(table: &comfy_table::Table) {
    println!("{table}");
}
