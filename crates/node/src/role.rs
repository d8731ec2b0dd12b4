//! Who leads a group, as everyone on this node sees it.

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::NodeId;
use crate::cluster::Role;
use crate::raft::Leadership;

/// Where a command or a read goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leader {
    /// To this node.
    Here,
    /// To another.
    There(NodeId),
    /// Nobody is known to lead, or this node is about to.
    Unknown,
}

#[derive(Debug)]
struct State {
    leadership: Leadership,
    /// The term whose first entry, one of this node's own, is applied: everything before it is, too.
    ready_term: u64,
}

impl State {
    fn leader(&self) -> Leader {
        match self.leadership {
            Leadership { role: Role::Leader, term, .. } if term == self.ready_term => Leader::Here,
            Leadership { role: Role::Leader, .. } => Leader::Unknown,
            Leadership { leader: Some(node), .. } => Leader::There(node),
            Leadership { leader: None, .. } => Leader::Unknown,
        }
    }
}

/// The one place that knows.
#[derive(Debug)]
pub(crate) struct RoleCell {
    me: NodeId,
    state: Mutex<State>,
    changed: Notify,
}

impl RoleCell {
    pub(crate) fn new(me: NodeId) -> Self {
        let leadership = Leadership { term: 0, leader: None, role: Role::Learner, is_alone: false };
        Self { me, state: Mutex::new(State { leadership, ready_term: 0 }), changed: Notify::new() }
    }

    pub(crate) fn leader(&self) -> Leader {
        self.state.lock().leader()
    }

    pub(crate) fn is_leading(&self) -> bool {
        self.leader() == Leader::Here
    }

    /// This node leads, and nobody else could.
    pub(crate) fn rules_alone(&self) -> bool {
        let state = self.state.lock();
        state.leadership.is_alone && state.leader() == Leader::Here
    }

    /// The leadership changed; `act` on what it was and is now, before anyone else sees or changes it.
    pub(crate) fn leadership(&self, leadership: Leadership, act: impl FnOnce(Leader, Leader)) {
        self.change(|state| state.leadership = leadership, act);
    }

    /// The first entry of `term`, by `node`, is applied.
    pub(crate) fn term_begun(&self, term: u64, node: u64, act: impl FnOnce(Leader, Leader)) {
        if node == self.me.0 {
            self.change(|state| state.ready_term = term, act);
        }
    }

    fn change(&self, change: impl FnOnce(&mut State), act: impl FnOnce(Leader, Leader)) {
        {
            let mut state = self.state.lock();
            let before = (state.leader(), state.leadership.term);
            change(&mut state);
            let after = state.leader();
            // Leading in another term than before is losing it and getting it back.
            if before.0 == Leader::Here && after == Leader::Here && before.1 != state.leadership.term {
                act(Leader::Here, Leader::Unknown);
                return self.changed.notify_waiters();
            }
            if before.0 != after {
                act(before.0, after);
            }
        }
        self.changed.notify_waiters();
    }

    /// The leader, once it is another than `not`.
    pub(crate) async fn other_than(&self, not: Leader) -> Leader {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Before looking, so that no change is missed.
            changed.as_mut().enable();
            let leader = self.leader();
            if leader != not {
                return leader;
            }
            changed.await;
        }
    }
}
