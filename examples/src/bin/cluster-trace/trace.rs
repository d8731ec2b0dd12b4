//! The trace's files.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context;
use serde::Deserialize;
use willow_model::{KeyValues, Origin};

#[derive(Deserialize)]
struct PodRow {
    name: String,
    cpu_milli: u64,
    memory_mib: u64,
    num_gpu: u64,
    gpu_spec: String,
    qos: String,
    creation_time: u64,
    deletion_time: Option<u64>,
    scheduled_time: Option<u64>,
}

#[derive(Deserialize)]
struct NodeRow {
    sn: String,
    cpu_milli: u64,
    memory_mib: u64,
    gpu: u64,
    model: Option<String>,
}

/// One pod.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) cpu_milli: u64,
    pub(crate) memory_mib: u64,
    pub(crate) gpus: u64,
    /// As the trace says; `any` where it says nothing.
    pub(crate) gpu_spec: String,
    /// The model it is to run on, of those it allows; none without a GPU.
    pub(crate) gpu_model: Option<String>,
    pub(crate) qos: String,
    pub(crate) created: u64,
    /// How long it runs, in the trace's time.
    pub(crate) seconds: u64,
}

impl Pod {
    pub(crate) fn latency_sensitive(&self) -> bool {
        self.qos == "LS"
    }

    /// The channel: pods of one shape share it.
    pub(crate) fn key_values(&self) -> anyhow::Result<KeyValues> {
        let mut pairs = vec![
            format!("qos={}", self.qos),
            format!("num_gpu={}", self.gpus),
            format!("cpu_milli={}", self.cpu_milli),
            format!("memory_mib={}", self.memory_mib),
        ];
        if let Some(model) = &self.gpu_model {
            pairs.extend([format!("gpu_spec={}", self.gpu_spec), format!("gpu_model={model}")]);
        }
        Ok(KeyValues::parse_args(Origin::User, pairs)?)
    }
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) cpu_milli: u64,
    pub(crate) memory_mib: u64,
    pub(crate) gpus: u64,
    pub(crate) model: Option<String>,
}

/// The whole trace.
pub(crate) struct Cluster {
    /// In order of arrival.
    pub(crate) pods: Vec<Pod>,
    pub(crate) nodes: Vec<Machine>,
    /// GPUs by model.
    pub(crate) gpus: BTreeMap<String, u64>,
}

impl Cluster {
    pub(crate) fn read(pods: &Path, nodes: &Path, percent: u64) -> anyhow::Result<Self> {
        let nodes: Vec<Machine> = rows::<NodeRow>(nodes)?.into_iter().map(machine).collect();
        let mut gpus: BTreeMap<String, u64> = BTreeMap::new();
        for node in &nodes {
            if let Some(model) = &node.model {
                *gpus.entry(model.clone()).or_default() += node.gpus;
            }
        }
        let mut rows = rows::<PodRow>(pods)?;
        rows.sort_by_key(|row| row.creation_time);
        let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
        let pods =
            rows.into_iter().map(|row| pod(row, percent, &nodes, &gpus, &mut wanted)).collect::<anyhow::Result<_>>()?;
        Ok(Self { pods, nodes, gpus })
    }
}

/// A few pods of the trace failed there because they ask for more CPU and memory than any node that
/// they allow has. They run here with what the largest of those has.
fn shrink(row: &mut PodRow, nodes: &[Machine]) {
    let allowed = |node: &&Machine| {
        let model = node.model.as_deref().unwrap_or("");
        node.gpus >= row.num_gpu && (row.gpu_spec.is_empty() || row.gpu_spec.split('|').any(|name| name == model))
    };
    let fits = |node: &&Machine| node.cpu_milli >= row.cpu_milli && node.memory_mib >= row.memory_mib;
    if nodes.iter().filter(allowed).any(|node| fits(&node)) {
        return;
    }
    let largest = nodes.iter().filter(allowed).max_by_key(|node| (node.cpu_milli, node.memory_mib));
    if let Some((cpu_milli, memory_mib)) = largest.map(|node| (node.cpu_milli, node.memory_mib)) {
        eprintln!("{} fits on no node that it allows: it runs with {cpu_milli} milli-CPUs, {memory_mib} MiB", row.name);
        row.cpu_milli = row.cpu_milli.min(cpu_milli);
        row.memory_mib = row.memory_mib.min(memory_mib);
    }
}

/// A model's GPUs for latency-sensitive pods, and for the others. Each has one at least, if there are two.
pub(crate) fn shares(gpus: u64, percent: u64) -> (u64, u64) {
    let sensitive = (gpus * percent.min(100) / 100).clamp(1.min(gpus), gpus.saturating_sub(1).max(1));
    (sensitive, gpus.saturating_sub(sensitive))
}

fn rows<T: for<'de> Deserialize<'de>>(file: &Path) -> anyhow::Result<Vec<T>> {
    let mut reader = csv::Reader::from_path(file).with_context(|| file.display().to_string())?;
    reader.deserialize().collect::<Result<_, _>>().with_context(|| file.display().to_string())
}

fn machine(row: NodeRow) -> Machine {
    let model = row.model.filter(|model| !model.is_empty());
    Machine { name: row.sn, cpu_milli: row.cpu_milli, memory_mib: row.memory_mib, gpus: row.gpu, model }
}

/// Pods that allow several models are spread: each goes to the allowed model that is wanted least so
/// far for its number of GPUs, among those that have a node it fits on.
fn pod(
    mut row: PodRow,
    percent: u64,
    nodes: &[Machine],
    gpus: &BTreeMap<String, u64>,
    wanted: &mut BTreeMap<String, u64>,
) -> anyhow::Result<Pod> {
    shrink(&mut row, nodes);
    let fits = |node: &&Machine| {
        node.gpus >= row.num_gpu && node.cpu_milli >= row.cpu_milli && node.memory_mib >= row.memory_mib
    };
    let allowed = |model: &str| row.gpu_spec.is_empty() || row.gpu_spec.split('|').any(|name| name == model);
    let gpu_model = if row.num_gpu == 0 {
        None
    } else {
        let models = nodes.iter().filter(fits).filter_map(|node| node.model.as_deref()).filter(|model| allowed(model));
        // Either share of a model must hold the pod: a model with few GPUs is none for it.
        let models = models.filter(|model| {
            let (sensitive, others) = shares(gpus[*model], percent);
            sensitive.min(others) >= row.num_gpu
        });
        let load =
            |model: &&str| (wanted.get(*model).copied().unwrap_or(0) * 1_000_000 / gpus[*model], model.to_string());
        let model = models.min_by_key(load).with_context(|| format!("{} fits on no node", row.name))?.to_owned();
        *wanted.entry(model.clone()).or_default() += row.num_gpu;
        Some(model)
    };
    let started = row.scheduled_time.unwrap_or(row.creation_time);
    Ok(Pod {
        name: row.name,
        cpu_milli: row.cpu_milli,
        memory_mib: row.memory_mib,
        gpus: row.num_gpu,
        gpu_spec: if row.gpu_spec.is_empty() { "any".into() } else { row.gpu_spec },
        gpu_model,
        qos: row.qos,
        created: row.creation_time,
        seconds: row.deletion_time.unwrap_or(started).saturating_sub(started),
    })
}
