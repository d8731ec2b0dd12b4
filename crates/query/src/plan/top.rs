//! The least few of many items.

use std::cmp::Ordering;

/// Keeps the least `want` of what is pushed. An item has a head, a number that orders
/// most pairs; a comparison decides between equal heads.
///
/// Instead of a heap it gathers a multiple of `want` and drops what is too large by
/// selection: amortized constant time per item, and most are turned away by the head.
#[derive(Debug)]
pub(crate) struct Top {
    want: usize,
    items: Vec<(u128, u32)>,
    /// No item with a larger head can be among the least.
    most: u128,
}

impl Top {
    pub(crate) const fn new(want: usize) -> Self {
        Self { want, items: Vec::new(), most: u128::MAX }
    }

    #[inline]
    pub(crate) fn push(&mut self, head: u128, item: u32, compare: impl Fn(u32, u32) -> Ordering) {
        if head > self.most || self.want == 0 {
            return;
        }
        self.items.push((head, item));
        if self.items.len() >= 2 * self.want + 64 {
            self.items.select_nth_unstable_by(self.want - 1, |a, b| by_head(a, b, &compare));
            self.items.truncate(self.want);
            self.most = self.items[self.want - 1].0;
        }
    }

    /// The least items in order.
    pub(crate) fn into_sorted(mut self, compare: impl Fn(u32, u32) -> Ordering) -> Vec<u32> {
        self.items.sort_unstable_by(|a, b| by_head(a, b, &compare));
        self.items.truncate(self.want);
        self.items.into_iter().map(|(_, item)| item).collect()
    }
}

fn by_head(a: &(u128, u32), b: &(u128, u32), compare: &impl Fn(u32, u32) -> Ordering) -> Ordering {
    a.0.cmp(&b.0).then_with(|| compare(a.1, b.1))
}
