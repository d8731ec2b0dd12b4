//! Willow's side: the index in this process.

use std::time::Duration;

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use willow_model::{Id, KeyValues};
use willow_query::{Index, Options, Page, PatternTrie, Query, Run};

use super::{
    data::{Resource, id},
    measure::{self, Times, measure},
    patterns::Pairs,
    work::{Case, Work},
};

const SECRET: [u8; 32] = [1; 32];
/// Resources made at a time.
const BATCH: u64 = 10_000;
/// Resources that are destroyed and created to measure that.
const WRITES: u64 = 200_000;
/// Key values that patterns are matched with, in turn.
const PROBES: u64 = 1_000;

pub(super) struct Engine {
    index: Index,
    count: u64,
    /// What the resident set grew by.
    pub(super) resident: u64,
    before: u64,
}

impl Engine {
    /// Loads so many resources.
    pub(super) fn load(count: u64) -> anyhow::Result<Self> {
        let progress = ProgressBar::new(count).with_message("resources into Willow");
        let before = measure::resident()?;
        let mut index = Index::new(Options { hash_seed: 7, ..Options::default() });
        for start in (0..count).step_by(BATCH as usize) {
            let end = count.min(start + BATCH);
            for number in start..end {
                let key_values = Resource::new(number, count).key_values()?;
                index.insert(u32::try_from(number)?, id(&key_values), &key_values, &[]);
            }
            progress.inc(end - start);
        }
        progress.finish_and_clear();
        let resident = measure::resident()?.saturating_sub(before);
        Ok(Self { index, count, resident, before })
    }

    /// Counted by the index itself.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.index.memory_bytes() as u64
    }

    fn page(&self, query: &Query, seed: u64, cursor: Id) -> anyhow::Result<Page> {
        let run = Run { seed, cursor: Some(cursor), ..Run::new(&SECRET, b"bench") };
        Ok(self.index.run(query, &run)?)
    }

    /// The query of a case, at the page it is about, and the last resource of the page before.
    pub(super) fn prepare(&self, case: &Case) -> anyhow::Result<(Query, Option<(u64, Id)>)> {
        let mut query: Query = case.query.parse()?;
        let mut last = None;
        for _ in 0..case.skip {
            let page = self.page(&query, 0, Id::from_u128(0))?;
            query.page_token = Some(page.next_page_token.context("there are as many pages")?);
            last = page.docs.last().copied();
        }
        let number_and_id =
            |doc: u32| Some((super::data::BEGIN_MS + u64::from(doc) * super::data::STEP_MS, self.index.id(doc)?));
        Ok((query, last.and_then(number_and_id)))
    }

    /// What a query finds.
    pub(super) fn ids(&self, query: &Query, seed: u64, case: &Case) -> anyhow::Result<Vec<u128>> {
        let page = self.page(query, seed, Id::from_u128(case.cursor))?;
        page.docs.iter().map(|&doc| Ok(self.index.id(doc).context("found, so it is there")?.to_u128())).collect()
    }

    /// How many match.
    pub(super) fn count(&self, query: &Query) -> anyhow::Result<u64> {
        let count = self.page(query, 0, Id::from_u128(0))?.count.context("asked for")?;
        ensure!(count.exact, "the count of an equality is exact");
        Ok(count.value)
    }

    /// All that match a filter, page by page.
    pub(super) fn all(&self, case: &Case) -> anyhow::Result<Vec<u128>> {
        let mut query = Query { pick: None, limit: 1_000, ..case.query.parse()? };
        let mut ids = Vec::new();
        loop {
            let page = self.page(&query, 0, Id::from_u128(0))?;
            ids.extend(page.docs.iter().filter_map(|&doc| self.index.id(doc)).map(|id| id.to_u128()));
            match page.next_page_token {
                Some(token) => query.page_token = Some(token),
                None => return Ok(ids),
            }
        }
    }

    pub(super) fn measure(&self, work: &Work, queries: &[Query], span: Duration) -> anyhow::Result<Times> {
        measure(span, |round| {
            let at = round as usize % queries.len();
            Ok(self.page(&queries[at], round, Id::from_u128(work.cases[at].cursor))?.docs.len())
        })
    }

    /// Destroys and creates; both per second.
    pub(super) fn churn(&mut self) -> anyhow::Result<(f64, f64)> {
        let writes = WRITES.min(self.count / 4);
        let mut random = super::data::Random::new(7);
        let mut victims: Vec<u32> = (0..writes).map(|_| random.below(self.count) as u32).collect();
        victims.sort_unstable();
        victims.dedup();
        // In no order of their numbers.
        victims.sort_unstable_by_key(|&doc| u64::from(doc).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let arriving = victims.iter().enumerate().map(|(number, _)| {
            let key_values = Resource::new(self.count + number as u64, self.count).key_values()?;
            anyhow::Ok((id(&key_values), key_values))
        });
        let arriving: Vec<(Id, KeyValues)> = arriving.collect::<anyhow::Result<_>>()?;
        let start = std::time::Instant::now();
        for &victim in &victims {
            self.index.remove(victim);
        }
        let removed = start.elapsed();
        let start = std::time::Instant::now();
        for (&victim, (id, key_values)) in victims.iter().zip(&arriving) {
            self.index.insert(victim, *id, key_values, &[]);
        }
        let inserted = start.elapsed();
        let rate = |took: Duration| victims.len() as f64 / took.as_secs_f64();
        Ok((rate(removed), rate(inserted)))
    }

    /// Destroys everything; what stays allocated as counted, and resident.
    pub(super) fn clear(mut self) -> anyhow::Result<(u64, u64)> {
        let progress = ProgressBar::new(self.count).with_message("resources out of Willow");
        for doc in 0..u32::try_from(self.count)? {
            self.index.remove(doc);
            if doc % 10_000 == 0 {
                progress.inc(10_000);
            }
        }
        progress.finish_and_clear();
        Ok((self.memory_bytes(), measure::resident()?.saturating_sub(self.before)))
    }
}

