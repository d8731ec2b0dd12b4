//! The OpenAPI document: no drift from what is checked in, and every example reads as its type.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use crate::openapi;

fn checked_in(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi").join(name)
}

fn check_drift(name: &str, document: &Value) {
    let path = checked_in(name);
    let now = openapi::pretty(document);
    if std::env::var_os("REWRITE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &now).unwrap();
    }
    let then = fs::read_to_string(&path).unwrap_or_default();
    assert!(then == now, "docs/openapi/{name} is out of date: run this test with REWRITE=1, and look at the diff");
}

#[test]
fn the_checked_in_documents_are_those_of_the_code() {
    check_drift("openapi.json", &openapi::document());
    check_drift("openapi-3.0.json", &openapi::document_30());
}

#[test]
fn every_call_has_a_summary_a_tag_and_its_own_id() {
    let document = openapi::document();
    let mut ids = BTreeSet::new();
    let mut calls = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            calls += 1;
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{method} {path}");
        }
    }
    assert!(calls >= 55, "{calls}");
}

#[test]
fn every_reference_leads_somewhere() {
    fn visit(value: &Value, document: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let target = document.pointer(reference.strip_prefix('#').unwrap());
                    assert!(target.is_some(), "{reference} leads nowhere");
                }
                object.values().for_each(|inner| visit(inner, document));
            }
            Value::Array(items) => items.iter().for_each(|inner| visit(inner, document)),
            _ => {}
        }
    }
    for document in [openapi::document(), openapi::document_30()] {
        visit(&document, &document);
    }
}
