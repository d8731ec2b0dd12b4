//! `willow queue`.

use std::time::Duration;

use clap::Subcommand;
use willow_api::{
    Revision,
    limiter::Limit,
    queue::{CreateQueueRequest, ItemDefaults, QueueActionRequest, UpdateQueueRequest},
};
use willow_client::Client;

use super::answer;
use crate::{
    args::{QueryArguments, duration, key_values, limit, ms, some_query},
    failure::Failure,
    output::{Output, QUEUES},
};

/// Settings of a queue.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// Items it holds at most
    #[arg(long)]
    max_items: Option<u64>,
    /// Dead letters it keeps
    #[arg(long)]
    max_dead_letters: Option<u64>,
    /// Deliveries before an item is a dead letter, or "unlimited"
    #[arg(long, value_parser = limit)]
    max_attempts: Option<Limit>,
    /// Lease of a delivery
    #[arg(long, value_parser = duration)]
    lease: Option<Duration>,
    /// Items are updated in place while they wait
    #[arg(long)]
    updatable: Option<bool>,
}

impl Settings {
    fn defaults(&self) -> ItemDefaults {
        ItemDefaults {
            updatable: self.updatable,
            max_attempts: self.max_attempts,
            lease_ms: self.lease.map(ms),
            ..ItemDefaults::default()
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Add a queue
    Create {
        /// Its name
        name: String,
        /// Labels to find it by
        #[arg(long = "label")]
        labels: Vec<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show one queue
    Get {
        /// Its name or id
        queue: String,
    },
    /// Replace a queue's settings: those not given get their defaults
    Update {
        /// Its name or id
        queue: String,
        #[command(flatten)]
        settings: Settings,
        /// Only if it has this revision
        #[arg(long)]
        if_match: Option<u64>,
    },
    /// Remove a queue with all it holds
    Delete {
        /// Its name or id
        queue: String,
        /// Only if it has this revision
        #[arg(long)]
        if_match: Option<u64>,
    },
    /// List queues
    #[command(visible_alias = "list")]
    Query(QueryArguments),
    /// Stop handing out, of the whole queue or of the channels that match
    Pause(Part),
    /// Stop taking in, so that the queue runs dry
    Drain(Part),
    /// End a pause or drain with the same query
    Resume(Part),
    /// Remove waiting and delayed items
    Purge(Part),
}

#[derive(clap::Args)]
pub(crate) struct Part {
    /// Its name or id
    queue: String,
    /// Only channels that match
    #[arg(long)]
    query: Option<String>,
}

impl Part {
    fn request(&self) -> Result<QueueActionRequest, Failure> {
        Ok(QueueActionRequest { query: some_query(self.query.as_deref())?, request_id: None })
    }
}

pub(crate) async fn run(client: &Client, verb: Verb, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Create { name, labels, settings } => {
            let request = CreateQueueRequest {
                key_values: if labels.is_empty() { None } else { Some(key_values(&labels)?.into()) },
                max_items: settings.max_items,
                max_dead_letters: settings.max_dead_letters,
                defaults: Some(settings.defaults()),
                ..CreateQueueRequest::new(name)
            };
            output.one(&client.queues().create(&request).await?)
        }
        Verb::Get { queue } => output.one(&client.queue(&queue).get().await?),
        Verb::Update { queue, settings, if_match } => {
            let request = UpdateQueueRequest {
                max_items: settings.max_items,
                max_dead_letters: settings.max_dead_letters,
                defaults: Some(settings.defaults()),
                request_id: None,
            };
            output.one(&client.queue(&queue).update(&request, if_match.map(Revision)).await?)
        }
        Verb::Delete { queue, if_match } => output.one(&client.queue(&queue).delete(if_match.map(Revision)).await?),
        Verb::Query(query) => {
            let queues = client.queues();
            let one = async |query| queues.query(&query).await;
            answer(&query, one, |query| queues.query_all(query), output, QUEUES).await
        }
        Verb::Pause(some) => client.queue(&some.queue).pause(&some.request()?).await.map(drop).map_err(Into::into),
        Verb::Drain(some) => client.queue(&some.queue).drain(&some.request()?).await.map(drop).map_err(Into::into),
        Verb::Resume(some) => client.queue(&some.queue).resume(&some.request()?).await.map(drop).map_err(Into::into),
        Verb::Purge(some) => output.one(&client.queue(&some.queue).purge(&some.request()?).await?),
    }
}
