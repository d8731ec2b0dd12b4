//! Benchmarks. Each prints a table; record it in docs/benchmarks.md with the machine and the command.

use clap::Subcommand;
use xshell::{Shell, cmd};

use crate::{demo::target, instructions, setup};

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Beside etcd, Redis and beanstalkd from Debian's packages, which it installs
    Peers {
        /// Passed on: --seconds, --clients, --only
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Three nodes beside a three-node etcd from Debian's packages, which it installs
    Cluster {
        /// Passed on: --seconds, --rounds, --clients, --at, --tls
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// `kill -9` with 1,000,000 counters, and the way back
    Restart {
        /// Passed on: --counters
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Resident bytes per lock, counter and waiting item
    Memory {
        /// Passed on: --count
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// `apply` of one command, in process
    Apply,
    /// The query engine in process, beside PostgreSQL from Debian's packages, which it installs
    Query {
        /// Passed on: --resources, --patterns, --peer-resources, --peer-patterns, --seconds, --plot
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Indexes, planner, reverse match, in process, without a peer
    Engine,
    /// Instructions of the query engine's hot paths, by callgrind, beside what was recorded
    Instructions {
        /// Record them
        #[arg(long)]
        record: bool,
    },
    /// Group commit of the log, in process
    Log,
    /// Proposals through Raft and the log, in process
    Node,
    /// Proposals through three nodes in one process, over loopback
    Replication {
        /// Passed on: --seconds, --callers, --via, --tls, --dir
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The same for several groups on one log
    Groups {
        /// Passed on: --seconds, --groups, --callers, --dir
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

pub(crate) fn run(sh: &Shell, bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Peers { arguments } => {
            setup::peers(sh)?;
            whole_server(sh, &["--features", "willow-bench/peers"], "peers", &arguments)
        }
        Bench::Cluster { arguments } => {
            setup::peers(sh)?;
            whole_server(sh, &["--features", "willow-bench/peers"], "cluster", &arguments)
        }
        Bench::Restart { arguments } => whole_server(sh, &[], "restart", &arguments),
        Bench::Memory { arguments } => whole_server(sh, &[], "memory", &arguments),
        Bench::Apply => Ok(cmd!(sh, "cargo bench --package willow-core").run()?),
        Bench::Query { arguments } => {
            setup::postgres(sh)?;
            cmd!(sh, "cargo build --release --package willow-bench --features willow-bench/postgres").run()?;
            let bench = format!("{}/release/willow-bench", target(sh));
            Ok(cmd!(sh, "{bench} query {arguments...}").run()?)
        }
        Bench::Engine => Ok(cmd!(sh, "cargo bench --package willow-query --bench engine").run()?),
        Bench::Instructions { record } => instructions::run(sh, record),
        Bench::Log => Ok(cmd!(sh, "cargo bench --package willow-storage").run()?),
        Bench::Node => Ok(cmd!(sh, "cargo run --release --package willow-node --example propose").run()?),
        Bench::Replication { arguments } => {
            Ok(cmd!(sh, "cargo run --release --package willow-peer --example cluster -- {arguments...}").run()?)
        }
        Bench::Groups { arguments } => {
            Ok(cmd!(sh, "cargo run --release --package willow-peer --example groups -- {arguments...}").run()?)
        }
    }
}

fn whole_server(sh: &Shell, features: &[&str], task: &str, arguments: &[String]) -> anyhow::Result<()> {
    cmd!(sh, "cargo build --release --package willow --package willow-bench {features...}").run()?;
    let target = target(sh);
    let bench = format!("{target}/release/willow-bench");
    let willow = format!("{target}/release/willow");
    Ok(cmd!(sh, "{bench} --willow {willow} {task} {arguments...}").run()?)
}
