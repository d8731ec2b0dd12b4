//! The JSON form.

use expect_test::expect_file;
use proptest::prelude::*;

use super::check_golden;
use crate::Query;
use crate::testing::query;

/// Each line of JSON, and below it the query as text, or the fault.
#[test]
fn golden() {
    check_golden(include_str!("golden/json.txt"), &expect_file!["golden/json.txt"], |line| {
        Query::from_json(line).map(|query| query.to_string()).map_err(|error| error.to_string())
    });
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        let (open, close) = (r#"{"not": "#.repeat(depth), "}".repeat(depth));
        Query::from_json(&format!(r#"{open}{{"where": {{"a": {{"eq": 1}}}}}}{close}"#))
    };
    assert!(nested(8).is_ok());
    let path = "not.".repeat(9);
    let path = path.trim_end_matches('.');
    let expected = format!("{path}: and, or, not may nest at most 8 deep").replace("or, not", "or and not");
    assert_eq!(nested(9).unwrap_err().to_string(), expected);
    assert!(nested(100).is_err());
    assert!(nested(100_000).is_err());
    let deep = format!(r#"{{"where": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(Query::from_json(&deep).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn reads_back(query in query()) {
        let json = query.to_json();
        prop_assert_eq!(&Query::from_json(&json), &Ok(query.clone()), "{}", json);
        let bytes = postcard::to_stdvec(&query).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<Query>(&bytes).unwrap(), &query);
    }

    #[test]
    fn reading_never_panics(json in "[\\[\\]{}:,\"a-z0-9.-]{0,40}") {
        let _ = Query::from_json(&json);
    }

    /// Altered queries are nearer to what is valid than random text.
    #[test]
    fn altered_queries(query in query(), at in any::<prop::sample::Index>(), with in any::<char>()) {
        let json: Vec<char> = query.to_json().chars().collect();
        let at = at.index(json.len());
        let altered = [&json[..at], &[with], &json[at + 1..]].concat();
        if let Ok(query) = Query::from_json(&altered.into_iter().collect::<String>()) {
            prop_assert!(query.check().is_ok());
        }
    }

    #[test]
    fn binary_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = postcard::from_bytes::<Query>(&bytes);
    }
}
