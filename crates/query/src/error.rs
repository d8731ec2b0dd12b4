//! What can be wrong with a query.

use std::fmt;

/// Characters of one field or key that a path shows: any valid key.
const PATH_PART_CHARS: usize = 140;

/// A fault in a query, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The field, as a path such as `or[1].where.cpu.gte`; empty for the whole.
    pub path: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl Error {
    pub(crate) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }

    /// The same fault, seen from outside the field or item.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        // The path may be a user's text, and ends up on terminals and in logs.
        let shown = outer.chars().take(PATH_PART_CHARS);
        let outer: String = shown.map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{outer}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Error {}
