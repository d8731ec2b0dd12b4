//! Says what the derive macro leaves vague, so that a validator agrees with the server.
//!
//! ```text
//! format: uint64               → with minimum: 0, maximum: 18446744073709551615, and so on for every width
//! oneOf: [{type: null}, X]     → anyOf: the same set without "and not the other", which generators must complement
//! ```

use serde_json::{Map, Value, json};

use super::visit;

/// Completes every schema of the document.
pub(super) fn complete(document: &mut Value) {
    visit::schemas(document, &|schema| {
        bound(schema);
        nullable(schema);
    });
}

/// Most validators do not know the formats, and JSON numbers above 2^53 need an exact bound.
fn bound(schema: &mut Map<String, Value>) {
    if let Some(Value::String(format)) = schema.get_mut("format")
        && let Some(width) = format.strip_prefix("u-int")
    {
        // The macro writes `u-int64`; the format registry of OpenAPI has `uint64`.
        *format = format!("uint{width}");
    }
    if let Some((least, most)) = schema.get("format").and_then(Value::as_str).and_then(range) {
        schema.entry("minimum").or_insert(least);
        schema.entry("maximum").or_insert(most);
    }
    // The macro's bounds are floats, and `u64::MAX` is none.
    if let Some(maximum) = schema.get_mut("maximum")
        && maximum.is_f64()
        && maximum.as_f64() == Some(u64::MAX as f64)
    {
        *maximum = json!(u64::MAX);
    }
}

/// The least and the largest number of a format.
fn range(format: &str) -> Option<(Value, Value)> {
    Some(match format {
        "int8" => (json!(i8::MIN), json!(i8::MAX)),
        "int16" => (json!(i16::MIN), json!(i16::MAX)),
        "int32" => (json!(i32::MIN), json!(i32::MAX)),
        "int64" => (json!(i64::MIN), json!(i64::MAX)),
        "uint8" => (json!(0), json!(u8::MAX)),
        "uint16" => (json!(0), json!(u16::MAX)),
        "uint32" => (json!(0), json!(u32::MAX)),
        "uint64" => (json!(0), json!(u64::MAX)),
        _ => return None,
    })
}

fn nullable(schema: &mut Map<String, Value>) {
    let is_null = |choice: &Value| choice.get("type").is_some_and(|one| one == "null");
    let choices = schema.get("oneOf").and_then(Value::as_array);
    if choices.is_some_and(|choices| choices.len() == 2 && choices.iter().any(is_null))
        && let Some(choices) = schema.remove("oneOf")
    {
        schema.insert("anyOf".to_owned(), choices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut schema: Value, expected: &Value) {
        complete(&mut schema);
        assert_eq!(schema, *expected);
    }

    #[test]
    fn integers_have_the_bounds_of_their_width_unless_narrower_ones_are_there() {
        check(
            json!({"type": "integer", "format": "u-int64", "minimum": 0}),
            &json!({"type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX}),
        );
        check(
            json!({"type": "integer", "format": "int32"}),
            &json!({"type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX}),
        );
        let narrower = json!({"type": "integer", "format": "uint32", "minimum": 1, "maximum": 1000});
        check(narrower.clone(), &narrower);
        check(
            json!({"properties": {"u64": {"type": "integer", "maximum": 18446744073709551615.0}}}),
            &json!({"properties": {"u64": {"type": "integer", "maximum": u64::MAX}}}),
        );
    }

    #[test]
    fn what_may_be_null_is_a_choice_that_needs_no_complement() {
        check(
            json!({"oneOf": [{"$ref": "#/x"}, {"type": "null"}]}),
            &json!({"anyOf": [{"$ref": "#/x"}, {"type": "null"}]}),
        );
        let tagged = json!({"oneOf": [{"type": "string"}, {"type": "object"}]});
        check(tagged.clone(), &tagged);
    }
}
