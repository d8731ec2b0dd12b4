//! Removes an override: its counters fall under the rule again, unless another override has them.

use super::{DeleteOverride, Error, Limiter, Outcome, bucket::LimitRef, create_rule::check_revision};
use crate::{Context, Reply};

impl Limiter {
    pub(super) fn delete_override(&mut self, command: DeleteOverride, cx: &mut Context) -> Reply {
        let DeleteOverride { rule, override_, if_match } = command;
        let parent = self.catalogue.find_rule(&rule).ok_or(Error::NoSuchRule)?;
        let slot = self.catalogue.find_override(parent, &override_).ok_or(Error::NoSuchOverride)?;
        let stored = self.catalogue.override_(slot);
        check_revision(if_match, stored.revision)?;
        let pattern = stored.key_values.clone();
        let crowded = self.crowded_of(LimitRef::Override(slot));
        let waiters = self.drain(&crowded);
        self.relocate(&pattern, |limiter, limits| {
            limits.retain(|limit| *limit != LimitRef::Override(slot));
            if !limits.iter().any(|limit| limiter.catalogue.rule_of(*limit) == parent) {
                limits.push(LimitRef::Rule(parent));
            }
        });
        crowded.iter().for_each(|bucket| self.end_watches(*bucket));
        self.catalogue.remove_override(slot);
        self.reseat(waiters, crowded, cx);
        Ok(Outcome::Deleted.into())
    }
}
