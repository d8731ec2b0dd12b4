//! Uniform random picks. The same seed and the same documents give the same pick on
//! every node, whatever was inserted and removed before.

use roaring::RoaringBitmap;

use crate::index::{Index, in_tests};
use crate::plan::{Bound, Compiled};

/// Draws for each wanted document before all candidates are enumerated instead.
const DRAWS_PER_PICK: usize = in_tests(2, 64);
/// Draws in any case: less work than enumerating.
const DRAWS_MIN: usize = in_tests(4, 256);

/// SplitMix64 (Steele, Lea, Flood 2014): every seed gives a good sequence.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Uniform below `bound`, which is not 0 (Lemire 2019, "Fast random integer
    /// generation in an interval").
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        let mut product = self.next() as u128 * bound as u128;
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = self.next() as u128 * bound as u128;
            }
        }
        (product >> 64) as u64
    }
}

/// A set of documents to draw from, each as likely as any other.
pub(crate) enum Pool<'a> {
    Everything,
    /// Terms in the order of their values: their numbers depend on history.
    Terms(Vec<u32>),
    Docs(&'a RoaringBitmap),
}

impl Pool<'_> {
    /// Whether everything in it matches, so that what is drawn need not be looked at: each look at
    /// a document is a cache miss.
    const fn is_whole(&self, bound: &Bound<'_>) -> bool {
        match self {
            Self::Everything => matches!(bound, Bound::Const(true)),
            Self::Terms(_) => matches!(bound, Bound::Terms { .. }),
            // The caller's set may hold what is not in the index.
            Self::Docs(_) => false,
        }
    }
}

/// Which documents are picked already: a bitmap once it pays to allocate one.
#[derive(Default)]
struct Seen(RoaringBitmap);

impl Seen {
    /// As many numbers are compared faster than a bitmap's container is found.
    const FEW: usize = in_tests(3, 128);

    fn contains(&self, picked: &[u32], doc: u32) -> bool {
        if picked.len() > Self::FEW { self.0.contains(doc) } else { picked.contains(&doc) }
    }

    /// Takes note of the last one picked.
    fn add(&mut self, picked: &[u32]) {
        if picked.len() == Self::FEW + 1 {
            self.0.extend(picked);
        } else if picked.len() > Self::FEW
            && let Some(&last) = picked.last()
        {
            self.0.insert(last);
        }
    }
}

impl Index {
    /// A match within `restrict`, each as likely as any other; `None` if there is none.
    #[must_use]
    pub fn select_random(&self, compiled: &Compiled, restrict: &RoaringBitmap, seed: u64) -> Option<u32> {
        let bound = self.bind(compiled, Some(restrict));
        self.sample(&bound, 1, seed).0.first().copied()
    }

    /// Up to `want` different matches in random order, every choice as likely as any
    /// other, and how many documents were looked at.
    ///
    /// It first draws from the smallest set of known size that holds all matches and
    /// rejects what does not match; when matches turn out rare, it enumerates them. What
    /// is drawn depends on exact counts only, never on estimates.
    pub(crate) fn sample(&self, bound: &Bound<'_>, want: usize, seed: u64) -> (Vec<u32>, usize) {
        let mut rng = Rng::new(seed);
        let (pool, size) = self.pool(bound);
        let mut picked: Vec<u32> = Vec::new();
        let mut examined = 0;
        if size == 0 || want == 0 {
            return (picked, examined);
        }
        // Where most of the pool is wanted, draws would mostly repeat themselves.
        let draws = if want * 4 > size { 0 } else { DRAWS_MIN + want * DRAWS_PER_PICK };
        let whole = pool.is_whole(bound);
        let mut seen = Seen::default();
        while examined < draws.min(size) && picked.len() < want {
            examined += 1;
            let doc = self.draw(&pool, rng.below(size as u64) as usize);
            if let Some(doc) = doc
                && !seen.contains(&picked, doc)
                && (whole || (self.contains(doc) && self.holds(bound, doc)))
            {
                picked.push(doc);
                seen.add(&picked);
            }
        }
        if picked.len() < want {
            // Those already drawn stay: with the rest drawn without replacement, every
            // sequence of different matches is as likely as any other.
            let driver = self.driver(bound);
            let mut rest = self.collect(&driver);
            examined += rest.len();
            rest.retain(|&doc| !seen.contains(&picked, doc) && (driver.exact || self.holds(bound, doc)));
            rest.sort_unstable();
            while picked.len() < want && !rest.is_empty() {
                picked.push(rest.swap_remove(rng.below(rest.len() as u64) as usize));
            }
        }
        (picked, examined)
    }

    /// The smallest set with a known size that all matches are in.
    pub(crate) fn pool<'a>(&self, bound: &'a Bound<'_>) -> (Pool<'a>, usize) {
        enum Set<'a> {
            Everything,
            Terms(&'a [u32]),
            Docs(&'a RoaringBitmap),
        }
        let sets = bound.conjuncts().iter().filter_map(|part| match part {
            Bound::Const(false) => Some((Set::Terms(&[]), 0)),
            Bound::Terms { terms, rows, .. } => Some((Set::Terms(terms), *rows)),
            Bound::Docs(docs, _) => Some((Set::Docs(docs), docs.len() as usize)),
            _ => None,
        });
        let sets = sets.chain([(Set::Everything, self.len())]);
        let (set, size) = sets.min_by_key(|(_, size)| *size).unwrap_or((Set::Everything, 0));
        let pool = match set {
            Set::Everything => Pool::Everything,
            Set::Docs(docs) => Pool::Docs(docs),
            Set::Terms(terms) => {
                let mut terms = terms.to_vec();
                terms.sort_unstable_by_key(|&term| self.names.terms[term].value.as_slice());
                Pool::Terms(terms)
            }
        };
        (pool, size)
    }

    pub(crate) fn draw(&self, pool: &Pool<'_>, rank: usize) -> Option<u32> {
        match pool {
            Pool::Everything => self.by_id.select(rank),
            Pool::Docs(docs) => docs.select(rank as u32),
            Pool::Terms(terms) => {
                let mut rank = rank;
                for &term in terms {
                    let posting = &self.names.terms[term].payload;
                    if rank < posting.len() {
                        return posting.select(rank);
                    }
                    rank -= posting.len();
                }
                None
            }
        }
    }
}
