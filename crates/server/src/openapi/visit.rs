//! Walks the schemas of a document.

use serde_json::{Map, Value};

/// Calls `change` with every object that may be a schema, outer ones first. Keywords of schemas do not occur
/// elsewhere with another meaning, but for names of properties and in examples, which are left alone.
pub(super) fn schemas(value: &mut Value, change: &impl Fn(&mut Map<String, Value>)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| schemas(item, change)),
        Value::Object(object) => {
            change(object);
            for (key, inner) in object.iter_mut() {
                match (key.as_str(), inner) {
                    // Data, not schemas.
                    ("example" | "default" | "enum", _) => {}
                    // Their keys are names.
                    ("properties" | "schemas", Value::Object(named)) => {
                        named.values_mut().for_each(|inner| schemas(inner, change));
                    }
                    (_, inner) => schemas(inner, change),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
