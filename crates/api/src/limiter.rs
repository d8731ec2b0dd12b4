//! Limiter: rules, overrides, counters, holds, explain.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type},
};

use crate::keys::{Id, IdSchema, KeyValues, KeyValuesInput, KeyValuesSchema, Revision};

/// A number, or none: how many at once, or how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// At most this many.
    At(u64),
    /// Any number.
    Unlimited,
}

const UNLIMITED: &str = "unlimited";

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(limit) => limit.fmt(f),
            Self::Unlimited => f.write_str(UNLIMITED),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::At(limit) => serializer.serialize_u64(*limit),
            Self::Unlimited => serializer.serialize_str(UNLIMITED),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Limit;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an integer of at least 0, or \"unlimited\"")
            }

            fn visit_u64<E>(self, limit: u64) -> Result<Limit, E> {
                Ok(Limit::At(limit))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
                if text == UNLIMITED {
                    Ok(Limit::Unlimited)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(u64::MAX as f64)))
            .item(ObjectBuilder::new().schema_type(Type::String).enum_values(Some([UNLIMITED])))
            .description(Some("An integer of at least 0, or `\"unlimited\"`."))
            .into()
    }
}

impl ToSchema for Limit {}

/// Whether a rule denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleMode {
    /// It does.
    #[default]
    Enforce,
    /// It counts, and reports what it would have denied.
    Shadow,
}

/// Adds a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({
    "name": "one-build-per-branch", "key_values": {"repo": {"any": true}, "branch": {"any": true}}, "limit": 1,
    "mode": "enforce"
}))]
pub struct CreateRuleRequest {
    /// Unique among rules. 1 to 128 bytes; not a UUID.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// What it governs: a counter with all these keys, each equal or `any`. No two rules share them.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValuesInput,
    /// Of each bucket.
    pub limit: Limit,
    /// Whether it denies; `enforce` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RuleMode>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

impl CreateRuleRequest {
    /// An enforced rule.
    #[must_use]
    pub fn new(name: impl Into<String>, key_values: impl Into<KeyValuesInput>, limit: Limit) -> Self {
        Self { name: name.into(), key_values: key_values.into(), limit, mode: None, request_id: None }
    }
}

/// Replaces a rule's limit and mode, and its name if given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"limit": 2, "mode": "enforce"}))]
pub struct UpdateRuleRequest {
    /// New name; kept when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub name: Option<String>,
    /// Refused unless they are what the rule has: key values never change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<KeyValuesSchema>)]
    pub key_values: Option<KeyValuesInput>,
    /// New limit.
    pub limit: Limit,
    /// New mode.
    pub mode: RuleMode,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "0190163d-8694-739b-aea5-966c26f8ad92", "name": "one-build-per-branch",
    "key_values": {"repo": {"any": true}, "branch": {"any": true}}, "limit": 1, "mode": "enforce", "revision": 3,
    "overrides": 0, "buckets": 2, "shadow_denials": 0
}))]
pub struct Rule {
    /// Its id.
    #[schema(value_type = IdSchema)]
    pub id: Id,
    /// Its name.
    pub name: String,
    /// What it governs.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValues,
    /// Of each bucket.
    pub limit: Limit,
    /// Whether it denies.
    pub mode: RuleMode,
    /// Revision of its last change; also the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// How many overrides it has.
    pub overrides: u32,
    /// How many buckets count something.
    pub buckets: u32,
    /// Denials that it would have made in shadow mode.
    pub shadow_denials: u64,
}

/// Adds an override to a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({
    "name": "main-is-free", "key_values": {"repo": {"any": true}, "branch": "main"}, "limit": "unlimited"
}))]
pub struct CreateOverrideRequest {
    /// Unique among the rule's overrides. 1 to 128 bytes; not a UUID.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// What it governs: at least the rule's keys, each value equal to or narrower than the rule's.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValuesInput,
    /// Of each bucket.
    pub limit: Limit,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

impl CreateOverrideRequest {
    /// An override.
    #[must_use]
    pub fn new(name: impl Into<String>, key_values: impl Into<KeyValuesInput>, limit: Limit) -> Self {
        Self { name: name.into(), key_values: key_values.into(), limit, request_id: None }
    }
}

/// Replaces an override's limit, and its name if given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"limit": 8}))]
pub struct UpdateOverrideRequest {
    /// New name; kept when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub name: Option<String>,
    /// Refused unless they are what the override has: key values never change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<KeyValuesSchema>)]
    pub key_values: Option<KeyValuesInput>,
    /// New limit.
    pub limit: Limit,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// An override of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "0190163d-8694-739b-aea5-966c26f8ad93", "rule": "0190163d-8694-739b-aea5-966c26f8ad92",
    "name": "main-is-free", "key_values": {"repo": {"any": true}, "branch": "main"}, "limit": "unlimited",
    "revision": 4, "overlaps": []
}))]
pub struct Override {
    /// Its id.
    #[schema(value_type = IdSchema)]
    pub id: Id,
    /// Of which rule.
    #[schema(value_type = IdSchema)]
    pub rule: Id,
    /// Its name.
    pub name: String,
    /// What it governs.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValues,
    /// Of each bucket.
    pub limit: Limit,
    /// Revision of its last change; also the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// A warning when it is created: names of overrides of the same rule that may match the same
    /// counters. All of them are enforced. At most 100.
    pub overlaps: Vec<String>,
}

