//! Stored patterns of 1 to 5 keys, three in ten of their values `any`, and key values of 6 keys to
//! match them with.

use std::collections::BTreeMap;

use willow_model::{KeyValues, Value};

use super::data::Random;

/// Names of keys.
const KEYS: u64 = 30;
/// Keys of what is matched.
const PROBE_KEYS: usize = 6;

/// Pairs by key.
pub(super) struct Pairs(BTreeMap<u64, Value>);

impl Pairs {
    /// The pattern of this number among so many. One of its pairs is concrete: a rule about
    /// everything is rare.
    pub(super) fn pattern(number: u64, count: u64) -> Self {
        let mut random = Random::new(Random::new(number ^ (1 << 40)).next());
        let key = random.zipf(KEYS);
        let mut pairs = BTreeMap::from([(key, value(&mut random, key, count))]);
        for _ in 0..random.below(5) {
            let key = random.zipf(KEYS);
            let value = if random.below(10) < 3 { Value::Any } else { value(&mut random, key, count) };
            // The concrete pair stays.
            pairs.entry(key).or_insert(value);
        }
        Self(pairs)
    }

    /// Key values to match such patterns with.
    pub(super) fn probe(number: u64, count: u64) -> Self {
        let mut random = Random::new(Random::new(number ^ (1 << 41)).next());
        let mut pairs = BTreeMap::new();
        while pairs.len() < PROBE_KEYS {
            let key = random.zipf(KEYS);
            pairs.insert(key, value(&mut random, key, count));
        }
        Self(pairs)
    }

    pub(super) fn as_pattern(&self) -> anyhow::Result<KeyValues> {
        Ok(KeyValues::pattern(self.named())?)
    }

    pub(super) fn as_probe(&self) -> anyhow::Result<KeyValues> {
        Ok(KeyValues::probe(self.named())?)
    }

    fn named(&self) -> BTreeMap<String, Value> {
        self.0.iter().map(|(key, value)| (format!("k{key}"), value.clone())).collect()
    }

    /// The terms that a pattern needs, or, with `any` besides each, those that a probe offers.
    pub(super) fn terms(&self, with_any: bool) -> Vec<String> {
        let mut terms = Vec::new();
        for (key, value) in &self.0 {
            let literal = match value {
                Value::Any => "*".to_owned(),
                Value::String(text) => text.to_string(),
                Value::U32(number) => number.to_string(),
                Value::U16(number) => number.to_string(),
                other => format!("{other:?}"),
            };
            if with_any {
                terms.push(format!("k{key}=*"));
            }
            terms.push(format!("k{key}={literal}"));
        }
        terms
    }
}

fn value(random: &mut Random, key: u64, count: u64) -> Value {
    match key % 3 {
        0 => Value::from(format!("value-{}", random.below(count / 50 + 10))),
        1 => Value::U32(random.below(count / 100 + 10) as u32),
        _ => Value::U16(random.below((count / 200 + 10).min(60_000)) as u16),
    }
}
