//! The obvious Limiter: lists, and sums made anew each time.

use std::collections::BTreeMap;

use willow_query::eval::pattern_matches;

use super::*;

#[derive(Clone, Debug)]
pub(super) struct NaiveRule {
    pub(super) name: String,
    pub(super) key_values: KeyValues,
    pub(super) limit: Limit,
    pub(super) mode: RuleMode,
    pub(super) overrides: Vec<(String, KeyValues, Limit)>,
}

/// A limit that stands for a rule: its bucket, and what it allows.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) rule: String,
    pub(super) override_: Option<String>,
    pub(super) bucket: KeyValues,
    pub(super) used: u128,
    pub(super) limit: Limit,
    pub(super) mode: RuleMode,
}

impl Standing {
    pub(super) fn fits(&self, amount: u64) -> bool {
        match self.limit {
            Limit::At(limit) => self.used + u128::from(amount) <= u128::from(limit),
            Limit::Unlimited => true,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Naive {
    pub(super) rules: Vec<NaiveRule>,
    /// Free and held amounts.
    pub(super) counters: BTreeMap<KeyValues, (u64, u64)>,
    /// Amount and end of each hold.
    pub(super) holds: BTreeMap<Id, (KeyValues, u64, u64)>,
}

/// The limits of a rule that a counter falls under: name of the override, pattern, limit.
fn limits_of<'a>(rule: &'a NaiveRule, key_values: &'a KeyValues) -> Vec<(Option<String>, &'a KeyValues, Limit)> {
    if !pattern_matches(&rule.key_values, key_values) {
        return vec![];
    }
    let matching = rule.overrides.iter().filter(|(_, pattern, _)| pattern_matches(pattern, key_values));
    let overrides: Vec<_> = matching.map(|(name, pattern, limit)| (Some(name.clone()), pattern, *limit)).collect();
    if overrides.is_empty() { vec![(None, &rule.key_values, rule.limit)] } else { overrides }
}

fn reduced(key_values: &KeyValues, pattern: &KeyValues) -> KeyValues {
    let pairs = key_values.iter().filter(|(key, _)| pattern.get_encoded(key).is_some());
    KeyValues::collect(willow_model::Origin::Willow, pairs.map(|(key, value)| (key, value.to_value()))).unwrap()
}

impl Naive {
    pub(super) fn standing(&self, key_values: &KeyValues) -> Vec<Standing> {
        let mut all = Vec::new();
        for rule in &self.rules {
            for (override_, pattern, limit) in limits_of(rule, key_values) {
                let bucket = reduced(key_values, pattern);
                let counted = self.counters.iter().filter(|(other, _)| {
                    let same_limit = limits_of(rule, other).iter().any(|(name, ..)| *name == override_);
                    same_limit && reduced(other, pattern) == bucket
                });
                let used = counted.map(|(_, (free, held))| u128::from(*free) + u128::from(*held)).sum();
                all.push(Standing { rule: rule.name.clone(), override_, bucket, used, limit, mode: rule.mode });
            }
        }
        all
    }

    /// Every bucket that counts something: (rule, override, bucket) → used.
    pub(super) fn buckets(&self) -> BTreeMap<(String, Option<String>, KeyValues), u128> {
        let mut buckets = BTreeMap::new();
        for key_values in self.counters.keys() {
            for standing in self.standing(key_values) {
                buckets.insert((standing.rule, standing.override_, standing.bucket), standing.used);
            }
        }
        buckets
    }

    pub(super) fn add(&mut self, key_values: &KeyValues, free: u64, held: u64) {
        let counter = self.counters.entry(key_values.clone()).or_default();
        counter.0 += free;
        counter.1 += held;
    }

    pub(super) fn take(&mut self, key_values: &KeyValues, free: u64, held: u64) {
        let counter = self.counters.get_mut(key_values).unwrap();
        counter.0 -= free;
        counter.1 -= held;
        if *counter == (0, 0) {
            self.counters.remove(key_values);
        }
    }
}
