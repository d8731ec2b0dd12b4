//! Each group's leader makes the group's members follow the catalogue, one step at a time. Every step may be
//! repeated, and a leader that dies between two leaves what the next one finishes.

use willow_core::catalogue::{NodeRecord, NodeState};

use crate::NodeId;
use crate::raft::{Change, Membership};

/// A learner this close to the leader's log is caught up: the rest comes while it is being promoted.
const CAUGHT_UP_ENTRIES: u64 = 256;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Change(Change),
    /// This node is to leave: another leads first, and then removes it.
    HandOver(NodeId),
}

/// What a leader knows.
pub(crate) struct View<'a> {
    pub(crate) me: NodeId,
    pub(crate) membership: &'a Membership,
    pub(crate) nodes: &'a [NodeRecord],
    pub(crate) last_index: u64,
}

impl View<'_> {
    /// The next step; `matched` tells how far a member's log matches.
    pub(crate) fn next(&self, matched: impl Fn(NodeId) -> Option<u64>) -> Option<Step> {
        let Membership { voters, learners, is_joint } = self.membership;
        if *is_joint {
            return Some(Step::Change(Change::Settle));
        }
        // A dead node that is to leave counts towards the majority until it is gone: that comes first.
        let leaving = |node: &NodeId| self.state(*node).is_some_and(|state| state != NodeState::Active);
        let mut members = voters.iter().chain(learners);
        if let Some(node) = members.find(|node| leaving(node) && **node != self.me) {
            return Some(Step::Change(Change::Remove(*node)));
        }
        let active = || self.nodes.iter().filter(|record| record.state == NodeState::Active);
        for record in active() {
            let node = NodeId(record.node);
            if learners.contains(&node) {
                let is_close = |index: u64| index.saturating_add(CAUGHT_UP_ENTRIES) >= self.last_index;
                if matched(node).is_some_and(is_close) {
                    return Some(Step::Change(Change::Promote(node)));
                }
            } else if !voters.contains(&node) {
                return Some(Step::Change(Change::AddLearner(node, record.facts.peer_addr.to_string())));
            }
        }
        if leaving(&self.me) {
            let stays = voters.iter().filter(|node| **node != self.me && !leaving(node));
            return stays.max_by_key(|node| matched(**node)).map(|node| Step::HandOver(*node));
        }
        None
    }

    fn state(&self, node: NodeId) -> Option<NodeState> {
        self.nodes.iter().find(|record| record.node == node.0).map(|record| record.state)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use willow_core::catalogue::NodeFacts;

    use super::*;

    fn node(node: u64, state: NodeState) -> NodeRecord {
        let facts = NodeFacts { peer_addr: format!("n{node}").into(), ..NodeFacts::default() };
        NodeRecord { node, identity: u128::from(node), facts, state }
    }

    fn set(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId).collect()
    }

    fn next(voters: &[u64], learners: &[u64], nodes: &[NodeRecord], matched: u64) -> Option<Step> {
        let membership = Membership { voters: set(voters), learners: set(learners), is_joint: false };
        let view = View { me: NodeId(1), membership: &membership, nodes, last_index: 1000 };
        view.next(|node| (node.0 != 4).then_some(matched))
    }

    #[test]
    fn a_new_node_learns_first_and_votes_when_it_has_caught_up() {
        let nodes = [node(1, NodeState::Active), node(2, NodeState::Active)];
        assert_eq!(next(&[1], &[], &nodes, 0), Some(Step::Change(Change::AddLearner(NodeId(2), "n2".to_owned()))));
        assert_eq!(next(&[1], &[2], &nodes, 743), None);
        assert_eq!(next(&[1], &[2], &nodes, 744), Some(Step::Change(Change::Promote(NodeId(2)))));
        assert_eq!(next(&[1, 2], &[], &nodes, 1000), None);
    }

    #[test]
    fn a_dead_node_goes_before_its_replacement_is_promoted() {
        let nodes = [
            node(1, NodeState::Active),
            node(2, NodeState::Active),
            node(3, NodeState::Leaving),
            node(4, NodeState::Active),
            node(5, NodeState::Removed),
        ];
        assert_eq!(next(&[1, 2, 3], &[4], &nodes, 1000), Some(Step::Change(Change::Remove(NodeId(3)))));
        assert_eq!(next(&[1, 2], &[4], &nodes, 1000), None, "nothing is known of 4 yet");
        assert_eq!(next(&[1, 2], &[5], &nodes, 1000), Some(Step::Change(Change::Remove(NodeId(5)))));
    }

    #[test]
    fn a_leader_that_is_to_leave_hands_over_first() {
        let nodes = [node(1, NodeState::Leaving), node(2, NodeState::Active), node(3, NodeState::Active)];
        assert_eq!(next(&[1, 2, 3], &[], &nodes, 1000), Some(Step::HandOver(NodeId(3))));
        assert_eq!(next(&[1], &[2, 3], &nodes, 5), None, "nobody else could lead yet");
        let joint = Membership { voters: set(&[1, 2]), learners: set(&[]), is_joint: true };
        let view = View { me: NodeId(1), membership: &joint, nodes: &nodes, last_index: 1 };
        assert_eq!(view.next(|_| None), Some(Step::Change(Change::Settle)));
    }
}
