//! What can be wrong with a query.

/// A fault in a query, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Error {
    /// The field, as a path such as `or[1].where.cpu.gte`.
    pub path: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl Error {
    pub(crate) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}
