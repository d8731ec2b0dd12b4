//! What the log may ask of the Limiter.

use serde::{Deserialize, Serialize};
use willow_model::{Id, KeyValues, Revision};

/// Limiter commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Adds a rule.
    CreateRule(CreateRule),
    /// Changes a rule's limit or mode.
    UpdateRule(UpdateRule),
    /// Removes a rule and its overrides.
    DeleteRule(DeleteRule),
    /// Adds an override to a rule.
    CreateOverride(CreateOverride),
    /// Changes an override's limit.
    UpdateOverride(UpdateOverride),
    /// Removes an override.
    DeleteOverride(DeleteOverride),
    /// Adds to a counter if every limit allows.
    Increment(Increment),
    /// Takes from a counter.
    Decrement(Decrement),
    /// Sets a counter without asking any limit.
    SetCounter(SetCounter),
    /// Renews a hold's lease.
    HeartbeatHold(HeartbeatHold),
    /// Gives a hold back.
    ReleaseHold(ReleaseHold),
}

/// A resource that has a name, by either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selector {
    /// By id.
    Id(Id),
    /// By name.
    Name(Box<str>),
}

/// How many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// At most this many.
    At(u64),
    /// Any number; counted all the same.
    Unlimited,
}

/// Whether a rule denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleMode {
    /// It does.
    Enforce,
    /// It counts, and reports what it would have denied.
    Shadow,
}

/// Adds a rule. Its id derives from its key values, so no two rules share them; names are unique too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateRule {
    /// Unique among rules.
    pub name: Box<str>,
    /// What it governs; values may be `any`.
    pub key_values: KeyValues,
    /// Per bucket.
    pub limit: Limit,
    /// Whether it denies.
    pub mode: RuleMode,
}

/// Changes a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateRule {
    /// Which.
    pub rule: Selector,
    /// New name, if it changes.
    pub name: Option<Box<str>>,
    /// Key values the caller thinks it has; refused when they are others, for they never change.
    pub key_values: Option<KeyValues>,
    /// New limit.
    pub limit: Limit,
    /// New mode.
    pub mode: RuleMode,
    /// Refused when the rule's revision is another.
    pub if_match: Option<Revision>,
}

/// Removes a rule and its overrides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteRule {
    /// Which.
    pub rule: Selector,
    /// Refused when the rule's revision is another.
    pub if_match: Option<Revision>,
}

/// Adds an override: at least the rule's keys, each value equal to or narrower than the rule's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateOverride {
    /// Of which rule.
    pub rule: Selector,
    /// Unique among the rule's overrides.
    pub name: Box<str>,
    /// What it governs.
    pub key_values: KeyValues,
    /// Per bucket.
    pub limit: Limit,
}

/// Changes an override.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateOverride {
    /// Of which rule.
    pub rule: Selector,
    /// Which.
    pub override_: Selector,
    /// New name, if it changes.
    pub name: Option<Box<str>>,
    /// Key values the caller thinks it has; refused when they are others.
    pub key_values: Option<KeyValues>,
    /// New limit.
    pub limit: Limit,
    /// Refused when the override's revision is another.
    pub if_match: Option<Revision>,
}

/// Removes an override.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteOverride {
    /// Of which rule.
    pub rule: Selector,
    /// Which.
    pub override_: Selector,
    /// Refused when the override's revision is another.
    pub if_match: Option<Revision>,
}

/// Adds `amount` if every bucket stays within its limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Increment {
    /// Which counter.
    pub key_values: KeyValues,
    /// At least 1.
    pub amount: u64,
    /// Binds the amount to a lease of this many ms; the hold's id is the envelope's entropy.
    pub hold_ttl_ms: Option<u64>,
    /// How long to wait for room, ms; 0 tries once.
    pub wait_ms: u64,
}

/// Takes `amount` from what no hold accounts for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decrement {
    /// Which counter.
    pub key_values: KeyValues,
    /// At least 1.
    pub amount: u64,
}

/// Sets what no hold accounts for, unchecked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetCounter {
    /// Which counter.
    pub key_values: KeyValues,
    /// 0 removes it, but for its holds.
    pub amount: u64,
}

/// Renews a hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatHold {
    /// Which.
    pub hold: Id,
    /// New lease, ms; the one it has when `None`.
    pub ttl_ms: Option<u64>,
}

/// Gives a hold back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseHold {
    /// Which.
    pub hold: Id,
}
