//! The engine's work at a size, in one process: `cargo bench -p willow-query --bench engine -- 1000000`.
//!
//! Arguments are the number of documents (default 100,000) and, after it, names of
//! parts to run: `index`, `trie`; with `index writes`, no queries. Every figure is the median and the 99th percentile of
//! single calls by the clock, and their mean in CPU time, after a warm-up. The data are 3–6 pairs per document, five on average:
//! a repository and a branch by Zipf's law, a team of a hundred, an operating system of
//! three, processors, and a time that no other document has.

#![expect(
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark reads the clock, takes arguments, prints, and may stop at a fault"
)]
#![allow(missing_docs, reason = "a program")]

use std::time::{Duration, Instant};

use roaring::RoaringBitmap;
use willow_model::{Id, Key, KeyValues, Kind, Value};
use willow_query::{Direction, Filter, Index, Missing, Op, Options, OrderBy, PatternTrie, Pick, Query, Run};

const SECRET: [u8; 32] = [1; 32];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Zipf-like: the rank r comes about as often as 1/r.
    fn zipf(&mut self, bound: u64) -> u64 {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((bound as f64).powf(uniform) as u64 - 1).min(bound - 1)
    }
}

fn document(random: &mut Random, number: u64, count: u64) -> KeyValues {
    let mut pairs: Vec<(&str, Value)> = vec![
        ("repo", format!("org/repo-{:06}", random.zipf(count / 50 + 10)).into()),
        ("team", Value::U16(random.below(100) as u16)),
        ("created", Value::U64(1_790_000_000_000 + number * 17)),
    ];
    if random.below(10) < 8 {
        pairs.push(("os", ["linux", "mac", "windows"][random.below(3) as usize].into()));
    }
    if random.below(10) < 7 {
        pairs.push(("cpu", Value::U8(1 + random.zipf(64) as u8)));
    }
    if random.below(10) < 5 {
        pairs.push(("branch", format!("feature-{}", random.zipf(count / 5 + 10)).into()));
    }
    KeyValues::user(pairs).unwrap()
}

fn id(key_values: &KeyValues) -> Id {
    Id::derive(Kind::Counter, None, key_values.as_bytes())
}

fn term(key: &str, op: Op) -> Filter {
    Filter::term(Key::new(key).unwrap(), op)
}

fn by(key: &str, direction: Direction) -> Vec<OrderBy> {
    vec![OrderBy { key: Key::new(key).unwrap(), direction, missing: Missing::Last }]
}

/// Prints median and 99th percentile of `rounds` calls by the clock, and their mean in
/// time of this thread.
fn measure(name: &str, rounds: u64, mut call: impl FnMut(u64) -> usize) {
    for round in 0..rounds / 10 {
        std::hint::black_box(call(round));
    }
    let mut times: Vec<Duration> = Vec::new();
    let mut results = 0;
    let start_ran = ran();
    for round in 0..rounds {
        let start = Instant::now();
        results += std::hint::black_box(call(round + rounds / 10));
        times.push(start.elapsed());
    }
    let mean = (ran() - start_ran).as_secs_f64() * 1e6 / rounds as f64;
    times.sort_unstable();
    let micros = |at: usize| times[at].as_secs_f64() * 1e6;
    let (p50, p99) = (micros(times.len() / 2), micros(times.len() * 99 / 100));
    let found = results as f64 / rounds as f64;
    println!("{name:54} {p50:9.1} {p99:9.1} {mean:9.1} {found:9.1}");
}

/// Time this thread has run: unlike the clock, it leaves out what others on the machine take.
fn ran() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn build(count: u64) -> Index {
    let mut random = Random(42);
    let before = resident();
    let mut index = Index::new(Options { hash_seed: 7, ..Options::default() });
    let (mut took, mut pairs) = (Duration::ZERO, 0);
    let (mut last, mut last_docs) = (Duration::ZERO, 0);
    let mut number = 0;
    while number < count {
        let batch: Vec<(Id, KeyValues)> = (number..count.min(number + 10_000))
            .map(|number| document(&mut random, number, count))
            .map(|key_values| (id(&key_values), key_values))
            .collect();
        let start = ran();
        for (id, key_values) in &batch {
            index.insert(number as u32, *id, key_values, &[]);
            number += 1;
        }
        let batch_took = ran() - start;
        took += batch_took;
        if number > count * 9 / 10 {
            last += batch_took;
            last_docs += batch.len();
        }
        pairs += batch.iter().map(|(_, key_values)| key_values.user_len()).sum::<usize>();
    }
    let rate = count as f64 / took.as_secs_f64();
    let last_rate = last_docs as f64 / last.as_secs_f64();
    println!("insert: {rate:.0}/s, the last tenth {last_rate:.0}/s; {:.2} pairs each", pairs as f64 / count as f64);
    let resident = resident().saturating_sub(before) as f64 / count as f64;
    println!("memory: {resident:.0} bytes each resident, {:.0} counted", index.memory_bytes() as f64 / count as f64);
    index
}

