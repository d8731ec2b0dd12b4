//! The text form.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::{KeyValues, Origin, testing, text};

fn check(origin: Origin, input: &str, expect: Expect) {
    expect.assert_eq(&match KeyValues::parse(origin, input) {
        Ok(pairs) => serde_json::to_string(&pairs).unwrap(),
        Err(error) => error.to_string(),
    });
}

#[test]
fn values() {
    check(
        Origin::User,
        r#"os=linux cpu:u8=4 n=-7 f=1.5 ok=true s="a \"b\"\u{e9}" e="" v=1.2.3"#,
        expect![[r#"{"cpu":{"u8":4},"e":"","f":1.5,"n":-7,"ok":true,"os":"linux","s":"a \"b\"é","v":"1.2.3"}"#]],
    );
    check(
        Origin::User,
        "build=007 commit=12e4567 url=http://x/?a=b t:string=4 f:f64=4 g:f32=1e3",
        expect![[r#"{"build":"007","commit":"12e4567","f":4.0,"g":{"f32":1000.0},"t":"4","url":"http://x/?a=b"}"#]],
    );
}

#[test]
fn the_wildcard_is_for_patterns() {
    check(Origin::Pattern, "branch=*", expect![[r#"{"branch":{"any":true}}"#]]);
    check(Origin::Pattern, "branch=\"*\"", expect![[r#"{"branch":"*"}"#]]);
    check(Origin::Pattern, "branch:string=*", expect![[r#"{"branch":"*"}"#]]);
    check(Origin::User, "branch=*", expect![[r#"{"branch":"*"}"#]]);
    check(
        Origin::User,
        "branch:any=*",
        expect![[
            r#"the key "branch" has the wildcard `any`, which only a pattern (a rule's or an override's key values) may have; give a concrete value"#
        ]],
    );
}

#[test]
fn faults() {
    let lines = r#"
os
a=1 =2
a=1 b=
a=1 b:u9=1
a=1 b:u8=300
b:u8=x
b:f64=inf
b:bool=yes
b:u8="1"
a=1 b="x
b="x"y
b="\x"
b="\u{d800}"
b=9223372036854775808
a=1 a=2"#;
    let results = lines.lines().map(|line| {
        let error = KeyValues::parse(Origin::User, line).unwrap_err();
        format!("{line}\n    {error}\n")
    });
    expect![[r#"

            key values need at least one pair
        os
            at byte 2: expected "=" and a value after the key, as in os=linux
        a=1 =2
            at byte 4: expected a key; put an unusual one in backquotes
        a=1 b=
            at byte 6: key "b": expected a value; write "" for an empty string
        a=1 b:u9=1
            at byte 6: "u9" is not a type; use one of bool, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, string, any; a key with ":" in it goes in backquotes
        a=1 b:u8=300
            key "b": 300 does not fit the type u8
        b:u8=x
            key "b": expected an integer, found "x"
        b:f64=inf
            key "b": inf does not fit the type f64
        b:bool=yes
            key "b": expected true or false, found "yes"
        b:u8="1"
            at byte 5: key "b": a quoted value is a string; leave out the quotes or the type
        a=1 b="x
            at byte 6: key "b": a closing " is missing
        b="x"y
            at byte 5: key "b": expected nothing more after the closing quote
        b="\x"
            at byte 3: key "b": unknown escape; there are \", \`, \\, \n, \r, \t, \u{…}
        b="\u{d800}"
            at byte 3: key "b": expected \u{…} with a character's number
        b=9223372036854775808
            at byte 2: key "b": 9223372036854775808 is beyond i64; write :u64= before an unsigned integer, or quotes around a string
        a=1 a=2
            the key "a" is given twice; give each key once
    "#]].assert_eq(&results.collect::<String>());
}

#[test]
fn arguments() {
    let parse = |args: &[&str]| match KeyValues::parse_args(Origin::User, args) {
        Ok(pairs) => pairs.to_string(),
        Err(error) => error.to_string(),
    };
    expect!["cpu:u8=4 title=\"hello world\""].assert_eq(&parse(&["title=hello world", "cpu:u8=4"]));
    expect!["title=\"*\""].assert_eq(&parse(&["title=*"]));
    expect!["title=hello"].assert_eq(&parse(&["title=\"hello\""]));
    expect![[r#"at byte 9: key "title": expected nothing more after the closing quote"#]]
        .assert_eq(&parse(&["title=\"a\" "]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn reads_back(pairs in testing::pattern()) {
        let text = pairs.to_string();
        prop_assert_eq!(KeyValues::parse(Origin::Pattern, &text), Ok(pairs), "{}", text);
    }

    #[test]
    fn user_pairs_read_back(pairs in testing::user_key_values()) {
        let text = pairs.to_string();
        prop_assert_eq!(KeyValues::parse(Origin::User, &text), Ok(pairs), "{}", text);
    }

    #[test]
    fn arguments_read_back(pairs in testing::user_key_values()) {
        let args: Vec<_> = pairs
            .iter()
            .map(|(key, value)| KeyValues::user([(key, value)]).unwrap().to_string())
            .collect();
        prop_assert_eq!(KeyValues::parse_args(Origin::User, &args), Ok(pairs), "{:?}", args);
    }

    #[test]
    fn quotes_read_back(text in any::<String>(), quote in prop::sample::select(vec!['"', '`'])) {
        let mut quoted = String::new();
        text::quote(&mut quoted, &text, quote).unwrap();
        prop_assert_eq!(text::unquote(&quoted), Ok((text, quoted.len())));
    }

    #[test]
    fn parsing_never_panics(text in any::<String>()) {
        let _ = KeyValues::parse(Origin::Pattern, &text);
        let _ = KeyValues::parse_args(Origin::Pattern, [&text]);
    }

    #[test]
    fn odd_text_never_panics(text in "[a=:`\"\\\\u{}0-9.*é \n-]{0,20}") {
        let _ = KeyValues::parse(Origin::Pattern, &text);
        let _ = KeyValues::parse_args(Origin::Pattern, [&text]);
    }
}
