//! `willow counter` and `willow hold`.

use std::time::Duration;

use clap::Subcommand;
use willow_api::{
    Id,
    limiter::{DecrementRequest, HeartbeatHoldRequest, HoldSpec, IncrementRequest, SetCounterRequest},
};
use willow_client::Client;

use super::answer;
use crate::{
    args::{QueryArguments, duration, key_values, ms},
    failure::Failure,
    output::{COUNTERS, Output},
};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Add to a counter, if every limit allows
    Increment {
        /// The counter
        #[arg(required = true)]
        key_values: Vec<String>,
        /// How much
        #[arg(long, default_value_t = 1)]
        amount: u64,
        /// Bind it to a lease of this length: a hold
        #[arg(long, value_parser = duration)]
        hold: Option<Duration>,
        /// How long to wait for room
        #[arg(long, value_parser = duration, default_value = "0s")]
        wait: Duration,
        /// Makes a repeat answer from the record
        #[arg(long)]
        request_id: Option<String>,
    },
    /// Take from a counter
    Decrement {
        /// The counter
        #[arg(required = true)]
        key_values: Vec<String>,
        /// How much
        #[arg(long, default_value_t = 1)]
        amount: u64,
    },
    /// Set a counter without asking any limit, for repair
    Set {
        /// The counter
        #[arg(required = true)]
        key_values: Vec<String>,
        /// To what; 0 removes it
        #[arg(long)]
        amount: u64,
    },
    /// Show one counter
    Get {
        /// Its id
        counter: Id,
    },
    /// List counters
    #[command(visible_alias = "list")]
    Query(QueryArguments),
}

#[derive(Subcommand)]
pub(crate) enum HoldVerb {
    /// Renew a hold's lease
    Heartbeat {
        /// The hold's id
        hold: Id,
        /// New lease
        #[arg(long, value_parser = duration)]
        ttl: Option<Duration>,
    },
    /// Give a hold back
    Release {
        /// The hold's id
        hold: Id,
    },
}

pub(crate) async fn run(client: &Client, verb: Verb, output: &Output) -> Result<(), Failure> {
    let counters = client.counters();
    match verb {
        Verb::Increment { key_values: pairs, amount, hold, wait, request_id } => {
            let request = IncrementRequest {
                key_values: key_values(&pairs)?.into(),
                amount: Some(amount),
                hold: hold.map(|ttl| HoldSpec { ttl_ms: ms(ttl) }),
                wait_ms: Some(ms(wait)),
                request_id,
            };
            output.one(&counters.increment(&request).await?)
        }
        Verb::Decrement { key_values: pairs, amount } => {
            let key_values = key_values(&pairs)?.into();
            let request = DecrementRequest { key_values, amount: Some(amount), request_id: None };
            output.one(&counters.decrement(&request).await?)
        }
        Verb::Set { key_values: pairs, amount } => {
            let request = SetCounterRequest { key_values: key_values(&pairs)?.into(), amount, request_id: None };
            output.one(&counters.set(&request).await?)
        }
        Verb::Get { counter } => output.one(&counters.get(counter).await?),
        Verb::Query(query) => {
            let one = async |query| counters.query(&query).await;
            answer(&query, one, |query| counters.query_all(query), output, COUNTERS).await
        }
    }
}

pub(crate) async fn run_hold(client: &Client, verb: HoldVerb, output: &Output) -> Result<(), Failure> {
    match verb {
        HoldVerb::Heartbeat { hold, ttl } => {
            let request = HeartbeatHoldRequest { ttl_ms: ttl.map(ms), request_id: None };
            output.one(&client.holds().heartbeat(hold, &request).await?)
        }
        HoldVerb::Release { hold } => output.one(&client.holds().release(hold).await?),
    }
}
