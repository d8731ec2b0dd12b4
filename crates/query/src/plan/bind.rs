//! Conditions bound to the index as it is now: values become terms, ids become
//! documents, and each knows how many documents it is about.

use std::borrow::Cow;

use roaring::RoaringBitmap;
use willow_model::{KeyValues, encoding::ENCODED_ANY};

use super::compile::{Compiled, KeyRef, Node, Test};
use crate::ast::KeyCount;
use crate::index::{Cursor, Document, IdProbe, Index, Probe, in_tests};

/// A test that passes no more terms than this is a list of them; then its count is
/// exact and testing a document needs no value.
const TERMS_LISTED: usize = in_tests(2, 256);
/// The same for each range of an `in`, which is mostly one term.
const TERMS_LISTED_PER_RANGE: usize = in_tests(1, 4);
/// Terms looked at to guess the documents of a long range.
const SAMPLED_TERMS: usize = 32;

/// A condition on the index as it is now. It borrows the index, so it cannot outlast it.
#[derive(Debug)]
pub(crate) enum Bound<'a> {
    Const(bool),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    /// The document has one of these terms, which are all of one key and sorted.
    Terms {
        key: u32,
        terms: Vec<u32>,
        rows: usize,
        test: &'a Test,
    },
    /// The document has a term of the key that passes.
    Range {
        key: u32,
        test: &'a Test,
        rows: usize,
    },
    /// The document has no term of the key.
    Absent {
        key: u32,
    },
    KeyCount(KeyCount),
    /// The document is one of these.
    Docs(Cow<'a, RoaringBitmap>, &'static str),
    /// The document's own pairs are all in the key values, equal or `any`.
    Matching(&'a KeyValues),
}

