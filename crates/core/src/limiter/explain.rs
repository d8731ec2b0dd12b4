//! Why would an increment pass or not? The same evaluation as the increment's, told in full.

use std::collections::BTreeMap;

use willow_model::{Key, KeyValues, ValueRef, reserved};
use willow_query::{Direction, Filter, Missing, Op, OrderBy, Query};

use super::{
    Blocking, CreateRule, EXPLAINED_RULES, Error, Explanation, Limit, LimitExplanation, Limiter, RuleExplanation,
    RuleMode, Verdict,
    admission::{Seat, Target, bucket_of, clamp},
    bucket::LimitRef,
    catalogue::Terms,
    rows::Rule,
};
use crate::machine::Lookup;

/// The limits of one rule that stand for it, and those of them that deny.
#[derive(Default)]
struct Limits {
    shown: Vec<LimitExplanation>,
    denied_by: Vec<Blocking>,
}

/// One question, with what the answer gathers by rule name.
struct Question<'a> {
    target: Target,
    amount: u64,
    now_ms: u64,
    /// Unsaved rules by name.
    unsaved: BTreeMap<&'a str, &'a CreateRule>,
}

impl Limiter {
    /// Why would an increment pass or not? `what_if` are unsaved rules. One with the name of a stored
    /// rule stands in for it, and has the stored one's overrides if its key values are the same.
    ///
    /// # Errors
    /// As the increment: when no limit is in the way, but the counter would leave 64 bits.
    pub fn explain(
        &self,
        key_values: &KeyValues,
        amount: u64,
        what_if: &[CreateRule],
        cx: Lookup<'_>,
    ) -> Result<Explanation, Error> {
        let question = Question {
            target: self.target(key_values),
            amount,
            now_ms: cx.now_ms,
            unsaved: what_if.iter().map(|rule| (&*rule.name, rule)).collect(),
        };
        let mut by_rule = self.stored_limits(&question);
        let mut denied_by = self.stored_denials(&question);
        let (stored, truncated) = self.candidates(key_values);
        let mut rules = Vec::new();
        for slot in stored {
            let rule = self.catalogue.rule(slot);
            if question.unsaved.contains_key(&*rule.name) {
                continue;
            }
            let limits = by_rule.remove(&slot).map(|limits| limits.shown);
            rules.push(RuleExplanation {
                rule: Some(rule.id),
                name: rule.name.clone(),
                key_values: rule.key_values.clone(),
                mode: rule.mode,
                verdict: verdict(&rule.key_values, key_values, limits),
            });
        }
        for rule in question.unsaved.values() {
            let limits = self.unsaved_limits(&question, rule);
            rules.extend(limits.map(|limits| {
                denied_by.extend(limits.denied_by);
                unsaved_explanation(rule, key_values, limits.shown)
            }));
        }
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        let truncated = truncated || rules.len() > EXPLAINED_RULES;
        rules.truncate(EXPLAINED_RULES);
        let allowed = denied_by.is_empty();
        if allowed {
            self.check_sum(&question.target, amount)?;
        }
        Ok(Explanation { revision: cx.revision, allowed, rules, truncated, denied_by })
    }

    /// The limits of stored rules that the counter falls under, by rule.
    fn stored_limits(&self, question: &Question<'_>) -> BTreeMap<u32, Limits> {
        let mut by_rule = BTreeMap::<u32, Limits>::new();
        for seat in &question.target.seats {
            let terms = self.catalogue.terms(seat.limit);
            self.explain_seat(question, *seat, terms, by_rule.entry(self.catalogue.rule_of(seat.limit)).or_default());
        }
        by_rule
    }

    /// All that denies, but for rules that an unsaved one stands in for; as an increment says it.
    fn stored_denials(&self, question: &Question<'_>) -> Vec<Blocking> {
        let Question { target, amount, now_ms, unsaved } = question;
        let stored = |seat: &&Seat| {
            let rule = self.catalogue.rule(self.catalogue.rule_of(seat.limit));
            !unsaved.contains_key(&*rule.name) && !self.passes(**seat, *amount, None)
        };
        let denying = target.seats.iter().filter(stored);
        denying.map(|seat| self.show(*seat, &target.key_values, *amount, *now_ms)).collect()
    }

    fn explain_seat(&self, question: &Question<'_>, seat: Seat, terms: Terms, into: &mut Limits) {
        let override_ = match seat.limit {
            LimitRef::Rule(_) => None,
            LimitRef::Override(slot) => Some(self.catalogue.override_(slot)),
        };
        let fits = terms.fits(self.used(seat), question.amount);
        let waiting = self.waiting(seat);
        let shown = LimitExplanation {
            override_: override_.map(|override_| override_.id),
            override_name: override_.map(|override_| override_.name.clone()),
            bucket: self.bucket_pairs(seat.limit, &question.target.key_values),
            used: clamp(self.used(seat)),
            requested: question.amount,
            limit: terms.limit,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            allowed: fits && waiting == 0,
        };
        if !shown.allowed && terms.mode == RuleMode::Enforce {
            let blocking = self.show(seat, &question.target.key_values, question.amount, question.now_ms);
            into.denied_by.push(Blocking { limit: number(terms.limit), ..blocking });
        }
        into.shown.push(shown);
    }

