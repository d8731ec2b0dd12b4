//! The JSON forms.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::{KeyValues, Origin, RawKeyValues, Value, testing};

fn check(json: &str, expect: Expect) {
    let raw: RawKeyValues = serde_json::from_str(json).unwrap();
    expect.assert_eq(&match raw.check(Origin::Pattern) {
        Ok(pairs) => pairs.to_string(),
        Err(error) => error.to_string(),
    });
    // The deserializer of key values reads the same.
    let read = serde_json::from_str::<KeyValues>(json);
    assert_eq!(read.is_ok(), raw.check(Origin::Pattern).is_ok());
}

#[test]
fn plain_values() {
    check(
        r#"{"a": 7, "b": 1.5, "c": true, "d": "x", "e": -0.0, "f": 1.0}"#,
        expect!["a=7 b=1.5 c=true d=x e=0.0 f=1.0"],
    );
}

#[test]
fn typed_values() {
    check(
        r#"{"a": {"u8": 7}, "b": {"any": true}, "c": {"f32": 0.1}, "d": {"u64": 18446744073709551615},
            "e": {"string": "x"}, "f": {"i64": 7}, "g": {"f64": 7}, "h": {"bool": false}}"#,
        expect!["a:u8=7 b=* c:f32=0.1 d:u64=18446744073709551615 e=x f=7 g=7.0 h=false"],
    );
}

#[test]
fn what_is_refused() {
    check(
        r#"{"a": null}"#,
        expect![[
            r#"key "a": expected a string, a number, a boolean or {"<type>": …}, found null"#
        ]],
    );
    check(
        r#"{"a": [1]}"#,
        expect![[
            r#"key "a": expected a string, a number, a boolean or {"<type>": …}, found a list"#
        ]],
    );
    check(
        r#"{"a": {}}"#,
        expect![[
            r#"key "a": expected an object with one type, such as {"u8": 7}, found an object"#
        ]],
    );
    check(
        r#"{"a": {"u8": 1, "u16": 2}}"#,
        expect![[
            r#"key "a": expected an object with one type, such as {"u8": 7}, found an object"#
        ]],
    );
    check(
        r#"{"a": {"u8": 1, "u8": 1}}"#,
        expect![[
            r#"key "a": expected an object with one type, such as {"u8": 7}, found an object"#
        ]],
    );
    check(
        r#"{"a": {"u9": 1}}"#,
        expect![[
            r#"key "a": "u9" is not a type; use one of bool, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, string, any"#
        ]],
    );
    check(
        r#"{"a": {"u8": 256}}"#,
        expect![[r#"key "a": 256 does not fit the type u8"#]],
    );
    check(
        r#"{"a": {"u8": -1}}"#,
        expect![[r#"key "a": -1 does not fit the type u8"#]],
    );
    check(
        r#"{"a": {"u8": 1.0}}"#,
        expect![[r#"key "a": 1.0 does not fit the type u8"#]],
    );
    check(
        r#"{"a": {"u8": "1"}}"#,
        expect![[r#"key "a": expected an integer, found the string "1""#]],
    );
    check(
        r#"{"a": {"f32": 1e39}}"#,
        expect![[r#"key "a": 1e39 does not fit the type f32"#]],
    );
    check(
        r#"{"a": {"any": false}}"#,
        expect![[r#"key "a": expected {"any": true}, found false"#]],
    );
    check(
        r#"{"a": {"string": 1}}"#,
        expect![[r#"key "a": expected a string, found 1"#]],
    );
    check(
        r#"{"a": 1, "a": 1}"#,
        expect![[r#"the key "a" is given twice; give each key once"#]],
    );
    check(
        "[]",
        expect!["expected an object of keys and values, found a list"],
    );
    check(
        "{}",
        expect!["key values need at least one pair of your own (reserved keys do not count)"],
    );
}

/// No number changes silently: an integer that `i64` cannot hold would arrive as a rounded float.
#[test]
fn large_numbers() {
    check(
        r#"{"a": 9223372036854775807}"#,
        expect!["a=9223372036854775807"],
    );
    check(
        r#"{"a": 9223372036854775808}"#,
        expect![[
            r#"key "a": the number 9223372036854775808 is beyond i64; write {"u64": …} for an unsigned integer or {"f64": …} for a float"#
        ]],
    );
    check(
        r#"{"a": 99999999999999999999}"#,
        expect![[
            r#"key "a": the number 1e20 is beyond i64; write {"u64": …} for an unsigned integer or {"f64": …} for a float"#
        ]],
    );
    check(
        r#"{"a": -9223372036854775808}"#,
        expect!["a=-9223372036854775808"],
    );
    check(
        r#"{"a": -9223372036854775809}"#,
        expect![[
            r#"key "a": the number -9.223372036854776e18 is beyond i64; write {"u64": …} for an unsigned integer or {"f64": …} for a float"#
        ]],
    );
    check(r#"{"a": {"f64": 1e20}}"#, expect!["a:f64=1e20"]);
    assert!(serde_json::from_str::<KeyValues>(r#"{"a": 1e999}"#).is_err());
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(serde_json::from_str::<RawKeyValues>(&deep).is_err());
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(70), "]".repeat(70));
    let error = serde_json::from_str::<RawKeyValues>(&deep)
        .unwrap_err()
        .to_string();
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
