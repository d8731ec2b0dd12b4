//! Removes a rule with its overrides; whoever they kept waiting is served.

use super::{DeleteRule, Error, Limiter, Outcome, bucket::LimitRef, create_rule::check_revision};
use crate::{Context, Reply};

impl Limiter {
    pub(super) fn delete_rule(&mut self, command: DeleteRule, cx: &mut Context) -> Reply {
        let DeleteRule { rule, if_match } = command;
        let slot = self.catalogue.find_rule(&rule).ok_or(Error::NoSuchRule)?;
        let stored = self.catalogue.rule(slot);
        check_revision(if_match, stored.revision)?;
        let pattern = stored.key_values.clone();
        let crowded = self.crowded_of_family(slot);
        let waiters = self.drain(&crowded);
        self.relocate(&pattern, |limiter, limits| {
            limits.retain(|limit: &LimitRef| limiter.catalogue.rule_of(*limit) != slot);
        });
        crowded.iter().for_each(|bucket| self.end_watches(*bucket));
        let children = self.catalogue.children(slot).cloned().unwrap_or_default();
        children.into_iter().for_each(|child| self.catalogue.remove_override(child));
        self.catalogue.remove_rule(slot);
        self.reseat(waiters, crowded, cx);
        Ok(Outcome::Deleted.into())
    }
}
