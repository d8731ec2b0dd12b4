//! `willow bench`: closed-loop load on a server, its own unless told which, with live progress and percentiles.

use std::{
    io::IsTerminal as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde::Serialize;
use tokio::task::JoinSet;
use willow_api::{
    ErrorCode,
    item::{DequeueRequest, EnqueueBatchRequest, LeaseRequest, NewItem, RawJson},
    limiter::{DecrementRequest, IncrementRequest},
    lock::{AcquireRequest, CreateSessionRequest, HeldLockRequest},
    queue::CreateQueueRequest,
};
use willow_client::{Client, Options};
use willow_model::{KeyValues, Origin};
use willow_query::Query;

use crate::{
    args::duration,
    embedded::Embedded,
    failure::Failure,
    output::Output,
    server::{self, LogFormat},
};

/// The queue that is filled and emptied.
const QUEUE: &str = "willow-bench";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Lock + unlock
    Lock,
    /// Increment + decrement
    Counter,
    /// Enqueue + dequeue + ack
    Queue,
    /// Enqueue 100 at once, dequeue and ack them
    Batch,
}

impl Work {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Items of one cycle, where there are any.
    fn items(self) -> Option<u32> {
        match self {
            Self::Lock | Self::Counter => None,
            Self::Queue => Some(1),
            Self::Batch => Some(100),
        }
    }
}

/// Shorter runs say nothing.
const SHORTEST: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to do, in turn; all when absent
    #[arg(value_enum)]
    work: Vec<Work>,
    /// Concurrent clients
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// How long each
    #[arg(long, value_parser = duration, default_value = "5s")]
    duration: Duration,
}

/// One row of the result.
#[derive(Debug, Serialize)]
struct Row {
    work: String,
    clients: usize,
    per_second: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    items_per_second: Option<u64>,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    max_us: u64,
}

const ROWS: crate::output::Columns =
    &["work", "clients", "per_second", "items_per_second", "p50_us", "p90_us", "p99_us", "max_us"];

/// Measures `server`, or without one a server of its own.
pub(crate) async fn run(
    server: Option<&str>,
    options: Options,
    arguments: Arguments,
    output: &Output,
) -> Result<(), Failure> {
    if arguments.duration < SHORTEST {
        return Err(Failure::usage("--duration must be at least 100ms"));
    }
    let shutdown = server::shutdown()?;
    let (url, own) = match server {
        Some(url) => (url.to_owned(), None),
        None => {
            server::log(LogFormat::Text, "error");
            let own = Embedded::start("willow-bench-").await?;
            eprintln!(
                "no --server given: measuring one in this process, its data in {} until the end",
                own.data_dir().display()
            );
            (own.url().to_owned(), Some(own))
        }
    };
    let client = Client::with_options(&url, options)?;
    let rows = tokio::select! {
        rows = rows(&client, arguments) => rows,
        () = shutdown => Err(Failure::Other(anyhow::anyhow!("interrupted"))),
    };
    let deleted = client.queue(QUEUE).delete(None).await;
    if let Some(own) = own {
        own.stop().await?;
    }
    let rows = rows?;
    deleted?;
    output.list(&rows, ROWS)
}

async fn rows(client: &Client, arguments: Arguments) -> Result<Vec<Row>, Failure> {
    let all = [Work::Lock, Work::Counter, Work::Queue, Work::Batch];
    let work = if arguments.work.is_empty() { all.to_vec() } else { arguments.work };
    match client.queues().create(&CreateQueueRequest::new(QUEUE)).await {
        Ok(_) => {}
        Err(error) if error.code() == Some(ErrorCode::AlreadyExists) => {}
        Err(error) => return Err(error.into()),
    }
    let mut rows = Vec::new();
    for work in work {
        rows.push(measure(client, work, arguments.clients.max(1), arguments.duration).await?);
    }
    Ok(rows)
}

