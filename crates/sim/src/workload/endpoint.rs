//! What clients talk to.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use willow_core::{Command, Machine, Outcome, Refusal, RequestId};

use crate::history::Answer;

/// Why a call has no answer of the machine's.
#[derive(Clone, Debug, PartialEq)]
pub enum CallError {
    /// The machine's answer: no.
    Refused(Refusal),
    /// Nothing was done, nor will be.
    NotDone(String),
    /// It may have been done, or may yet be.
    Unknown(String),
}

/// Looks at a machine.
pub type Look = Box<dyn FnOnce(&Machine) -> Looked + Send>;

/// What a look saw.
#[derive(Clone, Debug)]
pub struct Looked {
    /// The answer.
    pub answer: Answer,
    /// Where the next page begins.
    pub next_page: Option<String>,
}

/// A cluster, as clients reach it: by its nodes.
pub trait Endpoint: Debug + Send + Sync + 'static {
    /// How many nodes there are to try.
    fn nodes(&self) -> usize;

    /// Asks a node for a change. Dropping the future is hanging up.
    fn propose(
        &self,
        node: usize,
        command: Command,
        request_id: Option<RequestId>,
    ) -> BoxFuture<'static, Result<Outcome, CallError>>;

    /// Asks a node to look; answers with which life of the node looked.
    fn read(&self, node: usize, stale: bool, look: Look) -> BoxFuture<'static, Result<(Looked, u32), CallError>>;
}
