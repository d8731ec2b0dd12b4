//! The total order, and its encoding.

use std::cmp::Ordering;

use proptest::prelude::*;

use crate::encoding::{ENCODED_ANY, ENCODED_VALUE_BYTES, encoded_type};
use crate::{ByteRange, Class, Error, F64, Value, ValueRef, ValueType, testing};

/// A number as an integer or a float, for an oracle that shares nothing with the encoding.
enum Plain {
    Int(i128),
    Float(f64),
}

fn plain(value: &Value) -> Plain {
    match value {
        Value::U8(v) => Plain::Int((*v).into()),
        Value::U16(v) => Plain::Int((*v).into()),
        Value::U32(v) => Plain::Int((*v).into()),
        Value::U64(v) => Plain::Int((*v).into()),
        Value::I8(v) => Plain::Int((*v).into()),
        Value::I16(v) => Plain::Int((*v).into()),
        Value::I32(v) => Plain::Int((*v).into()),
        Value::I64(v) => Plain::Int((*v).into()),
        Value::F32(v) => Plain::Float(v.get().into()),
        Value::F64(v) => Plain::Float(v.get()),
        other => panic!("{other:?} is not a number"),
    }
}

fn compare_int_float(int: i128, float: f64) -> Ordering {
    if float.abs() > 1e30 {
        return if float > 0.0 { Ordering::Less } else { Ordering::Greater };
    }
    let whole = float.trunc() as i128;
    int.cmp(&whole).then_with(|| 0.0.partial_cmp(&float.fract()).unwrap())
}

fn compare_numbers(a: &Value, b: &Value) -> Ordering {
    match (plain(a), plain(b)) {
        (Plain::Int(a), Plain::Int(b)) => a.cmp(&b),
        (Plain::Float(a), Plain::Float(b)) => a.partial_cmp(&b).unwrap(),
        (Plain::Int(a), Plain::Float(b)) => compare_int_float(a, b),
        (Plain::Float(a), Plain::Int(b)) => compare_int_float(b, a).reverse(),
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![20 => testing::value(), 1 => Just(Value::Any)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn numbers_compare_exactly(a in testing::number(), b in testing::number()) {
        let expected = compare_numbers(&a, &b);
        prop_assert_eq!(a.as_ref().compare_in_class(b.as_ref()), Some(expected));
        prop_assert_eq!(a.cmp(&b), expected.then(a.value_type().cmp(&b.value_type())));
    }

    #[test]
    fn memcmp_is_the_order(a in any_value(), b in any_value()) {
        prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        prop_assert_eq!(a == b, a.cmp(&b).is_eq());
    }

    #[test]
    fn encodings_read_back(value in any_value()) {
        let bytes = value.encode();
        prop_assert!(bytes.len() <= ENCODED_VALUE_BYTES);
        prop_assert_eq!(ValueRef::decode(&bytes), Ok(value.as_ref()));
        prop_assert_eq!(Class::of_encoded(&bytes), Some(value.as_ref().class()));
        prop_assert_eq!(encoded_type(&bytes), Some(value.value_type()));
    }

    #[test]
    fn ranges_are_the_comparisons(a in any_value(), b in any_value()) {
        let (bytes, with) = (a.encode(), b.as_ref());
        let order = a.as_ref().compare_in_class(with);
        let holds = |test: fn(Ordering) -> bool| order.is_some_and(test);
        prop_assert_eq!(with.equal_range().contains(&bytes), holds(Ordering::is_eq));
        prop_assert_eq!(with.less_range().contains(&bytes), holds(Ordering::is_lt));
        prop_assert_eq!(with.less_or_equal_range().contains(&bytes), holds(Ordering::is_le));
        prop_assert_eq!(with.greater_range().contains(&bytes), holds(Ordering::is_gt));
        prop_assert_eq!(with.greater_or_equal_range().contains(&bytes), holds(Ordering::is_ge));
        let same = a.as_ref().class() == with.class();
        prop_assert_eq!(with.class().range().contains(&bytes), same);
    }

    #[test]
    fn prefix_ranges(value in any_value(), prefix in "[a-c]{0,2}|\\PC{0,2}") {
        let starts = value.as_ref().as_str().is_some_and(|text| text.starts_with(&prefix));
        prop_assert_eq!(ByteRange::string_prefix(&prefix).contains(&value.encode()), starts);
    }

    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..16)) {
        check_canonical(&bytes);
    }

    /// Altered encodings are nearer to the borders of what is valid than random bytes.
    #[test]
    fn altered_encodings(value in any_value(), at in any::<usize>(), byte in any::<u8>(), cut in 0..4) {
        let mut bytes = value.encode();
        let at = at % bytes.len();
        match cut {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte),
            _ => bytes[at] = byte,
        }
        check_canonical(&bytes);
    }
}

