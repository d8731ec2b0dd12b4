//! Adds an override: it takes the place of its rule for the counters it matches.

use roaring::RoaringBitmap;
use willow_model::{KeyValues, encoding::ENCODED_ANY};

use super::{
    CreateOverride, Error, Limiter, Outcome, Selector, bucket::LimitRef, create_rule::check_name, rows::Override,
};
use crate::{Context, Reply, limits};

impl Limiter {
    pub(super) fn create_override(&mut self, command: CreateOverride, cx: &mut Context) -> Reply {
        let CreateOverride { rule, name, key_values, limit } = command;
        check_name(&name)?;
        let parent = self.catalogue.find_rule(&rule).ok_or(Error::NoSuchRule)?;
        let rule = self.catalogue.rule(parent);
        check_narrower(&rule.key_values, &key_values)?;
        let id = Override::id_of(rule.id, &key_values);
        if self.catalogue.overrides.slot(&id).is_some() {
            return Err(Error::AlreadyExists { existing: id }.into());
        }
        self.check_override_name(parent, &name, None)?;
        let siblings = self.catalogue.children(parent).map_or(0, RoaringBitmap::len);
        if self.catalogue.overrides.len() >= limits::OVERRIDES || siblings >= limits::OVERRIDES_PER_RULE {
            return Err(Error::TooMany.into());
        }
        let overlaps = self.overlaps(parent, &key_values);
        let crowded = self.crowded_of(LimitRef::Rule(parent));
        let waiters = self.drain(&crowded);
        // What is parked under the rule may fall under the override now.
        crowded.iter().for_each(|bucket| self.end_watches(*bucket));
        let revision = cx.next_revision();
        if let Some(rule) = self.catalogue.rules.get_mut(parent) {
            rule.epoch = revision;
        }
        let stored = Override { id, rule: parent, name, key_values: key_values.clone(), limit, revision };
        let slot = self.catalogue.insert_override(stored);
        self.relocate(&key_values, |_, limits| {
            limits.retain(|limit| *limit != LimitRef::Rule(parent));
            limits.push(LimitRef::Override(slot));
        });
        self.reseat(waiters, crowded, cx);
        let mut view = self.override_view(slot);
        view.overlaps = overlaps;
        Ok(Outcome::Override(view).into())
    }

    /// Refuses a name that another override of the rule has.
    pub(super) fn check_override_name(&self, rule: u32, name: &str, of: Option<u32>) -> Result<(), Error> {
        match self.catalogue.find_override(rule, &Selector::Name(name.into())) {
            Some(other) if Some(other) != of => {
                Err(Error::AlreadyExists { existing: self.catalogue.override_(other).id })
            }
            _ => Ok(()),
        }
    }
}

/// Refuses an override that lacks a key of its rule, or has another value where the rule has one.
fn check_narrower(rule: &KeyValues, override_: &KeyValues) -> Result<(), Error> {
    for (key, wanted) in rule.encoded_pairs() {
        let found = override_.get_encoded(key);
        if found.is_none() || (wanted != ENCODED_ANY && found != Some(wanted)) {
            return Err(Error::NotNarrower { key: key.into() });
        }
    }
    Ok(())
}
