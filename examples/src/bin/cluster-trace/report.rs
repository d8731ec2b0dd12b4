//! What the run showed, and the checks on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, ensure};
use comfy_table::{CellAlignment, Table};
use willow_examples::timeline::{Span, peaks};
use willow_model::ValueRef;
use willow_query::Query;

use crate::{Limits, Run, node::Placed, trace::Pod};

/// Pods without a GPU, in tables and plots.
pub(crate) const NO_GPU: &str = "no GPU";

/// A pod's time, and what it falls under.
#[derive(Clone, Debug)]
pub(crate) struct PodSpan {
    model: Option<String>,
    latency_sensitive: bool,
    node: String,
    span: Span,
}

/// Joins pods, arrivals and placements.
pub(crate) fn spans(pods: &[Pod], placed: &[Placed], enqueued: &[Duration]) -> anyhow::Result<Vec<PodSpan>> {
    let placed: BTreeMap<&str, &Placed> = placed.iter().map(|placed| (placed.pod.as_str(), placed)).collect();
    let span = |(pod, enqueued): (&Pod, &Duration)| {
        let placed = placed.get(pod.name.as_str()).with_context(|| format!("{} did not run", pod.name))?;
        Ok(PodSpan {
            model: pod.gpu_model.clone(),
            latency_sensitive: pod.latency_sensitive(),
            node: placed.node.clone(),
            span: Span {
                group: pod.gpu_model.clone().unwrap_or_else(|| NO_GPU.into()),
                weight: pod.gpus.max(1),
                enqueued: *enqueued,
                started: placed.started,
                ended: placed.ended,
            },
        })
    };
    pods.iter().zip(enqueued).map(span).collect()
}

/// By model alone, for the plot.
pub(crate) fn by_model(spans: &[PodSpan]) -> Vec<Span> {
    spans.iter().map(|pod| pod.span.clone()).collect()
}

/// GPUs in flight by (model, latency-sensitive?), the most at any instant.
fn peaks_by_limit(spans: &[PodSpan]) -> BTreeMap<(String, bool), u64> {
    let mut groups: BTreeMap<(String, bool), Vec<Span>> = BTreeMap::new();
    for pod in spans {
        if let Some(model) = &pod.model {
            groups.entry((model.clone(), pod.latency_sensitive)).or_default().push(pod.span.clone());
        }
    }
    groups.into_iter().map(|(group, spans)| (group, peaks(&spans).into_values().max().unwrap_or(0))).collect()
}

/// Never above a limit, never above what the nodes have: by the nodes' records, and by what the server's
/// own counters said while it ran.
pub(crate) fn check_limits(
    spans: &[PodSpan],
    limits: &Limits,
    gpus: &BTreeMap<String, u64>,
    seen_by_server: &BTreeMap<(String, bool), u64>,
) -> anyhow::Result<()> {
    for source in [&peaks_by_limit(spans), seen_by_server] {
        for ((model, sensitive), peak) in source {
            let limit = limits[&(model.clone(), *sensitive)];
            ensure!(*peak <= limit, "{peak} GPUs of {model} in flight, of {limit} (latency-sensitive: {sensitive})");
        }
    }
    for (model, peak) in peaks(&by_model(spans)) {
        let has = gpus.get(model).copied().unwrap_or(u64::MAX);
        ensure!(peak <= has, "{peak} GPUs of {model} in flight, the nodes have {has}");
    }
    Ok(())
}

/// Asks the server for its counters as fast as it answers; returns the most seen, by model and kind.
pub(crate) async fn sample_counters(run: Arc<Run>) -> anyhow::Result<BTreeMap<(String, bool), u64>> {
    let mut most: BTreeMap<(String, bool), u64> = BTreeMap::new();
    let query: Query = "gpu_model exists limit 1000".parse()?;
    while run.left.load(Ordering::Relaxed) > 0 && !run.failed.load(Ordering::Relaxed) {
        // One page is one moment of the server's state; there are fewer channels than a page holds.
        let page = run.client.counters().query(&query).await?;
        ensure!(page.next_page_token.is_none(), "the counters do not fit on one page");
        let mut now: BTreeMap<(String, bool), u64> = BTreeMap::new();
        for counter in page.items {
            let (Some(ValueRef::String(model)), qos) =
                (counter.key_values.get("gpu_model"), counter.key_values.get("qos"))
            else {
                continue;
            };
            let sensitive = qos == Some(ValueRef::String("LS"));
            *now.entry((model.to_owned(), sensitive)).or_default() += counter.amount;
        }
        for (group, amount) in now {
            let peak = most.entry(group).or_default();
            *peak = (*peak).max(amount);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(most)
}

/// One row per model.
pub(crate) fn table(spans: &[PodSpan], limits: &Limits, gpus: &BTreeMap<String, u64>) -> Table {
    let peaks = peaks_by_limit(spans);
    let mut groups: BTreeMap<&str, Vec<&PodSpan>> = BTreeMap::new();
    for pod in spans {
        groups.entry(&pod.span.group).or_default().push(pod);
    }
    let mut table = willow_examples::table([
        "model",
        "pods",
        "nodes used",
        "GPUs",
        "LS: most / limit",
        "others: most / limit",
        "waited p50",
        "p99",
        "max",
    ]);
    for (model, pods) in groups {
        let mut waits: Vec<Duration> =
            pods.iter().map(|pod| pod.span.started.saturating_sub(pod.span.enqueued)).collect();
        waits.sort_unstable();
        let nodes: BTreeSet<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
        let wait = |percent: usize| format!("{:.2} s", waits[(waits.len() - 1) * percent / 100].as_secs_f64());
        let most = |sensitive| {
            let group = (model.to_owned(), sensitive);
            let limit = limits.get(&group).map_or_else(|| "-".into(), u64::to_string);
            format!("{} / {limit}", peaks.get(&group).copied().unwrap_or(0))
        };
        table.add_row([
            model.to_owned(),
            pods.len().to_string(),
            nodes.len().to_string(),
            gpus.get(model).map_or_else(|| "-".into(), u64::to_string),
            most(true),
            most(false),
            wait(50),
            wait(99),
            wait(100),
        ]);
    }
    for column in 1..9 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
