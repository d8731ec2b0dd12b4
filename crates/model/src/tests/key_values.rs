//! Sets of pairs: what is accepted from whom, and the canonical encoding.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::{Error, KeyValues, Origin, Value, ValueRef, check_name, limits, reserved, testing};

fn check(result: Result<KeyValues, Error>, expect: Expect) {
    expect.assert_eq(&match result {
        Ok(pairs) => pairs.to_string(),
        Err(error) => error.to_string(),
    });
}

#[test]
fn one_user_pair() {
    check(KeyValues::user([("os", "linux")]), expect!["os=linux"]);
    check(KeyValues::user([("b", 2_i64), ("a", 1)]), expect!["a=1 b=2"]);
}

#[test]
fn keys() {
    check(KeyValues::user([("", 1_i64)]), expect!["a key must not be empty"]);
    check(KeyValues::user([("k".repeat(129), 1_i64)]), expect!["the key has 129 bytes; shorten it to at most 128"]);
    assert!(KeyValues::user([("k".repeat(128), 1_i64)]).is_ok());
    check(KeyValues::user([("a\nb", 1_i64)]), expect![[r#"the key "a\nb" has a control character; remove it"#]]);
    check(
        KeyValues::user([("metadata.a", 1_i64)]),
        expect![[
            r#"the key "metadata.a" starts with "metadata.", which addresses channel metadata in queries; choose another name"#
        ]],
    );
    check(KeyValues::user([("a b", 1_i64), ("*", 1)]), expect!["*=1 `a b`=1"]);
    check(
        KeyValues::user([("a", 1_i64), ("b", 1), ("a", 2)]),
        expect![[r#"the key "a" is given twice; give each key once"#]],
    );
}

#[test]
fn reserved_keys() {
    let pairs = || [("a", "x"), (reserved::QUEUE_NAME, "q")];
    check(
        KeyValues::user(pairs()),
        expect![[
            r#"the key "_willow_queue_name" starts with "_" and so belongs to Willow; only Willow sets it; rename it so that it starts otherwise"#
        ]],
    );
    check(KeyValues::pattern(pairs()), expect!["_willow_queue_name=q a=x"]);
    check(KeyValues::probe(pairs()), expect!["_willow_queue_name=q a=x"]);
    check(
        KeyValues::pattern([("a", "x"), ("_mine", "y")]),
        expect![[
            r#"the key "_mine" starts with "_" and so belongs to Willow; it is not one that Willow defines; rename it so that it starts otherwise"#
        ]],
    );
    check(
        KeyValues::pattern([("a", 1_i64), (reserved::QUEUE_NAME, 1)]),
        expect![[r#"the reserved key "_willow_queue_name" takes a value of type string, not i64"#]],
    );
    check(KeyValues::pattern([(reserved::QUEUE_NAME, "q")]), expect!["_willow_queue_name=q"]);
    for error in [
        KeyValues::user(pairs()).unwrap_err(),
        KeyValues::pattern([("_mine", "y")]).unwrap_err(),
        KeyValues::pattern([(reserved::QUEUE_NAME, 1_i64)]).unwrap_err(),
    ] {
        assert!(error.is_reserved_key(), "{error}");
    }
}

#[test]
fn willow_sets_reserved_keys() {
    let pairs = KeyValues::user([("zone", "a")]).unwrap();
    let with = pairs.with_reserved(reserved::QUEUE_NAME, "builds");
    check(with.clone(), expect!["_willow_queue_name=builds zone=a"]);
    let with = with.unwrap();
    assert_eq!(with.user_len(), 1);
    assert_eq!(with.get(reserved::QUEUE_NAME), Some(ValueRef::String("builds")));
    check(with.with_reserved(reserved::QUEUE_NAME, "other"), expect!["_willow_queue_name=other zone=a"]);
    check(
        pairs.with_reserved("zone", "b"),
        expect![[
            r#"the key "zone" starts with "_" and so belongs to Willow; it is not one that Willow defines; rename it so that it starts otherwise"#
        ]],
    );
}

#[test]
fn the_wildcard() {
    let pairs = || [("branch", Value::Any), ("os", Value::from("linux"))];
    check(
        KeyValues::user(pairs()),
        expect![[
            r#"the key "branch" has the wildcard `any`, which only a pattern (a rule's or an override's key values) may have; give a concrete value"#
        ]],
    );
    assert!(matches!(KeyValues::probe(pairs()), Err(Error::AnyNotAllowed { .. })));
    let pattern = KeyValues::pattern(pairs()).unwrap();
    assert!(pattern.contains_any());
    assert!(pattern.check(Origin::Pattern).is_ok());
    assert!(pattern.check(Origin::User).is_err());
    let literal = KeyValues::user([("branch", "*")]).unwrap();
    assert!(!literal.contains_any());
}

#[test]
fn counts() {
    let many = |n: usize| KeyValues::user((0..n).map(|i| (format!("k{i:02}"), Value::U8(1))));
    check(many(0), expect!["key values need at least one pair"]);
    check(many(limits::PAIRS + 1), expect!["33 pairs are too many; give at most 32"]);
    let full = many(limits::PAIRS).unwrap();
    assert_eq!(full.user_len(), 32);
    // Reserved keys do not count.
    assert!(full.with_reserved(reserved::QUEUE_NAME, "q").is_ok());
    check(
        KeyValues::user([("a", "x".repeat(4097))]),
        expect![[r#"key "a": the string has 4097 bytes; shorten it to at most 4096"#]],
    );
}

#[test]
fn names() {
    assert!(check_name("builds / linux").is_ok());
    for bad in
        ["", " a", "a\n", "query", "..", "0190163d-8694-739b-aea5-966c26f8ad91", "0190163D-8694-739B-AEA5-966C26F8AD91"]
    {
        assert!(check_name(bad).is_err(), "{bad:?}");
    }
    assert!(check_name(&"n".repeat(128)).is_ok());
    assert!(check_name(&"n".repeat(129)).is_err());
}

/// The encoding is hashed into ids: it never changes.
#[test]
fn the_encoding_is_fixed() {
    let pairs = KeyValues::user([("b", Value::Bool(true)), ("a", Value::from("x".repeat(200)))]);
    let pairs = pairs.unwrap();
    let mut expected = vec![1, b'a', 0x80, 201, 0x80];
    expected.extend([b'x'; 200]);
    expected.extend([1, b'b', 2, 0x10, 1]);
    assert_eq!(pairs.as_bytes(), expected);
}

proptest! {
    #[test]
    fn reads_back(pairs in testing::pattern()) {
        prop_assert_eq!(KeyValues::from_bytes(pairs.as_bytes()), Ok(pairs.clone()));
        let again = KeyValues::pattern(&pairs);
        prop_assert_eq!(again, Ok(pairs.clone()));
        for (key, value) in &pairs {
            prop_assert_eq!(pairs.get(key), Some(value));
        }
        prop_assert_eq!(pairs.get("no such key at all"), None);
        let bytes = postcard::to_stdvec(&pairs).unwrap();
        prop_assert_eq!(postcard::from_bytes::<KeyValues>(&bytes).unwrap(), pairs);
    }

    #[test]
    fn decoding_never_panics(
        pairs in testing::pattern(),
        edits in prop::collection::vec((any::<usize>(), any::<u8>(), 0..3), 0..4),
    ) {
        let mut bytes = pairs.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at % (bytes.len() + 1);
            match kind {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                _ => if let Some(place) = bytes.get_mut(at) { *place = byte },
            }
        }
        // Whatever can be read has these bytes as its one encoding.
        if let Ok(read) = KeyValues::from_bytes(&bytes) {
            let mut builder = KeyValues::builder(Origin::Pattern);
            let defined = read.iter().all(|(key, value)| builder.push(key, value).is_ok());
            if defined {
                let built = builder.build().unwrap();
                prop_assert_eq!(built.as_bytes(), bytes);
            }
            prop_assert!(read.iter().next().is_some());
        }
    }

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = KeyValues::from_bytes(&bytes);
    }
}
