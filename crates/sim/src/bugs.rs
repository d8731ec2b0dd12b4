//! Known bugs: how they are switched on, and which checkers find them for the right reason.

use willow_model::bugs::{self, Bug};

/// Switches a bug on for this thread, and any other off.
pub fn switch(bug: Option<Bug>) {
    bugs::switch(bug);
    willow_storage::bugs::accept_torn_tails(bug == Some(Bug::TornTailAccepted));
}

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
        Bug::PageForgetsPlace => &["pages exactly once"],
        Bug::WaitNotRecorded | Bug::RecordNotInSnapshot => &["repeats"],
        Bug::WaiterNotRestored => &["lines are fair"],
        // Replicas that differ at the same entry is what these two do: what clients see of it depends on who leads.
        Bug::SnapshotSeesChanges | Bug::TornTailAccepted => {
            &["equal digests", "nothing lost", "reads are fresh", "locks linearizable", "counters linearizable"]
        }
        Bug::AckBeforeSync => &["nothing lost", "reads are fresh", "locks linearizable", "counters linearizable"],
        // Two leaders in one term: two histories.
        Bug::VoteNotSaved | Bug::LeaderResumesTerm => {
            &["tokens increase", "nothing lost", "reads are fresh", "locks linearizable", "counters linearizable"]
        }
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
