//! One run, one table: each job by Willow and by its peers, in turn, on the same cores.

mod beanstalkd;
mod etcd;
mod redis;

use comfy_table::{CellAlignment, Table};

use crate::{
    load::{self, Client, Report, Span},
    willow,
};

/// 100 bytes, for every queue.
const PAYLOAD: &str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// One row of the table.
struct Row {
    job: &'static str,
    server: &'static str,
    report: Report,
    /// Items of one cycle.
    items: usize,
}

/// Measures everything; `only` keeps the jobs whose name contains it.
pub(crate) async fn run(
    program: &str,
    clients: &[usize],
    span: Span,
    only: Option<&str>,
) -> anyhow::Result<()> {
    let wanted = |job: &str| only.is_none_or(|only| job.contains(only));
    let mut rows = Vec::new();
    for &count in clients {
        if wanted(LOCK) {
            let etcd = etcd::start()?;
            rows.push(
                measure(LOCK, "etcd", count, span, async |index| {
                    etcd::Locks::connect(&etcd, index).await
                })
                .await?,
            );
            drop(etcd);
            let redis = redis::start()?;
            rows.push(
                measure(LOCK, "redis (always)", count, span, async |index| {
                    redis::Locks::connect(&redis, index).await
                })
                .await?,
            );
            drop(redis);
            let server = willow::start(program)?;
            rows.push(
                measure(LOCK, WILLOW, count, span, async |index| {
                    willow::Locks::connect(&server, index).await
                })
                .await?,
            );
        }
        if wanted(QUEUE) {
            let redis = redis::start()?;
            rows.push(
                measure(
                    QUEUE,
                    "redis streams (always)",
                    count,
                    span,
                    async |index| redis::Stream::connect(&redis, index, PAYLOAD).await,
                )
                .await?,
            );
            drop(redis);
            let beanstalkd = beanstalkd::start()?;
            rows.push(
                measure(QUEUE, "beanstalkd (-f0)", count, span, async |index| {
                    beanstalkd::Tube::connect(&beanstalkd, index, PAYLOAD).await
                })
                .await?,
            );
            drop(beanstalkd);
            let server = willow::start(program)?;
            willow::create_queue(&server).await?;
            rows.push(
                measure(QUEUE, WILLOW, count, span, async |index| {
                    willow::Queue::connect(&server, index, PAYLOAD).await
                })
                .await?,
            );
        }
        if wanted(LIMIT) {
            let server = willow::start(program)?;
            rows.push(
                measure(LIMIT, "willow, no rules", count, span, async |index| {
                    willow::Counters::connect(&server, index).await
                })
                .await?,
            );
            willow::create_rules(&server, 100, 100).await?;
            rows.push(
                measure(LIMIT, WILLOW_RULES, count, span, async |index| {
                    willow::Counters::connect(&server, index).await
                })
                .await?,
            );
        }
        if wanted(BATCHES) {
            let server = willow::start(program)?;
            willow::create_queue(&server).await?;
            let mut row = measure(BATCHES, WILLOW, count.min(4), span, async |index| {
                willow::Batches::connect(&server, index, PAYLOAD).await
            })
            .await?;
            row.items = willow::BATCH;
            rows.push(row);
        }
    }
    crate::print(&table(&rows));
    Ok(())
}

const LOCK: &str = "lock + unlock";
const QUEUE: &str = "enqueue + dequeue + ack";
const LIMIT: &str = "increment + decrement";
const BATCHES: &str = "enqueue in batches of 1000";
const WILLOW: &str = "willow";
const WILLOW_RULES: &str = "willow, 100 rules x 100 overrides";

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
    Ok(Row {
        job,
        server,
        report,
        items: 1,
    })
}

/// Ratios are Willow's rate over the row's, within one job and one number of clients.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header([
        "job",
        "clients",
        "server",
        "per second",
        "p50 ms",
        "p99 ms",
        "willow is",
    ]);
    for row in rows {
        let same =
            |other: &&Row| other.job == row.job && other.report.clients == row.report.clients;
        // The last row of a group is the one that all others are compared with.
        let willow = rows
            .iter()
            .rfind(same)
            .map_or(row.report.per_second, |row| row.report.per_second);
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
