//! **Grants of each lock are linearizable.** For each lock there is a total order of all answered calls on it,
//! and of some of the unanswered ones, that respects real time (a call that returned before another began
//! comes first), such that in that order
//! - an exclusive grant finds nobody else holding, a shared one no exclusive holder, and permits never exceed
//!   the maximum;
//! - each new grant has a larger token than any grant of this lock before it;
//! - a holder stops holding only by its release, by force, with its session, or once its lease can have ended:
//!   at or after the earliest moment at which it can have been granted or renewed, plus its length;
//! - a release or renewal that succeeds finds its grant held, one that is refused finds it not held;
//! - a try for an exclusive lock that is refused finds it held; a read finds exactly the holders there are.

use std::collections::BTreeMap;

use super::issued::Issued;
use super::linear::{self, Model, Timed, Window};
use super::{Found, Violation, violation};
use crate::history::{Action, Answer, History, Micros, Mode, Operation, Outcome, Refusal};

const NAME: &str = "locks linearizable";

/// Lists locks whose history is not linearizable.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    search(history).violations
}

/// Looks for an order of the calls on each lock.
#[must_use]
pub fn search(history: &History) -> Found {
    let mut found = Found::default();
    for (lock, calls) in partition(history) {
        let verdict = linear::check(&Lock { history }, State::default(), &calls);
        let impossible = |operation| violation(NAME, format!("lock {lock}: this answer is impossible"), [operation]);
        found.add(verdict, impossible);
    }
    found
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct State {
    holders: Vec<Holding>,
    /// Largest token granted.
    newest: u64,
    /// The last call took effect at or after this.
    floor_us: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Holding {
    /// Unknown when the grant was never answered.
    session: Option<String>,
    token: Option<u64>,
    /// Larger than this, if it is not known.
    after: u64,
    exclusive: bool,
    permits: u32,
    depth: u32,
    ttl_ms: u64,
    /// Its lease cannot have ended before.
    until_us: Micros,
}

#[derive(Clone, Debug)]
enum Call {
    /// Granted, or perhaps granted.
    Granted(Granted),
    /// An exclusive try of a single lock found it held by others.
    Held {
        session: Option<String>,
    },
    Released {
        session: String,
        token: Option<u64>,
        depth: Option<u32>,
    },
    /// The caller was told that it does not hold the lock.
    NotHeld {
        session: String,
        token: Option<u64>,
    },
    Renewed {
        session: String,
        token: Option<u64>,
    },
    SessionEnded {
        session: String,
    },
    /// Also of a lock that has only waiters.
    Forced,
    Nothing,
    Read {
        tokens: Vec<u64>,
    },
}

/// A grant.
#[derive(Clone, Debug)]
struct Granted {
    /// Unknown if the call started one and was not answered.
    session: Option<String>,
    /// The token and how often it is held; unknown if the call was not answered.
    told: Option<(u64, u32)>,
    mode: Mode,
    ttl_ms: u64,
    lease: Runs,
}

/// From when a lease lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    /// From then: the earliest moment at which it can have been decided on. (It counts from when the command that
    /// brings it is put into the log, which is before it takes effect.)
    From(Micros),
    /// It may be given back at any time, for nobody may be left to hear of it.
    Unsure,
}

struct Lock<'a> {
    history: &'a History,
}

