//! `willow item`.

use std::{io::BufRead as _, time::Duration};

use clap::{Subcommand, ValueEnum};
use willow_api::{
    Id,
    item::{
        DequeueOrder, DequeueRequest, EnqueueBatchRequest, EnqueueResult, ExtendRequest, LeaseRequest, NackRequest,
        NewItem, RawJson, RoundRobin, Toleration, TolerationOperator,
    },
    keys::LeaseToken,
    limiter::Limit,
    queue::Position,
};
use willow_client::Client;

use super::answer;
use crate::{
    args::{QueryArguments, duration, key_values, limit, ms, read_query, stdin_or},
    failure::Failure,
    output::{DELIVERIES, Format, ITEMS, Output},
};

/// Items of one call of `enqueue-batch`.
const BATCH: usize = 1000;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Add an item, or update the one that waits
    Enqueue(Box<Enqueue>),
    /// Add items from standard input: one JSON object a line, as the API takes them
    EnqueueBatch {
        /// The queue
        queue: String,
    },
    /// Take items
    Dequeue(Box<Dequeue>),
    /// An item is done
    Ack(Delivered),
    /// An item failed
    Nack {
        #[command(flatten)]
        delivered: Delivered,
        /// In place of the backoff
        #[arg(long, value_parser = duration)]
        delay: Option<Duration>,
        /// Put it in front
        #[arg(long)]
        front: bool,
        /// Kept with the item
        #[arg(long)]
        reason: Option<String>,
    },
    /// An item is handed back unharmed; no attempt is charged
    Release(Delivered),
    /// Renew an item's lease
    Extend {
        #[command(flatten)]
        delivered: Delivered,
        /// From now
        #[arg(long, value_parser = duration)]
        lease: Option<Duration>,
    },
    /// Show one item, live or dead
    Get {
        /// The queue
        queue: String,
        /// The item's id
        item: Id,
    },
    /// List items without taking them
    #[command(visible_alias = "list")]
    Query {
        /// The queue
        queue: String,
        #[command(flatten)]
        query: QueryArguments,
    },
}

