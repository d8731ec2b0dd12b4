//! **Counters are linearizable, and never over a limit.** For each set of counters that share limits there is
//! a total order of the answered calls on them, and of some of the unanswered ones, that respects real time,
//! such that in that order
//! - an increment, a hold or a delivery is admitted only if each bucket it falls in, with it, stays within its
//!   limit;
//! - what is given back was there; a hold that is said to be gone was given back, or its lease can have ended;
//! - every answer and every read tells the amount that there is.

use std::collections::BTreeMap;

use super::issued::Issued;
use super::linear::{self, Model, Timed, Window};
use super::{Found, Violation, violation};
use crate::history::{Action, Answer, History, Micros, Operation, Outcome, Refusal};

const NAME: &str = "counters linearizable";

/// Lists groups of counters whose history is not linearizable.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    search(history).violations
}

/// Looks for an order of the calls on each group of counters.
#[must_use]
pub fn search(history: &History) -> Found {
    let issued = &Issued::new(history);
    let groups = groups(history, issued);
    let mut calls: BTreeMap<usize, Vec<Timed<Call>>> = BTreeMap::new();
    for operation in history.first_calls() {
        for (counter, call) in calls_of(operation, issued) {
            let Some(group) = groups.of(counter, &call) else { continue };
            let is_sure = !matches!(&call, Call::Held { id: None, .. });
            let (from_us, until_us) = (operation.invoked_us, operation.over_us().filter(|_| is_sure));
            calls.entry(group).or_default().push(Timed { operation: operation.id, from_us, until_us, call });
        }
    }
    let mut found = Found::default();
    for calls in calls.values() {
        let verdict = linear::check(&Counters { history }, State::default(), calls);
        found.add(verdict, |operation| violation(NAME, "this answer is impossible".to_owned(), [operation]));
    }
    found
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct State {
    /// What no hold accounts for.
    free: BTreeMap<String, u64>,
    holds: Vec<Hold>,
    floor_us: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Hold {
    /// Unknown when it was never answered.
    id: Option<String>,
    counter: String,
    amount: u64,
    ttl_ms: u64,
    /// It cannot have ended before, unless given back.
    until_us: Micros,
}

#[derive(Clone, Debug)]
enum Call {
    /// Added for good. `total` is what the counter then counts, if that is known.
    Added {
        counter: String,
        amount: u64,
        total: Option<u64>,
    },
    /// Added while a lease lasts, which began at or after `from_us`; or for as long as it pleases, if there is none.
    Held {
        counter: String,
        amount: u64,
        id: Option<String>,
        ttl_ms: u64,
        from_us: Option<Micros>,
        total: Option<u64>,
    },
    Taken {
        counter: String,
        amount: u64,
        total: Option<u64>,
    },
    Underflow {
        counter: String,
        amount: u64,
    },
    GivenBack {
        id: String,
    },
    Gone {
        id: String,
    },
    Renewed {
        id: String,
    },
    Read {
        counter: String,
        total: u64,
    },
}

struct Counters<'a> {
    history: &'a History,
}

impl Model for Counters<'_> {
    type State = State;
    type Call = Call;

    fn step(&self, state: &State, call: &Call, window: Window) -> Vec<State> {
        let mut state = state.clone();
        state.floor_us = state.floor_us.max(window.from_us);
        let latest_us = window.until_us;
        if state.floor_us > latest_us {
            return vec![];
        }
        match call {
            Call::Added { counter, amount, total } => {
                let add = |mut state: State| {
                    *state.free.entry(counter.clone()).or_default() += amount;
                    state
                };
                let states = self.with_room(state, counter, *amount, latest_us).into_iter().map(add);
                states.flat_map(|state| state.totalling(counter, *total, latest_us)).collect()
            }
            Call::Held { counter, amount, id, ttl_ms, from_us, total } => {
                let states = self.with_room(state, counter, *amount, latest_us).into_iter().map(|mut state| {
                    let until_us = from_us.map(|from_us| self.history.lease_end_us(from_us, *ttl_ms));
                    let until_us = until_us.unwrap_or(state.floor_us);
                    let (id, counter) = (id.clone(), counter.clone());
                    state.holds.push(Hold { id, counter, amount: *amount, ttl_ms: *ttl_ms, until_us });
                    state.holds.sort();
                    state
                });
                states.flat_map(|state| state.totalling(counter, *total, latest_us)).collect()
            }
            Call::Taken { counter, amount, total } => {
                let Some(left) = state.free(counter).checked_sub(*amount) else { return vec![] };
                state.free.insert(counter.clone(), left);
                state.free.retain(|_, amount| *amount > 0);
                state.totalling(counter, *total, latest_us)
            }
            Call::Underflow { counter, amount } if state.free(counter) >= *amount => vec![],
            Call::Underflow { .. } => vec![state],
            Call::GivenBack { id } => {
                let Some(place) = state.place(id) else { return vec![] };
                state.holds.remove(place);
                vec![state]
            }
            Call::Gone { id } => match state.place(id) {
                Some(place) => state.without(place, latest_us).into_iter().collect(),
                None => vec![state],
            },
            Call::Renewed { id } => {
                let Some(place) = state.place(id) else { return vec![] };
                let hold = &mut state.holds[place];
                hold.until_us = hold.until_us.max(self.history.lease_end_us(window.from_us, hold.ttl_ms));
                vec![state]
            }
            Call::Read { counter, total } => state.totalling(counter, Some(*total), latest_us),
        }
    }
}

