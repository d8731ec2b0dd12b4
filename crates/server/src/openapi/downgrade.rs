//! From OpenAPI 3.1 to 3.0.3, which has its own dialect of JSON Schema.
//!
//! ```text
//! type: [T, null]              → type: T, nullable: true
//! oneOf: [{type: null}, X]     → allOf: [X], nullable: true
//! $ref beside other keywords   → allOf: [{$ref}] beside them
//! examples: [E, …]             → example: E
//! const: C                     → enum: [C]
//! exclusiveMinimum: N          → minimum: N, exclusiveMinimum: true
//! propertyNames, license.identifier, info.summary: dropped
//! ```

use serde_json::{Map, Value, json};

use super::visit;

/// Converts a whole document.
pub(super) fn to_30(mut document: Value) -> Value {
    document["openapi"] = "3.0.3".into();
    if let Some(info) = document["info"].as_object_mut() {
        info.remove("summary");
        info.insert(
            "license".to_owned(),
            json!({"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}),
        );
    }
    visit::schemas(&mut document, &schema);
    document
}

fn schema(object: &mut Map<String, Value>) {
    object.remove("propertyNames");
    nullable_type(object);
    for keyword in ["oneOf", "anyOf"] {
        nullable_choice(object, keyword);
    }
    if let Some(Value::Array(examples)) = object.get("examples") {
        let first = examples.first().cloned();
        object.remove("examples");
        if let Some(first) = first {
            object.entry("example").or_insert(first);
        }
    }
    if let Some(constant) = object.remove("const") {
        object.insert("enum".to_owned(), json!([constant]));
    }
    for (exclusive, plain) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if object.get(exclusive).is_some_and(Value::is_number)
            && let Some(bound) = object.insert(exclusive.to_owned(), true.into())
        {
            object.insert(plain.to_owned(), bound);
        }
    }
    if object.len() > 1
        && object.get("$ref").is_some_and(Value::is_string)
        && let Some(reference) = object.remove("$ref")
    {
        object.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
}

fn nullable_type(object: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = object.get("type") else { return };
    let mut others = types.iter().filter(|one| *one != "null").cloned();
    let (first, second) = (others.next(), others.next());
    let is_nullable = types.iter().any(|one| one == "null");
    match (first, second) {
        (Some(only), None) => object.insert("type".to_owned(), only),
        // Several types are any type in 3.0.
        _ => object.remove("type"),
    };
    if is_nullable {
        object.insert("nullable".to_owned(), true.into());
    }
}

fn nullable_choice(object: &mut Map<String, Value>, keyword: &str) {
    let Some(Value::Array(choices)) = object.get_mut(keyword) else { return };
    let before = choices.len();
    choices.retain(|choice| choice.get("type").is_none_or(|one| one != "null"));
    if choices.len() == before {
        return;
    }
    if choices.len() == 1
        && let Some(only) = object.remove(keyword)
    {
        object.insert("allOf".to_owned(), only);
    }
    object.insert("nullable".to_owned(), true.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut schema: Value, expected: &Value) {
        visit::schemas(&mut schema, &self::schema);
        assert_eq!(schema, *expected);
    }

    #[test]
    fn each_keyword_has_its_counterpart() {
        check(json!({"type": ["string", "null"]}), &json!({"type": "string", "nullable": true}));
        check(
            json!({"oneOf": [{"type": "null"}, {"$ref": "#/x"}]}),
            &json!({"allOf": [{"$ref": "#/x"}], "nullable": true}),
        );
        check(json!({"$ref": "#/x", "description": "d"}), &json!({"allOf": [{"$ref": "#/x"}], "description": "d"}));
        check(json!({"$ref": "#/x"}), &json!({"$ref": "#/x"}));
        check(json!({"examples": [1, 2]}), &json!({"example": 1}));
        check(json!({"const": "a"}), &json!({"enum": ["a"]}));
        check(json!({"exclusiveMinimum": 0}), &json!({"minimum": 0, "exclusiveMinimum": true}));
        check(json!({"type": "object", "propertyNames": {"minLength": 1}}), &json!({"type": "object"}));
    }

    #[test]
    fn names_of_properties_and_examples_are_left_alone() {
        let kept = json!({"properties": {"const": {"type": "integer"}, "examples": {"type": "array"}},
                          "example": {"type": ["a", "null"], "const": 1}});
        check(kept.clone(), &kept);
    }
}
