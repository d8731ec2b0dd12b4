//! Time on the naive queue: deadlines in their order, and hand-outs right after what made them possible.

use willow_core::{Outcome, WaiterId, queue};

use super::{BACKOFF_MS, Item, Run, State, Waiting};

impl Run {
    /// Time passes one deadline at a time, so that the naive queue sees them in order.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end_ms = self.now() + ms;
        loop {
            let deadlines = self.items.iter().flat_map(|item| {
                let state = match item.state {
                    State::Waiting => None,
                    State::Delayed(at_ms) | State::InFlight(_, at_ms) => Some(at_ms),
                };
                let expiry = item.expires_ms.filter(|_| !item.expired);
                state.into_iter().chain(expiry)
            });
            let waits = self.waiting.values().map(|waiting| waiting.deadline_ms);
            let next_ms = deadlines.chain(waits).min().unwrap_or(u64::MAX).min(end_ms);
            self.fire(next_ms);
            if next_ms >= end_ms {
                return;
            }
        }
    }

    /// What ends at one moment: leases first, then delays, then expiries, each kind by row; and whoever can be
    /// served after one of them is, before the next.
    fn fire(&mut self, at_ms: u64) {
        self.logged.pass(at_ms - self.logged.now_ms);
        while let Some(at) = self.lowest(|item| matches!(item.state, State::InFlight(_, end) if end <= at_ms)) {
            self.fail(at, BACKOFF_MS, false);
            self.settle_now();
        }
        while let Some(at) = self.lowest(|item| matches!(item.state, State::Delayed(due) if due <= at_ms)) {
            self.items[at].state = State::Waiting;
            self.settle_now();
        }
        let is_over = |item: &Item| !item.expired && item.expires_ms.is_some_and(|end| end <= at_ms);
        while let Some(at) = self.lowest(is_over) {
            self.items[at].expired = true;
            if !matches!(self.items[at].state, State::InFlight(..)) {
                self.bury(at);
            }
            self.settle_now();
        }
        for (waiter, reply) in self.logged.take_resolved() {
            assert_eq!(reply, Ok(Outcome::Queue(queue::Outcome::Dequeued(vec![]))), "nothing was there for {waiter:?}");
            let waiting = self.waiting.remove(&waiter).expect("who waits");
            assert!(waiting.deadline_ms <= at_ms, "a wait ended early");
        }
        let late = self.waiting.values().find(|waiting| waiting.deadline_ms <= at_ms);
        assert!(late.is_none(), "waits past its deadline: {late:?}");
    }

    /// The item of those that has the lowest row.
    fn lowest(&self, of: impl Fn(&Item) -> bool) -> Option<usize> {
        let those = self.items.iter().enumerate().filter(|(_, item)| of(item));
        those.min_by_key(|(_, item)| item.row).map(|(at, _)| at)
    }

    /// As long as somebody who waits could have something, the next hand-out of the machine's is of now.
    fn settle_now(&mut self) {
        while let Some(could) = self.served_next() {
            assert!(!self.logged.resolved.is_empty(), "a wake-up was lost: {could:?}");
            let (waiter, reply) = self.logged.resolved.remove(0);
            let Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) = &reply else { panic!("{reply:?}") };
            assert!(!deliveries.is_empty(), "{could:?} was passed over");
            let waiting = self.waiting.remove(&waiter).expect("who waits");
            self.take(deliveries, &waiting);
        }
    }

    fn served_next(&self) -> Option<(WaiterId, Waiting)> {
        let mut waiting = self.waiting.iter();
        waiting.find(|(_, waiting)| self.best(waiting).is_some()).map(|(waiter, waiting)| (*waiter, waiting.clone()))
    }

    /// After a command: whoever can be served has been, and nobody else.
    pub(crate) fn settle(&mut self) {
        self.settle_now();
        let rest = self.logged.take_resolved();
        assert!(rest.is_empty(), "handed out what the naive queue would not: {rest:?}");
    }
}
