//! The Limiter's words.
//!
//! ```text
//! rule NAME KEY=VALUE… --limit N|unlimited [--mode shadow]
//! override RULE/NAME KEY=VALUE… --limit N|unlimited
//! edit RULE[/OVERRIDE] --limit N|unlimited [--mode shadow] [--name NAME] [--match REVISION]
//! delete RULE[/OVERRIDE] [--match REVISION]
//! inc KEY=VALUE… [--amount N] [--hold MS --as NAME] [--wait MS] [--request ID]
//! dec | set KEY=VALUE… [--amount N]
//! heartbeat NAME [--ttl MS] | release NAME
//! cancel WAITER          the caller went away; if its answer is known, it never arrived
//! explain KEY=VALUE… [--amount N] [--what-if LIMIT]      the rule `what-if` is of these very key values
//! rules | overrides RULE | counters
//! ```

use std::collections::BTreeMap;

use willow_core::{
    Command, Outcome, Refusal, Reply, WaiterId,
    command::CancelWait,
    limiter::{
        self, Blocking, CounterView, CreateOverride, CreateRule, Decrement, DeleteOverride, DeleteRule, Error,
        HeartbeatHold, Increment, Limit, ReleaseHold, RuleMode, Selector, SetCounter, UpdateOverride, UpdateRule,
        Verdict,
    },
};
use willow_model::{Id, Revision};
use willow_query::Query;

use super::Words;
use crate::support::{Logged, kv, pattern};

#[derive(Default)]
pub(crate) struct Vocabulary {
    holds: BTreeMap<String, Id>,
    /// Names for the holds that waiting increments take.
    waiting: BTreeMap<WaiterId, String>,
    answers: BTreeMap<WaiterId, Reply>,
}

impl super::Vocabulary for Vocabulary {
    fn run(&mut self, words: &Words, logged: &mut Logged) -> Result<Vec<String>, String> {
        let (machine, all) = (&logged.machine, Query::default());
        let lookup = machine.lookup(0);
        let limiter = machine.limiter();
        let failed = |error: willow_query::Error| error.to_string();
        Ok(match words.verb.as_str() {
            "rules" => limiter.query_rules(&all, lookup).map_err(failed)?.items.iter().map(rule).collect(),
            "counters" => limiter.query_counters(&all, lookup).map_err(failed)?.items.iter().map(counter).collect(),
            "overrides" => {
                let rule = Selector::Name(words.text().into());
                let listing = limiter.query_overrides(&rule, &all, lookup).map_err(failed)?.ok_or("no such rule")?;
                listing.items.iter().map(override_).collect()
            }
            "explain" => explain(words, logged)?,
            _ => {
                let command = self.command(words)?;
                let reply = logged.apply_with(words.option("request"), command);
                if let (Ok(Outcome::Waiting(waiter)), Some(name)) = (&reply, words.option("as")) {
                    self.waiting.insert(*waiter, name.to_owned());
                }
                self.reply(&reply, words.option("as"))
            }
        })
    }

    fn effects(&mut self, logged: &mut Logged) -> Vec<String> {
        let mut lines = Vec::new();
        for (waiter, reply) in logged.take_resolved() {
            let name = self.waiting.remove(&waiter);
            let told = self.reply(&reply, name.as_deref());
            lines.push(format!("w{} => {}", waiter.0, told.join("; ")));
            self.answers.insert(waiter, reply);
        }
        lines
    }
}

