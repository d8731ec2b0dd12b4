//! Waiting consumers, grouped by what they would take.
//!
//! A channel that becomes eligible is matched against groups, not consumers, and only against those
//! whose equality term it has, or that have none: a thousand queries on a thousand values cost one.

use std::collections::{BTreeMap, BTreeSet};

use willow_model::KeyValues;
use willow_query::{Compiled, Filter, Index, Op, Query};

use super::{Dequeue, Order, Taint, Toleration, TolerationOperator, rows::Channel};
use crate::WaiterId;

/// A key and the part of an encoding that all values equal to one have in common.
type Term = (Box<str>, Box<[u8]>);

/// Consumers with the same query and tolerations, first come first.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) compiled: Compiled,
    pub(super) tolerations: Vec<Toleration>,
    pub(super) waiters: BTreeSet<WaiterId>,
    key: Vec<u8>,
    /// One of them holds for every match; none: the group is looked at for every channel.
    terms: Vec<Term>,
}

/// All groups of one queue.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<u64, Group>,
    by_key: BTreeMap<Vec<u8>, u64>,
    by_term: BTreeMap<Term, BTreeSet<u64>>,
    without_term: BTreeSet<u64>,
    next: u64,
    waiting: usize,
}

/// What a dequeue asks of a channel: its conditions, and the keys that its order may exclude by.
pub(super) fn condition(dequeue: &Dequeue) -> Query {
    let order_by = match &dequeue.order {
        Order::By(keys) => keys.clone(),
        _ => vec![],
    };
    let Query { filter, ids, key_count, matching, .. } = dequeue.query.clone();
    Query { filter, ids, key_count, matching, order_by, limit: 1, ..Query::default() }
}

/// Does one of the tolerations tolerate each taint?
pub(super) fn tolerates(tolerations: &[Toleration], taints: &[Taint]) -> bool {
    let tolerated = |taint: &Taint, toleration: &Toleration| {
        toleration.key.as_ref().is_none_or(|key| *key == taint.key)
            && toleration.effect.is_none_or(|effect| effect == taint.effect)
            && match &toleration.operator {
                TolerationOperator::Exists => true,
                TolerationOperator::Equal(value) => *value == taint.value,
            }
    };
    taints.iter().all(|taint| tolerations.iter().any(|toleration| tolerated(taint, toleration)))
}

impl Groups {
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn insert(&mut self, waiter: WaiterId, dequeue: &Dequeue, index: &Index) {
        let query = condition(dequeue);
        let key = postcard::to_stdvec(&(&query, &dequeue.tolerations)).expect("queries have no unsupported types");
        self.waiting += 1;
        if let Some(group) = self.by_key.get(&key).and_then(|number| self.groups.get_mut(number)) {
            group.waiters.insert(waiter);
            return;
        }
        let number = self.next;
        self.next += 1;
        let terms = equality_terms(&query.filter);
        for term in &terms {
            self.by_term.entry(term.clone()).or_default().insert(number);
        }
        if terms.is_empty() {
            self.without_term.insert(number);
        }
        self.by_key.insert(key.clone(), number);
        self.groups.insert(
            number,
            Group {
                compiled: index.compile(&query),
                tolerations: dequeue.tolerations.clone(),
                waiters: BTreeSet::from([waiter]),
                key,
                terms,
            },
        );
    }

    pub(super) fn remove(&mut self, waiter: WaiterId, dequeue: &Dequeue) {
        let key = postcard::to_stdvec(&(condition(dequeue), &dequeue.tolerations))
            .expect("queries have no unsupported types");
        let Some(&number) = self.by_key.get(&key) else { return };
        let Some(group) = self.groups.get_mut(&number) else { return };
        if !group.waiters.remove(&waiter) {
            return;
        }
        self.waiting -= 1;
        if !group.waiters.is_empty() {
            return;
        }
        let Some(Group { key, terms, .. }) = self.groups.remove(&number) else { return };
        self.by_key.remove(&key);
        self.without_term.remove(&number);
        for term in terms {
            if let Some(numbers) = self.by_term.get_mut(&term) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.by_term.remove(&term);
                }
            }
        }
    }

    /// The consumer that waits longest of those whose query and tolerations fit the channel.
    pub(super) fn first_match(&self, slot: u32, channel: &Channel, index: &Index) -> Option<WaiterId> {
        self.matches(slot, channel, index).filter_map(|group| group.waiters.first().copied()).min()
    }

    /// Groups whose query and tolerations fit the channel.
    pub(super) fn matches<'a>(
        &'a self,
        slot: u32,
        channel: &'a Channel,
        index: &'a Index,
    ) -> impl Iterator<Item = &'a Group> {
        let mut numbers = self.without_term.clone();
        if !self.by_term.is_empty() {
            for term in terms_of(channel) {
                numbers.extend(self.by_term.get(&term).into_iter().flatten());
            }
        }
        numbers.into_iter().filter_map(|number| self.groups.get(&number)).filter(move |group| {
            tolerates(&group.tolerations, channel.taints()) && index.matches(slot, &group.compiled)
        })
    }

    /// One consumer of each group, the longest waiting first.
    pub(super) fn firsts(&self) -> Vec<WaiterId> {
        let mut firsts: Vec<WaiterId> =
            self.groups.values().filter_map(|group| group.waiters.first().copied()).collect();
        firsts.sort_unstable();
        firsts
    }

    pub(super) fn waiters(&self) -> impl Iterator<Item = WaiterId> {
        self.groups.values().flat_map(|group| group.waiters.iter().copied())
    }

    /// Who waits next longest for the same as this consumer.
    pub(super) fn next_of_group(&self, waiter: WaiterId, dequeue: &Dequeue) -> Option<WaiterId> {
        let key = postcard::to_stdvec(&(condition(dequeue), &dequeue.tolerations)).ok()?;
        let group = self.groups.get(self.by_key.get(&key)?)?;
        group.waiters.range(WaiterId(waiter.0 + 1)..).next().copied()
    }
}

/// Equality terms one of which holds for every match of the filter; empty when there are none.
fn equality_terms(filter: &Filter) -> Vec<Term> {
    match filter {
        Filter::Term { key, op: Op::Eq(value) } => vec![term(key, value.as_ref())],
        Filter::Term { key, op: Op::In(values) } => values.iter().map(|value| term(key, value.as_ref())).collect(),
        Filter::And(parts) => {
            let terms = parts.iter().map(equality_terms).filter(|terms| !terms.is_empty());
            terms.min_by_key(Vec::len).unwrap_or_default()
        }
        Filter::Or(parts) => {
            let terms: Vec<Vec<Term>> = parts.iter().map(equality_terms).collect();
            if terms.iter().any(Vec::is_empty) { vec![] } else { terms.concat() }
        }
        Filter::Not(_) | Filter::Term { .. } => vec![],
    }
}

fn term(key: &str, value: willow_model::ValueRef<'_>) -> Term {
    (key.into(), value.equal_range().start.into())
}

/// The terms that a channel has.
fn terms_of(channel: &Channel) -> impl Iterator<Item = Term> {
    let own = |pairs: &KeyValues| pairs.iter().map(|(key, value)| term(key, value)).collect::<Vec<Term>>();
    let metadata = channel.meta.iter().flat_map(|meta| &meta.pairs);
    own(&channel.key_values).into_iter().chain(metadata.map(|(key, value)| term(&metadata_key(key), value.as_ref())))
}

/// How queries name a key of metadata.
pub(super) fn metadata_key(key: &str) -> String {
    format!("{}{key}", willow_model::METADATA_PREFIX)
}
