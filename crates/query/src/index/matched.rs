//! The other direction of a reverse match: the documents that one pattern matches.

use willow_model::{KeyValues, encoding::ENCODED_ANY};

use super::Index;

/// What a pattern asks of a document: the term it must have, or the key.
enum Need {
    Term(u32),
    Key(u32),
}

impl Index {
    /// The documents that `pattern` matches, each pair equal or `any`, by number; `None` when more
    /// than `max` documents would have to be looked at.
    #[must_use]
    pub fn matched_by(&self, pattern: &KeyValues, max: usize) -> Option<Vec<u32>> {
        let Some(mut needs) = self.needs(pattern) else {
            return Some(Vec::new());
        };
        needs.sort_by_key(|need| self.rows(need));
        let Some((rarest, others)) = needs.split_first() else {
            return Some(Vec::new());
        };
        if self.rows(rarest) > max {
            return None;
        }
        let holds = |doc: &u32| {
            self.documents.get(*doc).is_some_and(|document| {
                others.iter().all(|need| match need {
                    Need::Term(term) => self.terms_of(document).contains(term),
                    Need::Key(key) => self.term_of(document, *key).is_some(),
                })
            })
        };
        let mut found: Vec<u32> = match rarest {
            Need::Term(term) => {
                let mut cursor = self.names.terms[*term].payload.first();
                std::iter::from_fn(|| cursor.next().map(|entry| entry.item)).filter(holds).collect()
            }
            Need::Key(key) => self.names.keys[*key].payload.documents.iter().filter(holds).collect(),
        };
        found.sort_unstable();
        Some(found)
    }

    /// `None` when a key or a value is not in the index at all.
    fn needs(&self, pattern: &KeyValues) -> Option<Vec<Need>> {
        let need = |(name, value): (&str, &[u8])| {
            let key = self.names.key(name)?;
            Some(if value == ENCODED_ANY { Need::Key(key) } else { Need::Term(self.names.term(key, value)?) })
        };
        pattern.encoded_pairs().map(need).collect()
    }

    fn rows(&self, need: &Need) -> usize {
        match need {
            Need::Term(term) => self.names.terms[*term].payload.len(),
            Need::Key(key) => self.names.keys[*key].payload.len as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use willow_model::{Id, Value};

    use super::*;
    use crate::{eval::pattern_matches, index::Options};

    #[test]
    fn finds_what_a_scan_finds() {
        let mut index = Index::new(Options::default());
        let document = |number: u32| {
            let pairs = [("a", number % 3), ("b", number % 7), ("c", number)];
            let keep = 1 + number as usize % 3;
            KeyValues::user(pairs.into_iter().take(keep).map(|(key, value)| (key, Value::from(i64::from(value)))))
        };
        for doc in 0..200 {
            index.insert(doc, Id::from_u128(doc.into()), &document(doc).unwrap(), &[]);
        }
        for (a, b) in [(None, None), (Some(1), None), (None, Some(4)), (Some(2), Some(6)), (Some(9), None)] {
            let value = |of: Option<i64>| of.map_or(Value::Any, Value::from);
            let pattern = KeyValues::pattern([("a", value(a)), ("b", value(b))]).unwrap();
            let scan: Vec<u32> = (0..200).filter(|doc| pattern_matches(&pattern, &document(*doc).unwrap())).collect();
            assert_eq!(index.matched_by(&pattern, usize::MAX), Some(scan), "{pattern}");
        }
        let everything = KeyValues::pattern([("a", Value::Any)]).unwrap();
        assert_eq!(index.matched_by(&everything, 199), None);
    }
}