impl Vocabulary {
    fn command(&self, words: &Words) -> Result<Command, String> {
        let amount = words.number("amount")?.unwrap_or(1);
        let command = match words.verb.as_str() {
            "rule" | "override" | "edit" | "delete" => return edit(words).map(Command::Limit),
            "inc" => limiter::Command::Increment(Increment {
                key_values: kv(words.text()),
                amount,
                hold_ttl_ms: words.number("hold")?,
                wait_ms: words.number("wait")?.unwrap_or(0),
            }),
            "dec" => limiter::Command::Decrement(Decrement { key_values: kv(words.text()), amount }),
            "set" => limiter::Command::SetCounter(SetCounter { key_values: kv(words.text()), amount }),
            "heartbeat" => {
                let hold = self.hold(words.text())?;
                limiter::Command::HeartbeatHold(HeartbeatHold { hold, ttl_ms: words.number("ttl")? })
            }
            "release" => limiter::Command::ReleaseHold(ReleaseHold { hold: self.hold(words.text())? }),
            "cancel" => {
                let number = words.text().trim_start_matches('w').parse().map_err(|_| "cancel whom?")?;
                let waiter = WaiterId(number);
                let undelivered = self.answers.get(&waiter).and_then(|reply| reply.clone().ok()).map(Box::new);
                return Ok(Command::CancelWait(CancelWait { waiter, undelivered }));
            }
            other => return Err(format!("{other} is not a word of the Limiter")),
        };
        Ok(Command::Limit(command))
    }

    fn hold(&self, name: &str) -> Result<Id, String> {
        self.holds.get(name).copied().ok_or_else(|| format!("no hold was called {name}"))
    }

    fn reply(&mut self, reply: &Reply, name: Option<&str>) -> Vec<String> {
        match reply {
            Ok(Outcome::Waiting(waiter)) => vec![format!("waiting as w{}", waiter.0)],
            Ok(Outcome::Limit(limiter::Outcome::Incremented(done))) => {
                let mut line = format!("+{} {}", done.amount, counter(&done.counter));
                if let Some(hold) = &done.hold {
                    let name = name.map_or_else(|| format!("h{}", self.holds.len() + 1), str::to_owned);
                    line = format!("{line} as {name} for {}", hold.expires_in_ms);
                    self.holds.insert(name, hold.id);
                }
                let shadows = done.shadow_denied_by.iter().map(|of| format!("  past the shadow {}", blocking(of)));
                std::iter::once(line).chain(shadows).collect()
            }
            Ok(Outcome::Limit(limiter::Outcome::Rule(view))) => vec![rule(view)],
            Ok(Outcome::Limit(limiter::Outcome::Override(view))) => vec![override_(view)],
            Ok(Outcome::Limit(limiter::Outcome::Counter(view))) => vec![counter(view)],
            Ok(outcome) => vec![format!("{outcome:?}")],
            Err(Refusal::Limit(Error::LimitReached { denied_by, retry_after_ms })) => {
                let first = format!("denied, retry after {retry_after_ms:?}");
                std::iter::once(first).chain(denied_by.iter().map(|of| format!("  by {}", blocking(of)))).collect()
            }
            Err(refusal) => vec![format!("refused: {refusal}")],
        }
    }
}

fn edit(words: &Words) -> Result<limiter::Command, String> {
    let (path, rest) = words.text().split_once(' ').unwrap_or_else(|| (words.text(), ""));
    let (rule, child) = path.split_once('/').map_or((path, None), |(rule, child)| (rule, Some(child)));
    let named = Selector::Name(rule.into());
    let if_match = words.number("match")?.map(Revision);
    let name = words.option("name").map(Into::into);
    let limit = || match words.option("limit") {
        Some("unlimited") => Ok(Limit::Unlimited),
        Some(text) => text.parse().map(Limit::At).map_err(|_| "--limit N".to_owned()),
        None => Err("--limit is missing".to_owned()),
    };
    let mode = if words.option("mode") == Some("shadow") { RuleMode::Shadow } else { RuleMode::Enforce };
    Ok(match (words.verb.as_str(), child) {
        ("rule", None) => limiter::Command::CreateRule(CreateRule {
            name: rule.into(),
            key_values: pattern(rest),
            limit: limit()?,
            mode,
        }),
        ("override", Some(child)) => limiter::Command::CreateOverride(CreateOverride {
            rule: named,
            name: child.into(),
            key_values: pattern(rest),
            limit: limit()?,
        }),
        ("edit", None) => limiter::Command::UpdateRule(UpdateRule {
            rule: named,
            name,
            key_values: None,
            limit: limit()?,
            mode,
            if_match,
        }),
        ("edit", Some(child)) => limiter::Command::UpdateOverride(UpdateOverride {
            rule: named,
            override_: Selector::Name(child.into()),
            name,
            key_values: None,
            limit: limit()?,
            if_match,
        }),
        ("delete", None) => limiter::Command::DeleteRule(DeleteRule { rule: named, if_match }),
        ("delete", Some(child)) => {
            let override_ = Selector::Name(child.into());
            limiter::Command::DeleteOverride(DeleteOverride { rule: named, override_, if_match })
        }
        _ => return Err(format!("{path}: a rule, or rule/override?")),
    })
}

