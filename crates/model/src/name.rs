//! Names of rules, overrides and queues.

use crate::{Error, Id, limits};

/// Names that would read as something else in a URL path: the collection's query, and the segments
/// that clients and proxies resolve away.
const TAKEN: [&str; 3] = ["query", ".", ".."];

/// Checks a name of a rule, an override or a queue: 1–128 bytes, no control characters, no white
/// space at either end, not an id (a path takes either), and none of `query`, `.`, `..`.
///
/// # Errors
/// [`Error::Name`].
pub fn check_name(name: &str) -> Result<(), Error> {
    let reason = if name.is_empty() {
        "it is empty; give 1 to 128 bytes"
    } else if name.len() > limits::NAME_BYTES {
        "it is longer than 128 bytes; shorten it"
    } else if name.chars().any(char::is_control) {
        "it has a control character; remove it"
    } else if name.trim() != name {
        "it starts or ends with white space; remove it"
    } else if name.parse::<Id>().is_ok() {
        "it reads as an id; choose one that is not a UUID"
    } else if TAKEN.contains(&name) {
        "it has another meaning in a URL; choose another"
    } else {
        return Ok(());
    };
    Err(Error::Name { name: name.chars().take(limits::NAME_BYTES).collect(), reason })
}