fn churn(index: &mut Index, count: u64) {
    let mut random = Random(7);
    let rounds = (count / 4).min(200_000);
    let victims: Vec<u32> = (0..rounds).map(|_| random.below(count) as u32).collect();
    let arriving: Vec<(Id, KeyValues)> = (0..rounds)
        .map(|number| document(&mut random, count + number, count))
        .map(|key_values| (id(&key_values), key_values))
        .collect();
    let start = ran();
    for &victim in &victims {
        index.remove(victim);
    }
    let removed = ran() - start;
    let start = ran();
    for (victim, (id, key_values)) in victims.iter().zip(&arriving) {
        index.insert(*victim, *id, key_values, &[]);
    }
    let inserted = ran() - start;
    println!(
        "then: delete {:.0}/s, insert {:.0}/s",
        rounds as f64 / removed.as_secs_f64(),
        rounds as f64 / inserted.as_secs_f64()
    );
}

fn queries(index: &Index) {
    println!("{:54} {:>9} {:>9} {:>9} {:>9}", "µs", "p50", "p99", "mean CPU", "results");
    lists(index);
    picks(index);
    actions(index);
    counts(index);
}

fn team(round: u64) -> Filter {
    term("team", Op::Eq(Value::U16((round % 100) as u16)))
}

fn found(index: &Index, query: &Query, seed: u64) -> usize {
    let run = Run { seed, ..Run::new(&SECRET, b"bench") };
    index.run(query, &run).unwrap().docs.len()
}

fn lists(index: &Index) {
    let run = Run::new(&SECRET, b"bench");
    let page = |query: &Query, seed: u64| index.run(query, &Run { seed, ..run }).unwrap().docs.len();
    let created = |query: Query| Query { order_by: by("created", Direction::Asc), ..query };
    measure("order by alone", 2_000, |_| page(&created(Query::default()), 0));
    measure("order by alone, no order", 2_000, |_| page(&Query::default(), 0));
    measure("equality (1%), order by another", 500, |round| page(&created(Query::of(team(round))), 0));
    let deep: Vec<Query> = (0..20)
        .map(|round| {
            let mut query = created(Query::of(team(round)));
            for _ in 0..(index.len() / 20_000).min(999) {
                query.page_token = index.run(&query, &run).unwrap().next_page_token;
            }
            query
        })
        .collect();
    measure("equality (1%), order by another, a late page", 500, |round| page(&deep[round as usize % 20], 0));
    measure("equality (1%), order by repo desc, created", 300, |round| {
        let mut order_by = by("repo", Direction::Desc);
        order_by.extend(by("created", Direction::Asc));
        page(&Query { order_by, ..Query::of(team(round)) }, 0)
    });
    measure("two ranges and an or, order desc", 300, |round| page(&ranges(round), 0));
    measure("equality (1%) by id", 500, |round| page(&Query::of(team(round)), 0));
}

fn picks(index: &Index) {
    let page = |query: &Query, seed: u64| found(index, query, seed);
    let one = |filter: Filter, limit: u32| Query { pick: Some(Pick::Random), limit, ..Query::of(filter) };
    let rare = |round: u64| {
        let start = 1_790_000_000_000 + (round * 977 % index.len() as u64) * 17;
        let end = start + (index.len() as u64 / 100_000).max(1) * 17;
        let range = [term("created", Op::Gte(Value::U64(start))), term("created", Op::Lt(Value::U64(end)))];
        Filter::and(range)
    };
    let both = |round: u64| Filter::and([team(round), term("cpu", Op::Gte(Value::U8(60)))]);
    measure("random 1 under 1%", 2_000, |round| page(&one(team(round), 1), round));
    measure("random 100 under 1%", 500, |round| page(&one(team(round), 100), round));
    measure("random 1 under 0.001% (range)", 500, |round| page(&one(rare(round), 1), round));
    measure("random 1 under two conditions (about 0.01%)", 500, |round| page(&one(both(round), 1), round));
}

