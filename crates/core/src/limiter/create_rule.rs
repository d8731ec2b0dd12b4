//! Adds a rule; counters that are there already are counted at once.

use willow_model::{KeyValues, Revision};

use super::{CreateRule, Error, Limiter, Outcome, bucket::LimitRef, rows::Rule};
use crate::{Context, Reply, limits};

impl Limiter {
    pub(super) fn create_rule(&mut self, command: CreateRule, cx: &mut Context) -> Reply {
        let CreateRule { name, key_values, limit, mode } = command;
        check_name(&name)?;
        let id = Rule::id_of(&key_values);
        if self.catalogue.rules.slot(&id).is_some() {
            return Err(Error::AlreadyExists { existing: id }.into());
        }
        self.check_rule_name(&name, None)?;
        if self.catalogue.rules.len() >= limits::RULES {
            return Err(Error::TooMany.into());
        }
        let rule = Rule {
            id,
            name,
            key_values: key_values.clone(),
            limit,
            mode,
            revision: cx.next_revision(),
            shadow_denials: 0,
            epoch: Revision(0),
        };
        let slot = self.catalogue.insert_rule(rule);
        self.relocate(&key_values, |_, limits| limits.push(LimitRef::Rule(slot)));
        Ok(Outcome::Rule(self.rule_view(slot)).into())
    }

    /// Refuses a name that another rule has.
    pub(super) fn check_rule_name(&self, name: &str, of: Option<u32>) -> Result<(), Error> {
        match self.catalogue.find_rule(&super::Selector::Name(name.into())) {
            Some(other) if Some(other) != of => Err(Error::AlreadyExists { existing: self.catalogue.rule(other).id }),
            _ => Ok(()),
        }
    }
}

/// Refuses what cannot be a name.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    willow_model::check_name(name)
        .map_err(|error| Error::OutOfBounds { field: "name".into(), bounds: error.to_string().into() })
}

/// Refuses key values that are not what a stored resource has: they never change.
pub(super) fn check_same(given: Option<&KeyValues>, stored: &KeyValues) -> Result<(), Error> {
    if given.is_some_and(|given| given != stored) { Err(Error::KeyValuesChanged) } else { Ok(()) }
}

/// Refuses an edit of something that changed meanwhile.
pub(super) fn check_revision(if_match: Option<Revision>, current: Revision) -> Result<(), Error> {
    if if_match.is_some_and(|expected| expected != current) { Err(Error::RevisionMismatch { current }) } else { Ok(()) }
}
