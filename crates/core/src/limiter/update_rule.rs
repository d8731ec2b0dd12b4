//! Changes a rule's limit, mode or name; whoever waited for room is served.

use super::{
    Error, Limiter, Outcome, UpdateRule,
    bucket::LimitRef,
    create_rule::{check_name, check_revision, check_same},
};
use crate::{Context, Reply};

impl Limiter {
    pub(super) fn update_rule(&mut self, command: UpdateRule, cx: &mut Context) -> Reply {
        let UpdateRule { rule, name, key_values, limit, mode, if_match } = command;
        let slot = self.catalogue.find_rule(&rule).ok_or(Error::NoSuchRule)?;
        let stored = self.catalogue.rule(slot);
        check_revision(if_match, stored.revision)?;
        check_same(key_values.as_ref(), &stored.key_values)?;
        let mode_changes = stored.mode != mode;
        if let Some(name) = &name {
            check_name(name)?;
            self.check_rule_name(name, Some(slot))?;
        }
        let crowded = if mode_changes { self.crowded_of_family(slot) } else { self.crowded_of(LimitRef::Rule(slot)) };
        let waiters = self.drain(&crowded);
        self.catalogue.set_rule(slot, limit, mode, cx.next_revision());
        if let Some(name) = name {
            self.catalogue.rename_rule(slot, &name);
        }
        self.reseat(waiters, crowded, cx);
        Ok(Outcome::Rule(self.rule_view(slot)).into())
    }

    /// Buckets of a limit that somebody waits for or watches.
    pub(super) fn crowded_of(&self, limit: LimitRef) -> Vec<u32> {
        self.buckets.crowded_of(limit).collect()
    }

    /// The same for a rule with its overrides.
    pub(super) fn crowded_of_family(&self, rule: u32) -> Vec<u32> {
        let mut crowded = self.crowded_of(LimitRef::Rule(rule));
        let of_overrides = self.buckets.crowded_of_overrides();
        let children = of_overrides.filter(|(override_, _)| self.catalogue.override_(*override_).rule == rule);
        crowded.extend(children.map(|(_, bucket)| bucket));
        crowded
    }
}
