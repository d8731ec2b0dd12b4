//! Generators of queries and documents for property tests.

use proptest::option;
use proptest::prelude::*;
use willow_model::testing::{id, number, pattern, query_key, text, user_key_values, value};
use willow_model::{Id, Key, KeyValues, Kind, Origin, Value, ValueType, limits, reserved};

use crate::ast::{Direction, Filter, KeyCount, Missing, Op, OrderBy, Pick, Query, TypeSet};
use crate::naive::Doc;

/// Any comparison.
pub fn op() -> impl Strategy<Value = Op> {
    let comparison = (0..6, value()).prop_map(|(kind, value)| match kind {
        0 => Op::Eq(value),
        1 => Op::Ne(value),
        2 => Op::Lt(value),
        3 => Op::Lte(value),
        4 => Op::Gt(value),
        _ => Op::Gte(value),
    });
    prop_oneof![
        8 => comparison,
        2 => prop::collection::vec(value(), 1..4).prop_map(Op::In),
        2 => text().prop_map(|text| Op::Prefix(text.into())),
        1 => any::<bool>().prop_map(Op::Exists),
        1 => Just(Op::IsAny),
        1 => types().prop_map(Op::Types),
    ]
}

fn types() -> impl Strategy<Value = TypeSet> {
    let some = prop::sample::subsequence(ValueType::ALL.to_vec(), 1..4);
    some.prop_filter_map("not empty", TypeSet::new)
}

/// Any filter that [`Filter::check`] accepts, [`Filter::all`] among them.
pub fn filter() -> impl Strategy<Value = Filter> {
    let term = (query_key(), op()).prop_map(|(key, op)| Filter::term(key, op));
    let nested = term.prop_recursive(6, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::and),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::or),
            inner.prop_map(Filter::not),
        ]
    });
    prop_oneof![1 => Just(Filter::all()), 9 => nested].prop_filter("within bounds", |filter| filter.check().is_ok())
}

/// A query that lists: with order and limit, without `pick` and page token.
pub fn list_query() -> impl Strategy<Value = Query> {
    let selection = (
        option::weighted(0.1, prop::collection::vec(id(), 1..4)),
        option::weighted(0.2, key_count()),
        option::weighted(0.2, probe()),
    );
    let limit = prop_oneof![3 => 1..8_u32, 1 => 1..=limits::PAGE_LIMIT];
    let flags = (any::<bool>(), any::<bool>());
    (filter(), selection, order_by(), limit, flags).prop_map(
        |(filter, (ids, key_count, matching), order_by, limit, (count, explain))| Query {
            filter,
            ids,
            key_count,
            matching,
            order_by,
            limit,
            count,
            explain,
            ..Query::default()
        },
    )
}

/// Any query that [`Query::check`] accepts.
pub fn query() -> impl Strategy<Value = Query> {
    let pick = prop_oneof![
        Just(Pick::Random),
        text()
            .prop_filter("a cursor's name", |name| (1..=limits::CURSOR_NAME_BYTES).contains(&name.len()))
            .prop_map(|name| Pick::RoundRobin { cursor: name.into() }),
    ];
    (list_query(), option::weighted(0.2, pick), option::weighted(0.2, text())).prop_map(|(query, pick, page_token)| {
        match pick {
            Some(pick) => Query { pick: Some(pick), order_by: Vec::new(), ..query },
            None => Query { page_token, ..query },
        }
    })
}

fn key_count() -> impl Strategy<Value = KeyCount> {
    (option::of(0..5_u32), option::of(0..5_u32)).prop_filter_map("bounds", |(min, max)| {
        let valid = match (min, max) {
            (None, None) => false,
            (Some(min), Some(max)) => min <= max,
            _ => true,
        };
        valid.then_some(KeyCount { min, max })
    })
}

fn probe() -> impl Strategy<Value = KeyValues> {
    (user_key_values(), any::<bool>()).prop_map(|(pairs, queue)| {
        let with = if queue { pairs.with_reserved(reserved::QUEUE_NAME, "q").ok() } else { None };
        with.unwrap_or(pairs)
    })
}

/// Up to three different keys to order by.
pub fn order_by() -> impl Strategy<Value = Vec<OrderBy>> {
    let direction = prop::sample::select(vec![Direction::Asc, Direction::Desc]);
    let missing = prop::sample::select(vec![Missing::Last, Missing::First, Missing::Exclude]);
    prop::collection::vec((query_key(), direction, missing), 0..4).prop_map(|parts| {
        let mut order_by: Vec<OrderBy> = Vec::new();
        for (key, direction, missing) in parts {
            if order_by.iter().all(|order| order.key != key) {
                order_by.push(OrderBy { key, direction, missing });
            }
        }
        order_by
    })
}

/// A document: few keys and values, so that queries have something to find; some are patterns, some
/// have metadata.
pub fn doc() -> impl Strategy<Value = Doc> {
    let few = prop::collection::btree_map("[a-d]", few_values(), 1..4)
        .prop_filter_map("valid", |pairs| KeyValues::collect(Origin::Pattern, pairs).ok());
    let pairs = prop_oneof![6 => few, 1 => pattern()];
    let extra = prop::collection::btree_map("metadata\\.[a-c]", few_values(), 0..2);
    (pairs, extra).prop_map(|(key_values, extra)| {
        let id = Id::derive(Kind::Channel, None, key_values.as_bytes());
        let extra = extra.into_iter().filter_map(|(key, value)| Some((Key::new(key).ok()?, value)));
        Doc { id, key_values, extra: extra.collect() }
    })
}

fn few_values() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => (-2_i64..3).prop_map(Value::I64),
        2 => (0..3_u8).prop_map(Value::U8),
        1 => number(),
        3 => "[ab]{0,2}".prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Any),
    ]
}

/// Documents with different ids.
pub fn docs(most: usize) -> impl Strategy<Value = Vec<Doc>> {
    prop::collection::vec(doc(), 0..most).prop_map(|mut docs| {
        docs.sort_by_key(|doc| doc.id);
        docs.dedup_by_key(|doc| doc.id);
        docs
    })
}
