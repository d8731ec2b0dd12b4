//! Willow's side of the comparison.

use anyhow::{Context, ensure};
use willow_api::{
    item::{DequeueRequest, EnqueueBatchRequest, EnqueueResult, LeaseRequest, NewItem, RawJson},
    limiter::{CreateOverrideRequest, CreateRuleRequest, DecrementRequest, IncrementRequest, Limit},
    lock::{AcquireRequest, CreateSessionRequest, HeldLockRequest},
    page::QueryInput,
};
use willow_client::Client as Willow;
use willow_harness::Server;
use willow_model::{KeyValues, Origin};

use crate::{
    load::Client,
    willow::{QUEUE, client, client_of, key_values},
};

fn pattern(text: &str) -> anyhow::Result<KeyValues> {
    Ok(KeyValues::parse(Origin::Pattern, text)?)
}

/// Lock + unlock, one lock and one session per client.
pub(crate) struct Locks {
    client: Willow,
    request: AcquireRequest,
}

impl Locks {
    pub(crate) async fn connect(url: &str, index: usize) -> anyhow::Result<Self> {
        let client = client_of(url)?;
        let request = CreateSessionRequest { ttl_ms: Some(600_000), ..CreateSessionRequest::default() };
        let session = client.sessions().create(&request).await?.session;
        let request = AcquireRequest {
            key_values: Some(key_values(&format!("bench=lock client={index}"))?.into()),
            session: Some(session),
            ..AcquireRequest::default()
        };
        Ok(Self { client, request })
    }
}

impl Client for Locks {
    async fn cycle(&mut self) -> anyhow::Result<()> {
        let held = self.client.locks().acquire(&self.request).await?;
        let grant = held.locks.first().context("one lock was asked for")?;
        let request = HeldLockRequest { session: held.session, token: Some(grant.token), request_id: None };
        self.client.locks().release(grant.lock, &request).await?;
        Ok(())
    }
}

/// Enqueue + dequeue by query + ack, a channel per client.
pub(crate) struct Queue {
    client: Willow,
    item: NewItem,
    take: DequeueRequest,
}

impl Queue {
    pub(crate) async fn connect(server: &Server, index: usize, payload: &str) -> anyhow::Result<Self> {
        let index = i64::try_from(index)?;
        let mut item = NewItem::new(key_values(&format!("bench=queue client={index}"))?);
        item.data = Some(RawJson::of(&payload)?);
        let take = DequeueRequest {
            query: Some(QueryInput::from(format!("client = {index}").parse::<willow_query::Query>()?)),
            ..DequeueRequest::default()
        };
        Ok(Self { client: client(server)?, item, take })
    }
}

impl Client for Queue {
    async fn cycle(&mut self) -> anyhow::Result<()> {
        let items = self.client.queue(QUEUE).items();
        items.enqueue(&self.item.clone().into_request(None)).await?;
        let taken = items.dequeue(&self.take).await?;
        let delivery = taken.items.first().context("the item just added is there")?;
        items.ack(delivery.item, &LeaseRequest { lease_token: delivery.lease_token, request_id: None }).await?;
        Ok(())
    }
}

/// Adds `rules` rules with `overrides` overrides each, all of which a counter of [`Counters`] has to
/// be matched against, and some of which it falls under.
pub(crate) async fn create_rules(server: &Server, rules: u32, overrides: u32) -> anyhow::Result<()> {
    let client = client(server)?;
    for rule in 0..rules {
        // Every tenth rule governs all counters of the benchmark, the others differ in a value.
        let key_values = if rule % 10 == 0 { format!("client=* r{rule}=*") } else { format!("client=* team={rule}") };
        let request = CreateRuleRequest::new(format!("rule-{rule}"), pattern(&key_values)?, Limit::At(1_000_000));
        client.rules().create(&request).await?;
        for index in 0..overrides {
            let pattern = pattern(&format!("{key_values} tier={index}"))?;
            let request = CreateOverrideRequest::new(format!("override-{index}"), pattern, Limit::At(1_000_000));
            client.overrides(&format!("rule-{rule}")).create(&request).await?;
        }
    }
    Ok(())
}

/// Increment + decrement, a counter per client.
pub(crate) struct Counters {
    client: Willow,
    key_values: KeyValues,
}

impl Counters {
    pub(crate) async fn connect(server: &Server, index: usize) -> anyhow::Result<Self> {
        // It has the keys of ten rules that govern all, and matches one override of each.
        let keys = (0..10).map(|rule| format!(" r{}=1", rule * 10)).collect::<String>();
        let key_values = key_values(&format!("client={index} team=7 tier={}{keys}", index % 100))?;
        Ok(Self { client: client(server)?, key_values })
    }
}

impl Client for Counters {
    async fn cycle(&mut self) -> anyhow::Result<()> {
        let counters = self.client.counters();
        let request = IncrementRequest {
            key_values: self.key_values.clone().into(),
            amount: None,
            hold: None,
            wait_ms: None,
            request_id: None,
        };
        counters.increment(&request).await?;
        let key_values = self.key_values.clone().into();
        counters.decrement(&DecrementRequest { key_values, amount: None, request_id: None }).await?;
        Ok(())
    }
}

/// Items of one batch.
pub(crate) const BATCH: usize = 1000;

/// Enqueue in batches: each cycle is [`BATCH`] items on 100 channels, in one durable call.
pub(crate) struct Batches {
    client: Willow,
    request: EnqueueBatchRequest,
}

impl Batches {
    pub(crate) async fn connect(server: &Server, index: usize, payload: &str) -> anyhow::Result<Self> {
        let data = RawJson::of(&payload)?;
        let item = |channel: usize| {
            let mut item = NewItem::new(key_values(&format!("bench=batch client={index} channel={}", channel % 100))?);
            item.data = Some(data.clone());
            anyhow::Ok(item)
        };
        let items = (0..BATCH).map(item).collect::<anyhow::Result<_>>()?;
        Ok(Self { client: client(server)?, request: EnqueueBatchRequest { items, request_id: None } })
    }
}

impl Client for Batches {
    async fn cycle(&mut self) -> anyhow::Result<()> {
        let reply = self.client.queue(QUEUE).items().enqueue_batch(&self.request).await?;
        ensure!(reply.results.iter().all(|result| matches!(result, EnqueueResult::Added(_))), "all were added");
        Ok(())
    }
}
