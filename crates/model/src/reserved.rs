//! The reserved keys: the one table of keys that Willow itself sets.

use crate::{Error, ValueRef, ValueType};

/// The queue's name, on everything a queue counts with the Limiter.
pub const QUEUE_NAME: &str = "_willow_queue_name";

/// The rule's name. Only in the index, on the documents of rules and overrides, so that they can be
/// queried by it; it is no part of their key values.
pub const RULE_NAME: &str = "_willow_limiter_rule_name";

/// A key that Willow sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservedKey {
    /// `_willow_<service>_<name>`.
    pub key: &'static str,
    /// The type of its value.
    pub value_type: ValueType,
    /// What it says.
    pub about: &'static str,
}

/// Every reserved key there is.
pub const RESERVED_KEYS: &[ReservedKey] = &[
    ReservedKey {
        key: QUEUE_NAME,
        value_type: ValueType::String,
        about: "The name of the queue, on every counter that a queue's claims count on.",
    },
    ReservedKey {
        key: RULE_NAME,
        value_type: ValueType::String,
        about: "The name of the rule, on rules and overrides, for queries only.",
    },
];

/// Checks that a reserved key is defined and its value of the key's type, or the wildcard.
pub(crate) fn check(key: &str, value: ValueRef<'_>) -> Result<(), Error> {
    let Some(reserved) = RESERVED_KEYS.iter().find(|reserved| reserved.key == key) else {
        return Err(Error::ReservedKey {
            key: key.to_owned(),
            advice: "it is not one that Willow defines; rename it so that it starts otherwise",
        });
    };
    let found = value.value_type();
    if found == reserved.value_type || found == ValueType::Any {
        return Ok(());
    }
    Err(Error::ReservedKeyType { key: key.to_owned(), expected: reserved.value_type, found })
}
