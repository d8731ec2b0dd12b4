//! **A lease lasts at least as long as it was granted for**, whoever leads meanwhile: granted or last renewed
//! at true time x for t, it is not over before x + t·(1 − ε), where ε is by how much log time may run fast,
//! unless it was given back, taken away or ended with its session. It is over, at the latest, when the owner
//! is told so, or when the lock is granted to another.
//!
//! Of x is known that it is not before the call, nor before the call of anything that got a smaller token.

use std::collections::BTreeMap;

use super::issued::Issued;
use super::{Violation, violation};
use crate::history::{Action, Answer, History, Micros, Mode, OpId, Operation, Outcome};

const NAME: &str = "leases last";

/// Lists leases that were over too early.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let issued = Issued::new(history);
    let leases = leases(history, &issued);
    let mut about: BTreeMap<String, Vec<&Operation>> = BTreeMap::new();
    for operation in history.first_calls() {
        for name in names_of(&operation.action) {
            about.entry(name).or_default().push(operation);
        }
    }
    let mut violations = Vec::new();
    let mut next_grant: BTreeMap<&str, &Lease<'_>> = BTreeMap::new();
    for lease in leases.iter().rev() {
        let calls: Vec<&Operation> = lease.names.iter().filter_map(|name| about.get(name)).flatten().copied().collect();
        let until_us = lease.until_us(history, &calls);
        let told = calls.iter().filter_map(|call| match &call.outcome {
            Outcome::Refused(refusal) if refusal.says_gone() && call.invoked_us >= lease.known_us => {
                Some((call.completed_us?, call.id))
            }
            _ => None,
        });
        let granted = lease.lock.and_then(|lock| next_grant.get(lock));
        let granted = granted.map(|next| (issued.not_after(next.token), next.operation));
        for (over_us, shown_by) in told.chain(granted) {
            let given_back = |call: &&Operation| {
                ends(&call.action) && call.may_have_happened() && call.invoked_us <= over_us && call.id != shown_by
            };
            if over_us < until_us && !calls.iter().any(given_back) {
                let what = format!("{} was over by {over_us} us, not at {until_us} us or later", lease.names[0]);
                violations.push(violation(NAME, what, [lease.operation, shown_by]));
                break;
            }
        }
        if let Some(lock) = lease.lock {
            next_grant.insert(lock, lease);
        }
    }
    violations
}

struct Lease<'a> {
    operation: OpId,
    /// What calls about it say: the session or hold, the delivery, the lock.
    names: Vec<String>,
    /// The lock, if no other can hold it as well.
    lock: Option<&'a str>,
    token: u64,
    ttl_ms: u64,
    from_us: Micros,
    /// When the owner heard of it.
    known_us: Micros,
}

impl Lease<'_> {
    fn until_us(&self, history: &History, calls: &[&Operation]) -> Micros {
        let renewed = calls.iter().filter(|call| call.is_ok() && renews(&call.action)).map(|call| call.invoked_us);
        let from_us = renewed.chain([self.from_us]).max().unwrap_or(self.from_us);
        history.lease_end_us(from_us, self.ttl_ms)
    }
}

/// By token, those without one first.
fn leases<'a>(history: &'a History, issued: &Issued) -> Vec<Lease<'a>> {
    let mut leases = Vec::new();
    for operation in history.first_calls() {
        let (id, known_us) = (operation.id, operation.completed_us.unwrap_or(Micros::MAX));
        match (&operation.action, operation.answer()) {
            (Action::Acquire { locks, ttl_ms, session: given, .. }, Some(Answer::Acquired { session, grants, .. })) => {
                for ((lock, mode), grant) in locks.iter().zip(grants).filter(|(_, grant)| grant.depth == 1) {
                    leases.push(Lease {
                        operation: id,
                        names: vec![
                            format!("lock {lock} of {session}"),
                            format!("session {session}"),
                            format!("lock {lock}"),
                        ],
                        lock: (*mode == Mode::Exclusive).then_some(&**lock),
                        token: grant.token,
                        ttl_ms: *ttl_ms,
                        // A session that was there before has its lease from the call, not from the grant.
                        from_us: match given {
                            Some(_) => operation.invoked_us,
                            None => issued.not_before(grant.token),
                        },
                        known_us,
                    });
                }
            }
            (
                Action::Increment { hold_ttl_ms: Some(ttl_ms), .. },
                Some(Answer::Incremented { hold: Some(hold), .. }),
            ) => {
                leases.push(Lease {
                    operation: id,
                    names: vec![format!("hold {hold}")],
                    lock: None,
                    token: 0,
                    ttl_ms: *ttl_ms,
                    from_us: operation.invoked_us,
                    known_us,
                });
            }
            (Action::Dequeue { lease_ms, .. }, Some(Answer::Delivered(deliveries))) => {
                for delivery in deliveries {
                    leases.push(Lease {
                        operation: id,
                        names: vec![format!("delivery {} {}", delivery.item, delivery.token)],
                        lock: None,
                        token: delivery.fence,
                        ttl_ms: *lease_ms,
                        from_us: issued.not_before(delivery.fence),
                        known_us,
                    });
                }
            }
            _ => {}
        }
    }
    leases.sort_by_key(|lease| lease.token);
    leases
}

/// The leases that a call is about.
fn names_of(action: &Action) -> Vec<String> {
    match action {
        Action::Release { lock, session, .. } | Action::RenewLock { lock, session, .. } => {
            vec![format!("lock {lock} of {session}")]
        }
        Action::EndSession { session } | Action::RenewSession { session } => vec![format!("session {session}")],
        Action::ForceRelease { lock } => vec![format!("lock {lock}")],
        Action::ReleaseHold { hold } | Action::RenewHold { hold } => vec![format!("hold {hold}")],
        action => action.delivery().map(|(_, item, token)| format!("delivery {item} {token}")).into_iter().collect(),
    }
}

fn renews(action: &Action) -> bool {
    matches!(
        action,
        Action::RenewLock { .. } | Action::RenewSession { .. } | Action::RenewHold { .. } | Action::Extend { .. }
    )
}

fn ends(action: &Action) -> bool {
    !renews(action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Script, ack, delivery, release, renew};
    use crate::history::Refusal;

    #[test]
    fn leases_that_last_or_are_given_back_are_fine() {
        let mut script = Script::new();
        script.granted(0, 10, 1);
        script.ok(900, 910, renew(1), Answer::Renewed { expires_in_ms: 1000 });
        script.refused(1895, 1900, renew(1), Refusal::SessionExpired);
        script.granted(1895, 1905, 2);
        script.ok(1950, 1960, release(2), Answer::Released { depth: 0 });
        script.granted(1955, 1970, 3);
        assert_eq!(check(&script.history), vec![]);
    }

    #[test]
    fn a_lease_that_is_over_too_early_is_found() {
        let mut script = Script::new();
        script.granted(0, 10, 1);
        script.refused(800, 810, renew(1), Refusal::SessionExpired);
        assert!(script.fails(check));

        let mut script = Script::new();
        script.delivered(0, 10, delivery("i", 1, 2, "x"));
        script.refused(800, 810, ack("i", 2), Refusal::StaleLease);
        assert!(script.fails(check));
    }

    #[test]
    fn a_lock_that_goes_to_another_too_early_is_found() {
        let mut script = Script::new();
        // Asked for long ago, and granted after the other was asked for.
        script.granted(0, 2010, 5);
        script.granted(1500, 1510, 4);
        script.granted(2100, 2110, 6);
        script.history.operations[1].action = Action::CreateSession { ttl_ms: 1 };
        assert!(script.fails(check));
    }
}
