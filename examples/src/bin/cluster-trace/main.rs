//! A cluster's pods through the queue: every pod an item, every node a consumer.
//!
//! ```text
//!  pods.csv ─ in trace order, time compressed ─► queue `pods`, a channel per shape of pod
//!                                                     │  limits: GPUs in flight per model
//!  nodes.csv ─ one consumer each ──── dequeue ◄───────┘  (weight = GPUs), overrides for LS pods
//!              query: what still fits; tolerations: what it may run
//! ```
//! From its own records the program then proves that every pod was acknowledged exactly once, and that
//! at no instant more GPUs of a model were in flight than its limits allow, or than the nodes have.

mod node;
mod plot;
mod report;
mod trace;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use willow_api::{
    Id,
    channel::{PatchMetadataRequest, Taint},
    item::{EnqueueBatchRequest, EnqueueResult, NewItem, RawJson, TaintEffect},
    limiter::{CreateOverrideRequest, CreateRuleRequest, Limit},
    queue::CreateQueueRequest,
};
use willow_client::Client;
use willow_examples::{
    print,
    server::{self, Server},
};
use willow_model::{KeyValues, Origin};
use willow_query::Query;

use node::{Node, Placed};
use trace::{Cluster, Pod, shares};

pub(crate) const QUEUE: &str = "pods";
/// Taint of channels whose pods need a GPU.
pub(crate) const GPU_TAINT: &str = "gpu";

#[derive(Parser)]
#[command(about = "Runs a cluster trace through the queue under limits, and checks from outside that they held")]
struct Args {
    /// Pods, as in the Alibaba trace gpu-v2023
    #[arg(long)]
    pods: PathBuf,
    /// Nodes, as in the same trace
    #[arg(long)]
    nodes: PathBuf,
    /// How long the arrivals of the whole trace take, seconds
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// What a second of a pod's life lasts, ms
    #[arg(long, default_value_t = 5.0)]
    ms_per_second: f64,
    /// No pod runs longer than this, ms
    #[arg(long, default_value_t = 10_000)]
    longest_ms: u64,
    /// Percent of a model's GPUs that latency-sensitive pods may use; the others have the rest
    #[arg(long, default_value_t = 60)]
    latency_sensitive_percent: u64,
    /// Where to write the plot
    #[arg(long, default_value = "target/cluster-trace.svg")]
    plot: PathBuf,
    #[command(flatten)]
    server: server::Arguments,
}

/// What all tasks share.
pub(crate) struct Run {
    pub(crate) client: Client,
    pub(crate) began: Instant,
    pub(crate) placed: Mutex<Vec<Placed>>,
    pub(crate) left: AtomicUsize,
    pub(crate) failed: AtomicBool,
    pub(crate) progress: ProgressBar,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    for file in [&args.pods, &args.nodes] {
        ensure!(file.exists(), "{} is not there: pass the trace with --pods and --nodes", file.display());
    }
    let cluster = Cluster::read(&args.pods, &args.nodes, args.latency_sensitive_percent)?;
    eprintln!("{} pods, {} nodes, GPUs by model: {:?}", cluster.pods.len(), cluster.nodes.len(), cluster.gpus);

    let server = Server::start(&args.server)?;
    let client = server.client()?;
    client.queues().create(&CreateQueueRequest::new(QUEUE)).await?;
    let limits = create_limits(&client, &cluster.gpus, args.latency_sensitive_percent).await?;

    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pods done, {msg}")?;
    let run = Arc::new(Run {
        client,
        began: Instant::now(),
        placed: Mutex::new(Vec::new()),
        left: AtomicUsize::new(cluster.pods.len()),
        failed: AtomicBool::new(false),
        progress: ProgressBar::new(cluster.pods.len() as u64).with_style(style),
    });
    let mut tasks = JoinSet::new();
    for node in &cluster.nodes {
        tasks.spawn(Node::new(node.clone(), Arc::clone(&run), args.ms_per_second, args.longest_ms).run());
    }
    let samples = tokio::spawn(report::sample_counters(Arc::clone(&run)));
    let enqueued = arrive(&run, &cluster.pods, args.seconds).await?;
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    run.progress.finish_and_clear();
    let seen_by_server = samples.await??;

    let placed = std::mem::take(&mut *run.placed.lock().map_err(|_| anyhow::anyhow!("a node panicked"))?);
    check_exactly_once(&cluster.pods, &placed)?;
    let spans = report::spans(&cluster.pods, &placed, &enqueued)?;
    report::check_limits(&spans, &limits, &cluster.gpus, &seen_by_server)?;
    check_empty(&run.client).await?;
    print(report::table(&spans, &limits, &cluster.gpus));
    plot::draw(&args.plot, &report::by_model(&spans), &cluster.gpus)?;
    print(format_args!(
        "checked: {} pods acknowledged exactly once, no limit exceeded at any instant ({:.1} s); plot: {}",
        placed.len(),
        run.began.elapsed().as_secs_f64(),
        args.plot.display()
    ));
    Ok(())
}

