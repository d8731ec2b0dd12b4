//! Searching the entries of one node.

use std::cmp::Ordering;

use super::{Entry, Probe};

/// Entries of a sorted slice that are less than the probe.
#[inline]
pub(crate) fn lower_bound<P: Probe>(entries: &[Entry], probe: &P) -> usize {
    Span::FULL.lower_bound(entries, probe)
}

/// The words between which all entries of a node lie, as far as the nodes above tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    low: u64,
    high: u64,
}

impl Span {
    pub(super) const FULL: Self = Self { low: 0, high: u64::MAX };
    /// Entries looked at one by one before halving after all.
    const STEPS: usize = 12;

    #[inline]
    pub(super) fn lower_bound<P: Probe>(self, entries: &[Entry], probe: &P) -> usize {
        self.partition(entries, probe, |entry| probe.compare(entry) == Ordering::Greater)
    }

    /// The child to descend to, by the least entries of all children but the first; the
    /// span becomes the child's.
    #[inline]
    pub(super) fn child<P: Probe>(&mut self, separators: &[Entry], probe: &P) -> usize {
        let at = self.partition(separators, probe, |entry| probe.compare(entry) != Ordering::Less);
        if P::EVEN {
            self.low = at.checked_sub(1).map_or(self.low, |before| separators[before].word());
            self.high = separators.get(at).map_or(self.high, Entry::word);
        }
        at
    }

    /// How many entries, from the first, are `before`.
    #[inline]
    fn partition<P: Probe>(self, entries: &[Entry], probe: &P, before: impl Fn(&Entry) -> bool) -> usize {
        if !P::EVEN || entries.len() < Self::STEPS {
            return entries.partition_point(before);
        }
        let part = probe.word().saturating_sub(self.low) as f64 / (self.high - self.low).max(1) as f64;
        let guess = ((part * entries.len() as f64) as usize).min(entries.len() - 1);
        let (left, right) = entries.split_at(guess);
        if right.first().is_some_and(&before) {
            let steps = right.iter().take(Self::STEPS).take_while(|entry| before(entry)).count();
            let known = guess + steps;
            return if steps < Self::STEPS { known } else { known + entries[known..].partition_point(before) };
        }
        let steps = left.iter().rev().take(Self::STEPS).take_while(|entry| !before(entry)).count();
        let known = guess - steps;
        if steps < Self::STEPS { known } else { entries[..known].partition_point(before) }
    }
}