impl Model for Lock<'_> {
    type State = State;
    type Call = Call;

    fn step(&self, state: &State, call: &Call, window: Window) -> Vec<State> {
        let mut state = state.clone();
        state.floor_us = state.floor_us.max(window.from_us);
        if state.floor_us > window.until_us {
            return vec![];
        }
        match call {
            Call::Granted(granted) => self.grant(state, window, granted),
            Call::Held { session } => {
                let others = state.holders.iter().any(|holding| session.is_none() || holding.session != *session);
                if others { vec![state] } else { vec![] }
            }
            Call::Released { session, token, depth } => release(state, session, *token, *depth),
            Call::NotHeld { session, token } => {
                let held = state.holders.iter().position(|holding| holding.is(session, *token));
                state.without_lapsed(held.into_iter().collect(), window.until_us).into_iter().collect()
            }
            Call::Renewed { session, token } => self.renew(state, window, session, *token),
            Call::SessionEnded { session } => {
                state.holders.retain(|holding| holding.session.as_deref() != Some(session));
                vec![state]
            }
            Call::Forced => vec![State { holders: vec![], ..state }],
            Call::Nothing => {
                let all = (0..state.holders.len()).collect();
                state.without_lapsed(all, window.until_us).into_iter().collect()
            }
            Call::Read { tokens } => read(state, tokens, window),
        }
    }
}

impl Lock<'_> {
    fn grant(&self, mut state: State, window: Window, granted: &Granted) -> Vec<State> {
        let Granted { session, told, mode, ttl_ms, lease } = granted;
        let until_us = |floor_us| match lease {
            Runs::From(from_us) => self.history.lease_end_us(*from_us, *ttl_ms),
            Runs::Unsure => floor_us,
        };
        let token = told.map(|(token, _)| token);
        if let Some((token, depth)) = *told
            && depth > 1
        {
            // Counted once more: nothing new is granted.
            let floor_us = state.floor_us;
            let same = |holding: &&mut Holding| holding.session == *session && holding.token == Some(token);
            let Some(held) = state.holders.iter_mut().find(same) else { return vec![] };
            (held.depth, held.until_us) = (depth, held.until_us.max(until_us(floor_us)));
            return vec![state];
        }
        if token.is_some_and(|token| token <= state.newest) {
            return vec![];
        }
        let mut states = Vec::new();
        for mut state in state.with_room(*mode, window.until_us) {
            let after = token.map_or(state.newest, |_| 0);
            state.newest = token.unwrap_or(state.newest);
            state.holders.push(Holding {
                session: session.clone(),
                token,
                after,
                exclusive: *mode == Mode::Exclusive,
                permits: permits(*mode),
                depth: 1,
                ttl_ms: *ttl_ms,
                until_us: until_us(state.floor_us),
            });
            state.holders.sort();
            states.push(state);
        }
        states
    }

    fn renew(&self, mut state: State, window: Window, session: &str, token: Option<u64>) -> Vec<State> {
        let Some(held) = state.holders.iter_mut().find(|holding| holding.is(session, token)) else { return vec![] };
        held.until_us = held.until_us.max(self.history.lease_end_us(window.from_us, held.ttl_ms));
        vec![state]
    }
}

impl Holding {
    fn is(&self, session: &str, token: Option<u64>) -> bool {
        self.session.as_deref() == Some(session) && token.is_none_or(|token| self.token == Some(token))
    }
}

impl State {
    /// The state in which these holders' leases have ended, if they can have by `latest_us`.
    fn without_lapsed(mut self, mut lapsed: Vec<usize>, latest_us: Micros) -> Option<Self> {
        lapsed.sort_unstable();
        for place in lapsed.into_iter().rev() {
            let until_us = self.holders.remove(place).until_us;
            if until_us > latest_us {
                return None;
            }
            self.floor_us = self.floor_us.max(until_us);
        }
        Some(self)
    }

    /// The states in which just so many leases have ended that `mode` can be granted. Any further lease may
    /// end later, when something shows that it has.
    fn with_room(&self, mode: Mode, latest_us: Micros) -> Vec<Self> {
        let in_the_way: Vec<usize> = match mode {
            Mode::Exclusive => (0..self.holders.len()).collect(),
            Mode::Shared => (0..self.holders.len()).filter(|place| self.holders[*place].exclusive).collect(),
            Mode::Semaphore { permits, max_permits } => {
                return self.with_permits(permits, max_permits, latest_us);
            }
        };
        self.clone().without_lapsed(in_the_way, latest_us).into_iter().collect()
    }

