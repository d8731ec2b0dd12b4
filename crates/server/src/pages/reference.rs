//! The reference, from the OpenAPI document.

use std::fmt::Write;

use serde_json::Value;

use super::{escape, field, markdown};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One call of the document.
struct Call<'a> {
    path: &'a str,
    method: &'static str,
    operation: &'a Value,
}

/// The body of the page.
pub(super) fn body(document: &Value) -> String {
    let mut out = String::with_capacity(256 * 1024);
    let calls = calls(document);
    let tags = document["tags"].as_array().map_or(&[][..], Vec::as_slice);
    out.push_str("<nav><p><a href=\"/\">Willow</a> · <a href=\"/docs/errors\">Errors</a> · ");
    out.push_str("<a href=\"/v1/openapi.json\">OpenAPI</a></p>");
    for tag in tags {
        navigation(&mut out, field(tag, "name"), &calls);
    }
    out.push_str("<p><a href=\"#schemas\">Schemas</a></p></nav><main><h1>Willow REST API</h1>");
    out.push_str(&markdown(field(&document["info"], "description")));
    for tag in tags {
        let name = field(tag, "name");
        let _written = write!(out, "<h2 id=\"tag-{name}\">{name}</h2>{}", markdown(field(tag, "description")));
        calls.iter().filter(|call| call.has_tag(name)).for_each(|call| call.write(&mut out));
    }
    schemas(&mut out, document);
    out.push_str("</main>");
    out
}

fn calls(document: &Value) -> Vec<Call<'_>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let calls = paths.flat_map(|(path, item)| {
        METHODS.into_iter().filter_map(move |method| {
            let operation = item.get(method)?;
            Some(Call { path, method, operation })
        })
    });
    calls.collect()
}

fn navigation(out: &mut String, tag: &str, calls: &[Call<'_>]) {
    let _written = write!(out, "<a href=\"#tag-{tag}\"><b>{tag}</b></a><ul>");
    for call in calls.iter().filter(|call| call.has_tag(tag)) {
        let (id, summary) = (field(call.operation, "operationId"), escape(field(call.operation, "summary")));
        let _written = write!(out, "<li><a href=\"#{id}\">{summary}</a></li>");
    }
    out.push_str("</ul>");
}

impl Call<'_> {
    fn has_tag(&self, tag: &str) -> bool {
        self.operation["tags"].as_array().is_some_and(|tags| tags.iter().any(|one| one == tag))
    }

    fn write(&self, out: &mut String) {
        let Self { path, method, operation } = self;
        let (id, summary) = (field(operation, "operationId"), escape(field(operation, "summary")));
        let _written = write!(
            out,
            "<section id=\"{id}\"><h3>{summary}</h3><p><code><span class=\"method\">{method}</span> {}</code></p>{}",
            escape(path),
            markdown(field(operation, "description")),
        );
        self.parameters(out);
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        if !body.is_null() {
            let optional = if operation["requestBody"]["required"] == true { "" } else { " (may be absent)" };
            let _written = write!(out, "<h4>Body{optional}</h4><p>{}</p>", type_of(body));
        }
        self.responses(out);
        out.push_str("</section>");
    }

    fn parameters(&self, out: &mut String) {
        let Some(parameters) = self.operation["parameters"].as_array() else { return };
        out.push_str("<h4>Parameters</h4><table>");
        for parameter in parameters {
            let _written = write!(
                out,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(field(parameter, "name")),
                field(parameter, "in"),
                type_of(&parameter["schema"]),
                markdown(field(parameter, "description")),
            );
        }
        out.push_str("</table>");
    }

    fn responses(&self, out: &mut String) {
        let Some(responses) = self.operation["responses"].as_object() else { return };
        out.push_str("<h4>Answers</h4><table>");
        for (status, response) in responses {
            let schema = &response["content"]["application/json"]["schema"];
            let shape = if schema.is_null() { String::new() } else { type_of(schema) };
            let description = markdown(field(response, "description"));
            let _written = write!(out, "<tr><td>{status}</td><td>{description}{shape}</td></tr>");
        }
        out.push_str("</table>");
    }
}

fn schemas(out: &mut String, document: &Value) {
    out.push_str("<h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let _written =
            write!(out, "<section id=\"schema-{name}\"><h3>{name}</h3>{}", markdown(field(schema, "description")));
        properties(out, schema);
        if schema["properties"].is_null() {
            let _written = write!(out, "<p>{}</p>", type_of(schema));
        }
        let example = schema.get("example").or_else(|| schema["examples"].get(0));
        if let Some(example) = example {
            let text = serde_json::to_string_pretty(example).unwrap_or_default();
            let _written = write!(out, "<pre>{}</pre>", escape(&text));
        }
        out.push_str("</section>");
    }
}

fn properties(out: &mut String, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    out.push_str("<table>");
    for (name, property) in properties {
        let mark = if required.iter().any(|one| one == name) { "" } else { " <span class=\"facts\">optional</span>" };
        let _written = write!(
            out,
            "<tr><td><code>{}</code>{mark}</td><td>{}{}</td><td>{}</td></tr>",
            escape(name),
            type_of(property),
            bounds(property),
            markdown(description(property)),
        );
    }
    out.push_str("</table>");
}

/// What a property is; where it may be null, that stands with the other choice.
fn description(property: &Value) -> &str {
    let choices = property["anyOf"].as_array().into_iter().flatten();
    let mut texts = std::iter::once(property).chain(choices).map(|schema| field(schema, "description"));
    texts.find(|text| !text.is_empty()).unwrap_or_default()
}

/// The type of a schema in a few words, with links.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    if let Some(values) = schema["enum"].as_array() {
        let values = values.iter().map(|value| format!("<code>{}</code>", escape(&value.to_string())));
        return values.collect::<Vec<_>>().join(" | ");
    }
    for keyword in ["oneOf", "anyOf", "allOf"] {
        if let Some(choices) = schema[keyword].as_array() {
            let choices = choices.iter().filter(|choice| choice["type"] != "null").map(type_of);
            return choices.collect::<Vec<_>>().join(" | ");
        }
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.as_str(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("any"),
        _ => "any",
    };
    match kind {
        "array" => format!("list of {}", type_of(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("object of {}", type_of(&schema["additionalProperties"]))
        }
        other => other.to_owned(),
    }
}

fn bounds(schema: &Value) -> String {
    let names = ["minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"];
    let given = names.into_iter().filter_map(|name| Some(format!("{name} {}", schema.get(name)?)));
    let given: Vec<_> = given.collect();
    if given.is_empty() { String::new() } else { format!("<br><span class=\"facts\">{}</span>", given.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_property_is_stands_in_its_row_also_where_it_may_be_null() {
        let backoff = json!({"$ref": "#/components/schemas/Backoff", "description": "Between attempts."});
        let mut out = String::new();
        properties(&mut out, &json!({"properties": {"backoff": {"anyOf": [backoff, {"type": "null"}]}}}));
        assert!(out.contains("#schema-Backoff") && out.contains("Between attempts."), "{out}");
    }
}
