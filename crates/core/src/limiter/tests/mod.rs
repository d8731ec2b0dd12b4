//! Tests of the Limiter: the failures it must not have by name, and random commands against a naive
//! model.

mod failures;
mod model;
mod naive;
mod random;
mod waits;

use willow_model::{KeyValues, Value};

use super::*;
use crate::{Outcome as Answer, Refusal, WaiterId};

/// A Limiter with its context, driven as the machine does.
#[derive(Debug, Default)]
struct World {
    limiter: Limiter,
    cx: Context,
}

fn counter(pairs: &[(&str, &str)]) -> KeyValues {
    KeyValues::user(pairs.iter().copied()).unwrap()
}

/// `*` stands for `any`.
fn pattern(pairs: &[(&str, &str)]) -> KeyValues {
    let value = |text: &str| if text == "*" { Value::Any } else { Value::from(text) };
    KeyValues::pattern(pairs.iter().map(|(key, text)| (*key, value(text)))).unwrap()
}

fn by_name(name: &str) -> Selector {
    Selector::Name(name.into())
}

impl World {
    fn at(now_ms: u64) -> Self {
        let mut world = Self::default();
        world.cx.now_ms = now_ms;
        world
    }

    fn run(&mut self, command: Command) -> Reply {
        self.cx.entropy += 1;
        self.limiter.apply(command, &mut self.cx)
    }

    /// Lets time pass, firing what is due.
    fn advance(&mut self, now_ms: u64) {
        while let Some((at_ms, timer)) = self.cx.timers.pop_due(now_ms) {
            self.cx.now_ms = self.cx.now_ms.max(at_ms);
            match timer {
                Timer::Hold(slot) => self.limiter.hold_expired(slot, &mut self.cx),
                Timer::IncrementWait(slot) => self.limiter.wait_expired(slot, &mut self.cx),
                other => panic!("not a timer of the Limiter: {other:?}"),
            }
        }
        self.cx.now_ms = self.cx.now_ms.max(now_ms);
    }

    /// The Limiter as a restore from a snapshot makes it.
    fn restored(&mut self) -> Self {
        let mut other = Self::at(self.cx.now_ms);
        other.cx.revision = self.cx.revision;
        other.cx.next_waiter = self.cx.next_waiter;
        other.cx.entropy = self.cx.entropy;
        for ((_, from), (_, to)) in self.limiter.tables().into_iter().zip(other.limiter.tables()) {
            from.visit(&mut |slot, row| to.restore(slot, row).unwrap());
            to.finish_restore();
        }
        other.limiter.rebuild(&mut other.cx);
        other
    }

    /// All rows, to compare.
    fn rows(&mut self) -> Vec<(u8, u32, Vec<u8>)> {
        let mut rows = Vec::new();
        for (tag, table) in self.limiter.tables() {
            table.visit(&mut |slot, row| rows.push((tag, slot, row.to_vec())));
        }
        rows
    }

    fn rule(&mut self, name: &str, key_values: KeyValues, limit: u64) -> RuleView {
        let mode = RuleMode::Enforce;
        let command = CreateRule { name: name.into(), key_values, limit: Limit::At(limit), mode };
        match self.run(Command::CreateRule(command)) {
            Ok(Answer::Limit(Outcome::Rule(view))) => view,
            other => panic!("{other:?}"),
        }
    }

    fn override_(&mut self, rule: &str, name: &str, key_values: KeyValues, limit: u64) -> OverrideView {
        let command = CreateOverride { rule: by_name(rule), name: name.into(), key_values, limit: Limit::At(limit) };
        match self.run(Command::CreateOverride(command)) {
            Ok(Answer::Limit(Outcome::Override(view))) => view,
            other => panic!("{other:?}"),
        }
    }

    fn limit(&mut self, name: &str, limit: u64, mode: RuleMode) {
        let command = UpdateRule {
            rule: by_name(name),
            name: None,
            key_values: None,
            limit: Limit::At(limit),
            mode,
            if_match: None,
        };
        self.run(Command::UpdateRule(command)).unwrap();
    }

    fn delete_rule(&mut self, name: &str) {
        self.run(Command::DeleteRule(DeleteRule { rule: by_name(name), if_match: None })).unwrap();
    }

    fn try_increment(&mut self, key_values: &KeyValues, amount: u64) -> Result<Incremented, Error> {
        match self.increment(key_values, amount, None, 0) {
            Ok(Answer::Limit(Outcome::Incremented(incremented))) => Ok(incremented),
            Err(Refusal::Limit(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    fn hold(&mut self, key_values: &KeyValues, amount: u64, ttl_ms: u64) -> Id {
        match self.increment(key_values, amount, Some(ttl_ms), 0) {
            Ok(Answer::Limit(Outcome::Incremented(incremented))) => incremented.hold.unwrap().id,
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, key_values: &KeyValues, amount: u64) -> WaiterId {
        match self.increment(key_values, amount, None, 60_000) {
            Ok(Answer::Waiting(waiter)) => waiter,
            other => panic!("{other:?}"),
        }
    }

    fn increment(&mut self, key_values: &KeyValues, amount: u64, hold_ttl_ms: Option<u64>, wait_ms: u64) -> Reply {
        let key_values = key_values.clone();
        self.run(Command::Increment(Increment { key_values, amount, hold_ttl_ms, wait_ms }))
    }

    fn decrement(&mut self, key_values: &KeyValues, amount: u64) -> Reply {
        self.run(Command::Decrement(Decrement { key_values: key_values.clone(), amount }))
    }

    fn release(&mut self, hold: Id) -> Reply {
        self.run(Command::ReleaseHold(ReleaseHold { hold }))
    }

    fn amount(&self, key_values: &KeyValues) -> u64 {
        let slot = self.limiter.counters.rows.slot(&rows::Counter::id_of(key_values));
        slot.map_or(0, |slot| self.limiter.counter_view(slot).amount)
    }

    /// Waits that ended, with whether they were granted.
    fn resolved(&mut self) -> Vec<(WaiterId, bool)> {
        std::mem::take(&mut self.cx.resolved).into_iter().map(|(waiter, reply)| (waiter, reply.is_ok())).collect()
    }

    fn explain(&self, key_values: &KeyValues, amount: u64, what_if: &[CreateRule]) -> Result<Explanation, Error> {
        let lookup =
            crate::machine::Lookup { secret: &[0; 32], seed: 0, now_ms: self.cx.now_ms, revision: self.cx.revision() };
        self.limiter.explain(key_values, amount, what_if, lookup)
    }
}

/// What denies, as (rule, override, used, limit, waiting).
fn names(denied_by: &[Blocking]) -> Vec<String> {
    let name = |blocking: &Blocking| {
        let override_ = blocking.override_name.as_deref().map_or_else(String::new, |name| format!("/{name}"));
        let Blocking { rule_name, bucket, used, requested, limit, waiting, .. } = blocking;
        format!("{rule_name}{override_} [{bucket}] {used}+{requested}/{limit} waiting {waiting}")
    };
    denied_by.iter().map(name).collect()
}
