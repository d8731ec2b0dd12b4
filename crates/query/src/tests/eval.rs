//! What comparisons mean.

use willow_model::{F32, Key, KeyValues, Value, ValueRef, ValueType};

use crate::ast::{Filter, KeyCount, Op, TypeSet};
use crate::eval::pattern_matches;

/// Which of these an operator holds for, in this order: absent, true, 4u8, 4, 4.5, "linux", any.
fn holds(op: &Op) -> String {
    let values = [
        ("absent", None),
        ("true", Some(ValueRef::Bool(true))),
        ("4u8", Some(ValueRef::U8(4))),
        ("4", Some(ValueRef::I64(4))),
        ("4.5", Some(ValueRef::F32(F32::new(4.5).unwrap()))),
        ("linux", Some(ValueRef::String("linux"))),
        ("any", Some(ValueRef::Any)),
    ];
    let matching = values.into_iter().filter(|(_, value)| op.matches(*value));
    matching.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
}

#[test]
fn comparison_stays_within_a_class() {
    let four = || Value::I64(4);
    assert_eq!(holds(&Op::Eq(four())), "4u8 4");
    assert_eq!(holds(&Op::Eq(Value::f64(4.0).unwrap())), "4u8 4");
    assert_eq!(holds(&Op::Lt(four())), "");
    assert_eq!(holds(&Op::Lte(four())), "4u8 4");
    assert_eq!(holds(&Op::Gt(four())), "4.5");
    assert_eq!(holds(&Op::Gte(four())), "4u8 4 4.5");
    assert_eq!(holds(&Op::Gt(Value::from("a"))), "linux");
    assert_eq!(holds(&Op::Gt(Value::Bool(false))), "true");
    assert_eq!(holds(&Op::Eq(Value::from("4"))), "");
}

#[test]
fn inequality_needs_the_key() {
    assert_eq!(holds(&Op::Ne(Value::I64(4))), "true 4.5 linux any");
    assert_eq!(holds(&Op::Ne(Value::from("linux"))), "true 4u8 4 4.5 any");
}

#[test]
fn other_operators() {
    assert_eq!(holds(&Op::In(vec![Value::U64(4), Value::from("linux")])), "4u8 4 linux");
    assert_eq!(holds(&Op::Prefix("lin".into())), "linux");
    assert_eq!(holds(&Op::Prefix("".into())), "linux");
    assert_eq!(holds(&Op::Exists(true)), "true 4u8 4 4.5 linux any");
    assert_eq!(holds(&Op::Exists(false)), "absent");
    assert_eq!(holds(&Op::IsAny), "any");
    let types = |types: &[ValueType]| Op::Types(TypeSet::new(types.iter().copied()).unwrap());
    assert_eq!(holds(&types(&[ValueType::U8, ValueType::String])), "4u8 linux");
    assert_eq!(holds(&types(&[ValueType::Any])), "any");
}

#[test]
fn integers_are_not_doubles() {
    let large = (1_i64 << 53) + 1;
    let op = Op::Eq(Value::I64(large));
    assert!(op.matches(Some(ValueRef::I64(large))));
    assert!(!op.matches(Some(ValueRef::I64(large - 1))));
    assert!(!Op::Eq(Value::f64(large as f64).unwrap()).matches(Some(ValueRef::I64(large))));
}

#[test]
fn negation_does_not_need_the_key() {
    let key = Key::new("os").unwrap();
    let linux = Filter::term(key.clone(), Op::Eq(Value::from("linux")));
    let absent = |_: &str| None;
    assert!(!linux.matches(&absent));
    assert!(Filter::not(linux.clone()).matches(&absent));
    assert!(!Filter::term(key, Op::Ne(Value::from("linux"))).matches(&absent));
    let present = |_: &str| Some(ValueRef::String("linux"));
    assert!(linux.matches(&present));
    assert!(Filter::all().matches(&absent));
}

#[test]
fn reverse_match_is_exact() {
    let matches = |pattern: &[(&str, Value)], probe: &[(&str, Value)]| {
        let pattern = KeyValues::pattern(pattern.iter().cloned()).unwrap();
        pattern_matches(&pattern, &KeyValues::probe(probe.iter().cloned()).unwrap())
    };
    let probe = [("os", Value::from("linux")), ("cpu", Value::U8(4))];
    assert!(matches(&[("os", Value::from("linux"))], &probe));
    assert!(matches(&[("os", Value::Any), ("cpu", Value::U8(4))], &probe));
    assert!(!matches(&[("cpu", Value::I64(4))], &probe));
    assert!(!matches(&[("gpu", Value::Any)], &probe));
    assert!(!matches(&[("os", Value::from("mac"))], &probe));
}

#[test]
fn key_counts() {
    let count = |min, max| KeyCount { min, max };
    assert!(count(Some(1), Some(3)).contains(3));
    assert!(!count(Some(1), Some(3)).contains(4));
    assert!(!count(Some(2), None).contains(1));
    assert!(count(None, Some(1)).contains(0));
}
