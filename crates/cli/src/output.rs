//! Answers on stdout: tables for people, JSON for programs.

use std::fmt::Write as _;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::HumanBytes;
use serde::Serialize;
use serde_json::Value;
use willow_model::KeyValues;

use crate::failure::Failure;

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people, durations as 1m 30s
    Table,
    /// As the API answers, durations in ms
    Json,
}

/// Columns of a table: dotted paths into the JSON of an answer. A `_ms` at the end is not shown.
pub(crate) type Columns = &'static [&'static str];

pub(crate) const HOLDERS: Columns = &["owner", "mode", "token", "depth", "held_for_ms", "expires_in_ms"];
pub(crate) const BLOCKING: Columns =
    &["rule_name", "override_name", "bucket", "used", "requested", "limit", "waiting", "retry_after_ms"];
pub(crate) const LOCKS: Columns =
    &["id", "key_values", "holders.0.mode", "holders.0.owner", "holders.0.token", "waiting"];
pub(crate) const RULES: Columns =
    &["name", "key_values", "limit", "mode", "overrides", "buckets", "shadow_denials", "revision"];
pub(crate) const OVERRIDES: Columns = &["name", "key_values", "limit", "revision"];
pub(crate) const COUNTERS: Columns = &["id", "key_values", "amount", "held"];
pub(crate) const QUEUES: Columns = &[
    "name",
    "state",
    "counts.waiting",
    "counts.delayed",
    "counts.in_flight",
    "channels",
    "dead_letters",
    "consumers_waiting",
];
pub(crate) const CHANNELS: Columns = &[
    "id",
    "key_values",
    "metadata",
    "counts.waiting",
    "counts.delayed",
    "counts.in_flight",
    "oldest_waiting_ms",
    "idle_ms",
];
pub(crate) const ITEMS: Columns = &["id", "key_values", "state", "attempts", "priority", "age_ms", "data", "reason"];
pub(crate) const DELIVERIES: Columns = &["item", "lease_token", "key_values", "attempt", "expires_in_ms", "data"];
pub(crate) const GRANTS: Columns = &["lock", "token", "mode", "depth"];
pub(crate) const REASONS: Columns =
    &["reason", "due_in_ms", "denied_by.0.rule_name", "denied_by.0.bucket", "items", "waiting"];
pub(crate) const RULE_REASONS: Columns = &[
    "name",
    "key_values",
    "mode",
    "verdict",
    "key",
    "limits.0.override_name",
    "limits.0.bucket",
    "limits.0.used",
    "limits.0.limit",
    "limits.0.allowed",
];

/// Objects that are key values.
const PAIRS: &[&str] = &["key_values", "bucket", "metadata"];
/// Objects that are one thing to look at, not fields of an answer: key values, and an item's data.
const WHOLE: &[&str] = &["key_values", "bucket", "metadata", "data"];

/// Where answers go.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// One answer: its fields, a line each.
    pub(crate) fn one(&self, answer: &impl Serialize) -> Result<(), Failure> {
        let json = to_json(answer)?;
        match self.format {
            Format::Json => print(&pretty(&json)),
            Format::Table => print(&fields(&json)),
        }
        Ok(())
    }

    /// A line of a table, between two lists.
    pub(crate) fn line(&self, text: &str) {
        if self.format == Format::Table {
            print(text);
        }
    }

    /// A list.
    pub(crate) fn list(&self, items: &[impl Serialize], columns: Columns) -> Result<(), Failure> {
        match self.format {
            Format::Json => print(&pretty(&to_json(&items)?)),
            Format::Table => print(&table_of(items, columns)),
        }
        Ok(())
    }

    /// One page: its items; what else it says goes to stderr, so that stdout is data only.
    pub(crate) fn page<T: Serialize>(&self, page: &willow_api::Page<T>, columns: Columns) -> Result<(), Failure> {
        if self.format == Format::Json {
            print(&pretty(&to_json(page)?));
            return Ok(());
        }
        print(&table_of(&page.items, columns));
        if let Some(count) = page.count {
            eprintln!("{}{} in all", if count.exact { "" } else { "about " }, count.total);
        }
        if let Some(plan) = &page.plan {
            eprintln!("{}", fields(&to_json(plan)?));
        }
        if let Some(token) = &page.next_page_token {
            eprintln!("more: repeat with `page_token \"{token}\"` at the end of the query, or with --all");
        }
        Ok(())
    }
}

/// Data for the caller.
#[expect(clippy::print_stdout, reason = "a program's answer goes to stdout")]
fn print(text: &str) {
    println!("{text}");
}

fn to_json(answer: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(answer).map_err(|error| Failure::Other(error.into()))
}

fn pretty(json: &Value) -> String {
    format!("{json:#}")
}

/// A table of some columns; those that no row fills are left out.
pub(crate) fn table_of(items: &[impl Serialize], columns: Columns) -> String {
    let rows: Vec<Value> = items.iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
    let cells = |row: &Value| columns.iter().map(|path| cell(path, at(row, path))).collect::<Vec<String>>();
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let filled: Vec<usize> =
        (0..columns.len()).filter(|column| rows.is_empty() || cells.iter().any(|row| row[*column] != "-")).collect();
    let mut table = plain_table();
    table.set_header(filled.iter().map(|column| heading(columns[*column])));
    for row in cells {
        table.add_row(filled.iter().map(|column| row[*column].clone()));
    }
    trimmed(&table)
}

/// What a person looks for first.
const FIRST: &[&str] = &["id", "name", "key_values"];