impl Index {
    /// Binds everything that `compiled` asks for, and `restrict`.
    pub(crate) fn bind<'a>(&'a self, compiled: &'a Compiled, restrict: Option<&'a RoaringBitmap>) -> Bound<'a> {
        let mut parts = Vec::new();
        if let Some(restrict) = restrict {
            parts.push(Bound::Docs(Cow::Borrowed(restrict), "restriction"));
        }
        if let Some(ids) = &compiled.ids {
            let docs = ids.iter().filter_map(|id| self.find(id.to_u128())).collect();
            parts.push(Bound::Docs(Cow::Owned(docs), "ids"));
        }
        if let Some(count) = compiled.key_count {
            parts.push(Bound::KeyCount(count));
        }
        match (&compiled.matching, &self.patterns) {
            (Some(probe), Some(patterns)) => {
                let mut docs = Vec::new();
                patterns.matches(probe, &self.names, &mut docs);
                parts.push(Bound::Docs(Cow::Owned(docs.into_iter().collect()), "matching"));
            }
            (Some(probe), None) => parts.push(Bound::Matching(probe)),
            (None, _) => {}
        }
        parts.push(self.bind_node(&compiled.root, compiled.key_epoch == self.names.key_epoch));
        all(parts)
    }

    /// The document with an id.
    pub(crate) fn find(&self, id: u128) -> Option<u32> {
        let probe = IdProbe::new(id, &self.documents);
        let entry = self.by_id.seek(&probe).next()?;
        probe.compare(&entry).is_eq().then_some(entry.item)
    }

    fn bind_node<'a>(&'a self, node: &'a Node, numbered: bool) -> Bound<'a> {
        match node {
            Node::All(parts) => all(parts.iter().map(|part| self.bind_node(part, numbered)).collect()),
            Node::Any(parts) => any(parts.iter().map(|part| self.bind_node(part, numbered)).collect()),
            Node::Not(part) => match self.bind_node(part, numbered) {
                Bound::Const(holds) => Bound::Const(!holds),
                part => Bound::Not(Box::new(part)),
            },
            Node::Absent(key) => match self.number(key, numbered) {
                Some(key) => Bound::Absent { key },
                None => Bound::Const(true),
            },
            Node::Present(key, test) => match self.number(key, numbered) {
                Some(key) => self.bind_test(key, test),
                None => Bound::Const(false),
            },
        }
    }

    /// A key's number: the one in the condition if it still holds.
    pub(crate) fn number(&self, key: &KeyRef, numbered: bool) -> Option<u32> {
        if numbered { key.number } else { self.names.key(key.key.as_str()) }
    }

    fn bind_test<'a>(&'a self, key: u32, test: &'a Test) -> Bound<'a> {
        let of_key = &self.names.keys[key].payload;
        if test.is_any() {
            return Bound::Range { key, test, rows: of_key.len as usize };
        }
        let most = TERMS_LISTED.max(test.ranges.len() * TERMS_LISTED_PER_RANGE);
        let spans: Vec<(usize, usize)> = test
            .ranges
            .iter()
            .map(|range| {
                let rank = |bytes: &[u8]| of_key.values.rank(bytes, &self.names.terms);
                let start = rank(&range.start);
                // Most ranges of an `in` have no term or one: the second descent is spared.
                (start, if range.end == [0xFF] { of_key.values.len() } else { rank(&range.end) })
            })
            .collect();
        let count: usize = spans.iter().map(|(start, end)| end - start).sum();
        if count == 0 {
            return Bound::Const(false);
        }
        if count <= most {
            return self.list_terms(key, test);
        }
        Bound::Range { key, test, rows: self.guess_rows(key, &spans, count) }
    }

    fn list_terms<'a>(&'a self, key: u32, test: &'a Test) -> Bound<'a> {
        let (mut terms, mut rows) = (Vec::new(), 0);
        self.each_term(key, test, |term| {
            rows += self.names.terms[term].payload.len();
            terms.push(term);
        });
        terms.sort_unstable();
        if terms.is_empty() { Bound::Const(false) } else { Bound::Terms { key, terms, rows, test } }
    }

    /// Guesses the documents of many terms from a few, evenly spread.
    fn guess_rows(&self, key: u32, spans: &[(usize, usize)], count: usize) -> usize {
        let values = &self.names.keys[key].payload.values;
        let mut rows = 0;
        for sample in 0..SAMPLED_TERMS {
            let mut rank = (sample * 2 + 1) * count / (SAMPLED_TERMS * 2);
            for (start, end) in spans {
                if rank < end - start {
                    let term = values.select(start + rank);
                    rows += term.map_or(0, |term| self.names.terms[term].payload.len());
                    break;
                }
                rank -= end - start;
            }
        }
        (rows * count / SAMPLED_TERMS).min(self.names.keys[key].payload.len as usize)
    }

    /// Calls `each` with every term of the key that passes, in order.
    pub(crate) fn each_term(&self, key: u32, test: &Test, mut each: impl FnMut(u32)) {
        let values = &self.names.keys[key].payload.values;
        for range in &test.ranges {
            let mut cursor: Cursor<'_> = values.seek(&range.start, &self.names.terms);
            while let Some(entry) = cursor.next() {
                let value = self.names.terms[entry.item].value.as_slice();
                if value >= range.end.as_slice() {
                    break;
                }
                if test.passes_type(value) {
                    each(entry.item);
                }
            }
        }
    }

    /// Whether a condition holds for a document.
    #[inline]
    pub(crate) fn holds(&self, bound: &Bound<'_>, doc: u32) -> bool {
        match bound {
            Bound::Const(holds) => *holds,
            Bound::Docs(docs, _) => docs.contains(doc),
            _ => self.holds_for(bound, doc, &self.documents[doc]),
        }
    }

    fn holds_for(&self, bound: &Bound<'_>, doc: u32, document: &Document) -> bool {
        match bound {
            Bound::Const(holds) => *holds,
            Bound::All(parts) => parts.iter().all(|part| self.holds_for(part, doc, document)),
            Bound::Any(parts) => parts.iter().any(|part| self.holds_for(part, doc, document)),
            Bound::Not(part) => !self.holds_for(part, doc, document),
            Bound::Terms { key, terms, .. } => match terms[..] {
                [term] => self.terms_of(document).contains(&term),
                _ => self.term_of(document, *key).is_some_and(|term| terms.binary_search(&term).is_ok()),
            },
            Bound::Range { key, test, .. } => self
                .term_of(document, *key)
                .is_some_and(|term| test.is_any() || test.passes(self.names.terms[term].value.as_slice())),
            Bound::Absent { key } => self.term_of(document, *key).is_none(),
            Bound::KeyCount(count) => count.contains(document.user.into()),
            Bound::Docs(docs, _) => docs.contains(doc),
            Bound::Matching(probe) => self.pattern_matches(document, probe),
        }
    }

    /// Whether a document's own pairs are all in `probe`, equal or `any`.
    pub(crate) fn pattern_matches(&self, document: &Document, probe: &KeyValues) -> bool {
        self.terms_of(document)[..usize::from(document.own)].iter().all(|&term| {
            let term = &self.names.terms[term];
            let wanted = term.value.as_slice();
            let found = probe.get_encoded(&self.names.keys[term.key].name);
            found.is_some_and(|value| wanted == ENCODED_ANY || wanted == value)
        })
    }

    /// About which part of all documents it holds for, taking parts as independent.
    pub(crate) fn share(&self, bound: &Bound<'_>) -> f64 {
        let all = self.len().max(1) as f64;
        match bound {
            Bound::Const(holds) => f64::from(u8::from(*holds)),
            Bound::All(parts) => parts.iter().map(|part| self.share(part)).product(),
            Bound::Any(parts) => 1.0 - parts.iter().map(|part| 1.0 - self.share(part)).product::<f64>(),
            Bound::Not(part) => 1.0 - self.share(part),
            Bound::Terms { rows, .. } | Bound::Range { rows, .. } => *rows as f64 / all,
            Bound::Absent { key } => 1.0 - f64::from(self.names.keys[*key].payload.len) / all,
            Bound::KeyCount(count) => self.key_count_rows(*count) as f64 / all,
            Bound::Docs(docs, _) => (docs.len() as f64 / all).min(1.0),
            // As good a guess as any for patterns without a trie.
            Bound::Matching(_) => 0.1,
        }
    }

    pub(crate) fn key_count_rows(&self, count: KeyCount) -> usize {
        self.key_count_sets(count).map(|docs| docs.len() as usize).sum()
    }

    pub(crate) fn key_count_sets(&self, count: KeyCount) -> impl Iterator<Item = &RoaringBitmap> {
        let sets = self.by_key_count.iter().enumerate();
        sets.filter(move |(len, _)| count.contains(*len)).map(|(_, docs)| docs)
    }
}

fn all(parts: Vec<Bound<'_>>) -> Bound<'_> {
    let mut flat = Vec::new();
    for part in parts {
        match part {
            Bound::Const(true) => {}
            Bound::Const(false) => return part,
            Bound::All(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    match flat.len() {
        0 => Bound::Const(true),
        1 => flat.swap_remove(0),
        _ => Bound::All(flat),
    }
}

fn any(parts: Vec<Bound<'_>>) -> Bound<'_> {
    let mut flat = Vec::new();
    for part in parts {
        match part {
            Bound::Const(false) => {}
            Bound::Const(true) => return part,
            other => flat.push(other),
        }
    }
    match flat.len() {
        0 => Bound::Const(false),
        1 => flat.swap_remove(0),
        _ => Bound::Any(flat),
    }
}

impl Bound<'_> {
    /// The conditions that all must hold.
    pub(crate) fn conjuncts(&self) -> &[Self] {
        match self {
            Bound::All(parts) => parts,
            one => std::slice::from_ref(one),
        }
    }
}