    /// Stored rules with a key in common with the counter, by name; and whether there are more.
    fn candidates(&self, key_values: &KeyValues) -> (Vec<u32>, bool) {
        let exists = |(key, _): (&str, ValueRef<'_>)| Some(Filter::term(Key::new(key).ok()?, Op::Exists(true)));
        let Ok(name) = Key::new(reserved::RULE_NAME) else { return (Vec::new(), false) };
        let query = Query {
            order_by: vec![OrderBy { key: name, direction: Direction::Asc, missing: Missing::Last }],
            limit: u32::try_from(EXPLAINED_RULES).unwrap_or(u32::MAX),
            ..Query::of(Filter::or(key_values.iter().filter_map(exists)))
        };
        let run = willow_query::Run { budget: usize::MAX, ..willow_query::Run::new(&[0; 32], b"") };
        let page = self.catalogue.rule_index.run(&query, &run).unwrap_or_default();
        (page.docs, page.next_page_token.is_some())
    }

    /// The limits that stand for an unsaved rule; `None` when it has no key in common.
    fn unsaved_limits(&self, question: &Question<'_>, rule: &CreateRule) -> Option<Limits> {
        let key_values = &question.target.key_values;
        if !rule.key_values.iter().any(|(key, _)| key_values.get_encoded(key).is_some()) {
            return None;
        }
        if !willow_query::eval::pattern_matches(&rule.key_values, key_values) {
            return Some(Limits::default());
        }
        let terms = Terms { limit: rule.limit, mode: rule.mode };
        if let Some(slot) = self.catalogue.find_rule(&super::Selector::Name(rule.name.clone()))
            && self.catalogue.rule(slot).key_values == rule.key_values
        {
            let mut limits = Limits::default();
            for seat in question.target.seats.iter().filter(|seat| self.catalogue.rule_of(seat.limit) == slot) {
                let own = matches!(seat.limit, LimitRef::Rule(_));
                let limit = if own { rule.limit } else { self.catalogue.terms(seat.limit).limit };
                self.explain_seat(question, *seat, Terms { limit, ..terms }, &mut limits);
            }
            return Some(limits);
        }
        Some(self.unsaved_bucket(question, rule, terms))
    }

    /// A bucket that is not kept: here alone its counters are summed.
    fn unsaved_bucket(&self, question: &Question<'_>, rule: &CreateRule, terms: Terms) -> Limits {
        let bucket = bucket_of(&rule.key_values, &question.target.key_values);
        let counters = self.counters.index.matched_by(&bucket, usize::MAX).unwrap_or_default();
        let amount = |slot: &u32| {
            let counter = self.counters.row(*slot);
            u128::from(counter.free) + u128::from(counter.held)
        };
        let used: u128 = counters.iter().map(amount).sum();
        let shown = LimitExplanation {
            override_: None,
            override_name: None,
            bucket: bucket.clone(),
            used: clamp(used),
            requested: question.amount,
            limit: rule.limit,
            waiting: 0,
            allowed: terms.fits(used, question.amount),
        };
        let denies = !shown.allowed && rule.mode == RuleMode::Enforce;
        let blocking = denies.then(|| Blocking {
            rule: Rule::id_of(&rule.key_values),
            rule_name: rule.name.clone(),
            override_: None,
            override_name: None,
            bucket,
            used: clamp(used),
            requested: question.amount,
            limit: number(rule.limit),
            waiting: 0,
            retry_after_ms: None,
        });
        Limits { shown: vec![shown], denied_by: blocking.into_iter().collect() }
    }
}

fn unsaved_explanation(rule: &CreateRule, key_values: &KeyValues, limits: Vec<LimitExplanation>) -> RuleExplanation {
    RuleExplanation {
        rule: None,
        name: rule.name.clone(),
        key_values: rule.key_values.clone(),
        mode: rule.mode,
        verdict: verdict(&rule.key_values, key_values, Some(limits)),
    }
}

/// Why a rule does not match, or the limits that stand for it.
fn verdict(pattern: &KeyValues, key_values: &KeyValues, limits: Option<Vec<LimitExplanation>>) -> Verdict {
    for (key, wanted) in pattern.iter() {
        match key_values.get(key) {
            None => return Verdict::MissingKey { key: key.into() },
            Some(found) if wanted != ValueRef::Any && wanted != found => {
                return Verdict::ValueDiffers { key: key.into() };
            }
            Some(_) => {}
        }
    }
    Verdict::Matched(limits.unwrap_or_default())
}

const fn number(limit: Limit) -> u64 {
    match limit {
        Limit::At(limit) => limit,
        Limit::Unlimited => u64::MAX,
    }
}