fn explain(words: &Words, logged: &Logged) -> Result<Vec<String>, String> {
    let what_if = words.option("what-if").map(|limit| CreateRule {
        name: "what-if".into(),
        key_values: pattern(words.text()),
        limit: limit.parse().map_or(Limit::Unlimited, Limit::At),
        mode: RuleMode::Enforce,
    });
    let amount = words.number("amount")?.unwrap_or(1);
    let machine = &logged.machine;
    let explained = machine.limiter().explain(&kv(words.text()), amount, what_if.as_slice(), machine.lookup(0));
    let explained = explained.map_err(|error| error.to_string())?;
    let mut lines = vec![format!("allowed: {}", explained.allowed)];
    for rule in &explained.rules {
        let verdict = match &rule.verdict {
            Verdict::MissingKey { key } => format!("the counter lacks {key}"),
            Verdict::ValueDiffers { key } => format!("{key} differs"),
            Verdict::Matched(limits) => {
                let limit = |limit: &limiter::LimitExplanation| {
                    let name = limit.override_name.as_deref().map_or_else(String::new, |name| format!("/{name}"));
                    let (used, requested, of) = (limit.used, limit.requested, number(limit.limit));
                    let verdict = if limit.allowed { "fits" } else { "does not" };
                    format!("{name} [{}] {used}+{requested}/{of} {verdict}", limit.bucket)
                };
                limits.iter().map(limit).collect::<Vec<_>>().join(", ")
            }
        };
        lines.push(format!("  {} ({:?}): {}", rule.name, rule.mode, verdict.trim()));
    }
    lines.extend(explained.denied_by.iter().map(|of| format!("  denied by {}", blocking(of))));
    Ok(lines)
}

fn blocking(of: &Blocking) -> String {
    let Blocking { rule_name, override_name, bucket, used, requested, limit, waiting, retry_after_ms, .. } = of;
    let name = override_name.as_deref().map_or_else(|| rule_name.to_string(), |name| format!("{rule_name}/{name}"));
    format!("{name} [{bucket}] {used}+{requested}/{limit}, {waiting} waiting, retry after {retry_after_ms:?}")
}

fn number(limit: Limit) -> String {
    match limit {
        Limit::At(limit) => limit.to_string(),
        Limit::Unlimited => "unlimited".to_owned(),
    }
}

fn rule(view: &limiter::RuleView) -> String {
    let limiter::RuleView { name, key_values, mode, revision, overrides, buckets, shadow_denials, .. } = view;
    let limit = number(view.limit);
    let counts = format!("{overrides} overrides, {buckets} buckets, {shadow_denials} shadow denials");
    format!("rule {name} {{{key_values}}} {limit} {mode:?} revision {revision}: {counts}")
}

fn override_(view: &limiter::OverrideView) -> String {
    let limiter::OverrideView { name, key_values, revision, overlaps, .. } = view;
    format!("override {name} {{{key_values}}} {} revision {revision}, overlaps {overlaps:?}", number(view.limit))
}

fn counter(view: &CounterView) -> String {
    let CounterView { key_values, amount, held, revision, .. } = view;
    format!("{{{key_values}}} {amount} of which held {held}, revision {revision}")
}