/// Adds to a counter if every limit allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({
    "key_values": {"repo": "willow", "branch": "main"}, "amount": 1, "hold": {"ttl_ms": 30000}, "wait_ms": 0
}))]
pub struct IncrementRequest {
    /// Which counter.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValuesInput,
    /// How much, at least 1; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub amount: Option<u64>,
    /// Binds the amount to a lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldSpec>,
    /// How long to wait for room, ms; 0, the default, tries once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 300000)]
    pub wait_ms: Option<u64>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// The lease of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct HoldSpec {
    /// Lease, ms: the amount is given back when it ends.
    #[schema(minimum = 100, maximum = 86400000)]
    pub ttl_ms: u64,
}

/// The counter was incremented.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "counter": {"id": "0190163d-8694-739b-aea5-966c26f8ad94", "key_values": {"repo": "willow", "branch": "main"},
                "amount": 1, "held": 1, "revision": 9},
    "hold": {"id": "9b1d8a52-0a51-4a52-8f39-0b8a7c1d2e3f", "expires_in_ms": 30000},
    "shadow_denied_by": []
}))]
pub struct IncrementReply {
    /// The counter.
    pub counter: Counter,
    /// The hold, when one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub hold: Option<Hold>,
    /// Shadow rules that would have denied it.
    pub shadow_denied_by: Vec<Blocking>,
}

/// A hold as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    /// Its id: whoever knows it may renew or release it.
    #[schema(value_type = IdSchema)]
    pub id: Id,
    /// Left of its lease, ms.
    pub expires_in_ms: u64,
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "0190163d-8694-739b-aea5-966c26f8ad94", "key_values": {"repo": "willow", "branch": "main"},
    "amount": 3, "held": 1, "revision": 9
}))]
pub struct Counter {
    /// Its id.
    #[schema(value_type = IdSchema)]
    pub id: Id,
    /// What it counts.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValues,
    /// In all.
    pub amount: u64,
    /// Of which bound to holds and to items in flight.
    pub held: u64,
    /// Revision of its last change.
    #[schema(value_type = u64)]
    pub revision: Revision,
}

/// Takes from a counter what no hold accounts for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"key_values": {"repo": "willow", "branch": "main"}, "amount": 1}))]
pub struct DecrementRequest {
    /// Which counter.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValuesInput,
    /// How much, at least 1; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub amount: Option<u64>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// Sets what no hold of a counter accounts for, without asking any limit: for repair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"key_values": {"repo": "willow", "branch": "main"}, "amount": 0}))]
pub struct SetCounterRequest {
    /// Which counter.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValuesInput,
    /// The new amount; 0 removes the counter, but for its holds.
    pub amount: u64,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// Renews a hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"ttl_ms": 30000}))]
pub struct HeartbeatHoldRequest {
    /// New lease, ms; the length it has when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 86400000)]
    pub ttl_ms: Option<u64>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// A hold was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"amount": 1}))]
pub struct ReleaseHoldReply {
    /// The amount it held.
    pub amount: u64,
}

/// One limit that is in the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "rule": "0190163d-8694-739b-aea5-966c26f8ad92", "rule_name": "one-build-per-branch",
    "bucket": {"repo": "willow", "branch": "main"}, "used": 1, "requested": 1, "limit": 1, "waiting": 0,
    "retry_after_ms": 28000
}))]
pub struct Blocking {
    /// The rule; absent when it is an unsaved one of an explain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<IdSchema>)]
    pub rule: Option<Id>,
    /// Its name.
    pub rule_name: String,
    /// The override that replaced its limit, if one did.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<IdSchema>)]
    pub override_: Option<Id>,
    /// That override's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub override_name: Option<String>,
    /// The values that the bucket stands for.
    #[schema(value_type = KeyValuesSchema)]
    pub bucket: KeyValues,
    /// Counted in the bucket now.
    pub used: u64,
    /// Wanted on top.
    pub requested: u64,
    /// What it may hold.
    pub limit: u64,
    /// Callers in line for this bucket, who go first.
    pub waiting: u32,
    /// When leases bound it: by then enough is given back, unless renewed, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub retry_after_ms: Option<u64>,
}

