//! The text form.

use expect_test::{expect, expect_file};
use proptest::prelude::*;

use super::check_golden;
use crate::testing::{filter, query};
use crate::{Filter, Query};

/// Each line of text, and below it the query as JSON, or the fault.
#[test]
fn golden() {
    check_golden(include_str!("golden/text.txt"), &expect_file!["golden/text.txt"], |line| {
        line.parse().map(|query: Query| query.to_json()).map_err(|error| error.to_string())
    });
}

#[test]
fn rendering() {
    let render = |text: &str| text.parse::<Query>().unwrap_err().render();
    expect![[r#"
        expected a value (strings need quotes), found `four`
         --> line 2, column 14
          |
        2 |   and cpu >= four
          |              ^^^^
    "#]]
    .assert_eq(&render("os = \"linux\"\n  and cpu >= four"));
    expect![[r#"
        expected a key, `not` or `(`, found the end
         --> line 1, column 17
          |
        1 | os = "linux" and
          |                 ^
    "#]]
    .assert_eq(&render("os = \"linux\" and"));
    expect![[r#"
        expected `and`, `or`, a clause (matching, ids, key_count, order by, limit, page_token, pick, count, explain) or the end, found `und`
         --> line 1, column 209
          |
        1 | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" und x = "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
          |                                                             ^^^
    "#]].assert_eq(&render(&format!(
        "os = \"{}\" und x = \"{}\"",
        "x".repeat(200),
        "y".repeat(200)
    )));
    expect![[r#"
        expected `and`, `or`, a clause (matching, ids, key_count, order by, limit, page_token, pick, count, explain) or the end, found `и`
         --> line 1, column 19
          |
        1 | ключ = "значение" и x = 1
          |                   ^
    "#]].assert_eq(&render("ключ = \"значение\" и x = 1"));
}

#[test]
fn nesting_is_bounded() {
    let parens = |n: usize| format!("{}a = 1{}", "(".repeat(n), ")".repeat(n)).parse::<Query>();
    assert!(parens(32).is_ok());
    assert_eq!(parens(33).unwrap_err().column, 33);
    assert!(parens(100_000).is_err());
    let nots = |n: usize| format!("{}a = 1", "not ".repeat(n)).parse::<Query>();
    assert!(nots(8).is_ok());
    assert!(nots(9).is_err());
    assert!(nots(50_000).is_err());
    assert!("a = 1 or ".repeat(50_000).parse::<Query>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn reads_back(query in query()) {
        let text = query.to_string();
        prop_assert_eq!(text.parse::<Query>(), Ok(query), "{}", text);
    }

    #[test]
    fn filters_read_back(filter in filter()) {
        let text = filter.to_string();
        prop_assert_eq!(text.parse::<Filter>(), Ok(filter), "{}", text);
    }

    /// Text, query, text, JSON, query: the same all along.
    #[test]
    fn text_and_json_say_the_same(query in query()) {
        let text = query.to_string();
        let parsed: Query = text.parse().unwrap();
        prop_assert_eq!(parsed.to_string(), text);
        prop_assert_eq!(Query::from_json(&parsed.to_json()).map_err(|error| error.to_string()), Ok(query));
    }

    /// Valid text cut, doubled and mixed: near enough to get deep into the parser.
    #[test]
    fn mutated_queries(
        (one, other) in (query(), query()),
        edits in prop::collection::vec((0..5_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>(), token()), 1..5),
    ) {
        let other: Vec<char> = other.to_string().chars().collect();
        let mut text: Vec<char> = one.to_string().chars().collect();
        for (kind, from, to, token) in edits {
            let (from, to) = (from.index(text.len() + 1), to.index(text.len() + 1));
            let (from, to) = (from.min(to), from.max(to));
            let insert: Vec<char> = match kind {
                0 => Vec::new(),
                1 => text[from..to].to_vec(),
                2 => token.chars().collect(),
                3 => text[from..to].iter().rev().copied().collect(),
                _ => other[from.min(other.len())..to.min(other.len())].to_vec(),
            };
            // Doubled and put in without taking anything away, else in place of a part.
            let taken = if kind == 1 || kind == 2 { from..from } else { from..to };
            text.splice(taken, insert);
        }
        try_parse(&text.into_iter().collect::<String>());
    }

    #[test]
    fn parsing_never_panics(text in any::<String>()) {
        try_parse(&text);
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        try_parse(&String::from_utf8_lossy(&bytes));
    }

    /// Tokens in any order are nearer to what is valid than random text.
    #[test]
    fn tokens_never_panic(tokens in prop::collection::vec(token(), 0..20)) {
        try_parse(&tokens.join(" "));
        try_parse(&tokens.concat());
    }

    #[test]
    fn altered_queries(query in query(), at in any::<prop::sample::Index>(), with in any::<char>()) {
        let mut text: Vec<char> = query.to_string().chars().collect();
        if !text.is_empty() {
            let at = at.index(text.len());
            text[at] = with;
            try_parse(&text.into_iter().collect::<String>());
        }
    }
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b",
        "and",
        "or",
        "not",
        "(",
        ")",
        "=",
        "!=",
        "<",
        ">=",
        "in",
        "[",
        "]",
        ",",
        "1",
        "-",
        "4u8",
        "\"x\"",
        "`k`",
        "\"",
        "`",
        "\\",
        "is",
        "any",
        "exists",
        "prefix",
        "order",
        "by",
        "desc",
        "missing",
        "first",
        "limit",
        "..",
        "key_count",
        "matching",
        "{",
        "}",
        "ids",
        "pick",
        "random",
        "round",
        "robin",
        "count",
        "é",
        "\n",
        "0190163d-8694-739b-aea5-966c26f8ad91",
    ])
}

/// Whatever is read is valid; whatever is not can be shown.
fn try_parse(text: &str) {
    match text.parse::<Query>() {
        Ok(query) => {
            assert!(query.check().is_ok());
            assert_eq!(query.to_string().parse().as_ref(), Ok(&query));
            assert_eq!(Query::from_json(&query.to_json()).unwrap(), query);
        }
        Err(error) => {
            assert!(text.is_char_boundary(error.span.start), "{error:?}");
            assert!(text.is_char_boundary(error.span.end), "{error:?}");
            assert!(error.span.start <= error.span.end && error.span.end <= text.len());
            let line = text.split('\n').nth(error.line - 1).unwrap();
            assert!((1..=line.chars().count() + 1).contains(&error.column), "{error:?} in {text:?}");
            assert_eq!(error.render().lines().count(), 5, "{}", error.render());
        }
    }
}
