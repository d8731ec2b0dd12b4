//! Random inputs from one seed: few keys and values, so that much collides.

use super::*;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % end
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let len = from.len() as u64;
        (len > 0).then(|| &from[self.below(len) as usize])
    }

    pub(super) fn counter(&mut self) -> KeyValues {
        loop {
            let mut pairs = Vec::new();
            for (key, odds) in [("a", 4), ("b", 2), ("c", 1)] {
                if self.below(5) < odds {
                    pairs.push((key, self.value()));
                }
            }
            if let Ok(key_values) = KeyValues::user(pairs) {
                return key_values;
            }
        }
    }

    /// The same data in two types, and a string that looks like a wildcard.
    fn value(&mut self) -> Value {
        match self.below(8) {
            0 => Value::U8(4),
            1 => Value::I64(4),
            2 => Value::from("*"),
            _ => Value::from("x"),
        }
    }

    pub(super) fn pattern(&mut self) -> KeyValues {
        let concrete = self.counter();
        let value = |value: willow_model::ValueRef<'_>, any: bool| if any { Value::Any } else { value.to_value() };
        let pairs: Vec<_> = concrete.iter().map(|(key, of)| (key.to_owned(), value(of, self.below(2) == 0))).collect();
        KeyValues::pattern(pairs).unwrap()
    }

    /// Narrower than the rule's.
    pub(super) fn narrower(&mut self, rule: &KeyValues) -> KeyValues {
        let mut pairs: Vec<(String, Value)> = Vec::new();
        for (key, value) in rule.iter() {
            let keep = value != willow_model::ValueRef::Any || self.below(2) == 0;
            pairs.push((key.to_owned(), if keep { value.to_value() } else { self.value() }));
        }
        for key in ["a", "b", "c"] {
            if rule.get(key).is_none() && self.below(3) == 0 {
                let any = self.below(2) == 0;
                pairs.push((key.to_owned(), if any { Value::Any } else { self.value() }));
            }
        }
        KeyValues::pattern(pairs).unwrap()
    }

    pub(super) fn limit(&mut self) -> Limit {
        if self.below(12) == 0 { Limit::Unlimited } else { Limit::At(self.below(7)) }
    }

    pub(super) fn mode(&mut self) -> RuleMode {
        if self.below(6) == 0 { RuleMode::Shadow } else { RuleMode::Enforce }
    }
}
