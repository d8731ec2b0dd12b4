//! What Limiter commands answer, and how rules and counters look to a reader.

use serde::{Deserialize, Serialize};
use willow_model::{Id, KeyValues, Revision};

use super::{Limit, RuleMode};

/// Answers of Limiter commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// A rule was created or changed.
    Rule(RuleView),
    /// An override was created or changed.
    Override(OverrideView),
    /// It was removed.
    Deleted,
    /// The counter was incremented.
    Incremented(Incremented),
    /// The counter was decremented or set.
    Counter(CounterView),
    /// The hold was renewed.
    Renewed {
        /// Left of its lease, ms.
        expires_in_ms: u64,
    },
    /// The hold was given back.
    Released {
        /// The amount it held.
        amount: u64,
    },
}

impl From<Outcome> for crate::Outcome {
    fn from(outcome: Outcome) -> Self {
        Self::Limit(outcome)
    }
}

/// A successful increment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incremented {
    /// The counter.
    pub counter: CounterView,
    /// What this increment added.
    pub amount: u64,
    /// The hold, when one was asked for.
    pub hold: Option<HoldView>,
    /// Shadow rules that would have denied it.
    pub shadow_denied_by: Vec<Blocking>,
}

/// A hold as its owner sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoldView {
    /// Its id: whoever knows it may renew or release it.
    pub id: Id,
    /// Left of its lease, ms.
    pub expires_in_ms: u64,
}

/// A counter as anyone may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CounterView {
    /// Its id.
    pub id: Id,
    /// What it counts.
    pub key_values: KeyValues,
    /// Held and free amounts together.
    pub amount: u64,
    /// Of which bound to holds and to items in flight.
    pub held: u64,
    /// Revision of its last change.
    pub revision: Revision,
}

/// A rule as anyone may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleView {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: Box<str>,
    /// What it governs.
    pub key_values: KeyValues,
    /// Per bucket.
    pub limit: Limit,
    /// Whether it denies.
    pub mode: RuleMode,
    /// Revision of its last change.
    pub revision: Revision,
    /// How many overrides it has.
    pub overrides: u32,
    /// How many buckets count something.
    pub buckets: u32,
    /// Denials that this shadow rule would have made.
    pub shadow_denials: u64,
}

/// An override as anyone may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverrideView {
    /// Its id.
    pub id: Id,
    /// Of which rule.
    pub rule: Id,
    /// Its name.
    pub name: Box<str>,
    /// What it governs.
    pub key_values: KeyValues,
    /// Per bucket.
    pub limit: Limit,
    /// Revision of its last change.
    pub revision: Revision,
    /// At creation: overrides of the same rule that may match the same counters; all are enforced. At most 100.
    pub overlaps: Vec<Box<str>>,
}

/// One limit that is in the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blocking {
    /// The rule.
    pub rule: Id,
    /// Its name.
    pub rule_name: Box<str>,
    /// The override that replaced its limit, if one did.
    pub override_: Option<Id>,
    /// That override's name.
    pub override_name: Option<Box<str>>,
    /// The values that the bucket stands for.
    pub bucket: KeyValues,
    /// Counted in the bucket now.
    pub used: u64,
    /// Wanted on top.
    pub requested: u64,
    /// What it may hold.
    pub limit: u64,
    /// Callers in line for this bucket, who go first.
    pub waiting: u32,
    /// Where leases bound it: by then enough is given back, unless renewed, ms.
    pub retry_after_ms: Option<u64>,
}

/// Answer of [`Limiter::explain`](super::Limiter::explain).
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The revision that the answer saw.
    pub revision: Revision,
    /// Would an increment pass?
    pub allowed: bool,
    /// One entry for every rule with at least one key in common, by rule name; bounded by [`EXPLAINED_RULES`].
    pub rules: Vec<RuleExplanation>,
    /// True when there were more rules than are listed. `denied_by` is complete all the same.
    pub truncated: bool,
    /// All that denies, as an increment would say.
    pub denied_by: Vec<Blocking>,
}

/// Rules listed in one explanation.
pub const EXPLAINED_RULES: usize = 1000;

/// Why one rule does or does not apply.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleExplanation {
    /// Its id; `None` for an unsaved rule.
    pub rule: Option<Id>,
    /// Its name.
    pub name: Box<str>,
    /// Its key values.
    pub key_values: KeyValues,
    /// Whether it denies.
    pub mode: RuleMode,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Not matched: the counter lacks this key.
    MissingKey {
        /// The key.
        key: Box<str>,
    },
    /// Not matched: the counter's value for this key is another.
    ValueDiffers {
        /// The key.
        key: Box<str>,
    },
    /// Matched: these limits stand for it, its own or those of the overrides that replaced it.
    Matched(Vec<LimitExplanation>),
}

/// One limit that stands for a matched rule.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitExplanation {
    /// The override, unless the limit is the rule's own.
    pub override_: Option<Id>,
    /// The override's name.
    pub override_name: Option<Box<str>>,
    /// The values that the bucket stands for.
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
