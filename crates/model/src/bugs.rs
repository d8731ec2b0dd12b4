//! Known bugs, to be put back on purpose: a test that cannot find them finds nothing.
//!
//! [`is_on`] is constantly false unless this crate's feature `bugs` is on, which only the simulation asks for;
//! and then, too, until one is switched on for the thread. Each bug is one line at the place where it would be
//! made.

/// A bug that systems like this one have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// Locks: somebody who comes new may have what others wait for.
    BargingNewcomer,
    /// Locks: a session that is over stays in line, and is granted what it waited for.
    GrantToDeadSession,
    /// Locks: each lock counts its own tokens, from 1 when it comes into being again.
    TokenPerLock,
    /// Locks: a heartbeat is answered, and the lease left as it was.
    RenewalForgotten,
    /// Limits: there is room while the limit is not reached, whatever is asked for.
    LimitWithoutAmount,
    /// Limits: a delivery whose lease ends does not give its slot back.
    SlotLeakedOnExpiry,
    /// Queue: a failed run puts its data in the place of newer data.
    StalePayloadOnNack,
    /// Queue: any lease token does for a delivery that runs.
    StaleLeaseAccepted,
    /// Queue: a page of items goes on with the next channel, whatever is left of this one.
    PageForgetsPlace,
    /// Queue: a page of items goes on after the row of the last item, wherever that is in the order.
    PageByDocId,
    /// Requests: an answer that had to be waited for is not recorded.
    WaitNotRecorded,
    /// Snapshots: the record of requests is not in them.
    RecordNotInSnapshot,
    /// Snapshots: who waits for a lock is in them, but in no line.
    WaiterNotRestored,
    /// Snapshots: an entry that changes while one is written is in it as it is then.
    SnapshotSeesChanges,
    /// Disk: what is left of a write that a crash cut short is taken for what was written.
    TornTailAccepted,
    /// Disk: acknowledged before it is synced.
    AckBeforeSync,
    /// Disk: the vote is given, and not kept.
    VoteNotSaved,
    /// Election: a leader that restarts goes on in its term, whatever it lost of it.
    LeaderResumesTerm,
    /// Reads: a leader answers without asking whether it still leads.
    ReadWithoutQuorum,
    /// Time: the log follows the leader's wall clock, wherever its time was.
    LeaseShortenedOnFailover,
    /// Routing: a call that may have been done is made again at the next leader, without a request id.
    UnsafeRetry,
}

impl Bug {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::BargingNewcomer,
        Self::GrantToDeadSession,
        Self::TokenPerLock,
        Self::RenewalForgotten,
        Self::LimitWithoutAmount,
        Self::SlotLeakedOnExpiry,
        Self::StalePayloadOnNack,
        Self::StaleLeaseAccepted,
        Self::PageForgetsPlace,
        Self::PageByDocId,
        Self::WaitNotRecorded,
        Self::RecordNotInSnapshot,
        Self::WaiterNotRestored,
        Self::SnapshotSeesChanges,
        Self::TornTailAccepted,
        Self::AckBeforeSync,
        Self::VoteNotSaved,
        Self::LeaderResumesTerm,
        Self::ReadWithoutQuorum,
        Self::LeaseShortenedOnFailover,
        Self::UnsafeRetry,
    ];

    /// The bug with this name, as [`Debug`](std::fmt::Debug) writes it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| format!("{bug:?}") == name)
    }
}

#[cfg(feature = "bugs")]
thread_local! {
    static ON: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Switches a bug on for this thread, and any other off.
#[cfg(feature = "bugs")]
pub fn switch(bug: Option<Bug>) {
    ON.set(bug);
}

/// Whether the bug is to be made.
#[cfg(feature = "bugs")]
#[must_use]
pub fn is_on(bug: Bug) -> bool {
    ON.get() == Some(bug)
}

/// Whether the bug is to be made: never.
#[cfg(not(feature = "bugs"))]
#[must_use]
pub const fn is_on(_bug: Bug) -> bool {
    false
}
