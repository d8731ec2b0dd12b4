//! Rules and overrides, and which of them a counter falls under.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use willow_model::{
    KeyValues, Revision, ValueRef,
    bugs::{self, Bug},
    reserved,
};
use willow_query::{Index, Options, PatternTrie};

use super::{
    Limit, RuleMode, Selector,
    bucket::LimitRef,
    rows::{Override, Rule},
};
use crate::table::Table;

/// Stored rules and overrides, with all that finds them.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) rules: Table<Rule>,
    pub(super) overrides: Table<Override>,
    /// Derived, like all below: rules that a counter falls under.
    rule_patterns: PatternTrie,
    override_patterns: PatternTrie,
    pub(super) rule_index: Index,
    pub(super) override_index: Index,
    rule_names: BTreeMap<Box<str>, u32>,
    override_names: BTreeMap<(u32, Box<str>), u32>,
    /// How many rules are in shadow mode.
    pub(super) shadows: usize,
    /// Overrides of each rule that has some.
    children: BTreeMap<u32, RoaringBitmap>,
}

impl Default for Catalogue {
    fn default() -> Self {
        let reverse = Options { reverse: true, ..Options::default() };
        Self {
            rules: Table::default(),
            overrides: Table::default(),
            rule_patterns: PatternTrie::default(),
            override_patterns: PatternTrie::default(),
            rule_index: Index::new(reverse),
            override_index: Index::new(reverse),
            rule_names: BTreeMap::new(),
            override_names: BTreeMap::new(),
            shadows: 0,
            children: BTreeMap::new(),
        }
    }
}

/// A limit as an admission sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) limit: Limit,
    pub(super) mode: RuleMode,
}

impl Terms {
    /// Does `requested` fit on top of `used`?
    pub(super) fn fits(self, used: u128, requested: u64) -> bool {
        let requested = if bugs::is_on(Bug::LimitWithoutAmount) { 1 } else { requested };
        match self.limit {
            Limit::At(limit) => used + u128::from(requested) <= u128::from(limit),
            Limit::Unlimited => true,
        }
    }

    /// Could `requested` ever fit, with nothing else counted? A shadow rule lets everything pass.
    pub(super) fn could_fit(self, requested: u64) -> bool {
        self.mode == RuleMode::Shadow || self.fits(0, requested)
    }

    /// Would `requested` pass on top of `used`?
    pub(super) fn passes(self, used: u128, requested: u64) -> bool {
        self.mode == RuleMode::Shadow || self.fits(used, requested)
    }
}

impl Catalogue {
    pub(super) fn rule(&self, slot: u32) -> &Rule {
        self.rules.get(slot).expect("a rule outlives its overrides and buckets")
    }

    pub(super) fn override_(&self, slot: u32) -> &Override {
        self.overrides.get(slot).expect("an override outlives its buckets")
    }

    pub(super) fn find_rule(&self, selector: &Selector) -> Option<u32> {
        match selector {
            Selector::Id(id) => self.rules.slot(id),
            Selector::Name(name) => self.rule_names.get(name).copied(),
        }
    }

    /// Only overrides of the rule in this slot are found.
    pub(super) fn find_override(&self, rule: u32, selector: &Selector) -> Option<u32> {
        match selector {
            Selector::Id(id) => self.overrides.slot(id).filter(|slot| self.override_(*slot).rule == rule),
            Selector::Name(name) => self.override_names.get(&(rule, name.clone())).copied(),
        }
    }

    /// Overrides of a rule.
    pub(super) fn children(&self, rule: u32) -> Option<&RoaringBitmap> {
        self.children.get(&rule)
    }

    /// The rule a limit belongs to.
    pub(super) fn rule_of(&self, limit: LimitRef) -> u32 {
        match limit {
            LimitRef::Rule(slot) => slot,
            LimitRef::Override(slot) => self.override_(slot).rule,
        }
    }

    pub(super) fn terms(&self, limit: LimitRef) -> Terms {
        match limit {
            LimitRef::Rule(slot) => {
                let rule = self.rule(slot);
                Terms { limit: rule.limit, mode: rule.mode }
            }
            LimitRef::Override(slot) => {
                let override_ = self.override_(slot);
                Terms { limit: override_.limit, mode: self.rule(override_.rule).mode }
            }
        }
    }

    pub(super) fn pattern(&self, limit: LimitRef) -> &KeyValues {
        match limit {
            LimitRef::Rule(slot) => &self.rule(slot).key_values,
            LimitRef::Override(slot) => &self.override_(slot).key_values,
        }
    }

