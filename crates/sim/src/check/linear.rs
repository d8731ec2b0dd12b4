//! Linearizability, by trying orders: Wing & Gong's search ("Testing and verifying concurrent objects",
//! 1993) as just-in-time linearization with memory (Lowe, "Testing for linearizability", 2017), on one object
//! at a time (Herlihy & Wing's locality; Horn & Kroening's P-compositionality).
//!
//! Calls and returns are gone through in the order of time. A *configuration* is a state of the object with
//! the set of open calls that have taken effect. When a call returns, it must have taken effect: every
//! configuration in which it has not is developed by letting open calls take effect, in every order that the
//! model allows, until this one has. The history is linearizable if some configuration survives the last
//! return. A call without a known outcome stays open for good: it may take effect at any time, or never.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;

use crate::history::{Micros, OpId};

/// Configurations and steps past which the search gives up, undecided.
const BUDGET: usize = 400_000;

/// What an object may do.
pub trait Model {
    /// The object's state.
    type State: Clone + Eq + Hash + Ord;
    /// A call with its answer, if one is known.
    type Call;

    /// Every state in which `call` may leave the object, if it takes effect within `window`; none if it cannot
    /// have had its answer.
    fn step(&self, state: &Self::State, call: &Self::Call, window: Window) -> Vec<Self::State>;
}

/// When a call took effect: at or after `from_us`, at or before `until_us`.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When it was called.
    pub from_us: Micros,
    /// When it returned; the end of time if it has not.
    pub until_us: Micros,
}

/// A call on one object.
#[derive(Clone, Debug)]
pub struct Timed<C> {
    /// Which operation it belongs to.
    pub operation: OpId,
    /// When it was called.
    pub from_us: Micros,
    /// When it returned, if its outcome is known.
    pub until_us: Option<Micros>,
    /// What was called.
    pub call: C,
}

/// Whether a history is linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Linearizable,
    /// It is not: this operation cannot have had its answer.
    Impossible(OpId),
    /// There are too many orders to try.
    Undecided,
}

/// Tries whether `calls` can have had their answers.
pub fn check<M: Model>(model: &M, initial: M::State, calls: &[Timed<M::Call>]) -> Verdict {
    Search { model, calls, open: BTreeSet::new(), spent: 0 }.run(initial)
}

struct Search<'a, M: Model> {
    model: &'a M,
    calls: &'a [Timed<M::Call>],
    /// Called, not returned.
    open: BTreeSet<usize>,
    spent: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Configuration<S> {
    state: S,
    /// Open calls that have taken effect, in order.
    done: Vec<usize>,
}

impl<M: Model> Search<'_, M> {
    fn run(mut self, initial: M::State) -> Verdict {
        let mut configurations = vec![Configuration { state: initial, done: Vec::new() }];
        for (_, is_return, call) in events(self.calls) {
            if !is_return {
                self.open.insert(call);
                continue;
            }
            configurations = self.after_return(configurations, call);
            if self.spent > BUDGET {
                return Verdict::Undecided;
            }
            if configurations.is_empty() {
                return Verdict::Impossible(self.calls[call].operation);
            }
            self.open.remove(&call);
        }
        Verdict::Linearizable
    }

    /// The configurations in which `returning` has taken effect.
    fn after_return(
        &mut self,
        configurations: Vec<Configuration<M::State>>,
        returning: usize,
    ) -> Vec<Configuration<M::State>> {
        let mut seen: HashSet<Configuration<M::State>> = HashSet::new();
        let mut result = BTreeSet::new();
        let mut stack = configurations;
        while let Some(configuration) = stack.pop() {
            if let Ok(place) = configuration.done.binary_search(&returning) {
                let mut configuration = configuration;
                configuration.done.remove(place);
                result.insert(configuration);
                continue;
            }
            for &call in &self.open {
                let Err(place) = configuration.done.binary_search(&call) else { continue };
                let Timed { from_us, until_us, call: what, .. } = &self.calls[call];
                // An open call may return later than the one that returns now, but takes effect before it.
                let latest_us =
                    until_us.unwrap_or(Micros::MAX).min(self.calls[returning].until_us.unwrap_or(Micros::MAX));
                let window = Window { from_us: *from_us, until_us: latest_us };
                for state in self.model.step(&configuration.state, what, window) {
                    self.spent += 1;
                    let mut done = configuration.done.clone();
                    done.insert(place, call);
                    let next = Configuration { state, done };
                    if seen.insert(next.clone()) {
                        stack.push(next);
                    }
                }
            }
            if self.spent > BUDGET {
                break;
            }
        }
        result.into_iter().collect()
    }
}

/// Calls and returns in the order of time, calls first where they meet: then both orders are tried.
fn events<C>(calls: &[Timed<C>]) -> Vec<(Micros, bool, usize)> {
    let mut events: Vec<_> = calls.iter().enumerate().map(|(call, timed)| (timed.from_us, false, call)).collect();
    events.extend(calls.iter().enumerate().filter_map(|(call, timed)| Some((timed.until_us?, true, call))));
    events.sort_unstable();
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register: the plainest object there is.
    struct Register;

    enum Call {
        Write(u64),
        Read(u64),
    }

    impl Model for Register {
        type State = u64;
        type Call = Call;

        fn step(&self, state: &u64, call: &Call, _window: Window) -> Vec<u64> {
            match call {
                Call::Write(value) => vec![*value],
                Call::Read(value) if value == state => vec![*state],
                Call::Read(_) => vec![],
            }
        }
    }

    fn verdict(calls: &[(Micros, Option<Micros>, Call)]) -> Verdict {
        let timed = (1..).zip(calls).map(|(operation, (from_us, until_us, call))| Timed {
            operation,
            from_us: *from_us,
            until_us: *until_us,
            call: match call {
                Call::Write(value) => Call::Write(*value),
                Call::Read(value) => Call::Read(*value),
            },
        });
        check(&Register, 0, &timed.collect::<Vec<_>>())
    }

    #[test]
    fn overlapping_calls_may_take_effect_in_any_order() {
        let calls = [(0, Some(10), Call::Write(1)), (1, Some(9), Call::Read(0)), (2, Some(8), Call::Read(1))];
        assert_eq!(verdict(&calls), Verdict::Linearizable);
    }

    #[test]
    fn a_read_that_goes_back_is_found() {
        let calls = [(0, Some(10), Call::Write(1)), (1, Some(3), Call::Read(1)), (4, Some(6), Call::Read(0))];
        assert_eq!(verdict(&calls), Verdict::Impossible(3));
    }

    #[test]
    fn an_unanswered_call_may_take_effect_late_or_never() {
        let late = [(0, None, Call::Write(1)), (5, Some(6), Call::Read(0)), (7, Some(8), Call::Read(1))];
        assert_eq!(verdict(&late), Verdict::Linearizable);
        let undone = [(0, None, Call::Write(1)), (5, Some(6), Call::Read(1)), (7, Some(8), Call::Read(0))];
        assert_eq!(verdict(&undone), Verdict::Impossible(3));
    }
}