fn actions(index: &Index) {
    let compiled: Vec<_> = (0..100).map(|round| index.compile(&Query::of(team(round)))).collect();
    let all: RoaringBitmap = (0..index.len() as u32).collect();
    measure("round robin next under 1%", 2_000, |round| {
        let after = Id::from_u128(u128::from(round.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 64);
        index.select_next(&compiled[round as usize % 100], &all, Some(after)).is_some().into()
    });
    let mut random = Random(3);
    let eligible: RoaringBitmap = (0..100).map(|_| random.below(index.len() as u64) as u32).collect();
    measure("best of a hundred eligible", 2_000, |round| {
        let compiled = &compiled[round as usize % 100];
        index.select_best(compiled, &eligible, &eligible, |doc| doc).0.is_some().into()
    });
    measure("random of a hundred eligible", 2_000, |round| {
        index.select_random(&compiled[round as usize % 100], &eligible, round).is_some().into()
    });
}

fn counts(index: &Index) {
    let run = Run::new(&SECRET, b"bench");
    let count = |filter: Filter| index.run(&Query { count: true, limit: 1, ..Query::of(filter) }, &run).unwrap();
    measure("count one value (1%)", 500, |round| count(team(round)).count.unwrap().value as usize);
    measure("count two values", 100, |round| {
        let filter = Filter::and([team(round), term("os", Op::Eq("linux".into()))]);
        count(filter).count.unwrap().value as usize
    });
}

fn ranges(round: u64) -> Query {
    let filter = Filter::and([
        term("cpu", Op::Gte(Value::U8(8 + (round % 4) as u8))),
        term("team", Op::Lt(Value::U16(30))),
        Filter::or([term("os", Op::Eq("linux".into())), term("branch", Op::Prefix("feature-1".into()))]),
    ]);
    Query { order_by: by("created", Direction::Desc), ..Query::of(filter) }
}

/// Patterns of 1–5 keys, a third of the values `any`, as in `ENGINE.md`.
fn small_patterns(count: u64) {
    let mut random = Random(11);
    let mut trie = PatternTrie::default();
    let value = |random: &mut Random, key: u64| match key % 3 {
        0 => Value::from(format!("value-{}", random.below(count / 50 + 10))),
        1 => Value::U32(random.below(count / 100 + 10) as u32),
        _ => Value::U16(random.below(count / 200 + 10) as u16),
    };
    let before = resident();
    let start = ran();
    for doc in 0..count {
        // One pair is concrete: a rule about everything is rare.
        let key = random.zipf(30);
        let first = value(&mut random, key);
        let mut pairs = std::collections::BTreeMap::from([(format!("k{key}"), first)]);
        for _ in 0..random.below(5) {
            let key = random.zipf(30);
            let value = if random.below(10) < 3 { Value::Any } else { value(&mut random, key) };
            pairs.entry(format!("k{key}")).or_insert(value);
        }
        trie.insert(doc as u32, &KeyValues::pattern(pairs).unwrap());
    }
    let bytes = resident().saturating_sub(before) as f64 / count as f64;
    println!(
        "{count} patterns of 1–5 keys: inserted {:.0}/s, {bytes:.0} bytes each resident, {:.0} counted",
        count as f64 / (ran() - start).as_secs_f64(),
        trie.memory_bytes() as f64 / count as f64
    );
    let probes: Vec<KeyValues> = (0..1_000)
        .map(|_| {
            let mut pairs = std::collections::BTreeMap::new();
            while pairs.len() < 6 {
                let key = random.zipf(30);
                pairs.insert(format!("k{key}"), value(&mut random, key));
            }
            KeyValues::probe(pairs).unwrap()
        })
        .collect();
    let mut out = Vec::new();
    measure("reverse match, 6 keys", 5_000, |round| {
        out.clear();
        trie.matches(&probes[round as usize % probes.len()], &mut out);
        out.len()
    });
}

/// Rules of up to 32 keys: the probe has all 32 keys, so subsets would be four billion.
fn wide_patterns(count: u64) {
    let mut random = Random(12);
    let mut trie = PatternTrie::default();
    for doc in 0..count {
        let len = 1 + random.below(32);
        let mut pairs = std::collections::BTreeMap::new();
        while (pairs.len() as u64) < len {
            let value = if random.below(10) < 3 { Value::Any } else { Value::U8(random.below(20) as u8) };
            pairs.insert(format!("k{}", random.below(32)), value);
        }
        trie.insert(doc as u32, &KeyValues::pattern(pairs).unwrap());
    }
    let probes: Vec<KeyValues> = (0..500)
        .map(|_| KeyValues::probe((0..32).map(|key| (format!("k{key}"), Value::U8(random.below(20) as u8)))).unwrap())
        .collect();
    let mut out = Vec::new();
    measure(&format!("reverse match, 32 keys, {count} rules of 1–32 keys"), 2_000, |round| {
        out.clear();
        trie.matches(&probes[round as usize % probes.len()], &mut out);
        out.len()
    });
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let count = arguments.first().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let wants = |part: &str| arguments.len() < 2 || arguments[1..].iter().any(|wanted| wanted == part);
    if wants("index") {
        println!("{count} documents");
        let mut index = build(count);
        if !arguments.iter().any(|argument| argument == "writes") {
            queries(&index);
        }
        churn(&mut index, count);
    }
    if wants("trie") {
        small_patterns(count);
        wide_patterns(100_000);
    }
}
