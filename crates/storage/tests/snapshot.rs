//! Snapshots: complete or not there, and damage is found.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::sync::Arc;

use willow_storage::snapshot::{SnapshotOptions, SnapshotReader, SnapshotStore};
use willow_storage::vfs::StdVfs;

fn open(dir: &Path) -> SnapshotStore {
    let options = SnapshotOptions { keep: 2, min_free_bytes: 0 };
    SnapshotStore::open(Arc::new(StdVfs), dir, options).unwrap()
}

fn write(store: &SnapshotStore, meta: &[u8], chunks: &[&[u8]]) -> u64 {
    let mut writer = store.create(meta).unwrap();
    for chunk in chunks {
        writer.write_chunk(chunk).unwrap();
    }
    writer.finish().unwrap().id
}

fn chunks(reader: &mut SnapshotReader) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| reader.next_chunk().unwrap()).collect()
}

#[test]
fn the_newest_is_read_back_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(store.latest().unwrap().snapshot.is_none());
    for round in 1..=4u8 {
        write(&store, &[round], &[&[round; 3000], b"tail"]);
    }
    assert_eq!(store.ids().unwrap(), [4, 3]);
    drop(store);
    let store = open(dir.path());
    let mut reader = store.latest().unwrap().snapshot.unwrap();
    assert_eq!((reader.id(), reader.meta()), (4, &[4u8][..]));
    assert_eq!(chunks(&mut reader), [vec![4; 3000], b"tail".to_vec()]);
    reader.rewind();
    assert_eq!(chunks(&mut reader).len(), 2);
    assert_eq!(write(&store, b"", &[]), 5);
}

#[test]
fn an_unfinished_one_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut writer = store.create(b"meta").unwrap();
    writer.write_chunk(b"half").unwrap();
    drop(writer);
    assert!(store.ids().unwrap().is_empty());
    let mut writer = store.create(b"meta").unwrap();
    writer.write_chunk(b"half").unwrap();
    // As a crash would leave it.
    std::mem::forget(writer);
    let names = || -> Vec<_> {
        let files = std::fs::read_dir(dir.path()).unwrap();
        files.map(|file| file.unwrap().file_name()).collect()
    };
    assert_eq!(names().len(), 2, "{:?}", names());
    std::mem::forget(store);
    // The forgotten store still holds the lock, so look at a copy of its directory.
    let copy = tempfile::tempdir().unwrap();
    for name in names() {
        std::fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    }
    let store = open(copy.path());
    assert!(store.latest().unwrap().snapshot.is_none());
    assert_eq!(std::fs::read_dir(copy.path()).unwrap().count(), 1, "only LOCK");
}

#[test]
fn any_flipped_bit_or_cut_makes_it_fall_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, b"old", &[b"one", b"two"]);
    let id = write(&store, b"new", &[b"three", b"four"]);
    let path = dir.path().join(format!("{id:016x}.snap"));
    let good = std::fs::read(&path).unwrap();
    let check = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let latest = store.latest().unwrap();
        let reader = latest.snapshot.expect("the older one is good");
        assert_eq!(reader.meta(), b"old", "{what}");
        assert_eq!(latest.refused.len(), 1, "{what}");
    };
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        check(&bad, &format!("bit {bit}"));
    }
    for len in 0..good.len() {
        check(&good[..len], &format!("cut at {len}"));
    }
    let mut longer = good;
    longer.push(0);
    check(&longer, "one byte too many");
}
