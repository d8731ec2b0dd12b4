//! What can go wrong with a call.

use willow_api::{ErrorCode, Problem};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server said no, and why.
    #[error("{}: {}", .0.code, .0.detail)]
    Refused(Box<Problem>),
    /// No connection, or it broke. The call may or may not have taken effect; with a request id a
    /// repeat is safe.
    #[error("connection to the server failed: {0}")]
    Connection(String),
    /// No reply in time. The call may or may not have taken effect.
    #[error("the server did not reply in time")]
    TimedOut,
    /// The reply is not what this client understands: is it a Willow server, of this version?
    #[error("the reply was not understood: {0}")]
    Protocol(String),
    /// The server's address is not a URL.
    #[error("the server's address is not usable: {0}")]
    BadUrl(String),
}

impl Error {
    /// The server's code, when it answered.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(problem) => Some(problem.code),
            Self::Connection(_) | Self::TimedOut | Self::Protocol(_) | Self::BadUrl(_) => None,
        }
    }

    /// Whether the call may have been done, or not.
    pub(crate) fn is_unknown(&self) -> bool {
        self.code() == Some(ErrorCode::OutcomeUnknown)
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused(problem) => problem.retryable,
            Self::Connection(_) | Self::TimedOut => true,
            Self::Protocol(_) | Self::BadUrl(_) => false,
        }
    }
}
