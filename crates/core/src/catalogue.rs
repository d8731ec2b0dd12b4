//! The catalogue: who belongs to the cluster. Kept in the machine of Raft group 0; in every other group it
//! stays empty.
//!
//! ```text
//!  add ──► Active ──remove──► Leaving ──forget──► Removed      a node id is never given out twice, so a
//!             ▲ announce (addresses, version)                  removed node stays as its tombstone
//! ```
//! What is written here is the intent. Each group's leader makes its members follow, and only when the last
//! group has let a leaving node go is it forgotten.

use serde::{Deserialize, Serialize};

use crate::table::{Row, Table};

/// Nodes that a catalogue holds at most, removed ones included. Far more than a cluster replaces in its life.
pub const NODES: usize = 10_000;
/// Bytes of an address, a URL or a version.
pub const TEXT_BYTES: usize = 512;

/// A change of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Takes a node in. The same identity again is the same node: a join whose answer was lost is repeated.
    Add(AddNode),
    /// A member says where it is and what it runs.
    Announce {
        /// Which.
        node: u64,
        /// As of now.
        facts: NodeFacts,
    },
    /// A node is to leave: no group keeps it.
    Remove {
        /// Which.
        node: u64,
    },
    /// No group has the leaving node any more.
    Forget {
        /// Which.
        node: u64,
    },
}

/// Takes a node in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddNode {
    /// Drawn at random by the node before it first asked; names it until it has an id.
    pub identity: u128,
    /// What it says of itself.
    pub facts: NodeFacts,
    /// It is the node that founded the cluster: nobody is taken in before it, for its id is the first.
    pub is_founder: bool,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Where peers reach it: `host:port`.
    pub peer_addr: Box<str>,
    /// Where clients reach it: a URL.
    pub client_url: Box<str>,
    /// Version of its software.
    pub version: Box<str>,
}

/// Whether a node is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// Every group is to have it.
    Active,
    /// Every group is to let it go.
    Leaving,
    /// No group has it, and none will again.
    Removed,
}

/// A node in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its id: 1 and up, never reused.
    pub node: u64,
    /// See [`AddNode::identity`].
    pub identity: u128,
    /// What it last said of itself.
    pub facts: NodeFacts,
    /// Whether it is to stay.
    pub state: NodeState,
}

impl Row for NodeRecord {
    type Key = u64;
    fn key(&self) -> u64 {
        self.node
    }
}

/// What a change came to: the node as it is now.
pub type Outcome = NodeRecord;

/// Why the catalogue was not changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// There is no such node.
    #[error("there is no node {node}")]
    NoSuchNode {
        /// Which was meant.
        node: u64,
    },
    /// A removed node does not come back; the machine behind it may join as a new one.
    #[error("node {node} was removed; empty its data directory and let it join anew")]
    Removed {
        /// Which.
        node: u64,
    },
    /// A cluster has at least one node.
    #[error("node {node} is the last one that stays")]
    LastNode {
        /// Which.
        node: u64,
    },
    /// The node has not been asked to leave.
    #[error("node {node} is not leaving")]
    NotLeaving {
        /// Which.
        node: u64,
    },
    /// The founder is not in the catalogue yet: it will be in a moment.
    #[error("the cluster has only just been founded; ask again")]
    NoFounder,
    /// An address, URL or version that is too long.
    #[error("an address, URL or version has more than {TEXT_BYTES} bytes")]
    TooLong,
    /// See [`NODES`].
    #[error("the cluster has had {NODES} nodes; no more are taken in")]
    TooMany,
}

/// All nodes there are and ever were.
#[derive(Debug, Default)]
pub struct Catalogue {
    pub(crate) nodes: Table<NodeRecord>,
}

