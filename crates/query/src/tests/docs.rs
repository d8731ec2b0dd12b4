//! The reference's examples.

use crate::Query;

/// Every pair of a text and a JSON example in the reference is one query.
#[test]
fn examples_say_the_same() {
    let reference = include_str!("../../../../docs/query-language.md");
    let mut blocks = reference.split("```").skip(1).step_by(2).filter_map(|b| b.split_once('\n'));
    let mut pairs = 0;
    while let Some((language, text)) = blocks.next() {
        if language == "willow" {
            let (next, json) = blocks.next().expect("a JSON example follows");
            assert_eq!(next, "json");
            let query: Query = text.parse().unwrap();
            assert_eq!(Query::from_json(json).unwrap(), query, "{text}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, 4);
}

/// The rows of the tables: text in the first column, JSON in the second.
#[test]
fn tables_say_the_same() {
    let reference = include_str!("../../../../docs/query-language.md");
    let mut checked = 0;
    for row in reference.lines().filter(|line| line.starts_with("| `")) {
        let mut columns = row.split('|').map(|column| column.split('`').skip(1).step_by(2));
        let (Some(text), Some(json)) = (columns.nth(1), columns.next()) else {
            continue;
        };
        // The last of several ways to write it, or the only one.
        let text: Vec<_> = text.filter(|text| text.parse::<Query>().is_ok()).collect();
        let json = json.clone().next().unwrap_or_default();
        let json = match json.as_bytes().first() {
            Some(b'{') => format!("{{\"where\": {json}}}"),
            _ => format!("{{{json}}}"),
        };
        if let (Some(text), Ok(query)) = (text.last(), Query::from_json(&json)) {
            assert_eq!(query, text.parse().unwrap(), "{row}");
            checked += 1;
        }
    }
    assert_eq!(checked, 18);
}
