//! Strict JSON: bounded depth, whole input, errors that name the field.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use willow_api::{ErrorCode, Problem};

use crate::config::JSON_DEPTH;

/// Reads a body. The fast path keeps no track of where it is; when it fails, a second pass finds out.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    check_depth(bytes, JSON_DEPTH)?;
    serde_json::from_slice(bytes).map_err(|error| explain::<T>(bytes, &error))
}

/// Refuses nesting past the bound, before anything recurses. Counts brackets outside strings; whether
/// they match is the parser's business.
pub(crate) fn check_depth(bytes: &[u8], most: usize) -> Result<(), Problem> {
    let mut depth = 0_usize;
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > most {
                    let detail = format!("the JSON is nested more than {most} levels deep; flatten it");
                    return Err(Problem::new(ErrorCode::JsonTooDeep, detail));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut rest),
            _ => {}
        }
    }
    Ok(())
}

fn skip_string(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                rest.next();
            }
            _ => {}
        }
    }
}

fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Problem {
    // The parser calls some faults of a field faults of form, such as a number where a word belongs.
    let form = match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str::<IgnoredAny>(text).err().map(|error| error.to_string()),
        Err(error) => Some(format!("it is not UTF-8: {error}")),
    };
    if let Some(fault) = form {
        return Problem::new(ErrorCode::InvalidJson, format!("the body is not one JSON value: {fault}"));
    }
    let message = error.to_string();
    let path = path::<T>(bytes, &message);
    let problem = Problem::new(ErrorCode::InvalidField, plain(message, error.classify()));
    if path.is_empty() { problem } else { problem.at(path) }
}

/// The parser's message without the names of our types.
fn plain(message: String, category: Category) -> String {
    if category != Category::Data && message.starts_with("expected ") {
        return format!("a value of another type belongs here ({message})");
    }
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message };
    let (word, rest) = expected.split_once(' ').unwrap_or((expected, ""));
    let plain = match word {
        "struct" | "map" => "an object",
        "u8" | "u16" | "u32" | "u64" => "an integer of at least 0, not too large",
        "i8" | "i16" | "i32" | "i64" => "an integer, not too large",
        "f32" | "f64" => "a number",
        _ => return message,
    };
    // `struct Name at line …`: the name goes too.
    let rest = if word == "struct" { rest.split_once(' ').map_or("", |(_, place)| place) } else { rest };
    format!("{found}, expected {plain} {rest}").trim_end().to_owned()
}

/// Where the first fault is; empty when it is the whole.
fn path<T: DeserializeOwned>(bytes: &[u8], message: &str) -> String {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut path = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => String::new(),
        Err(error) => error.path().to_string(),
    };
    if path == "." {
        path.clear();
    }
    // A field that is missing or there twice is the fault of the object around it: only the message names it.
    let missing = ["missing field `", "duplicate field `"].iter().find_map(|start| message.strip_prefix(start));
    if let Some((name, _)) = missing.and_then(|rest| rest.split_once('`')) {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use willow_api::lock::{AcquireRequest, ValidateRequest};

    fn code_of<T: DeserializeOwned + std::fmt::Debug>(body: &[u8]) -> (ErrorCode, Option<String>) {
        let problem = read::<T>(body).unwrap_err();
        (problem.code, problem.facts.field)
    }

    #[test]
    fn faults_of_form_are_invalid_json() {
        let bodies: [&[u8]; 9] = [
            b"",
            b"{",
            b"nope",
            b"{\"token\": NaN}",
            b"{\"token\": 1} x",
            b"{\"token\": 1,}",
            b"{\"token\": \"\xff\"}",
            b"{'token': 1}",
            b"\xef\xbb\xbf{\"token\": 1}",
        ];
        for body in bodies {
            assert_eq!(code_of::<ValidateRequest>(body), (ErrorCode::InvalidJson, None), "{body:?}");
        }
    }

    #[test]
    fn faults_of_a_field_name_it() {
        let cases: [(&[u8], Option<&str>); 9] = [
            (b"{\"ttl_ms\": -1}", Some("ttl_ms")),
            (b"{\"ttl_ms\": 1e400}", Some("ttl_ms")),
            (b"{\"ttl_ms\": 18446744073709551616}", Some("ttl_ms")),
            (b"{\"ttl_ms\": 1.5}", Some("ttl_ms")),
            (b"{\"ttl\": 1}", Some("ttl")),
            (b"{\"ttl_ms\": 1, \"ttl_ms\": 2}", Some("ttl_ms")),
            (b"{\"locks\": [{\"key_values\": {}}, {\"mode\": 1}]}", Some("locks[1].mode")),
            (b"{\"locks\": [{\"mode\": \"shared\"}]}", Some("locks[0].key_values")),
            (b"[]", None),
        ];
        for (body, field) in cases {
            let found = code_of::<AcquireRequest>(body);
            assert_eq!(found, (ErrorCode::InvalidField, field.map(str::to_owned)), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn messages_speak_of_json_and_not_of_our_types() {
        let cases: [(&[u8], &str); 6] = [
            (b"[]", "invalid type: sequence, expected an object at "),
            (b"{\"locks\": [5]}", "invalid type: integer `5`, expected an object at "),
            (b"{\"permits\": -1}", "invalid value: integer `-1`, expected an integer of at least 0, not too large at "),
            (b"{\"owner\": 1}", "invalid type: integer `1`, expected a string at "),
            (b"{\"mode\": 7}", "a value of another type belongs here (expected value at "),
            (b"{\"owner\": \"\\ud800\"}", "unexpected end of hex escape at "),
        ];
        for (body, message) in cases {
            let detail = read::<AcquireRequest>(body).unwrap_err().detail;
            assert!(detail.starts_with(message), "{}: {detail}", body.escape_ascii());
        }
    }

    #[test]
    fn depth_is_bounded_before_anything_recurses() {
        let deep = |levels: usize| format!("{{\"key_values\": {}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(code_of::<AcquireRequest>(deep(100_000).as_bytes()).0, ErrorCode::JsonTooDeep);
        assert!(read::<AcquireRequest>(deep(60).as_bytes()).is_ok());
        // Brackets in strings do not count.
        let text = format!("{{\"owner\": \"{}\\\"{}\"}}", "[".repeat(100), "{".repeat(100));
        assert!(read::<AcquireRequest>(text.as_bytes()).is_ok());
    }
}
