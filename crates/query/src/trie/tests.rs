use std::collections::BTreeMap;

use willow_model::{KeyValues, Value};

use super::PatternTrie;
use crate::eval::pattern_matches;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as u32) % bound
    }

    /// Up to `most` of `keys` keys with few values, a third of them `any` in a pattern.
    fn pairs(&mut self, pattern: bool, keys: u32, most: u32) -> KeyValues {
        let count = 1 + self.below(most.min(keys).min(32));
        let mut pairs = BTreeMap::new();
        while pairs.len() < count as usize {
            let value = match self.below(3) {
                0 if pattern => Value::Any,
                1 => Value::U8(self.below(3) as u8),
                _ => Value::I64(self.below(3).into()),
            };
            pairs.insert(format!("key-{}", self.below(keys)), value);
        }
        if pattern { KeyValues::pattern(pairs) } else { KeyValues::probe(pairs) }.expect("valid")
    }
}

fn naive(patterns: &BTreeMap<u32, KeyValues>, probe: &KeyValues) -> Vec<u32> {
    patterns.iter().filter(|(_, pattern)| pattern_matches(pattern, probe)).map(|(&doc, _)| doc).collect()
}

#[test]
fn agrees_with_looking_at_every_pattern() {
    for (seed, keys, most) in [(1, 4, 3), (2, 10, 5), (3, 40, 32), (4, 100, 4)] {
        let mut random = Random(seed);
        let (mut trie, mut patterns) = (PatternTrie::default(), BTreeMap::new());
        let mut found = 0;
        for round in 0..1_500 {
            let doc = random.below(300);
            if let Some(pattern) = patterns.remove(&doc) {
                assert!(trie.remove(doc, &pattern));
            } else {
                let pattern = random.pairs(true, keys, most);
                assert!(trie.insert(doc, &pattern));
                assert!(!trie.insert(doc, &pattern), "a number is taken once");
                patterns.insert(doc, pattern);
            }
            assert_eq!(trie.len(), patterns.len());
            if round % 5 == 0 {
                let probe = random.pairs(false, keys, most + 3);
                let mut out = Vec::new();
                trie.matches(&probe, &mut out);
                assert_eq!(out, naive(&patterns, &probe), "{probe:?}");
                found += out.len();
            }
        }
        assert!(found > 0, "seed {seed} found nothing");
    }
}

#[test]
fn gives_its_memory_back() {
    let mut random = Random(9);
    let mut trie = PatternTrie::default();
    let empty = trie.memory_bytes();
    let patterns: Vec<KeyValues> = (0..5_000).map(|_| random.pairs(true, 60, 8)).collect();
    for (doc, pattern) in (0..).zip(&patterns) {
        trie.insert(doc, pattern);
    }
    let full = trie.memory_bytes();
    for (doc, pattern) in (0..).zip(&patterns) {
        assert!(trie.remove(doc, pattern));
        assert!(!trie.remove(doc, pattern));
    }
    assert!(trie.is_empty());
    // One chunk of nodes and the smallest hash tables may stay.
    let left = trie.memory_bytes() - empty;
    assert!(left < full / 4 && left < 130_000, "{left} of {full} bytes left");
}

#[test]
fn many_equal_patterns_are_one_node() {
    let mut trie = PatternTrie::default();
    let pattern = KeyValues::pattern([("a", Value::Any), ("b", Value::Bool(true))]).expect("valid");
    for doc in 0..2_000 {
        trie.insert(doc, &pattern);
    }
    let probe = KeyValues::probe([("a", 1_u8.into()), ("b", Value::Bool(true)), ("c", 2_u8.into())]).expect("valid");
    let mut out = Vec::new();
    trie.matches(&probe, &mut out);
    assert_eq!(out, (0..2_000).collect::<Vec<_>>());
}

/// The work of a search, counted, must not grow with patterns that cannot match nor
/// with the subsets of the probe's keys.
#[test]
fn visits_few_nodes_with_thirty_two_keys() {
    let mut trie = PatternTrie::default();
    let key = |number: u32| format!("key-{number:02}");
    let mut random = Random(5);
    for doc in 0..20_000_u32 {
        let mut pairs: BTreeMap<String, Value> =
            (0..random.below(31)).map(|_| (key(random.below(31)), Value::Any)).collect();
        pairs.insert(key(31), Value::U32(doc));
        trie.insert(doc, &KeyValues::pattern(pairs).expect("valid"));
    }
    let probe = KeyValues::probe((0..32).map(|number| (key(number), Value::U32(7)))).expect("valid");
    let mut out = Vec::new();
    assert!(trie.trie.visit(&super::Terms::new(&probe, &trie.names), &mut out) < 10);
    assert_eq!(out, [7]);
}
