//! What a restart and a row cost.

use std::time::{Duration, Instant};

use anyhow::ensure;
use comfy_table::Table;
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use willow_api::{
    item::{EnqueueBatchRequest, NewItem, RawJson},
    limiter::SetCounterRequest,
    lock::{AcquireRequest, CreateSessionRequest, LockSpec},
};
use willow_client::Client;
use willow_harness::Server;

use crate::willow;

/// Calls under way at once while filling.
const FILLERS: u64 = 128;

/// Fills a server with counters, kills it, and times the way back to the first answer.
pub(crate) async fn run(program: &str, counters: u64) -> anyhow::Result<()> {
    let mut server = Server::willow(program)?;
    fill(&server, counters, "counters", |client, index| async move {
        let key_values = willow::key_values(&counter(index))?.into();
        client.counters().set(&SetCounterRequest { key_values, amount: 1, request_id: None }).await?;
        Ok(())
    })
    .await?;
    let resident = server.resident_bytes()?;
    let began = Instant::now();
    server.restart()?;
    let client = willow::client(&server)?;
    // The port opens before the log is replayed or after: what counts is the first right answer.
    let query = "count limit 1".parse::<willow_query::Query>()?;
    let total = loop {
        match client.counters().query(&query).await {
            Ok(page) => break page.count.map_or(0, |count| count.total),
            Err(error) if error.retryable() && began.elapsed() < Duration::from_secs(120) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let elapsed = began.elapsed();
    ensure!(total == counters, "{total} of {counters} counters came back");
    let mut table = Table::new();
    table.set_header(["counters", "kill -9 to first answer", "resident before", "resident after"]);
    table.add_row([
        counters.to_string(),
        format!("{:.2} s", elapsed.as_secs_f64()),
        mib(resident),
        mib(server.resident_bytes()?),
    ]);
    crate::print(&table);
    Ok(())
}

/// Fills a fresh server with rows of one kind and divides what its memory grew by their number.
pub(crate) async fn memory(program: &str, count: u64) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.set_header(["row", "count", "bytes each (resident)"]);
    for kind in ["lock", "counter of three pairs", "waiting item"] {
        let server = Server::willow(program)?;
        willow::create_queue(&server).await?;
        let before = server.resident_bytes()?;
        match kind {
            "lock" => locks(&server, count).await?,
            "waiting item" => items(&server, count).await?,
            _ => {
                fill(&server, count, kind, |client, index| async move {
                    let key_values = willow::key_values(&counter(index))?.into();
                    client.counters().set(&SetCounterRequest { key_values, amount: 1, request_id: None }).await?;
                    Ok(())
                })
                .await?;
            }
        }
        let each = server.resident_bytes()?.saturating_sub(before) / count.max(1);
        table.add_row([kind.to_owned(), count.to_string(), each.to_string()]);
    }
    crate::print(&table);
    Ok(())
}

/// A counter of three pairs, as a CI system has them.
fn counter(index: u64) -> String {
    format!(
        "repo=repo-{} branch=branch-{} os={}",
        index / 1000,
        index % 1000,
        ["linux", "mac", "windows"][(index % 3) as usize]
    )
}

async fn locks(server: &Server, count: u64) -> anyhow::Result<()> {
    /// Locks of one call, and calls of one session.
    const AT_ONCE: u64 = 50;
    fill(server, count / AT_ONCE, "locks, 50 a call", |client, call| async move {
        let session = CreateSessionRequest { ttl_ms: Some(3_600_000), ..CreateSessionRequest::default() };
        let session = client.sessions().create(&session).await?.session;
        let spec = |index: u64| {
            let key_values = willow::key_values(&counter(call * AT_ONCE + index))?.into();
            anyhow::Ok(LockSpec { key_values, mode: None, permits: None, max_permits: None })
        };
        let locks = Some((0..AT_ONCE).map(spec).collect::<anyhow::Result<_>>()?);
        client.locks().acquire(&AcquireRequest { locks, session: Some(session), ..AcquireRequest::default() }).await?;
        Ok(())
    })
    .await
}

async fn items(server: &Server, count: u64) -> anyhow::Result<()> {
    /// Items of one call.
    const AT_ONCE: u64 = 100;
    fill(server, count / AT_ONCE, "items, 100 a call", |client, call| async move {
        let item = |index: u64| {
            let mut item = NewItem::new(willow::key_values(&counter((call * AT_ONCE + index) / 10))?);
            item.data = Some(RawJson::of(&format!("payload-{call}-{index}"))?);
            anyhow::Ok(item)
        };
        let items = (0..AT_ONCE).map(item).collect::<anyhow::Result<_>>()?;
        client.queue(willow::QUEUE).items().enqueue_batch(&EnqueueBatchRequest { items, request_id: None }).await?;
        Ok(())
    })
    .await
}

/// Makes `calls` calls, [`FILLERS`] at once, with progress.
async fn fill<F>(
    server: &Server,
    calls: u64,
    what: &'static str,
    call: impl Fn(Client, u64) -> F + Clone + Send + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let progress = ProgressBar::new(calls).with_message(what);
    let client = willow::client(server)?;
    let mut fillers = JoinSet::new();
    for filler in 0..FILLERS {
        let (client, call, progress) = (client.clone(), call.clone(), progress.clone());
        fillers.spawn(async move {
            for index in (filler..calls).step_by(FILLERS as usize) {
                call(client.clone(), index).await?;
                progress.inc(1);
            }
            anyhow::Ok(())
        });
    }
    while let Some(filler) = fillers.join_next().await {
        filler??;
    }
    progress.finish_and_clear();
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
