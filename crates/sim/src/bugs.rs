//! Known bugs: how they are switched on, and which checkers find them for the right reason.

use willow_model::bugs::{self, Bug};

/// Switches a bug on for this thread, and any other off.
pub fn switch(bug: Option<Bug>) {
    bugs::switch(bug);
    willow_storage::bugs::accept_torn_tails(bug == Some(Bug::TornTailAccepted));
}

/// The checkers that state what clients see when there is not one history that lasts.
const HISTORY: &[&str] = &[
    "nothing lost",
    "reads are fresh",
    "tokens increase",
    "locks linearizable",
    "counters linearizable",
    "pages exactly once",
    "repeats",
];

/// The checkers that state what the bug breaks. Others may speak as well, or before: a cluster that stands still,
/// or replicas that differ, say that something is wrong, and not what.
#[must_use]
pub const fn finders(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::BargingNewcomer => &["lines are fair"],
        Bug::GrantToDeadSession => &["dead sessions"],
        Bug::TokenPerLock => &["tokens increase"],
        Bug::RenewalForgotten | Bug::LeaseShortenedOnFailover => &["leases last"],
        Bug::LimitWithoutAmount => &["counters linearizable", "never over a limit"],
        Bug::SlotLeakedOnExpiry => &["in flight is leased"],
        Bug::StalePayloadOnNack => &["payloads are new"],
        Bug::StaleLeaseAccepted => &["once in flight"],
        Bug::PageForgetsPlace | Bug::PageByDocId => &["pages exactly once"],
        Bug::WaitNotRecorded | Bug::RecordNotInSnapshot => &["repeats"],
        // Who leads with such a line gives the lock to others; and who does not, to those of its own line.
        Bug::WaiterNotRestored => &["lines are fair", "locks linearizable", "tokens increase"],
        // What was acknowledged is gone, or is something else: which of these shows it depends on what it was.
        Bug::SnapshotSeesChanges | Bug::TornTailAccepted | Bug::AckBeforeSync | Bug::LeaderResumesTerm => HISTORY,
        // Nodes that come back stand for election in terms older than that of their own log, and none is elected: that
        // happens long before one of them votes twice in a term.
        Bug::VoteNotSaved => &["liveness"],
        Bug::ReadWithoutQuorum => &["reads are fresh", "locks linearizable", "counters linearizable"],
        Bug::UnsafeRetry => &["repeats", "locks linearizable", "counters linearizable"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CHECKERS;

    #[test]
    fn every_bug_has_a_checker_that_states_what_it_breaks() {
        for bug in Bug::ALL {
            assert!(!finders(*bug).is_empty(), "{bug:?}");
            for finder in finders(*bug) {
                assert!(CHECKERS.iter().any(|checker| checker.name == *finder), "{bug:?}: {finder}");
            }
        }
    }
}