#[derive(clap::Args)]
pub(crate) struct Enqueue {
    /// The queue
    queue: String,
    /// The item's channel, such as repo=willow os=linux
    #[arg(required = true)]
    key_values: Vec<String>,
    /// Its data, JSON; `-` reads standard input
    #[arg(long)]
    data: Option<String>,
    /// Replace the item that waits, from now on
    #[arg(long)]
    updatable: Option<bool>,
    /// Larger goes first
    #[arg(long, allow_hyphen_values = true)]
    priority: Option<i32>,
    /// What it counts for under the limits
    #[arg(long)]
    weight: Option<u32>,
    /// Not before this long from now
    #[arg(long, value_parser = duration)]
    delay: Option<Duration>,
    /// Given up after this long
    #[arg(long, value_parser = duration)]
    expires_in: Option<Duration>,
    /// Deliveries before it is a dead letter, or "unlimited"
    #[arg(long, value_parser = limit)]
    max_attempts: Option<Limit>,
    /// A repeat with the same key adds nothing
    #[arg(long)]
    idempotency_key: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Order {
    /// Enqueued first
    Oldest,
    /// Highest priority
    Priority,
    /// Channel after channel
    RoundRobin,
    /// Any
    Random,
    /// Channel whose last delivery is longest ago
    LongestIdle,
}

#[derive(clap::Args)]
pub(crate) struct Dequeue {
    /// The queue
    queue: String,
    /// Only channels that match; its `order by` orders them
    #[arg(long, default_value = "")]
    query: String,
    /// Which channel goes first
    #[arg(long, value_enum, default_value = "oldest")]
    order: Order,
    /// Name of the round-robin cursor
    #[arg(long, default_value = "cli")]
    cursor: String,
    /// Put up with channels tainted so: KEY or KEY=VALUE; may be repeated
    #[arg(long = "tolerate")]
    tolerations: Vec<String>,
    /// At most this many items
    #[arg(long, default_value_t = 1)]
    max_items: u32,
    /// Lease of the delivery
    #[arg(long, value_parser = duration)]
    lease: Option<Duration>,
    /// How long to wait for the first item
    #[arg(long, value_parser = duration, default_value = "0s")]
    wait: Duration,
    /// Who this is, for people
    #[arg(long)]
    consumer: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Delivered {
    /// The queue
    queue: String,
    /// The item's id
    item: Id,
    /// The delivery's lease token
    lease_token: LeaseToken,
}

impl Delivered {
    fn request(&self) -> LeaseRequest {
        LeaseRequest { lease_token: self.lease_token, request_id: None }
    }
}

pub(crate) async fn run(client: &Client, verb: Verb, output: &Output) -> Result<(), Failure> {
    let items = |queue: &str| client.queue(queue).items();
    match verb {
        Verb::Enqueue(enqueue) => {
            let queue = enqueue.queue.clone();
            output.one(&items(&queue).enqueue(&new_item(*enqueue)?.into_request(None)).await?)
        }
        Verb::EnqueueBatch { queue } => enqueue_batch(client, &queue).await,
        Verb::Dequeue(dequeue) => take(client, *dequeue, output).await,
        Verb::Ack(delivered) => {
            Ok(items(&delivered.queue).ack(delivered.item, &delivered.request()).await.map(drop)?)
        }
        Verb::Nack { delivered, delay, front, reason } => {
            let request = NackRequest {
                lease_token: delivered.lease_token,
                delay_ms: delay.map(ms),
                position: front.then_some(Position::Front),
                reason,
                request_id: None,
            };
            output.one(&items(&delivered.queue).nack(delivered.item, &request).await?)
        }
        Verb::Release(delivered) => {
            Ok(items(&delivered.queue).release(delivered.item, &delivered.request()).await.map(drop)?)
        }
        Verb::Extend { delivered, lease } => {
            let lease_token = delivered.lease_token;
            let request = ExtendRequest { lease_token, lease_ms: lease.map(ms), request_id: None };
            output.one(&items(&delivered.queue).extend(delivered.item, &request).await?)
        }
        Verb::Get { queue, item } => output.one(&items(&queue).get(item).await?),
        Verb::Query { queue, query } => {
            let items = items(&queue);
            let one = async |query| items.query(&query).await;
            answer(&query, one, |query| items.query_all(query), output, ITEMS).await
        }
    }
}

fn new_item(enqueue: Enqueue) -> Result<NewItem, Failure> {
    let mut item = NewItem::new(key_values(&enqueue.key_values)?);
    if let Some(data) = &enqueue.data {
        let data = stdin_or(data)?;
        let json =
            serde_json::from_str(&data).map_err(|error| Failure::usage(format!("--data is not JSON: {error}")))?;
        item.data = Some(RawJson(json));
    }
    item.updatable = enqueue.updatable;
    item.priority = enqueue.priority;
    item.weight = enqueue.weight;
    item.delay_ms = enqueue.delay.map(ms);
    item.expires_in_ms = enqueue.expires_in.map(ms);
    item.max_attempts = enqueue.max_attempts;
    item.idempotency_key = enqueue.idempotency_key;
    Ok(item)
}

async fn enqueue_batch(client: &Client, queue: &str) -> Result<(), Failure> {
    let mut added = 0;
    let mut refused = 0;
    let mut lines = std::io::stdin().lock().lines().enumerate().peekable();
    while lines.peek().is_some() {
        let mut items = Vec::new();
        for (number, line) in lines.by_ref().take(BATCH) {
            let line = line.map_err(anyhow::Error::from)?;
            let item = serde_json::from_str::<NewItem>(&line);
            items.push(item.map_err(|error| Failure::usage(format!("line {}: {error}", number + 1)))?);
        }
        let request = EnqueueBatchRequest { items, request_id: None };
        for result in client.queue(queue).items().enqueue_batch(&request).await?.results {
            match result {
                EnqueueResult::Added(_) => added += 1,
                EnqueueResult::Refused(item) => {
                    refused += 1;
                    eprintln!("refused: {}", item.error);
                }
            }
        }
    }
    eprintln!("{added} added, {refused} refused");
    if refused > 0 { Err(Failure::Other(anyhow::anyhow!("{refused} items were refused"))) } else { Ok(()) }
}

async fn take(client: &Client, dequeue: Dequeue, output: &Output) -> Result<(), Failure> {
    let mut query = read_query(&dequeue.query)?;
    let order = match dequeue.order {
        Order::Priority => DequeueOrder::Priority,
        Order::RoundRobin => DequeueOrder::RoundRobin(RoundRobin { cursor: dequeue.cursor }),
        Order::Random => DequeueOrder::Random,
        Order::LongestIdle => DequeueOrder::LongestIdle,
        Order::Oldest if query.order_by.is_empty() => DequeueOrder::Oldest,
        Order::Oldest => {
            let keys =
                serde_json::to_value(&query).and_then(|mut query| serde_json::from_value(query["order_by"].take()));
            query.order_by.clear();
            DequeueOrder::OrderBy(keys.map_err(anyhow::Error::from)?)
        }
    };
    let request = DequeueRequest {
        query: Some(query.into()),
        order: Some(order),
        tolerations: dequeue.tolerations.iter().map(|text| toleration(text)).collect(),
        max_items: Some(dequeue.max_items),
        lease_ms: dequeue.lease.map(ms),
        wait_ms: Some(ms(dequeue.wait)),
        consumer: dequeue.consumer,
        request_id: None,
    };
    let reply = client.queue(&dequeue.queue).items().dequeue(&request).await?;
    if output.format() == Format::Json {
        return output.one(&reply);
    }
    output.list(&reply.items, DELIVERIES)?;
    if reply.items.is_empty() {
        eprintln!("nothing to take; `willow channel explain` says why a channel is held back");
    }
    Ok(())
}

fn toleration(text: &str) -> Toleration {
    let (key, operator, value) = match text.split_once('=') {
        Some((key, value)) => (key, TolerationOperator::Equal, Some(value.to_owned())),
        None => (text, TolerationOperator::Exists, None),
    };
    Toleration { key: Some(key.to_owned()), operator, value, effect: None }
}