/// Whatever can be read has these bytes as its one encoding.
fn check_canonical(bytes: &[u8]) {
    if let Ok(value) = ValueRef::decode(bytes) {
        assert_eq!(value.encode(), bytes);
    }
}

#[test]
fn the_order() {
    let ordered = [
        Value::Bool(false),
        Value::Bool(true),
        Value::f64(f64::MIN).unwrap(),
        Value::f32(f32::MIN).unwrap(),
        Value::I64(i64::MIN),
        Value::f64(i64::MIN as f64).unwrap(),
        Value::I64(i64::MIN + 1),
        Value::I8(-1),
        Value::f64(-0.5).unwrap(),
        Value::f64(-f64::from_bits(1)).unwrap(),
        Value::U8(0),
        Value::I64(0),
        Value::f64(-0.0).unwrap(),
        Value::f64(f64::from_bits(1)).unwrap(),
        Value::f64(f64::MIN_POSITIVE).unwrap(),
        Value::f64(0.1).unwrap(),
        Value::f32(0.1).unwrap(),
        Value::U8(4),
        Value::I64(4),
        Value::I64((1 << 53) - 1),
        Value::I64(1 << 53),
        Value::f64((1_u64 << 53) as f64).unwrap(),
        Value::I64((1 << 53) + 1),
        Value::I64(i64::MAX),
        Value::U64(1 << 63),
        Value::f64((1_u64 << 63) as f64).unwrap(),
        Value::U64(u64::MAX),
        Value::f64(18_446_744_073_709_551_616.0).unwrap(),
        Value::f64(f64::MAX).unwrap(),
        Value::from(""),
        Value::from("\0"),
        Value::from("a"),
        Value::from("aa"),
        Value::from("b"),
        Value::from("é"),
        Value::Any,
    ];
    for pair in ordered.windows(2) {
        assert!(pair[0] < pair[1], "{:?} < {:?}", pair[0], pair[1]);
        assert!(pair[0].encode() < pair[1].encode(), "{:?} < {:?}", pair[0], pair[1]);
    }
}

/// Encodings are in logs, snapshots and ids: they never change.
#[test]
fn encodings_are_fixed() {
    let hex = |value: Value| value.encode().iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(Value::Bool(true)), "1001");
    assert_eq!(hex(Value::U8(0)), "400001");
    assert_eq!(hex(Value::U8(4)), "44350001");
    assert_eq!(hex(Value::I64(4)), "44350008");
    assert_eq!(hex(Value::I64(5)), "44354008");
    assert_eq!(hex(Value::I64(-5)), "3bcbbf08");
    assert_eq!(hex(Value::U64(u64::MAX)), "4472fffffffffffffffffe04");
    assert_eq!(hex(Value::f64(0.1).unwrap()), "442f99cd673399cd67400a");
    assert_eq!(hex(Value::from("ab")), "806162");
    assert_eq!(hex(Value::Any), "f0");
    assert_eq!(Value::Any.encode(), ENCODED_ANY);
}

#[test]
fn what_is_not_a_value() {
    assert_eq!(Value::f64(f64::NAN), Err(Error::NotFinite));
    assert_eq!(Value::f64(f64::INFINITY), Err(Error::NotFinite));
    assert_eq!(Value::f32(f32::NEG_INFINITY), Err(Error::NotFinite));
    assert_eq!(Value::string("x".repeat(4096)).map(|v| v.encode().len()), Ok(4097));
    assert_eq!(Value::string("x".repeat(4097)), Err(Error::StringTooLong { len: 4097 }));
    assert_eq!(F64::new(-0.0).unwrap().get().to_bits(), 0.0_f64.to_bits());
    for bytes in [&[][..], &[0x10], &[0x10, 2], &[0x40], &[0x40, 0], &[0x40, 0, 0], &[0x40, 0, 11]] {
        assert!(ValueRef::decode(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn type_names() {
    for value_type in ValueType::ALL {
        assert_eq!(value_type.name().parse(), Ok(value_type));
        assert_eq!(ValueType::ALL[value_type as usize], value_type);
    }
    assert_eq!(
        "u128".parse::<ValueType>().unwrap_err().to_string(),
        "\"u128\" is not a type; use one of bool, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, string, any"
    );
}
