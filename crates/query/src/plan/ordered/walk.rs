//! The walk: level by level through the keys to order by, then by id.

use std::ops::ControlFlow;

use super::{BATCH, Level, Scope, Search, Stop, prefer_sort};
use crate::ast::{Direction, Missing};
use crate::index::{Cursor, Entry, IdProbe, Posting};
use crate::plan::bind::Bound;
use crate::plan::compile::Test;

impl<'a> Search<'a> {
    /// The documents at `depth` and below that are in the scope, in order.
    pub(super) fn level(&mut self, depth: usize, resuming: bool) -> ControlFlow<Stop> {
        let Some(level) = self.levels.get(depth) else {
            return self.by_id(resuming);
        };
        let (missing, from) = (level.order.missing, self.resume_value(depth, resuming));
        match (missing, from) {
            (Missing::First, None) => {
                self.absent(depth, false)?;
                self.values(depth, None)
            }
            (Missing::First, Some(None)) => {
                self.absent(depth, true)?;
                self.values(depth, None)
            }
            (Missing::First | Missing::Exclude, Some(Some(from))) => self.values(depth, Some(&from)),
            (Missing::Exclude, _) => self.values(depth, None),
            (Missing::Last, Some(None)) => self.absent(depth, true),
            (Missing::Last, from) => {
                self.values(depth, from.flatten().as_deref())?;
                self.absent(depth, false)
            }
        }
    }

    /// The value that the page before ended at, if this level takes it up there.
    fn resume_value(&self, depth: usize, resuming: bool) -> Option<Option<Box<[u8]>>> {
        let after = self.after.as_ref().filter(|_| resuming)?;
        after.values.get(depth).cloned()
    }

    /// The documents without the level's key.
    fn absent(&mut self, depth: usize, resuming: bool) -> ControlFlow<Stop> {
        if self.levels[depth].test.is_some() {
            return ControlFlow::Continue(());
        }
        let scope = Scope::Absent(self.levels[depth].key);
        if self.absent_rows(&scope) == 0 {
            return ControlFlow::Continue(());
        }
        self.scope.push(scope);
        let flow = self.group(depth + 1, resuming);
        self.scope.pop();
        flow
    }

    /// The documents with the level's key, value by value.
    fn values(&mut self, depth: usize, from: Option<&[u8]>) -> ControlFlow<Stop> {
        let Level { order, key: Some(key), test, .. } = self.levels[depth] else {
            return ControlFlow::Continue(());
        };
        let any = Test::any();
        let test = test.unwrap_or(&any);
        if order.direction == Direction::Asc {
            for range in &test.ranges {
                self.ascend(depth, key, test, (&range.start, &range.end), from)?;
            }
        } else {
            for range in test.ranges.iter().rev() {
                self.descend(depth, key, test, (&range.start, &range.end), from)?;
            }
        }
        self.flush()
    }

    fn ascend(
        &mut self,
        depth: usize,
        key: u32,
        test: &Test,
        (start, end): (&[u8], &[u8]),
        from: Option<&[u8]>,
    ) -> ControlFlow<Stop> {
        let (index, start) = (self.index, from.map_or(start, |from| from.max(start)));
        let mut cursor = index.names.keys[key].payload.values.seek(start, &index.names.terms);
        while let Some(entry) = cursor.next() {
            let value = index.names.terms[entry.item].value.as_slice();
            if value >= end {
                break;
            }
            if test.passes_type(value) {
                self.value(depth, entry.item, from == Some(value))?;
            }
        }
        ControlFlow::Continue(())
    }

