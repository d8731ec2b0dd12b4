//! Every request example of the document is sent to a server, in an order in which it succeeds.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::harness::Harness;
use crate::openapi;

/// A walk over the document with a server.
struct Walk {
    server: Harness,
    document: Value,
    /// Calls not made yet.
    left: BTreeSet<String>,
}

impl Walk {
    async fn new() -> Self {
        let document = openapi::document();
        let items = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
        let left = items.map(|operation| operation["operationId"].as_str().unwrap().to_owned()).collect();
        Self { server: Harness::start().await, document, left }
    }

    /// Path, method and operation with this id.
    fn operation(&self, id: &str) -> (String, Method, Value) {
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if operation["operationId"] == id {
                    let method = method.to_uppercase().parse().unwrap();
                    return (path.clone(), method, operation.clone());
                }
            }
        }
        panic!("no call {id}");
    }

    /// The example of the call's request schema, if it has a body.
    fn example(&self, operation: &Value) -> Option<Value> {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let reference = schema["$ref"].as_str().or_else(|| {
            let choices = schema["oneOf"].as_array()?;
            choices.iter().find_map(|choice| choice["$ref"].as_str())
        })?;
        let schema = self.document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        Some(schema["example"].clone())
    }

    /// Makes a call with its example, after `change`; it must succeed with a documented status.
    async fn call(&mut self, id: &str, arguments: &[&str], change: impl FnOnce(&mut Value)) -> Value {
        let (mut path, method, operation) = self.operation(id);
        for argument in arguments {
            let (from, to) = (path.find('{').unwrap(), path.find('}').unwrap());
            path.replace_range(from..=to, argument);
        }
        let body = self.example(&operation).map(|mut body| {
            change(&mut body);
            body.to_string()
        });
        let headers: &[(&str, &str)] = if body.is_some() { &[("content-type", "application/json")] } else { &[] };
        let reply = self.server.send(method, &path, headers, body.unwrap_or_default()).await;
        let text = String::from_utf8_lossy(&reply.bytes);
        assert!(reply.status.is_success(), "{id} {path}: {} {text}", reply.status);
        let documented = &operation["responses"][reply.status.as_str()];
        assert!(documented.is_object(), "{id}: {} is not documented", reply.status);
        self.left.remove(id);
        reply.json()
    }
}

fn as_it_is(_: &mut Value) {}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_request_example_succeeds() {
    let mut walk = Walk::new().await;
    locks(&mut walk).await;
    limits(&mut walk).await;
    queues(&mut walk).await;
    // They take several nodes, or answer with a file: the command line's tests call them.
    for id in ["remove_node", "transfer_leader", "backup_cluster"] {
        assert!(walk.left.remove(id), "{id}");
    }
    for id in ["get_cluster", "livez", "readyz"] {
        walk.call(id, &[], as_it_is).await;
    }
    assert_eq!(walk.left, BTreeSet::new(), "calls that were not tried");
}

async fn locks(walk: &mut Walk) {
    let session = text(&walk.call("create_session", &[], as_it_is).await["session"]);
    walk.call("heartbeat_session", &[&session], as_it_is).await;
    let acquired = walk.call("acquire_locks", &[], |body| body["session"] = json!(session)).await;
    let lock = text(&acquired["locks"][0]["lock"]);
    let token = acquired["locks"][0]["token"].clone();
    let held = |body: &mut Value| *body = json!({"session": session, "token": token});
    walk.call("query_locks", &[], as_it_is).await;
    walk.call("get_lock", &[&lock], as_it_is).await;
    let valid = walk.call("validate_lock", &[&lock], |body| body["token"] = token.clone()).await;
    assert_eq!(valid["valid"], true);
    walk.call("heartbeat_lock", &[&lock], held).await;
    walk.call("downgrade_lock", &[&lock], held).await;
    walk.call("release_lock", &[&lock], held).await;
    let again = |body: &mut Value| *body = json!({"key_values": body["key_values"], "session": session});
    walk.call("acquire_locks", &[], again).await;
    walk.call("force_release_lock", &[&lock], as_it_is).await;
    walk.call("end_session", &[&session], as_it_is).await;
}

