//! What a node does that nobody asks for: groups follow the catalogue, the catalogue knows this node's address, and
//! silence is noticed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use willow_core::catalogue::{self, AddNode, NodeState};

use super::{FOUNDER, Inner, TRANSFER_MS};
use crate::NodeId;
use crate::group::Group;
use crate::raft::Change;
use crate::reconcile::{Step, View};
use crate::role::Leader;
use crate::tasks::timeout;

/// How often a node looks whether its leader, or its majority, is still heard, ms.
const CONTACT_MS: u64 = 250;
/// How often a group's leader compares its members with the catalogue, ms.
const RECONCILE_MS: u64 = 300;

impl Inner {
    pub(super) fn spawn_tasks(self: &Arc<Self>) {
        let (weak, tasks) = (Arc::downgrade(self), &self.tasks);
        for group in [&self.catalogue, &self.data] {
            group.own(tasks.spawn(Box::pin(group.forward_cancels())));
        }
        let catalogue = Arc::clone(&self.catalogue.replica);
        self.running.push(tasks.spawn(Box::pin(async move {
            loop {
                catalogue.changed.notified().await;
                let Some(node) = weak.upgrade() else { return };
                node.learn_addresses();
            }
        })));
        self.every(CONTACT_MS, |node| Box::pin(async move { node.check_contact() }));
        self.every(RECONCILE_MS, |node| Box::pin(async move { node.reconcile(&node.catalogue).await }));
        self.every(RECONCILE_MS, |node| Box::pin(async move { node.reconcile(&node.data).await }));
        self.every(RECONCILE_MS, |node| {
            Box::pin(async move {
                node.announce().await;
                node.forget().await;
            })
        });
    }

    /// Does `work` again and again, `pause_ms` after it was done, for as long as the node lives.
    fn every(self: &Arc<Self>, pause_ms: u64, work: impl Fn(Arc<Self>) -> BoxFuture<'static, ()> + Send + 'static) {
        let (weak, clock) = (Arc::downgrade(self), Arc::clone(&self.catalogue.clock));
        self.running.push(self.tasks.spawn(Box::pin(async move {
            loop {
                clock.sleep(pause_ms).await;
                let Some(node) = weak.upgrade() else { return };
                work(node).await;
            }
        })));
    }

    fn check_contact(&self) {
        for group in [&self.catalogue, &self.data] {
            group.check_contact();
            if self.peers.is_removed() {
                group.removed();
            }
        }
    }

    /// As the leader, brings the group a step closer to the catalogue: see [`crate::reconcile`].
    async fn reconcile(&self, group: &Arc<Group>) {
        if !group.role.is_leading() {
            return;
        }
        if group.is_new() {
            drop(group.initialize(self.peers.cluster()).await);
            return;
        }
        if group.log.is_stalled() {
            // A full disk here is no reason for the others to stand still.
            return self.hand_over(group).await;
        }
        if group.consensus.is_log_held() {
            group.consensus.let_go().await;
        }
        let (membership, nodes) = (group.consensus.membership(), self.records());
        let last_index = group.consensus.progress().last_index;
        let view = View { me: self.id, membership: &membership, nodes: &nodes, last_index };
        match view.next(|node| group.consensus.matched(node)) {
            Some(Step::Change(change)) => self.change_members(group, change).await,
            Some(Step::HandOver(to)) => {
                tracing::info!(group = %group.id, %to, "handing over before leaving");
                drop(group.consensus.transfer(to).await);
            }
            None => {}
        }
    }

    async fn change_members(&self, group: &Group, change: Change) {
        // It is tried again and again; once is enough to be told.
        let is_new = group.changing.lock().replace(change.clone()).as_ref() != Some(&change);
        if is_new {
            tracing::info!(group = %group.id, %change, "the group's members change");
        }
        // Without a majority it would not end; the next leader, or round, tries again.
        let limit = Duration::from_millis(TRANSFER_MS);
        match timeout(self.tasks.as_ref(), limit, group.consensus.change(change)).await {
            Some(Ok(())) => *group.changing.lock() = None,
            Some(Err(reason)) if is_new => tracing::warn!(group = %group.id, reason, "the members did not change yet"),
            Some(Err(reason)) => tracing::debug!(group = %group.id, reason, "the members did not change yet"),
            None => tracing::warn!(group = %group.id, "the members did not change in time"),
        }
    }

    /// Gives leadership to the member whose log is closest, if there is another voter.
    pub(super) async fn hand_over(&self, group: &Group) {
        if !group.role.is_leading() {
            return;
        }
        let voters = group.consensus.membership().voters;
        let others = voters.into_iter().filter(|node| *node != self.id);
        let Some(to) = others.max_by_key(|node| group.consensus.matched(*node)) else { return };
        if group.consensus.transfer(to).await.is_ok() {
            let limit = Duration::from_secs(1);
            let _moved = timeout(self.tasks.as_ref(), limit, group.role.other_than(Leader::Here)).await;
        }
    }

    /// Tells the catalogue what is new about this node.
    async fn announce(&self) {
        if self.catalogue.is_new() || !self.data.health.get().is_ready() {
            return;
        }
        let known = self.records().into_iter().find(|record| record.node == self.id.0);
        let command = match known {
            Some(record) if record.facts == self.facts || record.state == NodeState::Removed => return,
            Some(_) => catalogue::Command::Announce { node: self.id.0, facts: self.facts.clone() },
            // The founder's own first entry: everyone else was added before it knew its id.
            None if self.id == FOUNDER => {
                let (identity, facts) = (self.identity.identity, self.facts.clone());
                catalogue::Command::Add(AddNode { identity, facts, is_founder: true })
            }
            None => return,
        };
        if let Err(error) = self.change_catalogue(command).await {
            tracing::debug!(%error, "the catalogue does not know this node's address yet");
        }
    }

    /// A leaving node that no group has any more is removed for good.
    async fn forget(&self) {
        if !self.catalogue.role.is_leading() {
            return;
        }
        let has = |group: &Group, node: u64| {
            let members = group.consensus.membership();
            members.voters.contains(&NodeId(node)) || members.learners.contains(&NodeId(node))
        };
        for record in self.records().into_iter().filter(|record| record.state == NodeState::Leaving) {
            if has(&self.catalogue, record.node) || has(&self.data, record.node) {
                continue;
            }
            if let Err(error) = self.change_catalogue(catalogue::Command::Forget { node: record.node }).await {
                tracing::debug!(%error, node = record.node, "not forgotten yet");
            }
        }
    }
}
