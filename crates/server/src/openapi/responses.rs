//! What every call has in common, added to the document: problems by status, the headers of repeats and
//! edits, `ETag`s.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use willow_api::{ErrorCode, problem};

/// Codes a call may answer by what it is, beside those it lists itself.
fn common(call: &Call) -> Vec<ErrorCode> {
    use ErrorCode as C;
    let mut codes = vec![C::Overloaded, C::ShuttingDown, C::NotLeader, C::NoQuorum, C::StorageFailed, C::Internal];
    if call.has_body {
        codes.extend([C::InvalidJson, C::InvalidField, C::JsonTooDeep, C::RequestTimeout, C::BodyTooLarge]);
        codes.push(C::UnsupportedMediaType);
    }
    if call.has_path_parameters {
        codes.push(C::InvalidId);
    }
    if call.has_query_parameters || call.is_edit {
        codes.push(C::InvalidParameter);
    }
    if !call.is_read {
        codes.extend([C::RequestIdMismatch, C::RequestIdReused, C::OutOfBounds]);
    }
    // A round-robin lookup moves its cursor, which is a write.
    if !call.is_read || call.is_query {
        codes.extend([C::DiskFull, C::OutcomeUnknown, C::NoLeader, C::NodeRemoved]);
    }
    codes
}

struct Call {
    is_read: bool,
    is_edit: bool,
    is_query: bool,
    has_body: bool,
    has_path_parameters: bool,
    has_query_parameters: bool,
}

impl Call {
    fn of(path: &str, method: &str, operation: &Value) -> Self {
        let flag = |name: &str| operation[name].as_bool().unwrap_or(false);
        let has = |place: &str| {
            operation["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["in"] == *place))
        };
        Self {
            is_read: method == "get" || flag("x-willow-read"),
            is_edit: flag("x-willow-edit"),
            is_query: path.ends_with("/query"),
            has_body: !operation["requestBody"].is_null(),
            has_path_parameters: has("path"),
            has_query_parameters: has("query"),
        }
    }
}

/// Completes every call of the document.
pub(super) fn complete(document: &mut Value) {
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, item) in paths {
        let Some(item) = item.as_object_mut() else { continue };
        for (method, operation) in item {
            let call = Call::of(path, method, operation);
            let is_health = matches!(path.as_str(), "/livez" | "/readyz");
            let listed = take(operation, "x-willow-errors").and_then(|codes| serde_json::from_value(codes).ok());
            let mut codes: Vec<ErrorCode> = listed.unwrap_or_default();
            take(operation, "x-willow-read");
            take(operation, "x-willow-edit");
            if !is_health {
                codes.extend(common(&call));
            }
            codes.sort();
            codes.dedup();
            add_parameters(operation, &call);
            add_problems(operation, &codes);
            add_etags(operation);
            operation["x-error-codes"] = codes.iter().map(|code| code.as_str()).collect();
        }
    }
}

fn take(operation: &mut Value, name: &str) -> Option<Value> {
    operation.as_object_mut()?.remove(name)
}

fn add_parameters(operation: &mut Value, call: &Call) {
    let mut added = Vec::new();
    if !call.is_read {
        added.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "The same as `request_id`: makes a repeat of this call answer from the record.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!#-~]+$"},
        }));
    }
    if call.is_edit {
        added.push(json!({
            "name": "If-Match", "in": "header", "required": false,
            "description": "The revision that the caller has seen, as in the `ETag`; refused when it is another by now.",
            "schema": {"type": "string", "pattern": "^(\\*|\"[0-9]{1,19}\")$"},
            "example": "\"17\"",
        }));
    }
    if added.is_empty() {
        return;
    }
    match operation["parameters"].as_array_mut() {
        Some(parameters) => parameters.extend(added),
        None => operation["parameters"] = added.into(),
    }
}

fn add_problems(operation: &mut Value, codes: &[ErrorCode]) {
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(*code);
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, codes) in by_status {
        let lines = codes.iter().map(|code| format!("- [`{code}`]({}): {}", code.path(), code.title()));
        let mut response = json!({
            "description": lines.collect::<Vec<_>>().join("\n"),
            "content": {problem::CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        });
        if codes.iter().any(|code| code.is_retryable()) {
            response["headers"] = json!({"Retry-After": {
                "description": "When a retry may help, seconds, where it is known.",
                "required": false,
                "schema": {"type": "integer", "minimum": 0},
            }});
        }
        responses.insert(status.to_string(), response);
    }
}

/// Replies of these types carry their revision as an `ETag`.
const TAGGED: [&str; 5] = ["Rule", "Override", "Queue", "Channel", "PatchMetadataReply"];

fn add_etags(operation: &mut Value) {
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (_, response) in responses.iter_mut().filter(|(status, _)| status.starts_with('2')) {
        let schema = &response["content"]["application/json"]["schema"]["$ref"];
        let name = schema.as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        if TAGGED.contains(&name) {
            let mut headers = Map::new();
            headers.insert(
                "ETag".to_owned(),
                json!({
                    "description": "The revision, for `If-Match`.", "required": false, "schema": {"type": "string"},
                }),
            );
            response["headers"] = headers.into();
        }
    }
}