impl Catalogue {
    /// Every node, removed ones included, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        // No row is ever removed, so slots are in the order of ids.
        self.nodes.iter().map(|(_, record)| record)
    }

    /// One node.
    #[must_use]
    pub fn node(&self, node: u64) -> Option<&NodeRecord> {
        self.nodes.by_key(&node)
    }

    pub(crate) fn apply(&mut self, command: Command) -> Result<Outcome, Error> {
        match command {
            Command::Add(add) => self.add(add),
            Command::Announce { node, facts } => {
                facts.check()?;
                self.change(node, |record| {
                    if record.state == NodeState::Removed {
                        return Err(Error::Removed { node });
                    }
                    record.facts = facts;
                    Ok(())
                })
            }
            Command::Remove { node } => self.remove(node),
            Command::Forget { node } => self.change(node, |record| match record.state {
                NodeState::Active => Err(Error::NotLeaving { node }),
                NodeState::Leaving | NodeState::Removed => {
                    record.state = NodeState::Removed;
                    Ok(())
                }
            }),
        }
    }

    fn add(&mut self, add: AddNode) -> Result<NodeRecord, Error> {
        let AddNode { identity, facts, is_founder } = add;
        facts.check()?;
        let known = self.nodes().find(|record| record.identity == identity).map(|record| record.node);
        if let Some(known) = known {
            return self.apply(Command::Announce { node: known, facts });
        }
        if self.nodes.is_empty() && !is_founder {
            return Err(Error::NoFounder);
        }
        if self.nodes.len() >= NODES {
            return Err(Error::TooMany);
        }
        // No row is ever removed: the next slot is one more than there were nodes.
        let node = u64::from(self.nodes.vacant()) + 1;
        let record = NodeRecord { node, identity, facts, state: NodeState::Active };
        self.nodes.insert(record.clone());
        Ok(record)
    }

    fn remove(&mut self, node: u64) -> Result<NodeRecord, Error> {
        let stay = self.nodes().filter(|record| record.state == NodeState::Active && record.node != node).count();
        self.change(node, |record| match record.state {
            NodeState::Active if stay == 0 => Err(Error::LastNode { node }),
            NodeState::Active => {
                record.state = NodeState::Leaving;
                Ok(())
            }
            // Asked twice, done once.
            NodeState::Leaving | NodeState::Removed => Ok(()),
        })
    }

    fn change(
        &mut self,
        node: u64,
        change: impl FnOnce(&mut NodeRecord) -> Result<(), Error>,
    ) -> Result<NodeRecord, Error> {
        let slot = self.nodes.slot(&node).ok_or(Error::NoSuchNode { node })?;
        let record = self.nodes.get_mut(slot).ok_or(Error::NoSuchNode { node })?;
        change(record)?;
        Ok(record.clone())
    }
}

impl NodeFacts {
    fn check(&self) -> Result<(), Error> {
        let fits = [&self.peer_addr, &self.client_url, &self.version].into_iter().all(|text| text.len() <= TEXT_BYTES);
        if fits { Ok(()) } else { Err(Error::TooLong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(addr: &str) -> NodeFacts {
        NodeFacts { peer_addr: addr.into(), client_url: "".into(), version: "1".into() }
    }

    fn add(catalogue: &mut Catalogue, identity: u128) -> Result<NodeRecord, Error> {
        catalogue.apply(Command::Add(AddNode { identity, facts: facts("a:1"), is_founder: identity == 7 }))
    }

    #[test]
    fn an_id_is_given_once_and_a_repeated_join_gets_the_same() {
        let mut catalogue = Catalogue::default();
        assert_eq!(add(&mut catalogue, 8), Err(Error::NoFounder), "the first id is the founder's");
        assert_eq!(add(&mut catalogue, 7).unwrap().node, 1);
        assert_eq!(add(&mut catalogue, 8).unwrap().node, 2);
        assert_eq!(add(&mut catalogue, 7).unwrap().node, 1);
        catalogue.apply(Command::Remove { node: 2 }).unwrap();
        catalogue.apply(Command::Forget { node: 2 }).unwrap();
        assert_eq!(add(&mut catalogue, 9).unwrap().node, 3, "a removed node's id is not free");
        assert_eq!(add(&mut catalogue, 8), Err(Error::Removed { node: 2 }));
        assert_eq!(catalogue.nodes().map(|record| record.node).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn the_last_node_stays_and_only_a_leaving_one_is_forgotten() {
        let mut catalogue = Catalogue::default();
        add(&mut catalogue, 7).unwrap();
        assert_eq!(catalogue.apply(Command::Remove { node: 1 }), Err(Error::LastNode { node: 1 }));
        add(&mut catalogue, 8).unwrap();
        assert_eq!(catalogue.apply(Command::Forget { node: 1 }), Err(Error::NotLeaving { node: 1 }));
        assert_eq!(catalogue.apply(Command::Remove { node: 1 }).unwrap().state, NodeState::Leaving);
        assert_eq!(catalogue.apply(Command::Remove { node: 1 }).unwrap().state, NodeState::Leaving);
        assert_eq!(catalogue.apply(Command::Remove { node: 2 }), Err(Error::LastNode { node: 2 }));
        assert_eq!(catalogue.apply(Command::Forget { node: 1 }).unwrap().state, NodeState::Removed);
        assert_eq!(catalogue.apply(Command::Remove { node: 5 }), Err(Error::NoSuchNode { node: 5 }));
    }

    #[test]
    fn a_member_moves_and_long_texts_are_refused() {
        let mut catalogue = Catalogue::default();
        add(&mut catalogue, 7).unwrap();
        let moved = catalogue.apply(Command::Announce { node: 1, facts: facts("b:2") }).unwrap();
        assert_eq!(&*moved.facts.peer_addr, "b:2");
        let long = facts(&"x".repeat(TEXT_BYTES + 1));
        assert_eq!(catalogue.apply(Command::Announce { node: 1, facts: long }), Err(Error::TooLong));
    }
}