/// Limits by (model, latency-sensitive?).
pub(crate) type Limits = BTreeMap<(String, bool), u64>;

/// A rule per model, with an override for latency-sensitive pods; together they are what the nodes have.
async fn create_limits(client: &Client, gpus: &BTreeMap<String, u64>, percent: u64) -> anyhow::Result<Limits> {
    let mut limits = Limits::new();
    for (model, &count) in gpus {
        let (sensitive, others) = shares(count, percent);
        let key_values = format!("_willow_queue_name={QUEUE} gpu_model={model}");
        let rule = format!("gpus-{model}");
        let pattern = KeyValues::parse(Origin::Pattern, &key_values)?;
        client.rules().create(&CreateRuleRequest::new(&rule, pattern, Limit::At(others))).await?;
        let pattern = KeyValues::parse(Origin::Pattern, &format!("{key_values} qos=LS"))?;
        let narrower = CreateOverrideRequest::new("latency-sensitive", pattern, Limit::At(sensitive));
        client.overrides(&rule).create(&narrower).await?;
        limits.extend([((model.clone(), true), sensitive), ((model.clone(), false), others)]);
    }
    Ok(limits)
}

/// Enqueues the pods in trace order; returns when each was.
async fn arrive(run: &Run, pods: &[Pod], seconds: f64) -> anyhow::Result<Vec<Duration>> {
    let last = pods.last().map_or(1, |pod| pod.created).max(1) as f64;
    let due = |pod: &Pod| Duration::from_secs_f64(seconds * pod.created as f64 / last);
    let mut enqueued = Vec::with_capacity(pods.len());
    let mut tainted = BTreeSet::new();
    let mut next = 0;
    while next < pods.len() && !run.failed.load(Ordering::Relaxed) {
        tokio::time::sleep_until((run.began + due(&pods[next])).into()).await;
        let now = run.began.elapsed();
        let ready = pods[next..].iter().take(500).take_while(|pod| due(pod) <= now).count().max(1);
        let batch = &pods[next..next + ready];
        enqueued.extend(batch.iter().map(|_| now));
        for (pod, channel) in batch.iter().zip(enqueue(run, batch).await?) {
            if pod.gpus > 0 && tainted.insert(channel) {
                taint(run, channel).await?;
            }
        }
        next += ready;
    }
    Ok(enqueued)
}

async fn enqueue(run: &Run, pods: &[Pod]) -> anyhow::Result<Vec<Id>> {
    let item = |pod: &Pod| {
        let mut item = NewItem::new(pod.key_values()?);
        item.data = Some(RawJson::of(&serde_json::json!({"name": pod.name, "seconds": pod.seconds}))?);
        item.weight = Some(u32::try_from(pod.gpus.max(1))?);
        item.priority = Some(i32::from(pod.latency_sensitive()));
        anyhow::Ok(item)
    };
    let items = pods.iter().map(item).collect::<anyhow::Result<_>>()?;
    let request = EnqueueBatchRequest { items, request_id: None };
    let reply = run.client.queue(QUEUE).items().enqueue_batch(&request).await?;
    let channel = |result| match result {
        EnqueueResult::Added(added) => Ok(added.channel),
        EnqueueResult::Refused(refused) => bail!("a pod was refused: {}", refused.error),
    };
    reply.results.into_iter().map(channel).collect()
}

/// Keeps nodes without a GPU away. A pod that is gone by now has taken its channel along: no harm.
async fn taint(run: &Run, channel: Id) -> anyhow::Result<()> {
    let taint = Taint { key: GPU_TAINT.into(), value: String::new(), effect: TaintEffect::NoSchedule };
    let request = PatchMetadataRequest { taints: Some(vec![taint]), ..PatchMetadataRequest::default() };
    match run.client.queue(QUEUE).channels().patch_metadata(channel, &request, None).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(willow_api::ErrorCode::ChannelNotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn check_exactly_once(pods: &[Pod], placed: &[Placed]) -> anyhow::Result<()> {
    let mut wanted: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    let mut acked: Vec<&str> = placed.iter().map(|placed| placed.pod.as_str()).collect();
    wanted.sort_unstable();
    acked.sort_unstable();
    ensure!(wanted == acked, "not every pod was acknowledged exactly once");
    Ok(())
}

/// Nothing is left in the queue or counted under a limit.
async fn check_empty(client: &Client) -> anyhow::Result<()> {
    let queue = client.queue(QUEUE).get().await?;
    let items = queue.counts.waiting + queue.counts.delayed + queue.counts.in_flight + queue.dead_letters;
    ensure!(items == 0, "{items} items are left in the queue");
    let counters = client.counters().query_all(Query::default()).collect().await?;
    ensure!(counters.is_empty(), "{} counters still count something", counters.len());
    Ok(())
}
