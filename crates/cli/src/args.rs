//! What arguments mean.

use std::{io::Read as _, time::Duration};

use willow_api::{QueryInput, limiter::Limit};
use willow_model::{KeyValues, Origin};
use willow_query::Query;

use crate::failure::Failure;

/// `30s`, `5m`, `250ms`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 30s, 5m or 250ms"))
}

/// A number, or `unlimited`.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    if text == "unlimited" {
        return Ok(Limit::Unlimited);
    }
    text.parse().map(Limit::At).map_err(|_| "give a number, or \"unlimited\"".to_owned())
}

/// Milliseconds, as the API counts.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Key values that name a resource, one pair an argument.
pub(crate) fn key_values(pairs: &[String]) -> Result<KeyValues, Failure> {
    KeyValues::parse_args(Origin::User, pairs).map_err(Failure::usage)
}

/// Key values of a rule or an override, where `*` is any value.
pub(crate) fn pattern(pairs: &[String]) -> Result<KeyValues, Failure> {
    KeyValues::parse_args(Origin::Pattern, pairs).map_err(Failure::usage)
}

/// A query: text, or with `--json` its JSON form; `-` reads it from standard input.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct QueryArguments {
    /// The query, such as 'os = "linux" and cpu >= 4 order by cpu desc limit 10'; `-` reads standard input
    #[arg(default_value = "")]
    query: String,
    /// The query is JSON
    #[arg(long)]
    json: bool,
    /// Follow the pages to the end
    #[arg(long)]
    all: bool,
}

impl QueryArguments {
    pub(crate) fn all(&self) -> bool {
        self.all
    }

    pub(crate) fn read(&self) -> Result<Query, Failure> {
        if self.json {
            return Query::from_json(&stdin_or(&self.query)?).map_err(Failure::usage);
        }
        read_query(&self.query)
    }
}

/// A query as text; `-` reads it from standard input.
pub(crate) fn read_query(text: &str) -> Result<Query, Failure> {
    stdin_or(text)?.parse::<Query>().map_err(|error| Failure::usage(error.render()))
}

/// The same, of an option that may be absent.
pub(crate) fn some_query(text: Option<&str>) -> Result<Option<QueryInput>, Failure> {
    Ok(text.map(read_query).transpose()?.map(Into::into))
}

/// The text itself, or standard input for `-`.
pub(crate) fn stdin_or(text: &str) -> Result<String, Failure> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut read = String::new();
    std::io::stdin().read_to_string(&mut read).map_err(anyhow::Error::from)?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_only_in_a_pattern() {
        let pairs = ["branch=*".to_owned()];
        assert!(pattern(&pairs).unwrap().contains_any());
        assert!(!key_values(&pairs).unwrap().contains_any());
    }

    #[test]
    fn limits_and_durations_read() {
        assert_eq!(limit("unlimited"), Ok(Limit::Unlimited));
        assert_eq!(limit("3"), Ok(Limit::At(3)));
        assert!(limit("-1").is_err() && limit("three").is_err());
        assert_eq!(duration("1m 30s").map(ms), Ok(90_000));
        assert!(duration("90").is_err(), "a bare number has no unit");
    }
}
