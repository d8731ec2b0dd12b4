//! Channels: counts, metadata, taints, explain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use willow_model::Value;

use crate::{
    item::TaintEffect,
    keys::{Id, IdSchema, KeyValues, KeyValuesSchema, Revision},
    limiter::Blocking,
    page::{QueryInput, QuerySchema},
    queue::ItemCounts,
};

/// Keeps consumers away that do not tolerate it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"key": "gpu", "value": "a100", "effect": "NoSchedule"}))]
pub struct Taint {
    /// Its key. 1 to 256 bytes.
    #[schema(min_length = 1, max_length = 256)]
    pub key: String,
    /// Its value; empty when absent.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub value: String,
    /// What it does.
    pub effect: TaintEffect,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "0190163d-8694-739b-aea5-966c26f8ad98", "key_values": {"repo": "willow", "os": "linux"},
    "metadata": {"tier": 1}, "taints": [], "revision": 30, "counts": {"waiting": 2, "delayed": 0, "in_flight": 1},
    "oldest_waiting_ms": 5300, "idle_ms": 900
}))]
pub struct Channel {
    /// Its id.
    #[schema(value_type = IdSchema)]
    pub id: Id,
    /// What it is: the key values of all its items.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValues,
    /// Mutable pairs that do not define it, queryable as `metadata.<key>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<KeyValuesSchema>)]
    pub metadata: Option<KeyValues>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Of its last change in metadata; also the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// Items by state.
    pub counts: ItemCounts,
    /// Since its oldest waiting item was enqueued, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub oldest_waiting_ms: Option<u64>,
    /// Since its last delivery, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub idle_ms: Option<u64>,
}

/// Changes a channel's metadata and taints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"set": {"tier": 1, "note": null}, "taints": []}))]
pub struct PatchMetadataRequest {
    /// Keys to set, or to remove with `null`. Keys that are not named keep their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "distinct")]
    #[schema(value_type = BTreeMap<String, Option<crate::keys::Value>>)]
    pub set: BTreeMap<String, Option<Value>>,
    /// Replaces all taints. At most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 32)]
    pub taints: Option<Vec<Taint>>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// Refuses a key given twice, where a map would keep the last.
fn distinct<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Option<Value>>, D::Error> {
    struct Visitor;

    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = BTreeMap<String, Option<Value>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object of keys and values")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut pairs = BTreeMap::new();
            while let Some(key) = access.next_key::<String>()? {
                let value = access.next_value()?;
                if pairs.contains_key(&key) {
                    return Err(serde::de::Error::custom(format_args!("the key {key:?} is given twice")));
                }
                pairs.insert(key, value);
            }
            Ok(pairs)
        }
    }

    deserializer.deserialize_map(Visitor)
}

/// The channel after a change of its metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"channel": {
    "id": "0190163d-8694-739b-aea5-966c26f8ad98", "key_values": {"repo": "willow", "os": "linux"},
    "metadata": {"tier": 1}, "taints": [], "revision": 31, "counts": {"waiting": 2, "delayed": 0, "in_flight": 1}
}}))]
pub struct PatchMetadataReply {
    /// Absent when the change ended the channel: it had no items, and no metadata any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub channel: Option<Channel>,
}

/// Why a channel is not running: all reasons that hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "revision": 40,
    "channel": {"id": "0190163d-8694-739b-aea5-966c26f8ad98", "key_values": {"repo": "willow", "os": "linux"},
                "taints": [], "revision": 30, "counts": {"waiting": 1, "delayed": 0, "in_flight": 1}},
    "eligible": false,
    "reasons": [{"reason": "limited", "denied_by": [
        {"rule": "0190163d-8694-739b-aea5-966c26f8ad92", "rule_name": "one-build-per-repo",
         "bucket": {"repo": "willow"}, "used": 1, "requested": 1, "limit": 1, "waiting": 0, "retry_after_ms": 41000}]}],
    "matching_consumers": 2
}))]
pub struct ChannelExplanation {
    /// The revision that the answer saw.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// The channel.
    pub channel: Channel,
    /// A consumer whose query and tolerations fit would get an item now.
    pub eligible: bool,
    /// What is in the way, or what is there to know.
    pub reasons: Vec<Reason>,
    /// Consumers waiting whose query and tolerations fit.
    pub matching_consumers: u64,
}

/// One reason why a channel is not running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// Nothing waits.
    Empty,
    /// Nothing is due yet.
    NotDue {
        /// For how long, ms.
        due_in_ms: u64,
    },
    /// Standing pauses hold it.
    Paused {
        /// Which.
        pauses: Vec<PauseScope>,
    },
    /// Only who tolerates its taints gets its items.
    Tainted {
        /// Which.
        taints: Vec<Taint>,
    },
    /// Limits are reached.
    Limited {
        /// Which.
        denied_by: Vec<Blocking>,
    },
    /// No waiting consumer's query and tolerations fit.
    NoConsumerMatches {
        /// Consumers waiting on the queue in all.
        waiting: u64,
    },
    /// An updatable item is in flight: the next waits for it.
    InFlight {
        /// How many.
        items: u64,
    },
}

/// What a pause covers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PauseScope {
    /// Absent for the whole queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<QuerySchema>)]
    pub query: Option<QueryInput>,
}

crate::object::object! {
    Taint,
    PatchMetadataRequest,
}