/// Stored patterns.
pub(super) struct Patterns {
    trie: PatternTrie,
    count: u64,
}

impl Patterns {
    pub(super) fn load(count: u64) -> anyhow::Result<Self> {
        let progress = ProgressBar::new(count).with_message("patterns into Willow");
        let mut trie = PatternTrie::default();
        for number in 0..count {
            trie.insert(u32::try_from(number)?, &Pairs::pattern(number, count).as_pattern()?);
            if number % BATCH == 0 {
                progress.inc(BATCH);
            }
        }
        progress.finish_and_clear();
        Ok(Self { trie, count })
    }

    pub(super) fn matches(&self, number: u64) -> anyhow::Result<Vec<u32>> {
        let mut found = Vec::new();
        self.trie.matches(&Pairs::probe(number, self.count).as_probe()?, &mut found);
        Ok(found)
    }

    /// Times, and how many match on average.
    pub(super) fn measure(&self, span: Duration) -> anyhow::Result<(Times, f64)> {
        let probes = (0..PROBES).map(|number| Pairs::probe(number, self.count).as_probe());
        let probes: Vec<KeyValues> = probes.collect::<anyhow::Result<_>>()?;
        let mut found = Vec::new();
        let (mut calls, mut matches) = (0_u64, 0_u64);
        let times = measure(span, |round| {
            found.clear();
            self.trie.matches(&probes[round as usize % probes.len()], &mut found);
            calls += 1;
            matches += found.len() as u64;
            Ok(found.len())
        })?;
        Ok((times, matches as f64 / calls as f64))
    }

    /// Bytes of each, as counted.
    pub(super) fn bytes_each(&self) -> f64 {
        self.trie.memory_bytes() as f64 / self.count as f64
    }
}
