use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair {
    key: u16,
    value: u32,
}

impl Row for Pair {
    type Key = u16;
    fn key(&self) -> u16 {
        self.key
    }
}

fn rows(table: &Table<Pair>) -> Vec<(u32, Vec<u8>)> {
    let mut rows = Vec::new();
    table.visit(&mut |slot, bytes| rows.push((slot, bytes.to_vec())));
    rows
}

fn change(table: &mut Table<Pair>, (key, value): (u16, u32)) {
    match table.slot(&key) {
        None => {
            table.insert(Pair { key, value });
        }
        Some(slot) if value.is_multiple_of(2) => {
            table.remove(slot).expect("stored");
        }
        Some(slot) => table.get_mut(slot).expect("stored").value = value,
    }
}

proptest! {
    /// A snapshot read in small steps, with changes between the steps, is the table as it was at the
    /// beginning, and a table restored from it gives out the same slots.
    #[test]
    fn snapshot_is_the_state_at_its_beginning(
        before in prop::collection::vec((0u16..40, any::<u32>()), 0..120),
        during in prop::collection::vec((0u16..40, any::<u32>()), 0..120),
        step in 1usize..64,
    ) {
        let mut table = Table::default();
        before.iter().for_each(|entry| change(&mut table, *entry));
        let expected = rows(&table);
        let vacant = table.vacant();
        table.begin();
        let mut read = Vec::new();
        let mut changes = during.into_iter();
        while let Some(rows) = table.read(step) {
            read.extend(rows);
            changes.by_ref().take(3).for_each(|entry| change(&mut table, entry));
        }
        prop_assert_eq!(&read, &expected);

        let mut restored = Table::<Pair>::default();
        for (slot, bytes) in &read {
            restored.restore(*slot, bytes).expect("a fresh snapshot restores");
        }
        restored.finish_restore();
        prop_assert_eq!(rows(&restored), expected);
        prop_assert_eq!(restored.vacant(), vacant);
    }
}

#[test]
fn refuses_a_row_that_repeats_a_key() {
    let mut table = Table::<Pair>::default();
    let bytes = postcard::to_stdvec(&Pair { key: 1, value: 2 }).unwrap();
    table.restore(0, &bytes).unwrap();
    assert!(matches!(table.restore(3, &bytes), Err(Error::Repeated { slot: 3 })));
    assert!(matches!(table.restore(4, &[]), Err(Error::Decode { slot: 4, .. })));
}
