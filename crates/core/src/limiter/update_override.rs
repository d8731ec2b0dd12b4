//! Changes an override's limit or name.

use super::{
    Error, Limiter, Outcome, UpdateOverride,
    bucket::LimitRef,
    create_rule::{check_name, check_revision, check_same},
};
use crate::{Context, Reply};

impl Limiter {
    pub(super) fn update_override(&mut self, command: UpdateOverride, cx: &mut Context) -> Reply {
        let UpdateOverride { rule, override_, name, key_values, limit, if_match } = command;
        let parent = self.catalogue.find_rule(&rule).ok_or(Error::NoSuchRule)?;
        let slot = self.catalogue.find_override(parent, &override_).ok_or(Error::NoSuchOverride)?;
        let stored = self.catalogue.override_(slot);
        check_revision(if_match, stored.revision)?;
        check_same(key_values.as_ref(), &stored.key_values)?;
        if let Some(name) = &name {
            check_name(name)?;
            self.check_override_name(parent, name, Some(slot))?;
        }
        let crowded = self.crowded_of(LimitRef::Override(slot));
        let waiters = self.drain(&crowded);
        if let Some(stored) = self.catalogue.overrides.get_mut(slot) {
            stored.limit = limit;
            stored.revision = cx.next_revision();
        }
        if let Some(name) = name {
            self.catalogue.rename_override(slot, &name);
        }
        self.reseat(waiters, crowded, cx);
        Ok(Outcome::Override(self.override_view(slot)).into())
    }
}
