//! What the server says, in the terms of the command line: it speaks of fields and paths, here there are
//! options and commands.

use crate::output::human_ms;

/// Phrases of the server, and what they are here.
const PHRASES: &[(&str, &str)] = &[
    ("wait with wait_ms", "wait with --wait"),
    (": see denied_by for every rule in the way", ": these rules are in the way"),
    ("create it with POST /v1/queues", "create it with `willow queue create`"),
    ("request_id was", "--request-id was"),
    ("another max_permits", "another --max-permits"),
    ("pass next_page_token of the page before, unchanged", "pass the one that the page before ended with, unchanged"),
];

/// `detail` of a problem at `field`.
pub(crate) fn of_the_command_line(detail: &str, field: Option<&str>) -> String {
    if let Some(field) = field
        && let Some(bounds) = detail.strip_prefix(field).and_then(|rest| rest.strip_prefix(" is out of bounds: "))
    {
        let bounds = if field.ends_with("_ms") { durations(bounds.trim_end_matches(" ms")) } else { bounds.to_owned() };
        return format!("{} is out of bounds: {}", option(field), bounds.replace("max_permits", "--max-permits"));
    }
    PHRASES.iter().fold(detail.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}

/// The option that gives a field, or the field's own name where none does.
pub(crate) fn option(field: &str) -> String {
    match field {
        // `--ttl`, `--lease` or `--hold`, as the command has it.
        "ttl_ms" | "lease_ms" | "hold.ttl_ms" | "defaults.lease_ms" => "the lease".to_owned(),
        "tolerations" | "tolerations.key" => "--tolerate".to_owned(),
        "order.round_robin.cursor" => "--cursor".to_owned(),
        "wait_ms" | "delay_ms" | "expires_in_ms" | "amount" | "limit" | "permits" | "max_permits" | "max_items"
        | "max_attempts" | "max_dead_letters" | "priority" | "weight" | "idempotency_key" | "owner" | "consumer"
        | "reason" | "by" | "request_id" => {
            format!("--{}", field.strip_suffix("_ms").unwrap_or(field).replace('_', "-"))
        }
        other => other.to_owned(),
    }
}

/// `100 to 86400000` is `100ms to 1day`.
fn durations(bounds: &str) -> String {
    let human = |word: &str| word.parse().map_or_else(|_| word.to_owned(), human_ms);
    bounds.split(' ').map(human).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_s_phrases_become_options_and_commands() {
        let said = |detail| of_the_command_line(detail, None);
        assert_eq!(
            said("the lock is held; wait with wait_ms, or retry later"),
            "the lock is held; wait with --wait, or retry later"
        );
        assert_eq!(
            said("no such queue; create it with POST /v1/queues"),
            "no such queue; create it with `willow queue create`"
        );
        assert_eq!(said("no such rule"), "no such rule");
    }

    #[test]
    fn bounds_name_the_option_and_have_units() {
        let said =
            |field: &str, bounds| of_the_command_line(&format!("{field} is out of bounds: {bounds}"), Some(field));
        assert_eq!(said("wait_ms", "0 to 300000"), "--wait is out of bounds: 0s to 5m");
        assert_eq!(said("ttl_ms", "100 to 86400000 ms"), "the lease is out of bounds: 100ms to 1day");
        assert_eq!(said("permits", "1 to max_permits"), "--permits is out of bounds: 1 to --max-permits");
        assert_eq!(said("name", "at most 128 bytes"), "name is out of bounds: at most 128 bytes");
    }
}
