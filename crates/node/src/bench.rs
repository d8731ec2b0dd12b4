//! Any number of groups on one node's log and peers, for benchmarks: what a node will do that serves several groups
//! of data, without what finds the group of a command.
//!
//! Only with the feature `bench`. There is no catalogue, and the members are given: nothing here is for use.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use willow_core::{Command, Outcome};
use willow_storage::log::Log;

use crate::group::Group;
use crate::node::Proposed;
use crate::peers::Peers;
use crate::raft::Change;
use crate::role::Leader;
use crate::tasks::blocking;
use crate::transport::Service;
use crate::wire::{self, Answer, Call, Refused, Request};
use crate::{Config, GroupId, NodeId, Peering, ProposeError, StartError, Stats};

/// One node's part in all groups.
#[derive(Clone, Debug)]
pub struct Groups {
    groups: Arc<[Arc<Group>]>,
    log: Log,
}

impl Groups {
    /// Opens `count` groups of node `me` of `nodes` (ids and peer addresses), numbered from 0. `config.peering` says
    /// how peers are reached; its `start` is not looked at. The directory must be empty.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub async fn open(config: Config, me: NodeId, nodes: &[(NodeId, String)], count: u32) -> Result<Self, StartError> {
        let tasks = config.runtime.tasks();
        let Some(Peering { transport, reception, .. }) = config.peering.clone() else {
            return Err(StartError::Config("no peering".to_owned()));
        };
        let peers = Peers::new(1, me, Some(transport), Arc::clone(&tasks));
        for (node, addr) in nodes {
            peers.learn(*node, addr);
        }
        let opening = {
            let config = config.clone();
            move || Log::open(Arc::clone(&config.vfs), &config.data_dir.join("log"), config.log.clone())
        };
        let opened = blocking(tasks.as_ref(), opening).await;
        let failed = |reason: &str| StartError::Storage(reason.to_owned());
        let (log, _recovered) = opened.ok_or_else(|| failed("no log"))?.map_err(|error| failed(&error.to_string()))?;
        let mut groups = Vec::new();
        for id in 0..count {
            // The catalogue has an id of its own.
            let id = GroupId(id.saturating_add(GroupId::DATA.0));
            groups.push(Group::open(id, &config, me, log.clone(), Arc::clone(&peers)).await?);
        }
        let groups: Arc<[Arc<Group>]> = groups.into();
        reception.open(Arc::new(Door(Arc::clone(&groups))));
        for group in groups.iter() {
            let found = nodes.first().filter(|(founder, _)| *founder == me).map(|(_, addr)| addr.as_str());
            group.run(found).await?;
        }
        Ok(Self { groups, log })
    }

    /// On the founder, the first of `nodes`: makes all of them voters of every group, then hands each group to
    /// the next node in turn.
    ///
    /// # Errors
    /// When a group does not change.
    pub async fn spread(&self, nodes: &[(NodeId, String)]) -> Result<(), StartError> {
        for (index, group) in self.groups.iter().enumerate() {
            group.ready().await?;
            for (node, addr) in nodes.iter().skip(1) {
                for change in [Change::AddLearner(*node, addr.clone()), Change::Promote(*node)] {
                    group.consensus.change(change).await.map_err(StartError::Raft)?;
                }
            }
            let (to, _) = &nodes[index % nodes.len()];
            if index % nodes.len() != 0 {
                group.consensus.transfer(*to).await.map_err(|stopped| StartError::Raft(stopped.to_string()))?;
                group.role.other_than(Leader::Here).await;
            }
        }
        Ok(())
    }

    /// Ends when all groups have a leader, and applied all they had.
    ///
    /// # Errors
    /// When one never will.
    pub async fn ready(&self) -> Result<(), StartError> {
        for group in self.groups.iter() {
            group.ready().await?;
        }
        Ok(())
    }

    /// Whether this node leads group `index`.
    #[must_use]
    pub fn is_leading(&self, index: usize) -> bool {
        self.groups[index].role.is_leading()
    }

    /// What group `index` did on this node.
    #[must_use]
    pub fn stats(&self, index: usize) -> Stats {
        self.groups[index].stats()
    }

    /// See [`crate::Node::propose`].
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose(&self, index: usize, command: Command) -> Result<Outcome, ProposeError> {
        match self.groups[index].propose(command, None).await? {
            Proposed::Done(outcome) => Ok(outcome),
            Proposed::Waiting(waiting) => waiting.await,
        }
    }

    /// Stops all groups and closes the log.
    pub async fn shutdown(&self) {
        for group in self.groups.iter() {
            group.shutdown().await;
        }
        self.log.close();
    }
}

#[derive(Debug)]
struct Door(Arc<[Arc<Group>]>);

impl Service for Door {
    fn answer(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        let groups = Arc::clone(&self.0);
        Box::pin(async move {
            let answered = respond(&groups, &request).await;
            wire::encode(&answered.unwrap_or_else(Answer::Refused))
        })
    }
}

async fn respond(groups: &[Arc<Group>], request: &[u8]) -> Result<Answer, Refused> {
    let Request { group: id, call, .. } = wire::decode(request)?;
    let group = groups.iter().find(|group| group.id.0 == id).ok_or(Refused::NoSuchGroup(id))?;
    match call {
        Call::Append(append) => {
            let answer = group.consensus.append(append).await?;
            group.heard_leader();
            Ok(answer)
        }
        Call::Vote(vote) => group.consensus.vote(vote, false).await,
        Call::PreVote(vote) => group.consensus.vote(vote, true).await,
        Call::Transfer(transfer) => group.consensus.take_leadership(transfer).await,
        Call::Propose { envelope, cancel_on_drop } => Ok(group.answer_propose(envelope, cancel_on_drop).await),
        _ => Err(Refused::Malformed("a benchmark has no such call".to_owned())),
    }
}