async fn limits(walk: &mut Walk) {
    walk.call("create_rule", &[], as_it_is).await;
    walk.call("query_rules", &[], as_it_is).await;
    walk.call("get_rule", &["one-build-per-branch"], as_it_is).await;
    walk.call("create_override", &["one-build-per-branch"], as_it_is).await;
    walk.call("query_overrides", &["one-build-per-branch"], as_it_is).await;
    walk.call("get_override", &["one-build-per-branch", "main-is-free"], as_it_is).await;
    let done = walk.call("increment_counter", &[], as_it_is).await;
    let (counter, hold) = (text(&done["counter"]["id"]), text(&done["hold"]["id"]));
    walk.call("explain_limits", &[], as_it_is).await;
    walk.call("query_counters", &[], as_it_is).await;
    walk.call("get_counter", &[&counter], as_it_is).await;
    walk.call("heartbeat_hold", &[&hold], as_it_is).await;
    walk.call("update_override", &["one-build-per-branch", "main-is-free"], as_it_is).await;
    walk.call("release_hold", &[&hold], as_it_is).await;
    walk.call("increment_counter", &[], |body| body["hold"] = Value::Null).await;
    walk.call("decrement_counter", &[], as_it_is).await;
    walk.call("set_counter", &[], as_it_is).await;
    walk.call("delete_override", &["one-build-per-branch", "main-is-free"], as_it_is).await;
    walk.call("update_rule", &["one-build-per-branch"], as_it_is).await;
    walk.call("delete_rule", &["one-build-per-branch"], as_it_is).await;
}

async fn queues(walk: &mut Walk) {
    walk.call("create_queue", &[], as_it_is).await;
    walk.call("query_queues", &[], as_it_is).await;
    walk.call("get_queue", &["builds"], as_it_is).await;
    walk.call("update_queue", &["builds"], as_it_is).await;
    let added = walk.call("enqueue_item", &["builds"], as_it_is).await;
    let (item, channel) = (text(&added["item"]), text(&added["channel"]));
    walk.call("enqueue_items", &["builds"], as_it_is).await;
    walk.call("query_items", &["builds"], as_it_is).await;
    walk.call("get_item", &["builds", &item], as_it_is).await;
    walk.call("query_channels", &["builds"], as_it_is).await;
    walk.call("get_channel", &["builds", &channel], as_it_is).await;
    walk.call("explain_channel", &["builds", &channel], as_it_is).await;
    walk.call("patch_channel_metadata", &["builds", &channel], as_it_is).await;
    for action in ["pause_queue", "resume_queue", "drain_queue", "resume_queue"] {
        walk.call(action, &["builds"], as_it_is).await;
    }
    deliveries(walk).await;
    walk.call("query_dead_letters", &["builds"], as_it_is).await;
    walk.call("redrive_dead_letters", &["builds"], as_it_is).await;
    walk.call("purge_dead_letters", &["builds"], as_it_is).await;
    walk.call("delete_channel", &["builds", &channel], as_it_is).await;
    walk.call("purge_queue", &["builds"], as_it_is).await;
    walk.call("delete_queue", &["builds"], as_it_is).await;
}

/// Takes an item by the example and acts on it, again and again.
async fn deliveries(walk: &mut Walk) {
    for action in ["extend_item", "release_item", "nack_item", "ack_item", "ack_items"] {
        if action == "ack_item" || action == "ack_items" {
            walk.call("enqueue_items", &["builds"], as_it_is).await;
        }
        let taken = walk.call("dequeue_items", &["builds"], as_it_is).await;
        let (item, token) = (text(&taken["items"][0]["item"]), taken["items"][0]["lease_token"].clone());
        if action == "ack_items" {
            let one = json!([{"item": item, "lease_token": token}]);
            let reply = walk.call(action, &["builds"], |body| body["items"] = one).await;
            assert_eq!(reply["results"][0]["acked"], true);
        } else {
            walk.call(action, &["builds", &item], |body| body["lease_token"] = token.clone()).await;
        }
        if action == "extend_item" {
            walk.call("release_item", &["builds", &item], |body| body["lease_token"] = token).await;
        }
    }
}
