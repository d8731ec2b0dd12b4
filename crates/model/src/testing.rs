//! Generators for property tests.

use proptest::prelude::*;

use crate::{Id, Key, KeyValues, Origin, Value, reserved};

/// Any value but the wildcard, with a liking for numbers near each other and near the limits of
/// their types.
pub fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => any::<bool>().prop_map(Value::Bool),
        12 => number(),
        6 => text().prop_map(Value::from),
    ]
}

/// Any number of any type.
pub fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-3_i64..4).prop_flat_map(small_number),
        2 => any::<u8>().prop_map(Value::U8),
        1 => any::<u16>().prop_map(Value::U16),
        1 => any::<u32>().prop_map(Value::U32),
        2 => any::<u64>().prop_map(Value::U64),
        2 => any::<i8>().prop_map(Value::I8),
        1 => any::<i16>().prop_map(Value::I16),
        1 => any::<i32>().prop_map(Value::I32),
        2 => any::<i64>().prop_map(Value::I64),
        4 => float(),
        4 => near_power(),
    ]
}

/// The number as every type that holds it.
fn small_number(number: i64) -> impl Strategy<Value = Value> {
    let mut values = vec![Value::I64(number)];
    values.extend(i8::try_from(number).map(Value::I8));
    values.extend(i16::try_from(number).map(Value::I16));
    values.extend(i32::try_from(number).map(Value::I32));
    values.extend(u8::try_from(number).map(Value::U8));
    values.extend(u16::try_from(number).map(Value::U16));
    values.extend(u32::try_from(number).map(Value::U32));
    values.extend(u64::try_from(number).map(Value::U64));
    values.extend(Value::f32(number as f32));
    values.extend(Value::f64(number as f64));
    prop::sample::select(values)
}

/// Numbers at and beside powers of two, where rounding and the ends of types are.
fn near_power() -> impl Strategy<Value = Value> {
    (0_u32..64, -1_i64..2, 0..4).prop_map(|(power, off, kind)| {
        let number = (1_u64 << power).wrapping_add_signed(off);
        match kind {
            0 => Value::U64(number),
            1 => Value::I64(number.cast_signed()),
            2 => Value::f64(number as f64).unwrap_or(Value::U64(number)),
            _ => Value::f32(number as f32).unwrap_or(Value::U64(number)),
        }
    })
}

/// Floats of every magnitude, subnormals included.
fn float() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_filter_map("finite", |bits| Value::f64(f64::from_bits(bits)).ok()),
        any::<u32>().prop_filter_map("finite", |bits| Value::f32(f32::from_bits(bits)).ok()),
        any::<u64>().prop_filter_map("finite", |bits| Value::f64(f64::from_bits(bits >> 12)).ok()),
        (-100_i32..100).prop_filter_map("finite", |n| Value::f64(f64::from(n) / 8.0).ok()),
    ]
}

/// Strings that look like other things, ordinary ones, and odd ones.
pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-c]{0,3}",
        2 => "[a-z0-9./:=_-]{0,12}",
        1 => prop::sample::select(vec!["*", "true", "4", "-0", "1.0", "1e5", "007", "a b", "\"", "`"])
            .prop_map(str::to_owned),
        2 => ".{0,12}",
        1 => any::<String>(),
    ]
}

/// A key that a user may set.
pub fn user_key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-f]",
        2 => "[a-zA-Z][a-zA-Z0-9_./-]{0,20}",
        2 => "\\PC{1,20}",
    ]
    .prop_filter("keys of the user's", |key| Key::new(key.as_str()).is_ok_and(|key| is_user(&key)))
}

fn is_user(key: &Key) -> bool {
    !key.is_reserved() && key.metadata_key().is_none()
}

/// A key that a query may name.
pub fn query_key() -> impl Strategy<Value = Key> {
    let text = prop_oneof![
        4 => user_key(),
        1 => user_key().prop_map(|key| format!("metadata.{key}")),
        1 => Just(reserved::QUEUE_NAME.to_owned()),
    ];
    text.prop_filter_map("short enough", |key| Key::new(key).ok())
}

/// Key values such as a user may give for a resource.
pub fn user_key_values() -> impl Strategy<Value = KeyValues> {
    key_values(Origin::User, value().boxed())
}

/// Key values such as a rule may have: with wildcards and reserved keys.
pub fn pattern() -> impl Strategy<Value = KeyValues> {
    let value = prop_oneof![3 => value(), 1 => Just(Value::Any)];
    (key_values(Origin::Pattern, value.boxed()), any::<bool>()).prop_map(|(pairs, reserved)| {
        let with = if reserved { pairs.with_reserved(reserved::QUEUE_NAME, "q").ok() } else { None };
        with.unwrap_or(pairs)
    })
}

fn key_values(origin: Origin, value: BoxedStrategy<Value>) -> impl Strategy<Value = KeyValues> {
    prop::collection::btree_map(user_key(), value, 1..7)
        .prop_filter_map("valid", move |pairs| KeyValues::collect(origin, pairs).ok())
}

/// Any id.
pub fn id() -> impl Strategy<Value = Id> {
    any::<u128>().prop_map(Id::from_u128)
}
