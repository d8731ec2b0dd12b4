//! The cluster as clients reach it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use willow_core::{Command, Outcome, RequestId};
use willow_node::{Node, ProposeError};

use super::flip::Counted;
use super::host::Host;
use super::life::Life;
use super::net::Net;
use crate::time;
use crate::workload::{CallError, Endpoint, Look, Looked};

/// From a client to a node, or back.
const HOP_US: u64 = 300;

/// All hosts there are. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) net: Net,
    pub(super) flips: Counted,
    hosts: Arc<Mutex<Vec<Host>>>,
}

impl World {
    pub(super) fn new(net: Net) -> Self {
        Self { net, flips: Counted::default(), hosts: Arc::default() }
    }

    pub(super) fn add(&self, host: Host) {
        self.hosts.lock().push(host);
    }

    pub(super) fn hosts(&self) -> Vec<Host> {
        self.hosts.lock().clone()
    }

    /// Those that belong to the cluster.
    pub(super) fn members(&self) -> Vec<Host> {
        self.hosts.lock().iter().filter(|host| !host.is_retired()).cloned().collect()
    }

    pub(super) fn host(&self, place: usize) -> Option<Host> {
        self.hosts.lock().get(place).cloned()
    }

    /// The way between a client and a node, there or back.
    async fn hop(&self, place: usize) {
        time::sleep_us(HOP_US).await;
        self.net.thawed(place).await;
    }

    /// The way there, and who is found.
    async fn reach(&self, place: usize) -> Result<(Node, Life), CallError> {
        let host = self.host(place);
        self.hop(place).await;
        let found = host.and_then(|host| host.node());
        found.ok_or_else(|| CallError::NotDone("nobody listens there".to_owned()))
    }
}

impl Endpoint for World {
    fn nodes(&self) -> usize {
        self.hosts.lock().len()
    }

    fn propose(
        &self,
        node: usize,
        command: Command,
        request_id: Option<RequestId>,
    ) -> BoxFuture<'static, Result<Outcome, CallError>> {
        let world = self.clone();
        Box::pin(async move {
            let (running, life) = world.reach(node).await?;
            let gone = || CallError::Unknown("the node went away".to_owned());
            let proposed = life.run(async move { running.propose(command, request_id).await });
            let proposed = proposed.await.ok_or_else(gone)?;
            world.hop(node).await;
            if life.is_over() {
                return Err(gone());
            }
            proposed.map_err(call_error)
        })
    }

    fn read(&self, node: usize, stale: bool, look: Look) -> BoxFuture<'static, Result<(Looked, u32), CallError>> {
        let world = self.clone();
        Box::pin(async move {
            let (running, life) = world.reach(node).await?;
            let gone = || CallError::NotDone("the node went away".to_owned());
            let read =
                life.run(async move { if stale { Ok(running.read_stale(look)) } else { running.read(look).await } });
            let read = read.await.ok_or_else(gone)?;
            let looked = read.map_err(|error| CallError::NotDone(error.to_string()))?;
            world.hop(node).await;
            if life.is_over() { Err(gone()) } else { Ok((looked, life.number)) }
        })
    }
}

/// What the node says was done is taken at its word.
fn call_error(error: ProposeError) -> CallError {
    match error {
        ProposeError::Refused(refusal) => CallError::Refused(refusal),
        ProposeError::OutcomeUnknown { reason } => CallError::Unknown(reason),
        error @ ProposeError::NoQuorum { .. } => CallError::Unknown(error.to_string()),
        ProposeError::ShuttingDown => CallError::Unknown("shutting down".to_owned()),
        error @ (ProposeError::Overloaded { .. }
        | ProposeError::Unavailable(_)
        | ProposeError::NotLeader { .. }
        | ProposeError::TooLarge { .. }) => CallError::NotDone(error.to_string()),
    }
}