    fn with_permits(&self, permits: u32, max_permits: u32, latest_us: Micros) -> Vec<Self> {
        let taken: u32 = self.holders.iter().map(|holding| holding.permits).sum();
        if taken + permits <= max_permits {
            return vec![self.clone()];
        }
        let mut states = Vec::new();
        for place in 0..self.holders.len() {
            if let Some(state) = self.clone().without_lapsed(vec![place], latest_us) {
                states.extend(state.with_permits(permits, max_permits, latest_us));
            }
        }
        states.sort();
        states.dedup();
        states
    }
}

fn release(mut state: State, session: &str, token: Option<u64>, depth: Option<u32>) -> Vec<State> {
    let Some(place) = state.holders.iter().position(|holding| holding.is(session, token)) else { return vec![] };
    let left = state.holders[place].depth - 1;
    if depth.is_some_and(|depth| depth != left) {
        return vec![];
    }
    if left == 0 {
        state.holders.remove(place);
    } else {
        state.holders[place].depth = left;
    }
    vec![state]
}

/// A reader sees exactly who holds. A grant that was never answered may be seen here first, with its token.
fn read(state: State, tokens: &[u64], window: Window) -> Vec<State> {
    let unknown = tokens.iter().find(|token| state.holders.iter().all(|holding| holding.token != Some(**token)));
    if let Some(token) = unknown {
        let unnamed = |place: &usize| {
            let holding = &state.holders[*place];
            holding.token.is_none() && holding.after < *token
        };
        let named = (0..state.holders.len()).filter(unnamed).map(|place| {
            let mut state = state.clone();
            state.holders[place].token = Some(*token);
            state.newest = state.newest.max(*token);
            state
        });
        return named.flat_map(|state| read(state, tokens, window)).collect();
    }
    let unseen = |(_, holding): &(usize, &Holding)| holding.token.is_none_or(|token| !tokens.contains(&token));
    let lapsed = state.holders.iter().enumerate().filter(unseen).map(|(place, _)| place).collect();
    state.without_lapsed(lapsed, window.until_us).into_iter().collect()
}

fn permits(mode: Mode) -> u32 {
    match mode {
        Mode::Semaphore { permits, .. } => permits,
        Mode::Exclusive | Mode::Shared => 0,
    }
}

/// Calls by lock. An acquire of several locks is a call on each.
fn partition(history: &History) -> BTreeMap<&str, Vec<Timed<Call>>> {
    let mut calls: BTreeMap<&str, Vec<Timed<Call>>> = BTreeMap::new();
    let mixed = locks_of_several(history);
    let issued = Issued::new(history);
    let mut held_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for operation in history.first_calls() {
        if let Some(Answer::Acquired { session, grants, .. }) = operation.answer() {
            held_by.entry(session).or_default().extend(grants.iter().map(|grant| &*grant.lock));
        }
    }
    for operation in history.first_calls() {
        for (lock, call) in calls_of(operation, &mixed, &held_by, &issued) {
            let is_sure = !matches!(&call, Call::Granted(Granted { told: None, .. }));
            let (from_us, until_us) = (operation.invoked_us, operation.over_us().filter(|_| is_sure));
            let timed = Timed { operation: operation.id, from_us, until_us, call };
            calls.entry(lock).or_default().push(timed);
        }
    }
    calls
}

/// Locks that some acquire wants together with others: their lines may be blocked by another lock.
fn locks_of_several(history: &History) -> std::collections::BTreeSet<&str> {
    let several = history.operations.iter().filter_map(|operation| match &operation.action {
        Action::Acquire { locks, .. } if locks.len() > 1 => Some(locks),
        _ => None,
    });
    several.flatten().map(|(lock, _)| &**lock).collect()
}

