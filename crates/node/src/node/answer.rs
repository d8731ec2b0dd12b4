//! What a node answers its peers.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use willow_core::Machine;
use willow_core::catalogue::{self, AddNode, NodeFacts, NodeState};

use super::Inner;
use crate::NodeId;
use crate::group::Group;
use crate::transport::Service;
use crate::wire::{self, Answer, Call, Hello, Joined, Refused, Request};

impl Inner {
    async fn respond(&self, request: &[u8]) -> Result<Answer, Refused> {
        let Request { cluster, from, to, group, call } = wire::decode(request)?;
        match call {
            Call::Hello => {
                return Ok(Answer::Hello(Hello { cluster: self.peers.cluster(), node: self.id.0, bootstraps: 0 }));
            }
            Call::Join { identity, facts } => return Ok(Answer::Joined(self.take_in(identity, facts).await)),
            _ => {}
        }
        if cluster != self.peers.cluster() {
            self.mistaken.call_once(|| {
                tracing::error!("a node of another cluster looks for a member here: is this the right data directory?");
            });
            return Err(Refused::OtherCluster(self.peers.cluster()));
        }
        if to != self.id.0 {
            self.mistaken.call_once(|| {
                tracing::error!(
                    "node {from} looks for node {to} here, but the data directory is that of node {}: was it copied?",
                    self.id
                );
            });
            return Err(Refused::OtherNode(self.id.0));
        }
        let is_removed =
            |machine: &Machine| machine.catalogue().node(from).is_some_and(|record| record.state == NodeState::Removed);
        if self.catalogue.read_stale(is_removed) {
            return Err(Refused::Removed);
        }
        let group = self.group(group).ok_or(Refused::NoSuchGroup(group))?;
        self.dispatch(group, call).await
    }

    async fn dispatch(&self, group: &Arc<Group>, call: Call) -> Result<Answer, Refused> {
        let consensus = &group.consensus;
        match call {
            Call::Append(append) => {
                let answer = consensus.append(append).await?;
                if !matches!(answer, Answer::Append(wire::Appended::HigherVote(_))) {
                    group.heard_leader();
                }
                Ok(answer)
            }
            Call::Vote(vote) => consensus.vote(vote, false).await,
            Call::PreVote(vote) => consensus.vote(vote, true).await,
            Call::Transfer(transfer) => consensus.take_leadership(transfer).await,
            Call::SnapshotBegin(begin) => consensus.snapshot_begin(begin).await,
            Call::SnapshotChunks(chunks) => {
                group.heard_leader();
                consensus.snapshot_chunks(chunks).await
            }
            Call::SnapshotEnd(end) => consensus.snapshot_end(end).await,
            Call::Propose { envelope, cancel_on_drop } => Ok(group.answer_propose(envelope, cancel_on_drop).await),
            Call::ReadIndex => Ok(Answer::ReadIndex(consensus.read_index().await)),
            Call::Report => Ok(Answer::Report(self.report())),
            Call::Lead { node } => {
                let handed = consensus.transfer(NodeId(node)).await;
                Ok(Answer::Lead(handed.map_err(|stopped| stopped.to_string())))
            }
            Call::Hello | Call::Join { .. } => Err(Refused::Malformed("it is not for a group".to_owned())),
        }
    }

    async fn take_in(&self, identity: u128, facts: NodeFacts) -> Result<Joined, String> {
        self.peers.check_address(&facts.peer_addr).await?;
        let add = catalogue::Command::Add(AddNode { identity, facts, is_founder: false });
        let record = self.change_catalogue(add).await.map_err(|error| error.to_string())?;
        Ok(Joined { cluster: self.peers.cluster(), node: record.node })
    }
}

/// Where peers knock.
#[derive(Debug)]
pub(super) struct Door(pub(super) Weak<Inner>);

impl Service for Door {
    fn answer(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        let node = self.0.upgrade();
        Box::pin(async move {
            let answer = match node {
                Some(node) => node.respond(&request).await,
                None => Err(Refused::NotRunning),
            };
            wire::encode(&answer.unwrap_or_else(Answer::Refused))
        })
    }
}
