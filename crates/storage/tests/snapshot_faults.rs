//! Snapshots on a disk that crashes, fills up and fails.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use willow_storage::snapshot::{SnapshotOptions, SnapshotStore};
use willow_storage::vfs::{CrashMode, FaultVfs, Op};
use willow_storage::{OpenError, SnapshotError};

const DIR: &str = "/data/snapshots";

fn try_open(vfs: &FaultVfs) -> Result<SnapshotStore, OpenError> {
    let options = SnapshotOptions { keep: 2, min_free_bytes: 1000 };
    SnapshotStore::open(Arc::new(vfs.clone()), Path::new(DIR), options)
}

fn write(store: &SnapshotStore, meta: u8, chunks: &[Vec<u8>]) -> Result<(), SnapshotError> {
    let mut writer = store.create(&[meta])?;
    for chunk in chunks {
        writer.write_chunk(chunk)?;
    }
    writer.finish().map(|_| ())
}

/// Meta byte and content of the newest snapshot.
fn newest(store: &SnapshotStore) -> Option<(u8, Vec<u8>)> {
    let latest = store.latest().unwrap();
    assert!(latest.refused.is_empty(), "{:?}", latest.refused);
    let mut reader = latest.snapshot?;
    let mut content = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        content.extend(chunk);
    }
    Some((reader.meta()[0], content))
}

fn content(meta: u8) -> Vec<u8> {
    vec![meta; 3000]
}

fn chunks(meta: u8) -> Vec<Vec<u8>> {
    content(meta).chunks(1000).map(<[u8]>::to_vec).collect()
}

#[test]
fn a_crash_at_any_operation_leaves_the_old_or_the_new_one() {
    for mode in [CrashMode::KeepAll, CrashMode::LoseUnsynced, CrashMode::Torn] {
        let mut at = 1;
        loop {
            let vfs = FaultVfs::new(at);
            vfs.crash_after(at);
            let mut finished = 0;
            if let Ok(store) = try_open(&vfs) {
                for meta in 1..=4 {
                    if write(&store, meta, &chunks(meta)).is_err() {
                        break;
                    }
                    finished = meta;
                }
            }
            if !vfs.has_crashed() {
                assert!(at > 30, "{at} operations");
                break;
            }
            vfs.crash(mode);
            let store = try_open(&vfs).unwrap();
            let found = newest(&store);
            let meta = found.as_ref().map_or(0, |(meta, _)| *meta);
            assert!(meta == finished || meta == finished + 1, "at {at}: {meta}, {finished}");
            assert!(found.is_none_or(|(meta, found)| found == content(meta)));
            // The store goes on, and keeps no more than it should.
            write(&store, 9, &chunks(9)).unwrap();
            assert_eq!(newest(&store), Some((9, content(9))));
            assert!(vfs.paths().len() <= 2, "{:?}", vfs.paths());
            at += 1;
        }
    }
}

#[test]
fn a_full_disk_gives_the_snapshot_up_and_leaves_nothing_of_it() {
    let vfs = FaultVfs::new(1);
    let store = try_open(&vfs).unwrap();
    write(&store, 1, &chunks(1)).unwrap();
    let used = vfs.used_bytes();
    for room in [0, 999, 2000, 3050] {
        vfs.set_capacity(Some(used + room));
        let error = write(&store, 2, &chunks(2)).unwrap_err();
        assert!(matches!(error, SnapshotError::DiskFull { .. }), "{room}: {error}");
        assert_eq!(vfs.used_bytes(), used, "{room}");
        assert_eq!(newest(&store), Some((1, content(1))));
    }
    vfs.set_capacity(None);
    write(&store, 2, &chunks(2)).unwrap();
}

#[test]
fn a_failed_write_or_sync_leaves_the_old_one() {
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename] {
        let vfs = FaultVfs::new(2);
        let store = try_open(&vfs).unwrap();
        write(&store, 1, &chunks(1)).unwrap();
        vfs.fail(op, ErrorKind::Other, 0, 1);
        let error = write(&store, 2, &chunks(2)).unwrap_err();
        assert!(matches!(error, SnapshotError::Io(_)), "{op:?}: {error}");
        assert_eq!(newest(&store), Some((1, content(1))), "{op:?}");
        assert_eq!(vfs.paths().len(), 1, "{op:?}");
        write(&store, 3, &chunks(3)).unwrap();
    }
}

#[test]
fn a_newer_version_is_named_and_not_passed_over() {
    let vfs = FaultVfs::new(3);
    let store = try_open(&vfs).unwrap();
    write(&store, 1, &chunks(1)).unwrap();
    write(&store, 2, &[]).unwrap();
    let path = vfs.paths().pop().unwrap();
    let mut head = vfs.contents(&path).unwrap()[..29].to_vec();
    head[8] = 7;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..24]);
    crc.update(&head[28..29]);
    head[24..28].copy_from_slice(&crc.finalize().to_le_bytes());
    vfs.damage(&path, 0, &head);
    let error = store.latest().unwrap_err();
    assert!(matches!(error, SnapshotError::UnknownVersion { version: 7, .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn chunks_come_back_as_they_were_written(
        meta in prop::collection::vec(any::<u8>(), 0..100),
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..10),
    ) {
        let vfs = FaultVfs::new(4);
        let store = try_open(&vfs).unwrap();
        let mut writer = store.create(&meta).unwrap();
        for chunk in &chunks {
            writer.write_chunk(chunk).unwrap();
        }
        let info = writer.finish().unwrap();
        prop_assert_eq!(info.chunks, chunks.len() as u64);
        let mut reader = store.latest().unwrap().snapshot.unwrap();
        prop_assert_eq!(reader.meta(), &meta[..]);
        let read: Vec<_> = std::iter::from_fn(|| reader.next_chunk().unwrap()).collect();
        prop_assert_eq!(read, chunks);
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        keep in 0..80usize,
    ) {
        let vfs = FaultVfs::new(5);
        let store = try_open(&vfs).unwrap();
        write(&store, 1, &[vec![1; 400]]).unwrap();
        // From some place on, so that the header may be intact.
        let path = vfs.paths().pop().unwrap();
        let good = vfs.contents(&path).unwrap();
        vfs.damage(&path, keep as u64, &bytes);
        let latest = store.latest().unwrap();
        let unchanged = vfs.contents(&path).unwrap() == good;
        prop_assert_eq!(latest.snapshot.is_some(), unchanged);
    }
}