impl Counters<'_> {
    /// The states in which just so many leases have ended that `amount` more fits everywhere.
    fn with_room(&self, state: State, counter: &str, amount: u64, latest_us: Micros) -> Vec<State> {
        let setup = &self.history.setup;
        let buckets = setup.buckets.get(counter).into_iter().flatten();
        let full = buckets.into_iter().find(|bucket| {
            let limit = setup.limits.get(*bucket).copied().unwrap_or(u64::MAX);
            self.used(&state, bucket).saturating_add(amount) > limit
        });
        let Some(full) = full else { return vec![state] };
        let mut states = Vec::new();
        for place in 0..state.holds.len() {
            if self.falls_in(&state.holds[place].counter, full)
                && let Some(state) = state.clone().without(place, latest_us)
            {
                states.extend(self.with_room(state, counter, amount, latest_us));
            }
        }
        states.sort();
        states.dedup();
        states
    }

    fn falls_in(&self, counter: &str, bucket: &str) -> bool {
        self.history.setup.buckets.get(counter).is_some_and(|buckets| buckets.iter().any(|other| other == bucket))
    }

    fn used(&self, state: &State, bucket: &str) -> u64 {
        let free = state.free.iter().filter(|(counter, _)| self.falls_in(counter, bucket)).map(|(_, amount)| amount);
        let held = state.holds.iter().filter(|hold| self.falls_in(&hold.counter, bucket)).map(|hold| hold.amount);
        free.sum::<u64>() + held.sum::<u64>()
    }
}

impl State {
    fn free(&self, counter: &str) -> u64 {
        self.free.get(counter).copied().unwrap_or(0)
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.holds.iter().position(|hold| hold.id.as_deref() == Some(id))
    }

    fn total(&self, counter: &str) -> u64 {
        let held = self.holds.iter().filter(|hold| hold.counter == counter).map(|hold| hold.amount);
        self.free(counter) + held.sum::<u64>()
    }

    /// The state in which this hold's lease has ended, if it can have by `latest_us`.
    fn without(mut self, place: usize, latest_us: Micros) -> Option<Self> {
        let until_us = self.holds.remove(place).until_us;
        self.floor_us = self.floor_us.max(until_us);
        (until_us <= latest_us).then_some(self)
    }

    /// The states in which just such leases have ended that the counter counts `total`.
    fn totalling(self, counter: &str, total: Option<u64>, latest_us: Micros) -> Vec<Self> {
        let Some(total) = total else { return vec![self] };
        if self.total(counter) == total {
            return vec![self];
        }
        if self.total(counter) < total {
            return vec![];
        }
        let mut states = Vec::new();
        for place in 0..self.holds.len() {
            if self.holds[place].counter == counter
                && let Some(state) = self.clone().without(place, latest_us)
            {
                states.extend(state.totalling(counter, Some(total), latest_us));
            }
        }
        states.sort();
        states.dedup();
        states
    }
}

/// Counters that share a limit, directly or through others, are one object.
struct Groups<'a> {
    of_counter: BTreeMap<&'a str, usize>,
    of_hold: BTreeMap<String, usize>,
}

impl Groups<'_> {
    /// `counter` is empty where the call names a hold only.
    fn of(&self, counter: &str, call: &Call) -> Option<usize> {
        match call {
            Call::GivenBack { id } | Call::Gone { id } | Call::Renewed { id } => self.of_hold.get(id).copied(),
            _ => self.of_counter.get(counter).copied(),
        }
    }
}

