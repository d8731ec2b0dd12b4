//! Why a Limiter command did nothing.

use serde::{Deserialize, Serialize};
use willow_model::{Id, Revision};

use super::Blocking;

/// Refusals of Limiter commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// At least one limit is in the way; all of them are listed.
    #[error("the limit is reached: see denied_by for every rule in the way")]
    LimitReached {
        /// Every blocking limit.
        denied_by: Vec<Blocking>,
        /// The longest of the blocking limits' own, when all have one, ms.
        retry_after_ms: Option<u64>,
    },
    /// No such rule.
    #[error("no such rule")]
    NoSuchRule,
    /// No such override.
    #[error("no such override")]
    NoSuchOverride,
    /// No such counter.
    #[error("no such counter: nothing is counted there")]
    NoSuchCounter,
    /// No such hold: it was released, or its lease ended.
    #[error("no such hold: it was released or its lease ended")]
    NoSuchHold,
    /// The name or the key values are taken.
    #[error("a rule or override with this name or these key values exists already")]
    AlreadyExists {
        /// Which one is in the way.
        existing: Id,
    },
    /// `If-Match` does not match.
    #[error("the revision is {current}; read it again, then repeat the edit")]
    RevisionMismatch {
        /// What it is.
        current: Revision,
    },
    /// Key values never change.
    #[error("key_values cannot be changed: delete and create instead")]
    KeyValuesChanged,
    /// An override must be narrower than its rule.
    #[error(
        "the override must have all of the rule's keys, each equal to or narrower than the rule's: key {key:?} is not"
    )]
    NotNarrower {
        /// The first key that is not.
        key: Box<str>,
    },
    /// Less is counted than was to be taken.
    #[error("the counter has only {available} that no hold accounts for")]
    Underflow {
        /// What could be taken.
        available: u64,
    },
    /// The sum leaves 64 bits.
    #[error("the amount would overflow the counter or a bucket")]
    Overflow,
    /// A value is out of its bounds.
    #[error("{field} is out of bounds: {bounds}")]
    OutOfBounds {
        /// Which field.
        field: Box<str>,
        /// What it may be.
        bounds: Box<str>,
    },
    /// As many as there may be.
    #[error("there are as many rules or overrides as there may be")]
    TooMany,
}