    fn descend(
        &mut self,
        depth: usize,
        key: u32,
        test: &Test,
        (start, end): (&[u8], &[u8]),
        from: Option<&[u8]>,
    ) -> ControlFlow<Stop> {
        let index = self.index;
        let below = from.filter(|from| *from < end);
        let mut cursor = index.names.keys[key].payload.values.seek(below.unwrap_or(end), &index.names.terms);
        if let Some(from) = below {
            let mut at = cursor.clone();
            let equal = at.next().is_some_and(|entry| index.names.terms[entry.item].value.as_slice() == from);
            cursor = if equal { at } else { cursor };
        }
        while let Some(entry) = cursor.prev() {
            let value = index.names.terms[entry.item].value.as_slice();
            if value < start {
                break;
            }
            if test.passes_type(value) {
                self.value(depth, entry.item, from == Some(value))?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The documents with one value of the level's key.
    fn value(&mut self, depth: usize, term: u32, resuming: bool) -> ControlFlow<Stop> {
        let posting = &self.index.names.terms[term].payload;
        let last = depth + 1 == self.levels.len();
        if !last
            && !resuming
            && let Some(entries) = posting.few()
        {
            return self.few(depth, term, entries);
        }
        if last && !matches!(posting, Posting::Many(_)) {
            let after = self.after.as_ref().filter(|_| resuming).map(|after| after.id.to_u128());
            let mut cursor = posting.first();
            while let Some(entry) = cursor.next() {
                if after.is_none_or(|after| self.index.documents[entry.item].id > after) {
                    self.push(entry.item)?;
                }
            }
            return ControlFlow::Continue(());
        }
        self.flush()?;
        self.scope.push(Scope::Term(term));
        let flow = self.group(depth + 1, resuming);
        self.scope.pop();
        flow
    }

    /// A few documents with one value of a key that is not the last: only where two of
    /// them match is there anything to sort.
    fn few(&mut self, depth: usize, term: u32, entries: &[Entry]) -> ControlFlow<Stop> {
        let mut matching = entries.iter().map(|entry| entry.item).filter(|&doc| self.passes(doc));
        let first = matching.next();
        if first.is_some() && matching.next().is_some() {
            self.flush()?;
            let docs: Vec<u32> = entries.iter().map(|entry| entry.item).collect();
            self.scope.push(Scope::Term(term));
            let flow = self.sort(depth + 1, &docs, false);
            self.scope.pop();
            return flow;
        }
        self.examined += entries.len() - 1;
        // One that does not match still marks how far the walk has come.
        first
            .or_else(|| entries.first().map(|entry| entry.item))
            .map_or(ControlFlow::Continue(()), |doc| self.push(doc))
    }

    /// Documents that the scope has narrowed down to: sorted if few, else walked on.
    fn group(&mut self, depth: usize, resuming: bool) -> ControlFlow<Stop> {
        let scoped = self.scope_driver();
        let candidates = scoped.rows.min(self.driver.rows);
        if !prefer_sort(candidates, self.walk_rows(depth)) || candidates > self.budget {
            return self.level(depth, resuming);
        }
        let driver = if scoped.rows < self.driver.rows { &scoped } else { &self.driver };
        let docs = self.index.collect(driver);
        self.sort(depth, &docs, resuming)
    }

    /// The posting to walk in id order, if one is smaller than all documents.
    pub(super) fn id_source(&self) -> Option<&'a Posting> {
        let scoped = self.scope.iter().filter_map(|scope| match scope {
            Scope::Term(term) => Some(*term),
            Scope::Absent(_) => None,
        });
        let filtered = self.bound.conjuncts().iter().filter_map(|part| match part {
            Bound::Terms { terms, .. } => {
                if let [term] = terms[..] {
                    Some(term)
                } else {
                    None
                }
            }
            _ => None,
        });
        let postings = scoped.chain(filtered).map(|term| &self.index.names.terms[term].payload);
        postings.min_by_key(|posting| posting.len())
    }

    /// The documents in scope by id.
    fn by_id(&mut self, resuming: bool) -> ControlFlow<Stop> {
        let after = self.after.as_ref().filter(|_| resuming).map(|after| after.id.to_u128());
        let probe = after.map(|after| IdProbe::new(after, &self.index.documents));
        let mut cursor: Cursor<'_> = match (self.id_source(), &probe) {
            (Some(posting), Some(probe)) => posting.seek(probe),
            (Some(posting), None) => posting.first(),
            (None, Some(probe)) => self.index.by_id.seek(probe),
            (None, None) => self.index.by_id.first(),
        };
        // The document that the page before ended at.
        let skip = after.and_then(|after| self.index.find(after));
        while let Some(run) = cursor.next_run(self.batch_size()) {
            self.batch.extend(run.iter().map(|entry| entry.item).filter(|&doc| Some(doc) != skip));
            self.flush()?;
        }
        ControlFlow::Continue(())
    }

    /// No more than what is wanted when everything matches.
    fn batch_size(&self) -> usize {
        let exact = matches!(self.bound, Bound::Const(true)) && self.scope.is_empty();
        if exact { self.missing_wanted().min(BATCH) } else { BATCH }
    }

    fn push(&mut self, doc: u32) -> ControlFlow<Stop> {
        self.batch.push(doc);
        if self.batch.len() >= self.batch_size() { self.flush() } else { ControlFlow::Continue(()) }
    }

    /// Tests the gathered documents, which are in order.
    fn flush(&mut self) -> ControlFlow<Stop> {
        let batch = std::mem::take(&mut self.batch);
        let mut full = false;
        for &doc in &batch {
            if self.passes(doc) {
                self.out.push(doc);
                if self.out.len() == self.want {
                    full = true;
                    break;
                }
            }
        }
        self.examined += batch.len();
        if let Some(&doc) = batch.last() {
            let (last, scope) = self.last.get_or_insert_with(|| (doc, Vec::new()));
            *last = doc;
            scope.clear();
            scope.extend_from_slice(&self.scope);
        }
        self.batch = batch;
        self.batch.clear();
        if full { ControlFlow::Break(Stop::Full) } else { self.spent() }
    }

    pub(super) fn limit(&self) -> usize {
        self.budget.min(self.allowance)
    }

    /// Stops when enough documents have been looked at, if that led anywhere.
    pub(super) fn spent(&self) -> ControlFlow<Stop> {
        if self.last.is_some() && self.examined >= self.limit() {
            ControlFlow::Break(Stop::Spent)
        } else {
            ControlFlow::Continue(())
        }
    }
}
