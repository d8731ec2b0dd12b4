//! What the machine asks of the edge, as data.

use willow_model::Id;

use crate::{Reply, WaiterId};

/// Something for the edge to do. Effects are not replicated; a node without the caller drops them.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The wait is over: hand `reply` to whoever waits as `waiter`.
    Resolve {
        /// Whose wait is over.
        waiter: WaiterId,
        /// The final answer, never [`crate::Outcome::Waiting`].
        reply: Reply,
    },
    /// An act that an operator may have to account for.
    Audit(Audit),
}

/// An audited act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Machine time, ms since the Unix epoch.
    pub time_ms: u64,
    /// What was done, as a stable dotted name (`lock.force_release`).
    pub action: &'static str,
    /// To which resource.
    pub resource: Id,
    /// Who asked, as the caller named itself.
    pub by: Option<Box<str>>,
    /// Why, as the caller put it.
    pub reason: Option<Box<str>>,
}
