//! PostgreSQL, where it takes part, and the comparison of its answers with the engine's.

use std::{collections::BTreeSet, time::Duration};

use anyhow::ensure;
use willow_query::Query;

use super::{
    engine::{Engine, Patterns},
    measure::Times,
    patterns::Pairs,
    postgres::Postgres,
    work::{self, Answer, Work},
};

/// Cases whose whole set of matches is fetched from both: each may be 100,000 rows.
const SETS: usize = 5;
/// Random picks of each case that must be among the matches.
const PICKS: u64 = 20;
/// Key values that are matched on both.
const PROBES: u64 = 200;

/// None if the size is beyond what it shall hold.
pub(super) struct Peer(Option<Postgres>);

impl Peer {
    pub(super) fn load(count: u64, most: u64) -> anyhow::Result<Self> {
        Self::start(count <= most, |postgres| postgres.load(count))
    }

    pub(super) fn load_patterns(count: u64, most: u64) -> anyhow::Result<Self> {
        Self::start(count <= most, |postgres| postgres.load_patterns(count))
    }

    fn start(wanted: bool, load: impl FnOnce(&mut Postgres) -> anyhow::Result<()>) -> anyhow::Result<Self> {
        if !wanted {
            return Ok(Self(None));
        }
        let mut postgres = Postgres::start()?;
        load(&mut postgres)?;
        Ok(Self(Some(postgres)))
    }

    /// The median in microseconds.
    pub(super) fn measure(&mut self, statements: &[String], span: Duration) -> anyhow::Result<Option<f64>> {
        let times = self.0.as_mut().map(|postgres| postgres.measure(statements, span)).transpose()?;
        Ok(times.map(|times| times.p50))
    }

    pub(super) fn version(&mut self) -> anyhow::Result<Option<String>> {
        self.0.as_mut().map(Postgres::version).transpose()
    }

    /// A statement that does nothing: what the way to the server and back takes.
    pub(super) fn round_trip(&mut self, span: Duration) -> anyhow::Result<Option<f64>> {
        self.measure(&["SELECT 1".to_owned()], span)
    }

    pub(super) fn measure_patterns(&mut self, count: u64, span: Duration) -> anyhow::Result<Option<Times>> {
        let probes: Vec<_> = (0..PROBES).map(|number| Pairs::probe(number, count).terms(true)).collect();
        self.0.as_mut().map(|postgres| postgres.measure_matching(&probes, span)).transpose()
    }

    /// Rows destroyed and created per second.
    pub(super) fn churn(&mut self, count: u64) -> anyhow::Result<Option<(f64, f64)>> {
        self.0.as_mut().map(|postgres| postgres.churn(count)).transpose()
    }

    /// Bytes of all resources and indexes on disk.
    pub(super) fn size(&mut self) -> anyhow::Result<Option<u64>> {
        self.0.as_mut().map(Postgres::size).transpose()
    }

    /// Compares the answers to every case; how many there were.
    pub(super) fn compare(
        &mut self,
        work: &Work,
        queries: &[Query],
        statements: &[String],
        engine: &Engine,
    ) -> anyhow::Result<Option<u64>> {
        let Some(postgres) = &mut self.0 else {
            return Ok(None);
        };
        let mut compared = 0;
        for ((case, query), statement) in work.cases.iter().zip(queries).zip(statements) {
            match work.answer {
                Answer::Ordered | Answer::Next => {
                    let ours = engine.ids(query, 0, case)?;
                    let theirs = postgres.ids(statement)?;
                    ensure!(ours == theirs, "{query}: {} ids, PostgreSQL has {}", ours.len(), theirs.len());
                    if case.skip > 0 && compared < SETS as u64 {
                        let by_offset = postgres.ids(&work::with_offset(&case.sql, case.skip * query.page_limit()))?;
                        ensure!(ours == by_offset, "{query}: another page than by offset");
                    }
                }
                Answer::Count => {
                    let (ours, theirs) = (engine.count(query)?, postgres.number(statement)?);
                    ensure!(ours == theirs, "{query}: {ours}, PostgreSQL counts {theirs}");
                }
                Answer::Random if compared >= SETS as u64 => break,
                Answer::Random => {
                    let mut all = engine.all(case)?;
                    all.sort_unstable();
                    let mut theirs = postgres.ids(case.all.as_deref().unwrap_or(statement))?;
                    theirs.sort_unstable();
                    ensure!(all == theirs, "{query}: {} match, in PostgreSQL {}", all.len(), theirs.len());
                    for seed in 0..PICKS {
                        let picks: BTreeSet<u128> = engine.ids(query, seed, case)?.into_iter().collect();
                        let among = picks.iter().all(|id| all.binary_search(id).is_ok());
                        ensure!(among && picks.len() == all.len().min(query.page_limit()), "{query}: seed {seed}");
                    }
                }
            }
            compared += 1;
        }
        Ok(Some(compared))
    }

    /// Compares which patterns match.
    pub(super) fn compare_patterns(&mut self, count: u64, patterns: &Patterns) -> anyhow::Result<Option<u64>> {
        let Some(postgres) = &mut self.0 else {
            return Ok(None);
        };
        for number in 0..PROBES {
            let (ours, theirs) =
                (patterns.matches(number)?, postgres.matching(&Pairs::probe(number, count).terms(true))?);
            ensure!(ours == theirs, "probe {number}: {} match, in PostgreSQL {}", ours.len(), theirs.len());
        }
        Ok(Some(PROBES))
    }
}