/// Asks why an increment would pass or not. Changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({
    "key_values": {"repo": "willow", "branch": "main"}, "amount": 1,
    "rules": [{"name": "two-per-repo", "key_values": {"repo": {"any": true}}, "limit": 2}]
}))]
pub struct ExplainRequest {
    /// Which counter. It may carry defined reserved keys, to see what a queue's claim would meet.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValuesInput,
    /// How much, at least 1; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub amount: Option<u64>,
    /// Unsaved rules to try beside the stored ones, at most 100. One with the name of a stored rule
    /// stands in for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub rules: Vec<UnsavedRule>,
}

/// A rule to try out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct UnsavedRule {
    /// Its name.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// What it governs.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValuesInput,
    /// Of each bucket.
    pub limit: Limit,
    /// Whether it denies; `enforce` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RuleMode>,
}

/// Why an increment would pass or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "revision": 12, "allowed": false,
    "rules": [
        {"rule": "0190163d-8694-739b-aea5-966c26f8ad92", "name": "one-build-per-branch",
         "key_values": {"repo": {"any": true}, "branch": {"any": true}}, "mode": "enforce", "verdict": "matched",
         "limits": [{"bucket": {"repo": "willow", "branch": "main"}, "used": 1, "requested": 1, "limit": 1,
                     "waiting": 0, "allowed": false}]},
        {"rule": "0190163d-8694-739b-aea5-966c26f8ad95", "name": "no-mac-builds",
         "key_values": {"repo": {"any": true}, "os": "mac"}, "mode": "enforce", "verdict": "missing_key", "key": "os"}
    ],
    "truncated": false,
    "denied_by": [{"rule": "0190163d-8694-739b-aea5-966c26f8ad92", "rule_name": "one-build-per-branch",
                   "bucket": {"repo": "willow", "branch": "main"}, "used": 1, "requested": 1, "limit": 1, "waiting": 0}]
}))]
pub struct Explanation {
    /// The revision that the answer saw.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// Would an increment pass?
    pub allowed: bool,
    /// One entry for every rule with at least one key in common, by rule name; at most 1000.
    pub rules: Vec<RuleExplanation>,
    /// True when there were more rules than are listed. `denied_by` is complete all the same.
    pub truncated: bool,
    /// All that denies, as an increment would say.
    pub denied_by: Vec<Blocking>,
}

/// Why one rule does or does not apply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleExplanation {
    /// Its id; absent for an unsaved rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<IdSchema>)]
    pub rule: Option<Id>,
    /// Its name.
    pub name: String,
    /// Its key values.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValues,
    /// Whether it denies.
    pub mode: RuleMode,
    /// What came of it.
    pub verdict: Verdict,
    /// The key that is missing or differs, when it did not match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub key: Option<String>,
    /// When it matched: the limits that stand for it, its own or those of overrides that replaced it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitExplanation>,
}

/// What came of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It applies.
    Matched,
    /// The counter lacks `key`.
    MissingKey,
    /// The counter's value for `key` is another.
    ValueDiffers,
}

/// One limit that stands for a matched rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LimitExplanation {
    /// The override, unless the limit is the rule's own.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<IdSchema>)]
    pub override_: Option<Id>,
    /// The override's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub override_name: Option<String>,
    /// The values that the bucket stands for.
    #[schema(value_type = KeyValuesSchema)]
    pub bucket: KeyValues,
    /// Counted now.
    pub used: u64,
    /// Wanted on top.
    pub requested: u64,
    /// What it may hold.
    pub limit: Limit,
    /// Callers in line ahead.
    pub waiting: u32,
    /// Within the limit, and nobody in line?
    pub allowed: bool,
}

crate::object::object! {
    CreateRuleRequest,
    UpdateRuleRequest,
    CreateOverrideRequest,
    UpdateOverrideRequest,
    IncrementRequest,
    HoldSpec,
    DecrementRequest,
    SetCounterRequest,
    HeartbeatHoldRequest,
    ExplainRequest,
    UnsavedRule,
}