fn calls_of<'a>(
    operation: &'a Operation,
    mixed: &std::collections::BTreeSet<&str>,
    held_by: &BTreeMap<&str, Vec<&'a str>>,
    issued: &Issued,
) -> Vec<(&'a str, Call)> {
    let Operation { action, outcome, .. } = operation;
    match (action, outcome) {
        // A repeat is told that the session is over when what was granted at first has ended meanwhile.
        (Action::Acquire { .. }, Outcome::Ok(_) | Outcome::Unknown(_) | Outcome::Refused(Refusal::SessionExpired)) => {
            grants_of(operation, issued)
        }
        (Action::Acquire { locks, session, .. }, Outcome::Refused(Refusal::Held)) => match &locks[..] {
            [(lock, Mode::Exclusive)] if !mixed.contains(&**lock) => {
                vec![(&**lock, Call::Held { session: session.clone() })]
            }
            _ => vec![],
        },
        (Action::Release { lock, session, token }, outcome) => {
            let (session, token) = (session.clone(), *token);
            let call = match outcome {
                Outcome::Ok(Answer::Released { depth }) => Call::Released { session, token, depth: Some(*depth) },
                Outcome::Unknown(_) => Call::Released { session, token, depth: None },
                Outcome::Refused(refusal) if refusal.says_gone() => Call::NotHeld { session, token },
                _ => return vec![],
            };
            vec![(lock, call)]
        }
        (Action::RenewLock { lock, session, token }, outcome) => {
            let (session, token) = (session.clone(), *token);
            match outcome {
                Outcome::Ok(_) => vec![(&**lock, Call::Renewed { session, token })],
                Outcome::Refused(refusal) if refusal.says_gone() => {
                    vec![(&**lock, Call::NotHeld { session, token })]
                }
                _ => vec![],
            }
        }
        (Action::EndSession { session }, Outcome::Ok(_) | Outcome::Unknown(_)) => {
            let mut locks = held_by.get(&**session).cloned().unwrap_or_default();
            locks.sort_unstable();
            locks.dedup();
            locks.into_iter().map(|lock| (lock, Call::SessionEnded { session: session.clone() })).collect()
        }
        (Action::ForceRelease { lock }, Outcome::Ok(_) | Outcome::Unknown(_)) => vec![(lock, Call::Forced)],
        (Action::ForceRelease { lock }, Outcome::Refused(Refusal::NotHeld)) => vec![(lock, Call::Nothing)],
        (Action::ReadLock { lock, stale: false }, Outcome::Ok(Answer::Lock(view))) => {
            let tokens = view.iter().flat_map(|view| &view.holders).map(|holder| holder.token).collect();
            vec![(lock, Call::Read { tokens })]
        }
        _ => vec![],
    }
}

/// What an acquire granted, or may have granted.
fn grants_of<'a>(operation: &'a Operation, issued: &Issued) -> Vec<(&'a str, Call)> {
    let Action::Acquire { locks, session: given, ttl_ms, .. } = &operation.action else { return vec![] };
    let (session, told) = match operation.answer() {
        Some(Answer::Acquired { session, grants, .. }) => (Some(session.clone()), &grants[..]),
        _ => (given.clone(), &[][..]),
    };
    let lease = match given {
        _ if !operation.is_ok() && operation.request_id.is_none() => Runs::Unsure,
        _ => Runs::From(operation.invoked_us),
    };
    let granted = |place: usize, mode: Mode| {
        let told = told.get(place).map(|grant| (grant.token, grant.depth));
        let lease = match (told, given) {
            // Nobody knew the session before the grant.
            (Some((token, _)), None) => Runs::From(issued.not_before(token)),
            _ => lease,
        };
        Call::Granted(Granted { session: session.clone(), told, mode, ttl_ms: *ttl_ms, lease })
    };
    locks.iter().enumerate().map(|(place, (lock, mode))| (&**lock, granted(place, *mode))).collect()
}

#[cfg(test)]
mod tests;
