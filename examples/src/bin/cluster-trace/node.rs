//! A node as a consumer: it asks for what still fits on it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::task::JoinSet;
use willow_api::{
    item::{Delivery, DequeueOrder, DequeueRequest, LeaseRequest, TaintEffect, Toleration, TolerationOperator},
    page::QueryInput,
};
use willow_client::Items;
use willow_model::{KeyValues, ValueRef};
use willow_query::Query;

use crate::{GPU_TAINT, QUEUE, Run, trace::Machine};

/// How long one dequeue waits, ms. What a node frees meanwhile it offers with the next one.
const WAIT_MS: u64 = 2_000;

/// A pod that ran, as the node saw it.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) pod: String,
    pub(crate) node: String,
    /// When the node knew that it had it.
    pub(crate) started: Duration,
    /// When the node began to acknowledge it.
    pub(crate) ended: Duration,
}

/// What a pod takes.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    cpu_milli: u64,
    memory_mib: u64,
    gpus: u64,
}

pub(crate) struct Node {
    machine: Machine,
    run: Arc<Run>,
    free: Share,
    ms_per_second: f64,
    longest_ms: u64,
}

impl Node {
    pub(crate) fn new(machine: Machine, run: Arc<Run>, ms_per_second: f64, longest_ms: u64) -> Self {
        let free = Share { cpu_milli: machine.cpu_milli, memory_mib: machine.memory_mib, gpus: machine.gpus };
        Self { machine, run, free, ms_per_second, longest_ms }
    }

    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let outcome = self.work().await;
        if outcome.is_err() {
            self.run.failed.store(true, Ordering::Relaxed);
        }
        outcome.with_context(|| self.machine.name.clone())
    }

    async fn work(&mut self) -> anyhow::Result<()> {
        let items = self.run.client.queue(QUEUE).items();
        let mut running = JoinSet::new();
        while self.run.left.load(Ordering::Relaxed) > 0 && !self.run.failed.load(Ordering::Relaxed) {
            while let Some(ended) = running.try_join_next() {
                self.give_back(ended??);
            }
            if self.free.cpu_milli == 0 {
                let ended = running.join_next().await.context("what takes the CPU runs")?;
                self.give_back(ended??);
                continue;
            }
            for delivery in items.dequeue(&self.request()?).await?.items {
                let share = self.take(&delivery.key_values)?;
                running.spawn(self.pod(items.clone(), delivery, share));
            }
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Whatever fits into what is free, latency-sensitive pods first.
    fn request(&self) -> anyhow::Result<DequeueRequest> {
        let Share { cpu_milli, memory_mib, gpus } = self.free;
        let gpu = match &self.machine.model {
            Some(model) => format!("(num_gpu = 0 or num_gpu <= {gpus} and gpu_model = {model:?})"),
            None => "num_gpu = 0".into(),
        };
        let query: Query = format!("{gpu} and cpu_milli <= {cpu_milli} and memory_mib <= {memory_mib}").parse()?;
        let tolerations = self.machine.model.iter().map(|_| Toleration {
            key: Some(GPU_TAINT.into()),
            operator: TolerationOperator::Exists,
            value: None,
            effect: Some(TaintEffect::NoSchedule),
        });
        Ok(DequeueRequest {
            query: Some(QueryInput::from(query)),
            order: Some(DequeueOrder::Priority),
            tolerations: tolerations.collect(),
            wait_ms: Some(WAIT_MS),
            lease_ms: Some(120_000),
            consumer: Some(self.machine.name.clone()),
            ..DequeueRequest::default()
        })
    }

    fn take(&mut self, pod: &KeyValues) -> anyhow::Result<Share> {
        let number = |key| match pod.get(key) {
            Some(ValueRef::I64(value)) => Ok(u64::try_from(value)?),
            other => anyhow::bail!("{key} is {other:?}"),
        };
        let share =
            Share { cpu_milli: number("cpu_milli")?, memory_mib: number("memory_mib")?, gpus: number("num_gpu")? };
        let fits = share.cpu_milli <= self.free.cpu_milli
            && share.memory_mib <= self.free.memory_mib
            && share.gpus <= self.free.gpus;
        ensure!(fits, "was given a pod that does not fit: {share:?} into {:?}", self.free);
        self.free.cpu_milli -= share.cpu_milli;
        self.free.memory_mib -= share.memory_mib;
        self.free.gpus -= share.gpus;
        Ok(share)
    }

    fn give_back(&mut self, share: Share) {
        self.free.cpu_milli += share.cpu_milli;
        self.free.memory_mib += share.memory_mib;
        self.free.gpus += share.gpus;
    }

    /// Runs one pod to its end.
    fn pod(
        &self,
        items: Items,
        delivery: Delivery,
        share: Share,
    ) -> impl Future<Output = anyhow::Result<Share>> + Send + use<> {
        let (run, node) = (Arc::clone(&self.run), self.machine.name.clone());
        let (ms_per_second, longest_ms) = (self.ms_per_second, self.longest_ms);
        async move {
            let started = run.began.elapsed();
            let data: serde_json::Value = serde_json::from_str(delivery.data.context("every pod has data")?.get())?;
            let pod = data["name"].as_str().context("every pod has a name")?.to_owned();
            let life_ms = data["seconds"].as_u64().context("every pod has a life")? as f64 * ms_per_second;
            tokio::time::sleep(Duration::from_millis((life_ms as u64).clamp(1, longest_ms))).await;
            let ended = run.began.elapsed();
            items.ack(delivery.item, &LeaseRequest { lease_token: delivery.lease_token, request_id: None }).await?;
            let mut placed = run.placed.lock().map_err(|_| anyhow::anyhow!("a node panicked"))?;
            placed.push(Placed { pod, node, started, ended });
            run.left.fetch_sub(1, Ordering::Relaxed);
            run.progress.inc(1);
            run.progress.set_message(format!("{:.0} s", ended.as_secs_f64()));
            Ok(share)
        }
    }
}
