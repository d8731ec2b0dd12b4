//! The bounds of queries.

use expect_test::{Expect, expect};
use willow_model::{Id, Key, KeyValues, Value, limits};

use crate::ast::{Direction, Filter, KeyCount, Missing, Op, OrderBy, Pick, Query};

fn check(query: &Query, expect: &Expect) {
    expect.assert_eq(&query.check().map_or_else(|error| error.to_string(), |()| "fine".to_owned()));
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn term(value: Value) -> Filter {
    Filter::term(key("a"), Op::Eq(value))
}

fn order_by(name: &str) -> OrderBy {
    OrderBy { key: key(name), direction: Direction::Asc, missing: Missing::Last }
}

/// A filter that nests so deep.
fn nested(depth: usize) -> Filter {
    (0..depth).fold(term(Value::U8(1)), |inner, _| Filter::not(inner))
}

#[test]
fn nesting() {
    assert!(nested(limits::QUERY_NESTING).check().is_ok());
    check(
        &Query::of(nested(limits::QUERY_NESTING + 1)),
        &expect!["where: and, or and not may nest at most 8 deep; simplify it"],
    );
    // However deep, it is refused and not run into.
    assert!(nested(10_000).check().is_err());
}

#[test]
fn terms() {
    let many = |n: usize| Filter::or((0..n).map(|_| term(Value::U8(1))));
    assert!(many(limits::QUERY_TERMS).check().is_ok());
    check(&Query::of(many(limits::QUERY_TERMS + 1)), &expect!["where: at most 128 comparisons; use `in`"]);
    let list = |n: usize| Filter::term(key("a"), Op::In(vec![Value::U8(1); n]));
    assert!(list(limits::QUERY_IN_VALUES).check().is_ok());
    check(
        &Query::of(list(limits::QUERY_IN_VALUES + 1)),
        &expect!["where.a.in: all lists together may have 1000 values"],
    );
    check(
        &Query::of(Filter::and([list(600), list(600)])),
        &expect!["where.a.in: all lists together may have 1000 values"],
    );
    check(&Query::of(list(0)), &expect!["where.a.in: an empty list matches nothing; leave the comparison out"]);
}

#[test]
fn shapes() {
    check(&Query::of(Filter::all()), &expect!["fine"]);
    check(&Query::of(Filter::or([])), &expect!["where: an empty and / or inside a filter; leave it out"]);
    check(&Query::of(Filter::not(Filter::all())), &expect!["where: an empty and / or inside a filter; leave it out"]);
}

#[test]
fn values() {
    check(
        &Query::of(term(Value::Any)),
        &expect!["where.a.eq: a comparison needs a concrete value; for the wildcard use is_any"],
    );
    check(
        &Query::of(term(Value::from("x".repeat(4097)))),
        &expect!["where.a.eq: the string has 4097 bytes; shorten it to at most 4096"],
    );
    let prefix = Filter::term(key("a"), Op::Prefix("x".repeat(4097).into()));
    check(&Query::of(prefix), &expect!["where.a.prefix: longer than any string; at most 4096 bytes"]);
}

#[test]
fn selection() {
    let query = Query::default();
    check(
        &Query { ids: Some(Vec::new()), ..query.clone() },
        &expect!["ids: an empty list matches nothing; leave it out"],
    );
    let ids = Some(vec![Id::from_u128(1); limits::QUERY_IDS + 1]);
    check(&Query { ids, ..query.clone() }, &expect!["ids: at most 1000 fit; this has 1001"]);
    let count = |min, max| Some(KeyCount { min, max });
    check(&Query { key_count: count(None, None), ..query.clone() }, &expect!["key_count: give min, max or both"]);
    check(
        &Query { key_count: count(Some(2), Some(1)), ..query.clone() },
        &expect!["key_count: min is above max; nothing could match"],
    );
    let matching = KeyValues::pattern([("a", Value::Any)]).ok();
    check(
        &Query { matching, ..query },
        &expect![[
            r#"matching: the key "a" has the wildcard `any`, which only a pattern (a rule's or an override's key values) may have; give a concrete value"#
        ]],
    );
}

#[test]
fn order() {
    let query = Query::default();
    let twice = vec![order_by("a"), order_by("b"), order_by("a")];
    check(
        &Query { order_by: twice, ..query.clone() },
        &expect![[r#"order_by: the key "a" is there twice; name it once"#]],
    );
    let many = (0..9).map(|n| order_by(&n.to_string())).collect();
    check(&Query { order_by: many, ..query.clone() }, &expect!["order_by: order by at most 8 keys"]);
    check(&Query { limit: 0, ..query.clone() }, &expect!["limit: must be at least 1; leave it out for the default"]);
    let page_token = Some("x".repeat(limits::PAGE_TOKEN_BYTES + 1));
    check(&Query { page_token, ..query }, &expect!["page_token: too long to be a page token; pass one unchanged"]);
}

#[test]
fn pick() {
    let random = Query { pick: Some(Pick::Random), ..Query::default() };
    check(&random, &expect!["fine"]);
    check(
        &Query { order_by: vec![order_by("a")], ..random.clone() },
        &expect!["pick: cannot be combined with order_by; leave one out"],
    );
    check(
        &Query { page_token: Some(String::new()), ..random.clone() },
        &expect!["pick: cannot be combined with page_token; leave one out"],
    );
    let round_robin = |cursor: &str| Some(Pick::RoundRobin { cursor: cursor.into() });
    check(&Query { pick: round_robin(""), ..random.clone() }, &expect!["pick.round_robin.cursor: must not be empty"]);
    check(
        &Query { pick: round_robin(&"c".repeat(129)), ..random },
        &expect!["pick.round_robin.cursor: must have at most 128 bytes"],
    );
}

#[test]
fn filters_keep_one_shape() {
    let one = || term(Value::U8(1));
    assert_eq!(Filter::and([one()]), one());
    assert_eq!(Filter::and([]), Filter::all());
    assert_eq!(Filter::and([Filter::and([one(), one()]), one()]), Filter::And(vec![one(), one(), one()]));
    assert_eq!(Filter::or([Filter::or([one(), one()]), one()]), Filter::Or(vec![one(), one(), one()]));
    assert_eq!(Filter::and([Filter::all(), one()]), one());
}
