//! **Nothing is in flight twice.** For any two deliveries d1 and d2 of one item (or of one channel whose items
//! can be updated), d2 with the larger fence: between them d1 was, or may have been, acknowledged, refused or
//! handed back, or its lease can have ended, that is, d2 was given out at or after the earliest end of d1's
//! lease. If d1 was acknowledged, there is no d2 of the same item. What ends or renews d1 is refused once d2
//! was received.

use std::collections::{BTreeMap, BTreeSet};

use super::issued::Issued;
use super::{Violation, violation};
use crate::history::{Action, Answer, Delivery, History, Micros, Operation};

const NAME: &str = "once in flight";

/// Lists deliveries that were in flight at once with another.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let issued = Issued::new(history);
    let about = about(history);
    let mut by_item: BTreeMap<&str, Vec<Flight<'_>>> = BTreeMap::new();
    let mut by_channel: BTreeMap<&str, Vec<Flight<'_>>> = BTreeMap::new();
    let updatable = updatable(history);
    for flight in flights(history) {
        by_item.entry(&flight.delivery.item).or_default().push(flight);
        if updatable.contains(&*flight.delivery.item) {
            by_channel.entry(&flight.delivery.channel).or_default().push(flight);
        }
    }
    let mut violations = Vec::new();
    for flights in by_item.values_mut().chain(by_channel.values_mut()) {
        flights.sort_by_key(|flight| flight.delivery.fence);
        for pair in flights.windows(2) {
            violations.extend(compare(history, &issued, &about, pair[0], pair[1]));
        }
    }
    violations.dedup();
    violations
}

#[derive(Clone, Copy)]
struct Flight<'a> {
    operation: &'a Operation,
    lease_ms: u64,
    delivery: &'a Delivery,
}

/// Calls about each delivery.
type About<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Operation>>;

fn compare(
    history: &History,
    issued: &Issued,
    about: &About<'_>,
    first: Flight<'_>,
    second: Flight<'_>,
) -> Option<Violation> {
    let given_us = issued.not_after(second.delivery.fence);
    let calls = about.get(&(&*first.delivery.item, &*first.delivery.token)).map_or(&[][..], |calls| calls);
    let mut until_us = history.lease_end_us(issued.not_before(first.delivery.fence), first.lease_ms);
    let mut ended = false;
    for call in calls {
        let ends = !matches!(call.action, Action::Extend { .. });
        if call.is_ok() && Some(call.invoked_us) > second.operation.completed_us {
            let what = format!("a stale lease of item {} was accepted", first.delivery.item);
            return Some(violation(NAME, what, [first.operation.id, second.operation.id, call.id]));
        }
        let again = first.delivery.item == second.delivery.item;
        if again && call.is_ok() && matches!(call.action, Action::Ack { .. }) {
            let what = format!("item {} was acknowledged and delivered again", first.delivery.item);
            return Some(violation(NAME, what, [first.operation.id, call.id, second.operation.id]));
        }
        ended |= ends && call.may_have_happened() && call.invoked_us <= given_us;
        if !ends && call.is_ok() {
            until_us = until_us.max(history.lease_end_us(call.invoked_us, first.lease_ms));
        }
    }
    (!ended && given_us < until_us).then(|| overlap(first, second, given_us, until_us))
}

fn overlap(first: Flight<'_>, second: Flight<'_>, given_us: Micros, until_us: Micros) -> Violation {
    let what = format!(
        "item {} of channel {} was given out by {given_us} us, while item {} had a lease until {until_us} us",
        second.delivery.item, second.delivery.channel, first.delivery.item
    );
    violation(NAME, what, [first.operation.id, second.operation.id])
}

fn flights(history: &History) -> impl Iterator<Item = Flight<'_>> {
    history.first_calls().flat_map(|operation| {
        let (Action::Dequeue { lease_ms, .. }, Some(Answer::Delivered(deliveries))) =
            (&operation.action, operation.answer())
        else {
            return Vec::new();
        };
        deliveries.iter().map(|delivery| Flight { operation, lease_ms: *lease_ms, delivery }).collect()
    })
}

fn about(history: &History) -> About<'_> {
    let mut about: About<'_> = BTreeMap::new();
    for operation in history.first_calls() {
        if let Some((_, item, token)) = operation.action.delivery() {
            about.entry((item, token)).or_default().push(operation);
        }
    }
    about
}

/// Items that can be updated in place.
fn updatable(history: &History) -> BTreeSet<&str> {
    let items = history.first_calls().filter_map(|operation| match (&operation.action, operation.answer()) {
        (Action::Enqueue { updatable: true, .. }, Some(Answer::Enqueued { item, .. })) => Some(&**item),
        _ => None,
    });
    items.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Script, delivery};

    #[test]
    fn again_after_a_failure_or_an_ended_lease_is_fine() {
        let mut script = Script::new();
        script.delivered(0, 10, delivery("i", 1, 2, "x"));
        script.nacked(20, 30, "i", 2);
        script.delivered(25, 40, delivery("i", 1, 3, "x"));
        script.delivered(1025, 1040, delivery("i", 1, 4, "x"));
        script.acked(1050, 1060, "i", 4);
        assert_eq!(check(&script.history), vec![]);
    }

    #[test]
    fn two_at_once_are_found() {
        let mut script = Script::new();
        script.delivered(0, 10, delivery("i", 1, 2, "x"));
        script.delivered(500, 510, delivery("i", 1, 3, "x"));
        assert!(script.fails(check));
    }

    #[test]
    fn a_delivery_after_the_acknowledgement_is_found() {
        let mut script = Script::new();
        script.delivered(0, 10, delivery("i", 1, 2, "x"));
        script.acked(20, 30, "i", 2);
        script.delivered(5000, 5010, delivery("i", 1, 3, "x"));
        assert!(script.fails(check));
    }

    #[test]
    fn a_stale_lease_that_is_accepted_is_found() {
        let mut script = Script::new();
        script.delivered(0, 10, delivery("i", 1, 2, "x"));
        script.delivered(2000, 2010, delivery("i", 1, 3, "x"));
        script.nacked(2020, 2030, "i", 2);
        assert!(script.fails(check));
    }
}