/// A line for each field that has something; those of what is nested by their path.
fn fields(json: &Value) -> String {
    let Value::Object(_) = json else { return cell("", Some(json)) };
    let mut table = plain_table();
    let mut rows = Vec::new();
    flatten("", json, &mut rows);
    for (path, text) in rows {
        table.add_row([path.strip_suffix("_ms").unwrap_or(&path).to_owned(), text]);
    }
    trimmed(&table)
}

fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let name = path.rsplit('.').next().unwrap_or(path);
    match value {
        Value::Object(object) if !WHOLE.contains(&name) => {
            let first = FIRST.iter().filter_map(|name| object.get_key_value(*name));
            let rest = object.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
            for (name, value) in first.chain(rest) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, rows);
            }
        }
        value => match cell(path, Some(value)) {
            nothing if nothing == "-" => {}
            text => rows.push((path.to_owned(), text)),
        },
    }
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// Without the blanks that pad the last column and the edges.
fn trimmed(table: &Table) -> String {
    let trim = |line: String| {
        let line = line.trim_end();
        line.strip_prefix(' ').unwrap_or(line).to_owned()
    };
    table.lines().map(trim).collect::<Vec<_>>().join("\n")
}

/// `counts.in_flight` is `in_flight`, `holders.0.owner` is `owner`, `age_ms` is `age`, `free_bytes` is `free`.
fn heading(path: &str) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    name.strip_suffix("_ms").or_else(|| name.strip_suffix("_bytes")).unwrap_or(name).to_owned()
}

fn at<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(row, |value, step| match step.parse::<usize>() {
        Ok(index) => value.get(index),
        Err(_) => value.get(step),
    })
}

fn cell(path: &str, value: Option<&Value>) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if name.ends_with("_ms") => {
            number.as_u64().map_or_else(|| number.to_string(), human_ms)
        }
        Some(Value::Number(number)) if name.ends_with("_bytes") => {
            number.as_u64().map_or_else(|| number.to_string(), |bytes| HumanBytes(bytes).to_string())
        }
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items.iter().map(compact).collect::<Vec<_>>().join("\n"),
        Some(value @ Value::Object(_)) if PAIRS.contains(&name) => pairs(value),
        Some(value @ Value::Object(_)) if !WHOLE.contains(&name) => compact(value),
        Some(value) => value.to_string(),
    }
}

/// Key values as they are written on a command line.
fn pairs(value: &Value) -> String {
    match serde_json::from_value::<KeyValues>(value.clone()) {
        Ok(key_values) => key_values.to_string(),
        Err(_) => value.to_string(),
    }
}

/// One line for something nested.
fn compact(value: &Value) -> String {
    let Value::Object(object) = value else { return cell("", Some(value)) };
    let mut line = String::new();
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let text = match value {
            Value::Array(_) => value.to_string(),
            value => cell(name, Some(value)),
        };
        let separator = if line.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _written = write!(line, "{separator}{} {text}", heading(name));
    }
    line
}

/// `1m 30s`, `28.8s`, `250ms`.
pub(crate) fn human_ms(ms: u64) -> String {
    if (1000..60_000).contains(&ms) && !ms.is_multiple_of(1000) {
        return format!("{:.1}s", ms as f64 / 1000.0);
    }
    let rounded = if ms >= 60_000 { ms / 1000 * 1000 } else { ms };
    humantime::format_duration(std::time::Duration::from_millis(rounded)).to_string()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_aligned_and_leaves_out_what_nobody_has() {
        let channels = [
            json!({"id": "0190163d", "key_values": {"os": "linux", "cpu": {"u8": 4}},
                   "counts": {"waiting": 12, "delayed": 0, "in_flight": 1}, "oldest_waiting_ms": 5300}),
            json!({"id": "0190163e", "key_values": {"os": "mac"},
                   "counts": {"waiting": 0, "delayed": 3, "in_flight": 0}, "oldest_waiting_ms": null}),
        ];
        expect![[r#"
            id        key_values         waiting  delayed  in_flight  oldest_waiting
            0190163d  cpu:u8=4 os=linux  12       0        1          5.3s
            0190163e  os=mac             0        3        0          -"#]]
        .assert_eq(&table_of(&channels, CHANNELS));
    }

    #[test]
    fn an_empty_list_has_its_headings() {
        assert_eq!(table_of(&[] as &[Value], GRANTS), "lock  token  mode  depth");
    }

    #[test]
    fn one_answer_has_a_line_for_each_field() {
        let rule = json!({"name": "one-per-branch", "key_values": {"branch": {"any": true}}, "limit": 1,
                          "denied_by": [{"rule_name": "a", "used": 1}, {"rule_name": "b", "used": 2}]});
        expect![[r#"
            name        one-per-branch
            key_values  branch=*
            denied_by   rule_name a, used 1
                        rule_name b, used 2
            limit       1"#]]
        .assert_eq(&fields(&rule));
    }

    #[test]
    fn what_is_nested_has_lines_of_its_own_and_what_is_empty_none() {
        let reply = json!({"counter": {"amount": 2, "held": 1, "id": "94122cc7", "key_values": {"branch": "dev"}},
                           "hold": {"id": "4959f6d8", "expires_in_ms": 30000}, "shadow_denied_by": [],
                           "data": {"commit": "4be2a1"}, "reason": null});
        expect![[r#"
            counter.id          94122cc7
            counter.key_values  branch=dev
            counter.amount      2
            counter.held        1
            data                {"commit":"4be2a1"}
            hold.id             4959f6d8
            hold.expires_in     30s"#]]
        .assert_eq(&fields(&reply));
    }

    #[test]
    fn durations_are_human_in_tables() {
        let shown = [0, 250, 1000, 1234, 59_900, 90_500, 3_600_000].map(human_ms);
        assert_eq!(shown, ["0s", "250ms", "1s", "1.2s", "59.9s", "1m 30s", "1h"]);
    }
}
