//! What a query means: the one definition that the engine's residual filters, its indexes and the
//! naive reference are held to.
//!
//! Comparison stays within a class (bool, number, string, any) and is by exact mathematical value,
//! whatever the numeric type; `types` narrows. A stored `any` is a literal value: no comparison
//! with a concrete value holds for it, `ne` does.

use std::cmp::Ordering;

use willow_model::encoding::ENCODED_ANY;
use willow_model::{KeyValues, ValueRef};

use crate::ast::{Filter, KeyCount, Op};

impl Filter {
    /// Whether it holds for the document whose values `lookup` gives.
    ///
    /// It recurses as deep as the filter nests, which is bounded where it is read.
    pub fn matches<'a>(&self, lookup: &impl Fn(&str) -> Option<ValueRef<'a>>) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.matches(lookup)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(lookup)),
            Self::Not(part) => !part.matches(lookup),
            Self::Term { key, op } => op.matches(lookup(key)),
        }
    }
}

impl Op {
    /// Whether it holds for a value; `None` stands for an absent key.
    #[must_use]
    pub fn matches(&self, value: Option<ValueRef<'_>>) -> bool {
        let Some(value) = value else {
            return matches!(self, Self::Exists(false));
        };
        let compared = |with: &willow_model::Value| value.compare_in_class(with.as_ref());
        match self {
            Self::Eq(with) => compared(with).is_some_and(Ordering::is_eq),
            Self::Ne(with) => !compared(with).is_some_and(Ordering::is_eq),
            Self::Lt(with) => compared(with).is_some_and(Ordering::is_lt),
            Self::Lte(with) => compared(with).is_some_and(Ordering::is_le),
            Self::Gt(with) => compared(with).is_some_and(Ordering::is_gt),
            Self::Gte(with) => compared(with).is_some_and(Ordering::is_ge),
            Self::In(list) => list.iter().any(|with| compared(with).is_some_and(Ordering::is_eq)),
            Self::Prefix(prefix) => value.as_str().is_some_and(|text| text.starts_with(&**prefix)),
            Self::Exists(present) => *present,
            Self::IsAny => value == ValueRef::Any,
            Self::Types(types) => types.contains(value.value_type()),
        }
    }
}

impl KeyCount {
    /// Whether a number of user pairs is within the bounds.
    #[must_use]
    pub fn contains(self, user_len: usize) -> bool {
        let least = self.min.is_none_or(|min| user_len as u64 >= u64::from(min));
        least && self.max.is_none_or(|max| user_len as u64 <= u64::from(max))
    }
}

/// Whether a stored pattern's every pair is in `probe`, equal in type and data or `any`: what
/// `matching` asks for.
#[must_use]
pub fn pattern_matches(pattern: &KeyValues, probe: &KeyValues) -> bool {
    pattern
        .encoded_pairs()
        .all(|(key, wanted)| probe.get_encoded(key).is_some_and(|value| wanted == ENCODED_ANY || wanted == value))
}
