//! Rules, overrides, counters, explain.

use willow_api::limiter::{
    Blocking, Counter, Explanation, Hold, IncrementReply, Limit, LimitExplanation, Override, Rule, RuleExplanation,
    RuleMode, UnsavedRule, Verdict,
};
use willow_core::limiter as core;
use willow_model::Origin;

use super::owned;
use crate::reply::Failure;

pub(crate) fn limit(limit: Limit) -> core::Limit {
    match limit {
        Limit::At(at) => core::Limit::At(at),
        Limit::Unlimited => core::Limit::Unlimited,
    }
}

fn limit_out(limit: core::Limit) -> Limit {
    match limit {
        core::Limit::At(at) => Limit::At(at),
        core::Limit::Unlimited => Limit::Unlimited,
    }
}

pub(crate) fn mode(mode: RuleMode) -> core::RuleMode {
    match mode {
        RuleMode::Enforce => core::RuleMode::Enforce,
        RuleMode::Shadow => core::RuleMode::Shadow,
    }
}

fn mode_out(mode: core::RuleMode) -> RuleMode {
    match mode {
        core::RuleMode::Enforce => RuleMode::Enforce,
        core::RuleMode::Shadow => RuleMode::Shadow,
    }
}

pub(crate) fn rule(view: core::RuleView) -> Rule {
    Rule {
        id: view.id,
        name: view.name.into(),
        key_values: view.key_values,
        limit: limit_out(view.limit),
        mode: mode_out(view.mode),
        revision: view.revision,
        overrides: view.overrides,
        buckets: view.buckets,
        shadow_denials: view.shadow_denials,
    }
}

pub(crate) fn override_(view: core::OverrideView) -> Override {
    Override {
        id: view.id,
        rule: view.rule,
        name: view.name.into(),
        key_values: view.key_values,
        limit: limit_out(view.limit),
        revision: view.revision,
        overlaps: view.overlaps.into_iter().map(Into::into).collect(),
    }
}

pub(crate) fn counter(view: core::CounterView) -> Counter {
    Counter { id: view.id, key_values: view.key_values, amount: view.amount, held: view.held, revision: view.revision }
}

pub(crate) fn incremented(done: core::Incremented) -> IncrementReply {
    IncrementReply {
        counter: counter(done.counter),
        hold: done.hold.map(|hold| Hold { id: hold.id, expires_in_ms: hold.expires_in_ms }),
        shadow_denied_by: done.shadow_denied_by.into_iter().map(blocking).collect(),
    }
}

pub(crate) fn blocking(blocking: core::Blocking) -> Blocking {
    Blocking {
        rule: Some(blocking.rule),
        rule_name: blocking.rule_name.into(),
        override_: blocking.override_,
        override_name: owned(blocking.override_name),
        bucket: blocking.bucket,
        used: blocking.used,
        requested: blocking.requested,
        limit: blocking.limit,
        waiting: blocking.waiting,
        retry_after_ms: blocking.retry_after_ms,
    }
}

/// An unsaved rule of an explain; `at` is its place in the list.
pub(crate) fn unsaved(rule: UnsavedRule, at: usize) -> Result<core::CreateRule, Failure> {
    Ok(core::CreateRule {
        key_values: super::key_values(&rule.key_values, Origin::Pattern, &format!("rules[{at}].key_values"))?,
        name: super::name(rule.name)?,
        limit: limit(rule.limit),
        mode: mode(rule.mode.unwrap_or_default()),
    })
}

pub(crate) fn explanation(explanation: core::Explanation) -> Explanation {
    Explanation {
        revision: explanation.revision,
        allowed: explanation.allowed,
        rules: explanation.rules.into_iter().map(rule_explanation).collect(),
        truncated: explanation.truncated,
        denied_by: explanation.denied_by.into_iter().map(blocking).collect(),
    }
}

fn rule_explanation(rule: core::RuleExplanation) -> RuleExplanation {
    let (verdict, key, limits) = match rule.verdict {
        core::Verdict::MissingKey { key } => (Verdict::MissingKey, Some(key), Vec::new()),
        core::Verdict::ValueDiffers { key } => (Verdict::ValueDiffers, Some(key), Vec::new()),
        core::Verdict::Matched(limits) => (Verdict::Matched, None, limits),
    };
    RuleExplanation {
        rule: rule.rule,
        name: rule.name.into(),
        key_values: rule.key_values,
        mode: mode_out(rule.mode),
        verdict,
        key: owned(key),
        limits: limits.into_iter().map(limit_explanation).collect(),
    }
}

fn limit_explanation(explained: core::LimitExplanation) -> LimitExplanation {
    LimitExplanation {
        override_: explained.override_,
        override_name: owned(explained.override_name),
        bucket: explained.bucket,
        used: explained.used,
        requested: explained.requested,
        limit: limit_out(explained.limit),
        waiting: explained.waiting,
        allowed: explained.allowed,
    }
}
