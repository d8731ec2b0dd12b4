//! `willow channel`.

use std::collections::BTreeMap;

use clap::Subcommand;
use willow_api::{
    Id, Revision,
    channel::{PatchMetadataRequest, Taint},
    item::TaintEffect,
};
use willow_client::Client;

use super::answer;
use crate::{
    args::{QueryArguments, key_values},
    failure::Failure,
    output::{CHANNELS, Format, Output, REASONS},
};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Show one channel
    Get(Which),
    /// List channels
    #[command(visible_alias = "list")]
    Query {
        /// The queue
        queue: String,
        #[command(flatten)]
        query: QueryArguments,
    },
    /// Remove a channel's waiting items and metadata
    Delete(Which),
    /// Set and remove metadata
    Metadata {
        #[command(flatten)]
        which: Which,
        /// Pairs to set, such as tier=1
        #[arg(long = "set")]
        set: Vec<String>,
        /// Keys to remove
        #[arg(long = "remove")]
        remove: Vec<String>,
        /// Only if the channel has this revision
        #[arg(long)]
        if_match: Option<u64>,
    },
    /// Replace all taints: KEY or KEY=VALUE; none removes them
    Taint {
        #[command(flatten)]
        which: Which,
        /// The taints
        taints: Vec<String>,
    },
    /// Why is it not running?
    Explain(Which),
}

#[derive(clap::Args)]
pub(crate) struct Which {
    /// The queue
    queue: String,
    /// The channel's id
    channel: Id,
}

pub(crate) async fn run(client: &Client, verb: Verb, output: &Output) -> Result<(), Failure> {
    let channels = |queue: &str| client.queue(queue).channels();
    match verb {
        Verb::Get(which) => output.one(&channels(&which.queue).get(which.channel).await?),
        Verb::Query { queue, query } => {
            let channels = channels(&queue);
            let one = async |query| channels.query(&query).await;
            answer(&query, one, |query| channels.query_all(query), output, CHANNELS).await
        }
        Verb::Delete(which) => output.one(&channels(&which.queue).delete(which.channel).await?),
        Verb::Metadata { which, set, remove, if_match } => {
            let mut pairs: BTreeMap<_, _> = remove.into_iter().map(|key| (key, None)).collect();
            if !set.is_empty() {
                let set = key_values(&set)?;
                pairs.extend(set.iter().map(|(key, value)| (key.to_owned(), Some(value.to_value()))));
            }
            let request = PatchMetadataRequest { set: pairs, ..PatchMetadataRequest::default() };
            let reply = channels(&which.queue).patch_metadata(which.channel, &request, if_match.map(Revision)).await?;
            output.one(&reply.channel)
        }
        Verb::Taint { which, taints } => {
            let taints = taints.iter().map(|text| taint(text)).collect();
            let request = PatchMetadataRequest { taints: Some(taints), ..PatchMetadataRequest::default() };
            output.one(&channels(&which.queue).patch_metadata(which.channel, &request, None).await?.channel)
        }
        Verb::Explain(which) => {
            let explanation = channels(&which.queue).explain(which.channel).await?;
            if output.format() == Format::Json {
                return output.one(&explanation);
            }
            output.list(&explanation.reasons, REASONS)?;
            let eligible = if explanation.eligible { "an item would go out now" } else { "nothing goes out" };
            eprintln!("{eligible}; {} waiting consumers fit", explanation.matching_consumers);
            Ok(())
        }
    }
}

fn taint(text: &str) -> Taint {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    Taint { key: key.to_owned(), value: value.to_owned(), effect: TaintEffect::NoSchedule }
}
