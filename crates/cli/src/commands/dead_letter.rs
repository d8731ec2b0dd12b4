//! `willow dead-letter`.

use clap::Subcommand;
use willow_api::queue::DeadLetterActionRequest;
use willow_client::Client;

use super::answer;
use crate::{
    args::{QueryArguments, some_query},
    failure::Failure,
    output::{ITEMS, Output},
};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List dead letters
    #[command(visible_alias = "list")]
    Query {
        /// The queue
        queue: String,
        #[command(flatten)]
        query: QueryArguments,
    },
    /// Move dead letters back to their channels, oldest first
    Redrive(Part),
    /// Remove dead letters
    Purge(Part),
}

#[derive(clap::Args)]
pub(crate) struct Part {
    /// The queue
    queue: String,
    /// Only those that match
    #[arg(long)]
    query: Option<String>,
    /// At most this many
    #[arg(long)]
    max_items: Option<u32>,
}

impl Part {
    fn request(&self) -> Result<DeadLetterActionRequest, Failure> {
        let query = some_query(self.query.as_deref())?;
        Ok(DeadLetterActionRequest { query, max_items: self.max_items, request_id: None })
    }
}

pub(crate) async fn run(client: &Client, verb: Verb, output: &Output) -> Result<(), Failure> {
    let letters = |queue: &str| client.queue(queue).dead_letters();
    match verb {
        Verb::Query { queue, query } => {
            let letters = letters(&queue);
            let one = async |query| letters.query(&query).await;
            answer(&query, one, |query| letters.query_all(query), output, ITEMS).await
        }
        Verb::Redrive(some) => output.one(&letters(&some.queue).redrive(&some.request()?).await?),
        Verb::Purge(some) => output.one(&letters(&some.queue).purge(&some.request()?).await?),
    }
}
