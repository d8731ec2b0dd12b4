//! The hot paths on small fixed data, to be counted instruction by instruction: `cargo xtask bench
//! instructions` runs this under callgrind once for each path and has only `hot` counted.
//!
//! Nothing here depends on the clock or on the machine, so a count changes only when the code does (or
//! the compiler). Counts leave out cache misses: they find regressions, not speed.

#![allow(missing_docs, reason = "a program")]

use std::hint::black_box;

use willow_model::{Id, KeyValues, Kind, Value};
use willow_query::{Index, Options, PatternTrie, Query, Run};

const SECRET: [u8; 32] = [1; 32];
const DOCUMENTS: u32 = 20_000;
const PATTERNS: u32 = 10_000;
/// Calls of each path; `xtask` divides by it.
const CALLS: u32 = 100;

/// Spreads numbers over 32 bits.
const fn spread(number: u32, salt: u32) -> u32 {
    (number ^ (salt << 20)).wrapping_mul(0x9E37_79B1).rotate_left(13).wrapping_mul(0x85EB_CA6B) >> 4
}

fn document(number: u32) -> (Id, KeyValues) {
    let team = spread(number, 1) % 100;
    // Squaring makes low numbers common.
    let repo = (spread(number, 2) % 600) * (spread(number, 3) % 600) / 600;
    let pairs: [(&str, Value); 5] = [
        ("repo", format!("org/repo-{repo:06}").into()),
        ("team", Value::U32(team)),
        ("created", Value::U32(1_790_000_000 + number)),
        ("os", ["linux", "mac", "windows"][spread(number, 4) as usize % 3].into()),
        ("cpu", Value::U32(1 + spread(number, 5) % 64)),
    ];
    let key_values = KeyValues::user(pairs).expect("valid");
    (Id::derive(Kind::Counter, None, key_values.as_bytes()), key_values)
}

fn pattern(number: u32, any: bool) -> Vec<(String, Value)> {
    let keys = 1 + spread(number, 6) % 5;
    let mut pairs: Vec<(String, Value)> = Vec::new();
    for at in 0..if any { keys } else { 6 } {
        let key = (spread(number, 7) + at) % 12;
        let any = any && at > 0 && spread(number, 8 + at) % 10 < 3;
        let value = if any { Value::Any } else { Value::U32(spread(number, 20 + at) % 40) };
        pairs.push((format!("k{key}"), value));
    }
    pairs
}

/// Calls a path so often; the one function whose instructions are counted.
#[inline(never)]
fn hot(call: &mut dyn FnMut(u32)) {
    for round in 0..CALLS {
        call(round);
    }
}

/// Answers one query per team in turn.
fn run(index: &Index, text: &str) {
    let queries: Vec<Query> =
        (0..20).map(|team| text.replace("TEAM", &team.to_string()).parse().expect("valid")).collect();
    hot(&mut |call| {
        let run = Run {
            seed: u64::from(call),
            cursor: Some(Id::from_u128(u128::from(spread(call, 9)) << 100)),
            ..Run::new(&SECRET, b"bench")
        };
        black_box(index.run(&queries[call as usize % queries.len()], &run).expect("no token of another"));
    });
}

fn queries() -> Vec<(&'static str, &'static str)> {
    vec![
        ("order_alone", "order by created limit 100"),
        ("equality_ordered_by_another", "team = TEAM order by created limit 100"),
        (
            "ranges_and_or",
            "cpu >= 20 and team < 30 and (os = \"linux\" or repo prefix \"org/repo-0001\") \
             order by created desc limit 100",
        ),
        ("random_one", "team = TEAM pick random limit 1"),
        ("random_hundred", "os = \"linux\" pick random limit 100"),
        ("round_robin", "team = TEAM pick round robin \"c\""),
        ("count", "team = TEAM and os = \"linux\" count limit 1"),
    ]
}

fn index() -> Index {
    let mut index = Index::new(Options { hash_seed: 7, ..Options::default() });
    for number in 0..DOCUMENTS {
        let (id, key_values) = document(number);
        index.insert(number, id, &key_values, &[]);
    }
    index
}

fn reverse_match() {
    let mut trie = PatternTrie::default();
    for number in 0..PATTERNS {
        trie.insert(number, &KeyValues::pattern(pattern(number, true)).expect("valid"));
    }
    let probe = |number| KeyValues::probe(pattern(number, false)).expect("valid");
    let probes: Vec<KeyValues> = (0..CALLS).map(probe).collect();
    let mut found = Vec::new();
    hot(&mut |call| {
        found.clear();
        trie.matches(&probes[call as usize], &mut found);
        black_box(&found);
    });
}

fn main() {
    let path = std::env::args().nth(1).unwrap_or_default();
    if let Some((_, text)) = queries().into_iter().find(|(name, _)| *name == path) {
        return run(&index(), text);
    }
    match path.as_str() {
        "parse" => hot(&mut |_| {
            let text = "team = 7 and cpu >= 4 and (os = \"linux\" or repo prefix \"org/\") order by created desc";
            black_box(text.parse::<Query>().expect("valid"));
        }),
        "reverse_match" => reverse_match(),
        "insert" => {
            let mut index = index();
            let arriving: Vec<_> = (DOCUMENTS..DOCUMENTS + CALLS).map(document).collect();
            hot(&mut |call| {
                let (id, key_values) = &arriving[call as usize];
                index.insert(DOCUMENTS + call, *id, key_values, &[]);
            });
        }
        "delete" => {
            let mut index = index();
            hot(&mut |call| index.remove(spread(call, 10) % DOCUMENTS));
        }
        _ => eprintln!("one of order_alone, …, parse, reverse_match, insert, delete: cargo xtask bench instructions"),
    }
}