async fn measure(client: &Client, work: Work, clients: usize, duration: Duration) -> anyhow::Result<Row> {
    let done = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + duration;
    let mut tasks = JoinSet::new();
    for index in 0..clients {
        let (client, done) = (client.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            let worker = Worker::new(client, work, index).await?;
            let mut latencies = histogram()?;
            while Instant::now() < end {
                let began = Instant::now();
                worker.cycle().await?;
                done.fetch_add(1, Ordering::Relaxed);
                latencies.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            worker.end().await?;
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = histogram()?;
    let working = async {
        while let Some(task) = tasks.join_next().await {
            latencies += task??;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        worked = working => worked?,
        () = show(work, clients, done, duration) => {}
    }
    let per_second = (latencies.len() as f64 / duration.as_secs_f64()) as u64;
    Ok(Row {
        work: work.name(),
        clients,
        per_second,
        items_per_second: work.items().map(|items| per_second * u64::from(items)),
        p50_us: latencies.value_at_quantile(0.5),
        p90_us: latencies.value_at_quantile(0.9),
        p99_us: latencies.value_at_quantile(0.99),
        max_us: latencies.max(),
    })
}

/// A bar on a terminal, a line a second elsewhere; never ends.
async fn show(work: Work, clients: usize, done: Arc<AtomicU64>, duration: Duration) {
    let style = ProgressStyle::with_template("{bar:30} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    // Cleared when dropped.
    let bar = ProgressBar::new(duration.as_millis() as u64).with_style(style).with_finish(ProgressFinish::AndClear);
    let terminal = std::io::stderr().is_terminal();
    let every = Duration::from_millis(if terminal { 200 } else { 1000 });
    let began = Instant::now();
    let mut before = 0;
    loop {
        tokio::time::sleep(every).await;
        let now = done.load(Ordering::Relaxed);
        let rate = (now - before) as f64 / every.as_secs_f64();
        before = now;
        let (rate, unit) = match work.items() {
            Some(items) => (rate * f64::from(items), " items"),
            None => (rate, ""),
        };
        let line = format!("{}, {clients} clients: {rate:.0}{unit}/s", work.name());
        if terminal {
            bar.set_message(line);
            bar.set_position(began.elapsed().as_millis() as u64);
        } else {
            eprintln!("{:>3} s  {line}", began.elapsed().as_secs());
        }
    }
}

/// Microseconds, three digits, up to a minute.
fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

/// One client at work on rows of its own.
struct Worker {
    client: Client,
    work: Work,
    key_values: KeyValues,
    session: Option<willow_api::keys::SessionId>,
    query: Query,
}

impl Worker {
    async fn new(client: Client, work: Work, index: usize) -> anyhow::Result<Self> {
        let key_values = KeyValues::parse(Origin::User, &format!("bench={work:?} client={index}"))?;
        let session = match work {
            Work::Lock => {
                let request = CreateSessionRequest { ttl_ms: Some(600_000), ..CreateSessionRequest::default() };
                Some(client.sessions().create(&request).await?.session)
            }
            Work::Counter | Work::Queue | Work::Batch => None,
        };
        let query = format!("bench = {:?} and client = {index}", format!("{work:?}")).parse()?;
        Ok(Self { client, work, key_values, session, query })
    }

    async fn cycle(&self) -> anyhow::Result<()> {
        match self.work {
            Work::Lock => self.lock().await,
            Work::Counter => self.count().await,
            Work::Queue | Work::Batch => self.pass_on(self.work.items().unwrap_or(1)).await,
        }
    }

    /// Leaves nothing behind on a server that goes on.
    async fn end(&self) -> anyhow::Result<()> {
        if let Some(session) = self.session {
            self.client.sessions().end(session).await?;
        }
        Ok(())
    }

    async fn lock(&self) -> anyhow::Result<()> {
        let request = AcquireRequest {
            key_values: Some(self.key_values.clone().into()),
            session: self.session,
            ..AcquireRequest::default()
        };
        let held = self.client.locks().acquire(&request).await?;
        let grant = held.locks.first().context("one lock was asked for")?;
        let request = HeldLockRequest { session: held.session, token: Some(grant.token), request_id: None };
        self.client.locks().release(grant.lock, &request).await?;
        Ok(())
    }

    async fn count(&self) -> anyhow::Result<()> {
        let key_values = || self.key_values.clone().into();
        let counters = self.client.counters();
        let request =
            IncrementRequest { key_values: key_values(), amount: None, hold: None, wait_ms: None, request_id: None };
        counters.increment(&request).await?;
        counters.decrement(&DecrementRequest { key_values: key_values(), amount: None, request_id: None }).await?;
        Ok(())
    }

    async fn pass_on(&self, items: u32) -> anyhow::Result<()> {
        let queue = self.client.queue(QUEUE).items();
        let mut item = NewItem::new(self.key_values.clone());
        item.data = Some(RawJson::of(&"x".repeat(100))?);
        if items == 1 {
            queue.enqueue(&item.into_request(None)).await?;
        } else {
            let items = vec![item; items as usize];
            queue.enqueue_batch(&EnqueueBatchRequest { items, request_id: None }).await?;
        }
        let request = DequeueRequest {
            query: Some(self.query.clone().into()),
            max_items: Some(items),
            ..DequeueRequest::default()
        };
        let taken = queue.dequeue(&request).await?.items;
        anyhow::ensure!(taken.len() == items as usize, "{} items came back of {items}", taken.len());
        if let [delivery] = &*taken {
            let request = LeaseRequest { lease_token: delivery.lease_token, request_id: None };
            queue.ack(delivery.item, &request).await?;
        } else {
            let delivered = taken
                .iter()
                .map(|delivery| willow_api::item::Delivered { item: delivery.item, lease_token: delivery.lease_token });
            let request = willow_api::item::AckBatchRequest { items: delivered.collect(), request_id: None };
            queue.ack_batch(&request).await?;
        }
        Ok(())
    }
}
