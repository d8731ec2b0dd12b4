use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::{LEAF_MAX, Probe, Tree};

/// Items ordered by a coarse word, so that most comparisons tie.
struct Coarse(u32);

impl Probe for Coarse {
    const EVEN: bool = true;

    fn word(&self) -> u64 {
        u64::from(self.0 >> 6)
    }
    fn tie(&self, item: u32) -> Ordering {
        self.0.cmp(&item)
    }
}

fn collect(tree: &Tree) -> Vec<u32> {
    let mut cursor = tree.first();
    std::iter::from_fn(|| cursor.next().map(|entry| entry.item)).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as u32) % bound
    }
}

#[test]
fn agrees_with_a_sorted_set_while_it_grows_and_shrinks() {
    let mut random = Random(7);
    let mut tree = Tree::new();
    let mut model = BTreeSet::new();
    for round in 0..60_000_u32 {
        let item = random.below(20_000);
        let grow = (round / 15_000) % 2 == 0;
        if random.below(10) < if grow { 8 } else { 1 } {
            assert_eq!(tree.insert(&Coarse(item), item), model.insert(item));
        } else {
            assert_eq!(tree.remove(&Coarse(item)), model.remove(&item));
        }
        assert_eq!(tree.len(), model.len());
        if round % 2_000 == 0 {
            assert_eq!(collect(&tree), model.iter().copied().collect::<Vec<_>>());
        }
        if round % 50 == 0 {
            check_probe(&tree, &model, random.below(20_000));
        }
    }
    for item in model {
        assert!(tree.remove(&Coarse(item)));
    }
    assert_eq!(tree.len(), 0);
    assert!(tree.memory_bytes() < LEAF_MAX * 12 + 128, "an empty tree holds {} bytes", tree.memory_bytes());
}

fn check_probe(tree: &Tree, model: &BTreeSet<u32>, at: u32) {
    let rank = model.range(..at).count();
    assert_eq!(tree.rank(&Coarse(at)), rank);
    assert_eq!(tree.select(rank), model.range(at..).next().copied());
    let mut cursor = tree.seek(&Coarse(at));
    assert_eq!(cursor.clone().next().map(|entry| entry.item), model.range(at..).next().copied());
    assert_eq!(cursor.prev().map(|entry| entry.item), model.range(..at).next_back().copied());
}

#[test]
fn built_from_sorted_entries_it_works_like_any_other() {
    for count in [0_u32, 1, 95, 96, 97, 5_000, 20_000] {
        let entries: Vec<_> = (0..count).map(|item| super::Entry::new(Coarse(item).word(), item)).collect();
        let mut tree = Tree::from_sorted(&entries);
        assert_eq!(collect(&tree), (0..count).collect::<Vec<_>>());
        assert!(tree.insert(&Coarse(count), count));
        assert_eq!(tree.len(), count as usize + 1);
        for item in (0..=count).rev() {
            assert!(tree.remove(&Coarse(item)));
        }
        assert_eq!(tree.len(), 0);
    }
}

#[test]
fn walks_backwards_and_in_runs() {
    let mut tree = Tree::new();
    for item in 0..1_000 {
        tree.insert(&Coarse(item), item);
    }
    let mut cursor = tree.seek(&Coarse(5_000));
    let back: Vec<u32> = std::iter::from_fn(|| cursor.prev().map(|entry| entry.item)).collect();
    assert_eq!(back, (0..1_000).rev().collect::<Vec<_>>());
    let mut cursor = tree.seek(&Coarse(10));
    let mut seen = Vec::new();
    while let Some(run) = cursor.next_run(7) {
        assert!(run.len() <= 7);
        seen.extend(run.iter().map(|entry| entry.item));
    }
    assert_eq!(seen, (10..1_000).collect::<Vec<_>>());
}

#[test]
fn items_in_order_fill_their_leaves() {
    let mut tree = Tree::new();
    for item in 0..100_000 {
        tree.insert(&Coarse(item), item);
    }
    assert!(tree.memory_bytes() < 100_000 * 13 + 10_000, "{} bytes", tree.memory_bytes());
}
