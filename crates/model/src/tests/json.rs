//! The JSON forms.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::{KeyValues, Origin, RawKeyValues, Value, testing};

/// Checks each line of JSON; the expectation is what becomes of each.
fn check_lines(lines: &str, expect: &Expect) {
    let results = lines.lines().map(|json| {
        let raw: RawKeyValues = serde_json::from_str(json).unwrap();
        // The deserializer of key values reads the same.
        let read = serde_json::from_str::<KeyValues>(json);
        assert_eq!(read.is_ok(), raw.check(Origin::Pattern).is_ok());
        match raw.check(Origin::Pattern) {
            Ok(pairs) => format!("{json}\n    {pairs}\n"),
            Err(error) => format!("{json}\n    {error}\n"),
        }
    });
    expect.assert_eq(&results.collect::<String>());
}

#[test]
fn what_is_accepted() {
    check_lines(
        r#"{"a": 7, "b": 1.5, "c": true, "d": "x", "e": -0.0, "f": 1.0}
{"a": {"u8": 7}, "b": {"any": true}, "c": {"f32": 0.1}, "d": {"u64": 18446744073709551615}}
{"a": {"string": "x"}, "b": {"i64": 7}, "c": {"f64": 7}, "d": {"bool": false}}"#,
        &expect![[r#"
            {"a": 7, "b": 1.5, "c": true, "d": "x", "e": -0.0, "f": 1.0}
                a=7 b=1.5 c=true d=x e=0.0 f=1.0
            {"a": {"u8": 7}, "b": {"any": true}, "c": {"f32": 0.1}, "d": {"u64": 18446744073709551615}}
                a:u8=7 b=* c:f32=0.1 d:u64=18446744073709551615
            {"a": {"string": "x"}, "b": {"i64": 7}, "c": {"f64": 7}, "d": {"bool": false}}
                a=x b=7 c=7.0 d=false
        "#]],
    );
}

#[test]
fn what_is_refused() {
    check_lines(
        r#"{"a": null}
{"a": [1]}
{"a": {}}
{"a": {"u8": 1, "u16": 2}}
{"a": {"u8": 1, "u8": 1}}
{"a": {"u9": 1}}
{"a": {"u8": 256}}
{"a": {"u8": -1}}
{"a": {"u8": 1.0}}
{"a": {"u8": "1"}}
{"a": {"f32": 1e39}}
{"a": {"any": false}}
{"a": {"string": 1}}
{"a": 1, "a": 1}
[]
{}"#,
        &expect![[r#"
            {"a": null}
                key "a": expected a string, a number, a boolean or {"<type>": …}, found null
            {"a": [1]}
                key "a": expected a string, a number, a boolean or {"<type>": …}, found a list
            {"a": {}}
                key "a": expected an object with one type, such as {"u8": 7}, found an object
            {"a": {"u8": 1, "u16": 2}}
                key "a": expected an object with one type, such as {"u8": 7}, found an object
            {"a": {"u8": 1, "u8": 1}}
                key "a": expected an object with one type, such as {"u8": 7}, found an object
            {"a": {"u9": 1}}
                key "a": "u9" is not a type; use one of bool, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, string, any
            {"a": {"u8": 256}}
                key "a": 256 does not fit the type u8
            {"a": {"u8": -1}}
                key "a": -1 does not fit the type u8
            {"a": {"u8": 1.0}}
                key "a": 1.0 does not fit the type u8
            {"a": {"u8": "1"}}
                key "a": expected an integer, found the string "1"
            {"a": {"f32": 1e39}}
                key "a": 1e39 does not fit the type f32
            {"a": {"any": false}}
                key "a": expected {"any": true}, found false
            {"a": {"string": 1}}
                key "a": expected a string, found 1
            {"a": 1, "a": 1}
                the key "a" is given twice; give each key once
            []
                expected an object of keys and values, found a list
            {}
                key values need at least one pair
        "#]],
    );
}

/// No number changes silently: an integer that `i64` cannot hold would arrive as a rounded float.
#[test]
fn large_numbers() {
    check_lines(
        r#"{"a": 9223372036854775807}
{"a": 9223372036854775808}
{"a": 99999999999999999999}
{"a": -9223372036854775808}
{"a": -9223372036854775809}
{"a": {"f64": 1e20}}
{"a": {"u64": 18446744073709551616}}"#,
        &expect![[r#"
            {"a": 9223372036854775807}
                a=9223372036854775807
            {"a": 9223372036854775808}
                key "a": the number 9223372036854775808 is beyond i64; write {"u64": …} for an unsigned integer or {"f64": …} for a float
            {"a": 99999999999999999999}
                key "a": the number 1e20 is beyond i64; write {"u64": …} for an unsigned integer or {"f64": …} for a float
            {"a": -9223372036854775808}
                a=-9223372036854775808
            {"a": -9223372036854775809}
                key "a": the number -9.223372036854776e18 is beyond i64; write {"u64": …} for an unsigned integer or {"f64": …} for a float
            {"a": {"f64": 1e20}}
                a:f64=1e20
            {"a": {"u64": 18446744073709551616}}
                key "a": 1.8446744073709552e19 does not fit the type u64
        "#]],
    );
    assert!(serde_json::from_str::<KeyValues>(r#"{"a": 1e999}"#).is_err());
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(serde_json::from_str::<RawKeyValues>(&deep).is_err());
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(70), "]".repeat(70));
    let error = serde_json::from_str::<RawKeyValues>(&deep).unwrap_err().to_string();
    assert!(error.starts_with("nested more than 64 deep"), "{error}");
}

proptest! {
    #[test]
    fn values_read_back(value in prop_oneof![9 => testing::value(), 1 => Just(Value::Any)]) {
        let json = serde_json::to_string(&value).unwrap();
        let read: Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&read, &value, "{}", json);
        let bytes = postcard::to_stdvec(&value).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Value>(&bytes).unwrap(), value);
    }

    #[test]
    fn key_values_read_back(pairs in testing::pattern()) {
        let json = serde_json::to_string(&pairs).unwrap();
        let read: KeyValues = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&read, &pairs);
        let tree = serde_json::to_value(&pairs).unwrap();
        prop_assert_eq!(serde_json::from_value::<KeyValues>(tree).unwrap(), pairs);
    }

    #[test]
    fn reading_never_panics(json in "[\\[\\]{}:,\"0-9a-f.eu8-]{0,30}") {
        let _ = serde_json::from_str::<KeyValues>(&json);
    }
}
