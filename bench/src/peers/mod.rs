//! One run, one table: each job by Willow and by its peers, in turn, on the same cores.

mod beanstalkd;
pub(crate) mod cluster;
mod etcd;
mod redis;
mod willow;

use comfy_table::{CellAlignment, Table};
use willow_harness::Server;

use crate::{
    load::{self, Client, Report, Span},
    willow::create_queue,
};

/// 100 bytes, for every queue.
const PAYLOAD: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// One row of the table.
struct Row {
    job: &'static str,
    server: &'static str,
    report: Report,
    /// Items of one cycle.
    items: usize,
}

/// Measures everything; `only` keeps the jobs whose name contains it.
pub(crate) async fn run(program: &str, clients: &[usize], span: Span, only: Option<&str>) -> anyhow::Result<()> {
    let wanted = |job: &str| only.is_none_or(|only| job.contains(only));
    let mut rows = Vec::new();
    for &count in clients {
        if wanted(LOCK) {
            rows.extend(locks(program, count, span).await?);
        }
        if wanted(QUEUE) {
            rows.extend(queues(program, count, span).await?);
        }
        if wanted(LIMIT) {
            rows.extend(limits(program, count, span).await?);
        }
        if wanted(BATCHES) {
            rows.push(batches(program, count, span).await?);
        }
    }
    crate::print(&table(&rows));
    Ok(())
}

async fn locks(program: &str, count: usize, span: Span) -> anyhow::Result<Vec<Row>> {
    let server = etcd::start()?;
    let connect = async |index| etcd::Locks::connect(server.address(), index).await;
    let etcd = measure(LOCK, "etcd", count, span, connect).await?;
    drop(server);
    let server = redis::start()?;
    let connect = async |index| redis::Locks::connect(&server, index).await;
    let redis = measure(LOCK, "redis (always)", count, span, connect).await?;
    drop(server);
    let server = Server::willow(program)?;
    let connect = async |index| willow::Locks::connect(&server.url(), index).await;
    Ok(vec![etcd, redis, measure(LOCK, WILLOW, count, span, connect).await?])
}

async fn queues(program: &str, count: usize, span: Span) -> anyhow::Result<Vec<Row>> {
    let server = redis::start()?;
    let connect = async |index| redis::Stream::connect(&server, index, PAYLOAD).await;
    let redis = measure(QUEUE, "redis streams (always)", count, span, connect).await?;
    drop(server);
    let server = beanstalkd::start()?;
    let connect = async |index| beanstalkd::Tube::connect(&server, index, PAYLOAD).await;
    let beanstalkd = measure(QUEUE, "beanstalkd (-f0)", count, span, connect).await?;
    drop(server);
    let server = Server::willow(program)?;
    create_queue(&server).await?;
    let connect = async |index| willow::Queue::connect(&server, index, PAYLOAD).await;
    Ok(vec![redis, beanstalkd, measure(QUEUE, WILLOW, count, span, connect).await?])
}

async fn limits(program: &str, count: usize, span: Span) -> anyhow::Result<Vec<Row>> {
    let server = Server::willow(program)?;
    let connect = async |index| willow::Counters::connect(&server, index).await;
    let without = measure(LIMIT, "willow, no rules", count, span, connect).await?;
    willow::create_rules(&server, 100, 100).await?;
    Ok(vec![without, measure(LIMIT, "willow, 100 rules x 100 overrides", count, span, connect).await?])
}

async fn batches(program: &str, count: usize, span: Span) -> anyhow::Result<Row> {
    let server = Server::willow(program)?;
    create_queue(&server).await?;
    let connect = async |index| willow::Batches::connect(&server, index, PAYLOAD).await;
    // A few clients fill both cores already; more would only wait.
    let row = measure(BATCHES, WILLOW, count.min(4), span, connect).await?;
    Ok(Row { items: willow::BATCH, ..row })
}

const LOCK: &str = "lock + unlock";
const QUEUE: &str = "enqueue + dequeue + ack";
const LIMIT: &str = "increment + decrement";
const BATCHES: &str = "enqueue in batches of 1000";
const WILLOW: &str = "willow";

async fn measure<C: Client>(
    job: &'static str,
    server: &'static str,
    count: usize,
    span: Span,
    connect: impl AsyncFn(usize) -> anyhow::Result<C>,
) -> anyhow::Result<Row> {
    let mut clients = Vec::with_capacity(count);
    for index in 0..count {
        clients.push(connect(index).await?);
    }
    let report = load::run(&format!("{job}, {server}"), clients, span).await?;
    Ok(Row { job, server, report, items: 1 })
}

/// Ratios are Willow's rate over the row's, within one job and one number of clients.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["job", "clients", "server", "per second", "p50 ms", "p99 ms", "willow is"]);
    for row in rows {
        let same = |other: &&Row| other.job == row.job && other.report.clients == row.report.clients;
        // The last row of a group is the one that all others are compared with.
        let willow = rows.iter().rfind(same).map_or(row.report.per_second, |row| row.report.per_second);
        table.add_row([
            row.job.to_owned(),
            row.report.clients.to_string(),
            row.server.to_owned(),
            format!("{:.0}", row.report.per_second * row.items as f64),
            format!("{:.2}", row.report.p50_us as f64 / 1000.0),
            format!("{:.2}", row.report.p99_us as f64 / 1000.0),
            format!("{:.2}x", willow / row.report.per_second),
        ]);
    }
    for column in [1, 3, 4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
