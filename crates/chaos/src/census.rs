//! What is stored, as one node shows it.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde::de::DeserializeOwned;
use willow_api::{item::Item, limiter::Counter, lock::Lock, page::Page};
use willow_client::{Client, Error};
use willow_query::Query;
use willow_sim::history::{Census, ChannelCensus, CounterCensus, ItemState, Stored};

use crate::{names, names::Names, wire};

/// How often a read is tried, beside the first.
const TRIES: u32 = 50;
/// Between two tries.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// Which state of a node is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// The newest there is.
    Linearizable,
    /// What this very node has applied.
    Stale,
}

impl Consistency {
    fn word(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Stale => "stale",
        }
    }
}

/// All of a round.
pub(crate) async fn take(client: &Client, names: &Names, consistency: Consistency) -> Result<Census, Error> {
    let mut census = Census::default();
    let mut in_flight: BTreeMap<String, u64> = BTreeMap::new();
    for queue in [&names.work, &names.flood] {
        for list in ["items", "dead-letters"] {
            let path = format!("/v1/queues/{queue}/{list}/query?data=true&consistency={}", consistency.word());
            for item in everything::<Item>(client, &path, Query::default()).await? {
                let channel = names::name(&item.key_values);
                let state = wire::state(item.state);
                if state == ItemState::InFlight {
                    *in_flight.entry(channel.clone()).or_default() += u64::from(item.weight);
                }
                census.items.push(Stored {
                    queue: queue.clone(),
                    channel,
                    item: item.id.to_string(),
                    revision: item.revision.0,
                    data: wire::text(item.data.as_ref()),
                    state,
                });
            }
        }
    }
    let path = format!("/v1/limiter/counters/query?consistency={}", consistency.word());
    let counter = |counter: Counter| CounterCensus {
        counter: names::name(&counter.key_values),
        amount: counter.amount,
        held: counter.held,
    };
    census.counters = everything(client, &path, names.query()).await?.into_iter().map(counter).collect();
    census.channels = in_flight.into_iter().map(|(channel, in_flight)| ChannelCensus { channel, in_flight }).collect();
    census.locks = locks(client, names, consistency).await?.len() as u64;
    Ok(census)
}

/// The locks of a round that are held or waited for, with the tokens of their holders.
pub(crate) async fn locks(
    client: &Client,
    names: &Names,
    consistency: Consistency,
) -> Result<Vec<(String, Vec<u64>)>, Error> {
    let path = format!("/v1/locks/query?consistency={}", consistency.word());
    let locks: Vec<Lock> = everything(client, &path, names.query()).await?;
    let shown = |lock: Lock| (lock.key_values.to_string(), lock.holders.iter().map(|holder| holder.token.0).collect());
    Ok(locks.into_iter().map(shown).collect())
}

/// A hash of all that one node shows of a round.
pub(crate) async fn digest(client: &Client, names: &Names) -> Result<String, Error> {
    let census = take(client, names, Consistency::Stale).await?;
    let locks = locks(client, names, Consistency::Stale).await?;
    let mut items: Vec<_> = census.items.iter().map(|item| format!("{item:?}")).collect();
    let mut counters: Vec<_> = census.counters.iter().map(|counter| format!("{counter:?}")).collect();
    items.sort_unstable();
    counters.sort_unstable();
    let mut hasher = DefaultHasher::new();
    (items, counters, locks).hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

/// All pages of a listing.
async fn everything<T: DeserializeOwned>(client: &Client, path: &str, query: Query) -> Result<Vec<T>, Error> {
    let mut query = Query { limit: 1000, ..query };
    let mut all = Vec::new();
    loop {
        let page: Page<T> = ask(client, path, &query).await?;
        all.extend(page.items);
        query.page_token = page.next_page_token;
        if query.page_token.is_none() {
            return Ok(all);
        }
    }
}

/// Reads are safe to repeat, and what the last fault left may still be on its way.
async fn ask<T: DeserializeOwned>(client: &Client, path: &str, query: &Query) -> Result<Page<T>, Error> {
    let mut tries = 0;
    loop {
        match client.call("POST", path, Some(query)).await {
            Err(error) if error.retryable() && tries < TRIES => tries += 1,
            answer => return answer,
        }
        tokio::time::sleep(PAUSE).await;
    }
}
