//! Three nodes of Willow beside three members of etcd, all on this machine: lock + unlock, by turns.
//!
//! Both clusters run from beginning to end, so that the rounds of one are beside those of the other; the one that is
//! not measured stands idle, but for its heartbeats.

use anyhow::{Context, ensure};
use comfy_table::{CellAlignment, Table};
use willow_harness::{Cluster, ClusterOptions, Server};

use super::{etcd, willow};
use crate::load::{self, Report, Span};

const NODES: usize = 3;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Measured seconds of each round
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Rounds, in each of which every server has its turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Concurrent clients, in turn
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32, 256])]
    clients: Vec<usize>,
    /// Which nodes the clients call, in turn
    #[arg(long, value_delimiter = ',', default_values = ["all", "leader"])]
    at: Vec<At>,
    /// Peers talk over TLS, in both clusters
    #[arg(long)]
    tls: bool,
}

/// Which nodes the clients call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum At {
    /// As many clients at each node.
    All,
    /// All of them at the leader.
    Leader,
}

struct Clusters {
    etcd: Vec<Server>,
    willow: Cluster,
}

/// All rounds of one server, with one number of clients.
struct Row {
    at: At,
    server: &'static str,
    reports: Vec<Report>,
}

/// Measures everything.
pub(crate) async fn run(program: &str, arguments: &Arguments) -> anyhow::Result<()> {
    let &Arguments { seconds, rounds, ref clients, ref at, tls } = arguments;
    ensure!(rounds > 0, "--rounds must be at least 1");
    let etcd = etcd::start_cluster(NODES, tls)?;
    let willow = Cluster::with(program, ClusterOptions { nodes: NODES, tls, ..ClusterOptions::default() })?;
    let clusters = Clusters { etcd, willow };
    let span =
        Span { warm_up: std::time::Duration::from_millis(500), measured: std::time::Duration::from_secs(seconds) };
    let mut rows = Vec::new();
    for &count in clients {
        for &at in at {
            let (mut theirs, mut ours) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                theirs.push(etcd_round(&clusters, at, count, span).await?);
                ours.push(willow_round(&clusters, at, count, span).await?);
            }
            rows.push(Row { at, server: "etcd", reports: theirs });
            rows.push(Row { at, server: "willow", reports: ours });
        }
    }
    crate::print(&table(&rows)?);
    Ok(())
}

async fn etcd_round(clusters: &Clusters, at: At, count: usize, span: Span) -> anyhow::Result<Report> {
    let leader = etcd::leader(&clusters.etcd).await?;
    let mut clients = Vec::with_capacity(count);
    for index in 0..count {
        let address = clusters.etcd[at.node(leader, index)].address();
        clients.push(etcd::Locks::connect(address, index).await?);
    }
    load::run("etcd", clients, span).await
}

async fn willow_round(clusters: &Clusters, at: At, count: usize, span: Span) -> anyhow::Result<Report> {
    let leader = clusters.willow.leader()?;
    let mut clients = Vec::with_capacity(count);
    for index in 0..count {
        let url = clusters.willow.url(at.node(leader, index));
        clients.push(willow::Locks::connect(&url, index).await?);
    }
    load::run("willow", clients, span).await
}

impl At {
    fn node(self, leader: usize, client: usize) -> usize {
        match self {
            Self::All => client % NODES,
            Self::Leader => leader,
        }
    }
}

/// Medians over the rounds. Rows come in pairs, Willow's second.
fn table(rows: &[Row]) -> anyhow::Result<Table> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["clients", "at", "server", "per second", "least–most", "p50 ms", "p99 ms", "willow is"]);
    for pair in rows.chunks(2) {
        let rate = |row: &Row| median(row, |report| report.per_second);
        let willow = rate(pair.last().context("a pair")?)?;
        for row in pair {
            let clients = row.reports.first().context("a round")?.clients;
            let (least, most) = (sorted(row, |report| report.per_second), rate(row)?);
            table.add_row([
                clients.to_string(),
                if row.at == At::All { "all nodes" } else { "the leader" }.to_owned(),
                row.server.to_owned(),
                format!("{most:.0}"),
                format!("{:.0}–{:.0}", least.first().context("a round")?, least.last().context("a round")?),
                format!("{:.2}", median(row, |report| report.p50_us as f64)? / 1000.0),
                format!("{:.2}", median(row, |report| report.p99_us as f64)? / 1000.0),
                format!("{:.2}x", willow / most),
            ]);
        }
    }
    for column in [0, 3, 4, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(table)
}

fn sorted(row: &Row, of: impl Fn(&Report) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = row.reports.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(row: &Row, of: impl Fn(&Report) -> f64) -> anyhow::Result<f64> {
    let values = sorted(row, of);
    values.get(values.len() / 2).copied().context("at least one round")
}
