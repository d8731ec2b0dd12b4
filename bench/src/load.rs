//! Closed-loop load: each client repeats one cycle as fast as replies come.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

/// What one client does over and over.
pub(crate) trait Client: Send + 'static {
    /// One cycle; every write in it is acknowledged before it returns.
    fn cycle(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// How a run went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) clients: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// How long to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Runs `clients` until the span is over. The first error of any client fails the run.
pub(crate) async fn run<C: Client>(label: &str, clients: Vec<C>, span: Span) -> anyhow::Result<Report> {
    let count = clients.len();
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now() + span.warm_up;
    let end = start + span.measured;
    let tasks: Vec<_> =
        clients.into_iter().map(|client| tokio::spawn(drive(client, start, end, Arc::clone(&done)))).collect();
    let progress = tokio::spawn(show(format!("{label}, {count} client(s)"), Arc::clone(&done), span));
    let mut all = histogram()?;
    for task in tasks {
        all += task.await?.with_context(|| format!("{label}, {count} client(s)"))?;
    }
    progress.abort();
    Ok(Report {
        clients: count,
        per_second: all.len() as f64 / span.measured.as_secs_f64(),
        p50_us: all.value_at_quantile(0.5),
        p99_us: all.value_at_quantile(0.99),
    })
}

async fn drive<C: Client>(
    mut client: C,
    start: Instant,
    end: Instant,
    done: Arc<AtomicU64>,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = histogram()?;
    loop {
        let began = Instant::now();
        if began >= end {
            return Ok(latencies);
        }
        client.cycle().await?;
        let now = Instant::now();
        done.fetch_add(1, Ordering::Relaxed);
        if began >= start && now <= end {
            latencies.saturating_record(u64::try_from((now - began).as_micros()).unwrap_or(u64::MAX));
        }
    }
}

/// Microseconds, three digits, up to a minute.
fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

async fn show(label: String, done: Arc<AtomicU64>, span: Span) {
    let style = ProgressStyle::with_template("{bar:30} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    let total = span.warm_up + span.measured;
    let bar = ProgressBar::new(total.as_millis() as u64).with_style(style);
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let elapsed = began.elapsed();
        let rate = done.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64();
        bar.set_message(format!("{label}: {rate:.0}/s"));
        bar.set_position(elapsed.as_millis() as u64);
        if elapsed >= total {
            bar.finish_and_clear();
            return;
        }
    }
}