fn groups<'a>(history: &'a History, issued: &Issued) -> Groups<'a> {
    let setup = &history.setup;
    let mut of_bucket: BTreeMap<&str, usize> = BTreeMap::new();
    let mut of_counter: BTreeMap<&str, usize> = BTreeMap::new();
    for (group, (counter, buckets)) in setup.buckets.iter().enumerate() {
        let met: Vec<usize> = buckets.iter().filter_map(|bucket| of_bucket.get(&**bucket).copied()).collect();
        let rename = |known: &mut usize| {
            if met.contains(known) {
                *known = group;
            }
        };
        of_bucket.values_mut().for_each(rename);
        of_counter.values_mut().for_each(rename);
        of_bucket.extend(buckets.iter().map(|bucket| (&**bucket, group)));
        of_counter.insert(counter, group);
    }
    let mut of_hold = BTreeMap::new();
    for operation in history.first_calls() {
        for (counter, call) in calls_of(operation, issued) {
            if let (Call::Held { id: Some(id), .. }, Some(group)) = (call, of_counter.get(counter)) {
                of_hold.insert(id, *group);
            }
        }
    }
    Groups { of_counter, of_hold }
}

/// A delivery's claim has no id of its own.
fn claim(item: &str, token: &str) -> String {
    format!("{item} {token}")
}

fn calls_of<'a>(operation: &'a Operation, issued: &Issued) -> Vec<(&'a str, Call)> {
    let Operation { action, outcome, request_id, .. } = operation;
    match (action, outcome) {
        (Action::Increment { counter, amount, hold_ttl_ms, .. }, outcome) => {
            let (known, total, id) = match outcome {
                Outcome::Ok(Answer::Incremented { amount, hold }) => (true, Some(*amount), hold.clone()),
                // A repeat is told so when what was granted at first has ended meanwhile.
                Outcome::Unknown(_) | Outcome::Refused(Refusal::NoSuchHold) => (request_id.is_some(), None, None),
                _ => return vec![],
            };
            let (named, amount) = (counter.clone(), *amount);
            let call = match hold_ttl_ms {
                Some(ttl_ms) => Call::Held {
                    counter: named,
                    amount,
                    id,
                    ttl_ms: *ttl_ms,
                    from_us: known.then_some(operation.invoked_us),
                    total,
                },
                None if known => Call::Added { counter: named, amount, total },
                None => Call::Held { counter: named, amount, id: None, ttl_ms: 0, from_us: None, total },
            };
            vec![(counter, call)]
        }
        (Action::Decrement { counter, amount }, outcome) => {
            let (named, amount) = (counter.clone(), *amount);
            let call = match outcome {
                Outcome::Ok(Answer::Decremented { amount: total }) => {
                    Call::Taken { counter: named, amount, total: Some(*total) }
                }
                Outcome::Unknown(_) => Call::Taken { counter: named, amount, total: None },
                Outcome::Refused(Refusal::Underflow) => Call::Underflow { counter: named, amount },
                _ => return vec![],
            };
            vec![(counter, call)]
        }
        (Action::ReadCounter { counter, stale: false }, Outcome::Ok(Answer::Counter { amount })) => {
            vec![(counter, Call::Read { counter: counter.clone(), total: *amount })]
        }
        (Action::ReleaseHold { hold }, outcome) => ends(hold.clone(), outcome),
        (Action::RenewHold { hold }, outcome) => renews(hold.clone(), outcome),
        (Action::Dequeue { lease_ms, .. }, Outcome::Ok(Answer::Delivered(deliveries))) => {
            let held = deliveries.iter().map(|delivery| {
                let id = Some(claim(&delivery.item, &delivery.token));
                let (counter, amount) = (delivery.channel.clone(), delivery.weight);
                (
                    &*delivery.channel,
                    Call::Held {
                        counter,
                        amount,
                        id,
                        ttl_ms: *lease_ms,
                        from_us: Some(issued.not_before(delivery.fence)),
                        total: None,
                    },
                )
            });
            held.collect()
        }
        (Action::Extend { item, token, .. }, outcome) => renews(claim(item, token), outcome),
        (action, outcome) => match action.delivery() {
            Some((_, item, token)) => ends(claim(item, token), outcome),
            None => vec![],
        },
    }
}

fn ends(id: String, outcome: &Outcome) -> Vec<(&'static str, Call)> {
    match outcome {
        Outcome::Ok(_) | Outcome::Unknown(_) => vec![("", Call::GivenBack { id })],
        Outcome::Refused(refusal) if refusal.says_gone() => vec![("", Call::Gone { id })],
        Outcome::Refused(_) | Outcome::NotDone(_) => vec![],
    }
}

fn renews(id: String, outcome: &Outcome) -> Vec<(&'static str, Call)> {
    match outcome {
        Outcome::Ok(_) => vec![("", Call::Renewed { id })],
        Outcome::Refused(refusal) if refusal.says_gone() => vec![("", Call::Gone { id })],
        Outcome::Refused(_) | Outcome::NotDone(_) | Outcome::Unknown(_) => vec![],
    }
}

#[cfg(test)]
mod tests;
