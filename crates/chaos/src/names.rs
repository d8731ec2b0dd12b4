//! What the clients of a round quarrel about, and what is to be set up for it. Each round has its own, so that
//! nothing that an earlier one left behind is taken for this one's.

use willow_api::{
    Id,
    limiter::{CreateRuleRequest, Limit},
    queue::{Backoff, CreateQueueRequest, ItemDefaults},
};
use willow_client::{Client, Error};
use willow_model::{KeyValues, Kind, Value};
use willow_sim::{
    history::Setup,
    scripts::{self, Stage},
};

/// What few clients quarrel about in every way there is.
pub(crate) const STAGE: Stage = Stage {
    exclusive: &["l0", "l1", "l2", "l3", "l4", "l5", "l6", "l7"],
    semaphores: &["s0", "s1"],
    counters: &["t0.j0", "t0.j1", "t1.j0", "t1.j1", "t2.j0", "t2.j1", "t3.j0", "t3.j1"],
    channels: &["t0.c0", "t0.c1", "t1.c0", "t1.c1", "t2.c0", "t2.c1", "t3.c0", "t3.c1"],
    updated: &["u0", "u1"],
};
/// Locks that many clients take and give back as fast as they can.
pub(crate) const FLOODED: usize = 128;
/// Channels through which batches go, under no limit.
pub(crate) const PIPES: usize = 16;
/// Of each team.
const LIMIT: u64 = 6;
/// How much faster than true time log time may run: a half percent, in thousandths.
const FAST_MILLI: u64 = 5;

/// The names of one round.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    round: String,
    /// The queue of few items and every kind of call.
    pub(crate) work: String,
    /// The queue of many items, in batches.
    pub(crate) flood: String,
}

impl Names {
    pub(crate) fn new(round: u32) -> Self {
        Self { round: round.to_string(), work: format!("work-{round}"), flood: format!("flood-{round}") }
    }

    /// Key values of a lock, counter or channel: `t0.c1` is channel `c1` of team `t0`.
    pub(crate) fn key_values(&self, name: &str) -> KeyValues {
        let pairs = scripts::pairs(name).into_iter().chain([("round", &*self.round)]);
        KeyValues::user(pairs).expect("short names are valid key values")
    }

    /// The query for all of this round.
    pub(crate) fn query(&self) -> willow_query::Query {
        format!("round = \"{}\"", self.round).parse().expect("a number in quotes is a valid value")
    }

    /// The id of a lock.
    pub(crate) fn lock(&self, name: &str) -> Id {
        Id::derive(Kind::Lock, None, self.key_values(name).as_bytes())
    }

    /// The id of a counter.
    pub(crate) fn counter(&self, name: &str) -> Id {
        Id::derive(Kind::Counter, None, self.key_values(name).as_bytes())
    }

    /// Makes the queues of the round. A repeat finds them there.
    pub(crate) async fn prepare(&self, client: &Client) -> Result<(), Error> {
        let backoff = Backoff { initial_ms: Some(50), factor: Some(2.0), max_ms: Some(400), jitter: Some(0.2) };
        let defaults = ItemDefaults { lease_ms: Some(1000), backoff: Some(backoff), ..ItemDefaults::default() };
        for queue in [&self.work, &self.flood] {
            let request = CreateQueueRequest {
                max_dead_letters: Some(100_000),
                defaults: Some(defaults),
                ..CreateQueueRequest::new(queue)
            };
            there(client.queues().create(&request).await.map(drop))?;
        }
        Ok(())
    }

    /// Removes them, with what is left in them.
    pub(crate) async fn clear(&self, client: &Client) -> Result<(), Error> {
        for queue in [&self.work, &self.flood] {
            client.queue(queue).delete(None).await?;
        }
        Ok(())
    }
}

/// The limits of all rounds.
pub(crate) async fn prepare(client: &Client) -> Result<(), Error> {
    let any = [("round", Value::Any), ("team", Value::Any)];
    let pattern = KeyValues::pattern(any).expect("wildcards are a pattern");
    there(client.rules().create(&CreateRuleRequest::new("team", pattern, Limit::At(LIMIT))).await.map(drop))
}

fn there(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(error) if error.code() == Some(willow_api::ErrorCode::AlreadyExists) => Ok(()),
        outcome => outcome,
    }
}

/// The name that [`Names::key_values`] was made from; reserved keys do not count.
pub(crate) fn name(key_values: &KeyValues) -> String {
    let get = |key: &str| key_values.get(key).and_then(|value| value.as_str().map(str::to_owned));
    match (get("team"), get("job").or_else(|| get("channel"))) {
        (Some(team), Some(rest)) => format!("{team}.{rest}"),
        _ => get("name").unwrap_or_else(|| key_values.to_string()),
    }
}

/// What the checkers are to know.
pub(crate) fn setup() -> Setup {
    let mut setup = Setup { clock_fast_milli: FAST_MILLI, ..Setup::default() };
    for name in STAGE.counters.iter().chain(STAGE.channels) {
        let bucket = name.split('.').next().unwrap_or_default().to_owned();
        setup.limits.insert(bucket.clone(), LIMIT);
        setup.buckets.insert((*name).to_owned(), vec![bucket]);
    }
    setup
}
