//! How a node with an empty data directory finds its cluster, or founds one.
//!
//! ```text
//!            empty directory ─► draw an identity, write it down
//!  alone ──────────────────────────────► found
//!  bootstrap ─► ask all others ─ one knows a cluster ─────────────────► join that
//!                 │  ▲         └ all answered, none does, and no other
//!                 └──┘           bootstraps with a smaller identity ──► found
//!  join ──────► ask the members until one knows a cluster ────────────► join that
//! ```
//! A founder that has lost its disk hears of its cluster from the others, and joins it as a new node. While one of
//! them cannot be asked, nothing is founded: waiting is safe, a second cluster is not.

use std::sync::Arc;
use std::time::Duration;

use willow_core::catalogue::NodeFacts;

use crate::clock::Clock;
use crate::cluster::{Peering, Start};
use crate::identity::Identity;
use crate::peers;
use crate::tasks::Tasks;
use crate::wire::{Answer, Call, Hello, Joined};

/// How long an answer may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two rounds of asking, ms.
const ROUND_MS: u64 = 300;
/// How many rounds pass between two words about it in the log.
const ROUNDS_QUIET: u64 = 30;

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Found a cluster.
    Cluster,
    /// A member of this one.
    Member(Joined),
}

pub(crate) struct Joining<'a> {
    pub(crate) peering: &'a Peering,
    pub(crate) identity: Identity,
    pub(crate) facts: NodeFacts,
    pub(crate) tasks: Arc<dyn Tasks>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Joining<'_> {
    /// Asks until it is clear where this node belongs.
    pub(crate) async fn run(&self) -> Found {
        let (addrs, may_found) = match &self.peering.start {
            Start::Bootstrap { others } => (others, true),
            Start::Join { members } => (members, false),
        };
        let mut round = 0_u64;
        loop {
            let mut answers = Vec::new();
            for addr in addrs.iter().filter(|addr| **addr != self.peering.peer_addr) {
                answers.push((addr, self.hello(addr).await));
            }
            for (addr, answer) in &answers {
                if let Ok(Hello { cluster, .. }) = answer
                    && *cluster != 0
                {
                    match self.join(addr).await {
                        Ok(joined) => return Found::Member(joined),
                        Err(reason) if round.is_multiple_of(ROUNDS_QUIET) => {
                            tracing::warn!(%addr, %reason, "a member does not take this node in; asking on");
                        }
                        Err(_told_before) => {}
                    }
                }
            }
            if may_found && answers.iter().all(|(_, answer)| self.leaves_it_to_us(answer)) {
                if answers.is_empty() {
                    tracing::warn!(
                        "founding a cluster without asking anybody: a founder that has lost its disk would found a \
                         second one; name the other nodes"
                    );
                }
                return Found::Cluster;
            }
            if round.is_multiple_of(ROUNDS_QUIET) {
                let heard = heard(&answers);
                match may_found {
                    true => tracing::info!("waiting to found a cluster, until all others have answered: {heard}"),
                    false => tracing::info!("waiting for a cluster to join: {heard}"),
                }
            }
            round += 1;
            self.clock.sleep(ROUND_MS).await;
        }
    }

    /// Who answered has no cluster, and no better right to found one.
    fn leaves_it_to_us(&self, answer: &Result<Hello, String>) -> bool {
        let is_free = |hello: &Hello| hello.bootstraps == 0 || hello.bootstraps > self.identity.identity;
        answer.as_ref().is_ok_and(|hello| hello.cluster == 0 && is_free(hello))
    }

    async fn hello(&self, addr: &str) -> Result<Hello, String> {
        peers::ask_name(self.peering.transport.as_ref(), self.tasks.as_ref(), ASK_TIMEOUT, addr).await
    }

    async fn join(&self, addr: &str) -> Result<Joined, String> {
        let call = Call::Join { identity: self.identity.identity, facts: self.facts.clone() };
        match peers::ask(self.peering.transport.as_ref(), self.tasks.as_ref(), ASK_TIMEOUT, addr, call).await? {
            Answer::Joined(joined) => joined,
            _ => Err("its answer was not to this call".to_owned()),
        }
    }
}

/// What was heard, for people.
fn heard(answers: &[(&String, Result<Hello, String>)]) -> String {
    let each = answers.iter().map(|(addr, answer)| match answer {
        Ok(Hello { cluster: 0, bootstraps: 0, .. }) => format!("{addr} knows of no cluster yet"),
        Ok(Hello { cluster: 0, .. }) => format!("{addr} is about to found a cluster"),
        Ok(_) => format!("{addr} belongs to a cluster"),
        // It names the address.
        Err(reason) if reason.contains(addr.as_str()) => reason.clone(),
        Err(reason) => format!("{addr}: {reason}"),
    });
    each.collect::<Vec<_>>().join("; ")
}