    /// The limits that a counter falls under, in order: rules without a matching override, then all
    /// matching overrides.
    pub(super) fn limits_of(&self, key_values: &KeyValues) -> Vec<LimitRef> {
        let mut rules = Vec::new();
        if !self.rules.is_empty() {
            self.rule_patterns.matches(key_values, &mut rules);
        }
        let mut overrides = Vec::new();
        if !rules.is_empty() && !self.overrides.is_empty() {
            self.override_patterns.matches(key_values, &mut overrides);
        }
        let mut replaced: Vec<u32> = overrides.iter().map(|slot| self.override_(*slot).rule).collect();
        replaced.sort_unstable();
        let own = rules.into_iter().filter(|rule| replaced.binary_search(rule).is_err()).map(LimitRef::Rule);
        own.chain(overrides.into_iter().map(LimitRef::Override)).collect()
    }

    pub(super) fn insert_rule(&mut self, rule: Rule) -> u32 {
        let slot = self.rules.insert(rule);
        self.link_rule(slot);
        slot
    }

    fn link_rule(&mut self, slot: u32) {
        let rule = self.rules.get(slot).expect("the caller stored it");
        self.shadows += usize::from(rule.mode == RuleMode::Shadow);
        self.rule_patterns.insert(slot, &rule.key_values);
        let extra = [(reserved::RULE_NAME, ValueRef::String(&rule.name))];
        self.rule_index.insert(slot, rule.id, &rule.key_values, &extra);
        self.rule_names.insert(rule.name.clone(), slot);
    }

    /// Removes a rule, whose overrides are gone.
    pub(super) fn remove_rule(&mut self, slot: u32) {
        let Some(rule) = self.rules.remove(slot) else { return };
        self.shadows -= usize::from(rule.mode == RuleMode::Shadow);
        self.rule_patterns.remove(slot, &rule.key_values);
        self.rule_index.remove(slot);
        self.rule_names.remove(&rule.name);
    }

    pub(super) fn set_rule(&mut self, slot: u32, limit: Limit, mode: RuleMode, revision: Revision) {
        let Some(rule) = self.rules.get_mut(slot) else { return };
        self.shadows -= usize::from(rule.mode == RuleMode::Shadow);
        self.shadows += usize::from(mode == RuleMode::Shadow);
        (rule.limit, rule.mode, rule.revision) = (limit, mode, revision);
    }

    pub(super) fn rename_rule(&mut self, slot: u32, name: &str) {
        let Some(rule) = self.rules.get_mut(slot) else { return };
        let old = std::mem::replace(&mut rule.name, name.into());
        self.rule_names.remove(&old);
        self.rule_names.insert(name.into(), slot);
        self.rule_index.set_extra(slot, reserved::RULE_NAME, Some(ValueRef::String(name)));
        for child in self.children.get(&slot).into_iter().flatten() {
            self.override_index.set_extra(child, reserved::RULE_NAME, Some(ValueRef::String(name)));
        }
    }

    pub(super) fn insert_override(&mut self, override_: Override) -> u32 {
        let slot = self.overrides.insert(override_);
        self.link_override(slot);
        slot
    }

    fn link_override(&mut self, slot: u32) {
        let override_ = self.overrides.get(slot).expect("the caller stored it");
        let rule = override_.rule;
        let parent = self.rules.get(rule).expect("a rule outlives its overrides");
        self.override_patterns.insert(slot, &override_.key_values);
        let extra = [(reserved::RULE_NAME, ValueRef::String(&parent.name))];
        self.override_index.insert(slot, override_.id, &override_.key_values, &extra);
        self.override_names.insert((rule, override_.name.clone()), slot);
        self.children.entry(rule).or_default().insert(slot);
    }

    pub(super) fn remove_override(&mut self, slot: u32) {
        let Some(override_) = self.overrides.remove(slot) else { return };
        self.override_patterns.remove(slot, &override_.key_values);
        self.override_index.remove(slot);
        self.override_names.remove(&(override_.rule, override_.name));
        if let Some(children) = self.children.get_mut(&override_.rule) {
            children.remove(slot);
            if children.is_empty() {
                self.children.remove(&override_.rule);
            }
        }
    }

    pub(super) fn rename_override(&mut self, slot: u32, name: &str) {
        let Some(override_) = self.overrides.get_mut(slot) else { return };
        let old = std::mem::replace(&mut override_.name, name.into());
        let rule = override_.rule;
        self.override_names.remove(&(rule, old));
        self.override_names.insert((rule, name.into()), slot);
    }

    pub(super) fn rebuild(&mut self) {
        let rules: Vec<u32> = self.rules.iter().map(|(slot, _)| slot).collect();
        rules.into_iter().for_each(|slot| self.link_rule(slot));
        let overrides: Vec<u32> = self.overrides.iter().map(|(slot, _)| slot).collect();
        overrides.into_iter().for_each(|slot| self.link_override(slot));
    }
}
