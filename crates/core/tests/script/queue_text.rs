//! How the Queue's views look in scripts.

use willow_core::{
    limiter::Blocking,
    queue::{ChannelExplanation, ChannelView, Counts, ItemView, PauseKind, QueueView, Reason, Taint},
};
use willow_query::Query;

pub(crate) fn queue(view: &QueueView) -> String {
    let QueueView { channels, dead_letters, consumers_waiting, .. } = view;
    let pause = |(kind, query): &(PauseKind, Option<Query>)| {
        let what = if *kind == PauseKind::Dequeue { "paused" } else { "draining" };
        format!(", {what}: {}", of(query.as_ref()))
    };
    let pauses: String = view.pauses.iter().map(pause).collect();
    let counts = counts(view.counts);
    format!("{counts} in {channels} channels, {dead_letters} dead, {consumers_waiting} consumers wait{pauses}")
}

pub(crate) fn channel(view: &ChannelView) -> String {
    let metadata = view.metadata.as_ref().map_or_else(String::new, |pairs| format!(", metadata {{{pairs}}}"));
    let taints = if view.taints.is_empty() { String::new() } else { format!(", taints {}", keys(&view.taints)) };
    let idle = view.idle_ms.map_or_else(String::new, |ms| format!(", delivered {ms} ago"));
    let oldest = view.oldest_waiting_ms.map_or_else(String::new, |ms| format!(", oldest {ms}"));
    format!("{{{}}} {}{oldest}{idle}{metadata}{taints}", view.key_values, counts(view.counts))
}

pub(crate) fn item(view: &ItemView) -> String {
    let ItemView { key_values, state, attempts, .. } = view;
    let data = String::from_utf8_lossy(&view.data);
    let most = view.max_attempts.map_or_else(|| "unlimited".to_owned(), |most| most.to_string());
    let mut text = format!("{{{key_values}}} {data}: {state:?}, attempts {attempts}/{most}");
    let times = [("due in", view.due_in_ms), ("expires in", view.expires_in_ms), ("lease", view.lease_expires_in_ms)];
    for (what, ms) in times {
        text.extend(ms.map(|ms| format!(", {what} {ms}")));
    }
    text.extend(view.consumer.as_ref().map(|consumer| format!(", at {consumer}")));
    text.extend(view.death.map(|death| format!(", {death:?}")));
    text.extend(view.reason.as_ref().map(|reason| format!(", because {reason}")));
    text
}

pub(crate) fn explanation(explained: &ChannelExplanation) -> Vec<String> {
    let ChannelExplanation { eligible, matching_consumers, reasons, .. } = explained;
    let first = format!("eligible: {eligible}, {matching_consumers} waiting consumers fit");
    std::iter::once(first).chain(reasons.iter().map(|of| format!("  {}", reason(of)))).collect()
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Empty => "empty".to_owned(),
        Reason::NotDue { due_in_ms } => format!("not due for {due_in_ms}"),
        Reason::Paused(queries) => {
            let queries: Vec<String> = queries.iter().map(|query| of(query.as_ref())).collect();
            format!("paused: {}", queries.join(", "))
        }
        Reason::Tainted(taints) => format!("tainted {}", keys(taints)),
        Reason::Limited(limits) => {
            let limit = |of: &Blocking| {
                let Blocking { rule_name, bucket, used, requested, limit, .. } = of;
                format!("{rule_name} [{bucket}] {used}+{requested}/{limit}")
            };
            format!("limited by {}", limits.iter().map(limit).collect::<Vec<_>>().join(", "))
        }
        Reason::NoConsumerMatches { waiting } => format!("no consumer fits, of {waiting} waiting"),
        Reason::InFlight { items } => format!("waits for {items} in flight"),
    }
}

fn of(query: Option<&Query>) -> String {
    query.map_or_else(|| "all".to_owned(), ToString::to_string)
}

fn keys(taints: &[Taint]) -> String {
    taints.iter().map(|taint| &*taint.key).collect::<Vec<_>>().join(",")
}

fn counts(counts: Counts) -> String {
    let Counts { waiting, delayed, in_flight } = counts;
    format!("{waiting} waiting, {delayed} delayed, {in_flight} in flight")
}
