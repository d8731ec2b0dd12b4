//! One scrape: the server's metrics, then what node and queues say at this moment.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use willow_api::Consistency;
use willow_core::queue::Counts;
use willow_node::{Health, Histogram, Stats};

use crate::{app::App, reply::Failure};

/// The content type of [`scrape`]'s text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Pages of queues summed up in one scrape, 1000 queues each: bounds how long applies wait for it.
const QUEUE_PAGES: usize = 10;

/// Everything, as OpenMetrics text.
pub(crate) async fn scrape(app: &App) -> Result<String, Failure> {
    let moment = Moment {
        stats: app.backend.stats(),
        ready: matches!(app.backend.health(), Health::Ready),
        queues: queue_totals(app).await?,
    };
    let mut registry = Registry::with_prefix("willow");
    registry.register_collector(Box::new(moment));
    let mut out = String::with_capacity(16 * 1024);
    let written = text::encode_registry(&mut out, &app.metrics.registry)
        .and_then(|()| text::encode_registry(&mut out, &registry))
        .and_then(|()| text::encode_eof(&mut out));
    written.map_err(|error| Failure::unexpected(&error))?;
    Ok(out)
}

/// Queues, and what they hold together.
#[derive(Clone, Copy, Debug, Default)]
struct QueueTotals {
    queues: u64,
    channels: u64,
    counts: Counts,
    dead: u64,
    consumers: u64,
}

async fn queue_totals(app: &App) -> Result<QueueTotals, Failure> {
    let mut totals = QueueTotals::default();
    let mut query = willow_query::Query { limit: willow_model::limits::PAGE_LIMIT, ..Default::default() };
    for _ in 0..QUEUE_PAGES {
        let page =
            app.read(Consistency::Stale, |machine, lookup| machine.queues().query_queues(&query, lookup)).await?;
        let page = page.map_err(|error| Failure::unexpected(&error))?;
        for queue in page.items {
            totals.queues += 1;
            totals.channels += queue.channels;
            totals.counts.waiting += queue.counts.waiting;
            totals.counts.delayed += queue.counts.delayed;
            totals.counts.in_flight += queue.counts.in_flight;
            totals.dead += queue.dead_letters;
            totals.consumers += queue.consumers_waiting;
        }
        match page.next_page_token {
            Some(token) => query.page_token = Some(token),
            None => break,
        }
    }
    Ok(totals)
}

/// What node and queues say at one moment.
#[derive(Debug)]
struct Moment {
    stats: Stats,
    ready: bool,
    queues: QueueTotals,
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self { stats, ready, queues } = self;
        let mut out = Out(&mut encoder);
        out.gauge("node_ready", "1 when the node takes writes", u64::from(*ready))?;
        out.gauge("node_applied_index", "Index of the last log entry applied", stats.applied_index)?;
        out.counter("node_commands", "Commands applied", stats.commands)?;
        out.histogram("node_batch_commands", "Commands of each batch", None, &stats.batch_commands, 1.0)?;
        let seconds = Some(&Unit::Seconds);
        out.histogram("node_durable", "From proposing a batch until it was on disk", seconds, &stats.durable_us, 1e6)?;
        out.histogram("node_apply", "From being on disk until a batch was answered", seconds, &stats.apply_us, 1e6)?;
        out.gauge("node_queue_depth", "Commands waiting to be proposed", stats.queue_depth)?;
        out.gauge("node_waiters", "Callers waiting for a wait to end", stats.waiters)?;
        out.counter("node_overloaded", "Proposals refused, too many being queued", stats.overloaded)?;
        out.counter("node_snapshots", "Snapshots written", stats.snapshots)?;
        out.counter("node_snapshots_failed", "Snapshots that could not be written", stats.snapshots_failed)?;
        out.gauge("node_snapshot_bytes", "Bytes of the last snapshot", stats.snapshot_bytes)?;
        out.gauge("node_log_bytes", "Bytes of log since the last snapshot", stats.log_bytes)?;
        out.gauge("queues", "Queues", queues.queues)?;
        out.gauge("queue_channels", "Channels of all queues", queues.channels)?;
        out.gauge("queue_consumers_waiting", "Consumers waiting for an item", queues.consumers)?;
        let by_state = [
            ("waiting", queues.counts.waiting),
            ("delayed", queues.counts.delayed),
            ("in_flight", queues.counts.in_flight),
            ("dead", queues.dead),
        ];
        out.states("queue_items", "Items of all queues, by state", &by_state)
    }
}

/// Writes single metrics.
struct Out<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Out<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    /// What was observed comes in parts, so many to a unit. They are divided, not multiplied by a fraction: the
    /// bound 50 µs is then written as 0.00005, not 0.000049999999999999999.
    fn histogram(&mut self, name: &str, help: &str, unit: Option<&Unit>, from: &Histogram, parts: f64) -> fmt::Result {
        let bounds = from.bounds.iter().map(|bound| *bound as f64 / parts).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(from.buckets.iter().copied()).collect();
        let mut encoder: MetricEncoder<'_> = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        encoder.encode_histogram::<NoLabelSet>(from.sum as f64 / parts, from.count(), &buckets, None)
    }

    fn states(&mut self, name: &str, help: &str, by_state: &[(&str, u64)]) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (state, value) in by_state {
            let labels = [("state", *state)];
            ConstGauge::new(*value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
