//! The cluster.

use std::collections::BTreeMap;

use willow_api::cluster::{Disk, Group, HealthState, Node, NodeGroup, NodeState, Role};
use willow_node::{ClusterStatus, GroupId, GroupReport, Health, NodeReport, NodeStatus};

/// What the health is called, and why it is not `ready`.
pub(crate) fn health(health: &Health) -> (HealthState, Option<String>) {
    match health {
        Health::Starting => {
            let reason = "the log is being read back, and a leader looked for; wait";
            (HealthState::Starting, Some(reason.to_owned()))
        }
        Health::Ready => (HealthState::Ready, None),
        Health::ReadOnly(why) => (HealthState::ReadOnly, Some(why.to_string())),
        Health::Stopping => (HealthState::Stopping, Some("the node is shutting down".to_owned())),
    }
}

/// Its groups: what the nodes that answered know between them.
pub(crate) fn groups(status: &ClusterStatus) -> Vec<Group> {
    let mut groups = BTreeMap::new();
    for (node, report) in reports(status) {
        for part in &report.groups {
            let id = part.group.0;
            let group = groups.entry(id).or_insert_with(|| Group {
                id,
                name: name(part.group),
                leader: None,
                term: 0,
                committed_index: 0,
                voters: Vec::new(),
                learners: Vec::new(),
            });
            group.committed_index = group.committed_index.max(part.committed_index);
            let is_leader = part.role == willow_node::Role::Leader;
            // A leader that was cut off believes in its older term for a while.
            if part.term > group.term || (part.term == group.term && is_leader) {
                (group.term, group.leader) = (part.term, is_leader.then_some(node));
                group.voters = part.voters.iter().map(|node| node.0).collect();
                group.learners = part.learners.iter().map(|node| node.0).collect();
            }
        }
    }
    groups.into_values().collect()
}

/// Its nodes.
pub(crate) fn nodes(status: ClusterStatus, groups: &[Group]) -> Vec<Node> {
    status.nodes.into_iter().map(|status| node(status, groups)).collect()
}

fn reports(status: &ClusterStatus) -> impl Iterator<Item = (u64, &NodeReport)> {
    status.nodes.iter().filter_map(|node| Some((node.id.0, node.report.as_ref().ok()?)))
}

fn name(group: GroupId) -> String {
    let name = if group == GroupId::CATALOGUE { "catalogue" } else { "data" };
    name.to_owned()
}

fn node(status: NodeStatus, groups: &[Group]) -> Node {
    let NodeStatus { id, peer_addr, client_url, state, report } = status;
    let some = |text: String| (!text.is_empty()).then_some(text);
    let mut node = Node {
        id: id.0,
        state: node_state(state),
        peer_addr: some(peer_addr),
        client_url: some(client_url),
        health: HealthState::Unreachable,
        reason: None,
        version: None,
        disk: None,
        groups: Vec::new(),
    };
    match report {
        Err(reason) => node.reason = Some(reason),
        Ok(report) => {
            (node.health, node.reason) = health(&report.health);
            node.version = Some(report.version);
            let NodeReport { log_bytes, snapshot_bytes, free_bytes, .. } = report;
            node.disk = Some(Disk { log_bytes, snapshot_bytes, free_bytes });
            node.groups = report.groups.into_iter().map(|part| node_group(&part, groups)).collect();
        }
    }
    node
}

fn node_group(part: &GroupReport, groups: &[Group]) -> NodeGroup {
    let committed = groups.iter().find(|group| group.id == part.group.0).map_or(0, |group| group.committed_index);
    NodeGroup {
        group: part.group.0,
        role: role(part.role),
        term: part.term,
        leader: part.leader.map(|leader| leader.0),
        last_index: part.last_index,
        committed_index: part.committed_index,
        applied_index: part.applied_index,
        snapshot_index: part.snapshot_index,
        lag: committed.saturating_sub(part.applied_index),
    }
}

fn role(role: willow_node::Role) -> Role {
    match role {
        willow_node::Role::Leader => Role::Leader,
        willow_node::Role::Follower => Role::Follower,
        willow_node::Role::Candidate => Role::Candidate,
        willow_node::Role::Learner => Role::Learner,
    }
}

/// Whether a node is to stay.
pub(crate) fn node_state(state: willow_node::NodeState) -> NodeState {
    match state {
        willow_node::NodeState::Active => NodeState::Active,
        willow_node::NodeState::Leaving => NodeState::Leaving,
        willow_node::NodeState::Removed => NodeState::Removed,
    }
}

#[cfg(test)]
mod tests {
    use willow_node::{NodeId, Role as NodeRole};

    use super::*;

    fn part(role: NodeRole, term: u64, committed_index: u64, applied_index: u64) -> GroupReport {
        GroupReport {
            group: GroupId::DATA,
            role,
            term,
            leader: None,
            last_index: committed_index,
            committed_index,
            applied_index,
            snapshot_index: 0,
            purged_index: 0,
            voters: vec![NodeId(term)],
            learners: Vec::new(),
        }
    }

    fn status(parts: Vec<Option<GroupReport>>) -> ClusterStatus {
        let nodes = (1..).map(NodeId).zip(parts).map(|(id, part)| NodeStatus {
            id,
            peer_addr: format!("n{id}:1"),
            client_url: String::new(),
            state: willow_node::NodeState::Active,
            report: part.map_or_else(
                || Err("refused".to_owned()),
                |part| {
                    Ok(NodeReport {
                        version: "1".to_owned(),
                        health: Health::Ready,
                        log_bytes: 0,
                        snapshot_bytes: 0,
                        free_bytes: None,
                        groups: vec![part],
                    })
                },
            ),
        });
        ClusterStatus { cluster: 7, answered_by: NodeId(1), nodes: nodes.collect() }
    }

    #[test]
    fn the_leader_is_who_leads_in_the_newest_term_and_lag_counts_from_what_is_committed_anywhere() {
        let old = part(NodeRole::Leader, 3, 90, 90);
        let new = part(NodeRole::Leader, 4, 100, 99);
        let follower = part(NodeRole::Follower, 4, 80, 80);
        let status = status(vec![Some(old), Some(new), Some(follower), None]);
        let groups = groups(&status);
        assert_eq!((groups[0].leader, groups[0].term, groups[0].committed_index), (Some(2), 4, 100));
        assert_eq!(groups[0].voters, [4], "as the leader has it");
        let nodes = nodes(status, &groups);
        assert_eq!(nodes.iter().flat_map(|node| &node.groups).map(|part| part.lag).collect::<Vec<_>>(), [10, 1, 20]);
        assert_eq!((nodes[3].health, nodes[3].reason.as_deref()), (HealthState::Unreachable, Some("refused")));
    }

    #[test]
    fn nobody_leads_while_the_newest_term_has_no_leader() {
        let old = part(NodeRole::Leader, 3, 90, 90);
        let candidate = part(NodeRole::Candidate, 4, 90, 90);
        assert_eq!(groups(&status(vec![Some(old), Some(candidate)]))[0].leader, None);
    }
}
