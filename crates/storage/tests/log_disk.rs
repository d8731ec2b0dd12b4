//! The log on the real file system.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use willow_storage::OpenError;
use willow_storage::log::{Bounds, Log, Options, Record, Threading};
use willow_storage::vfs::StdVfs;

fn open(dir: &Path, threading: Threading) -> Log {
    let options = Options { threading, ..Options::small_inline() };
    Log::open(Arc::new(StdVfs), dir, options).unwrap().0
}

fn entry(index: u64, len: usize) -> Record {
    Record::Entry { group: 1, index, term: index / 10, payload: Bytes::from(vec![index as u8; len]) }
}

#[test]
fn appends_reads_purges_and_recovers() {
    for threading in [Threading::Threads, Threading::Inline] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), threading);
        for index in 1..=500 {
            log.append(vec![entry(index, 700)]).unwrap();
        }
        log.save_state(1, 7, Bytes::from_static(b"vote")).unwrap();
        log.append(vec![Record::Purge { group: 1, up_to: 450 }]).unwrap();
        log.append(vec![Record::Truncate { group: 1, from: 490 }]).unwrap();
        let segments = log.stats().segments;
        drop(log);

        let log = open(dir.path(), threading);
        let expected = Bounds { first: 451, next: 490, last_term: Some(48), purged: Some(450) };
        assert_eq!(log.bounds(1), expected);
        assert_eq!(log.load_state(1, 7).unwrap(), "vote");
        let read = log.read(1, 0..1000, u64::MAX).unwrap();
        assert_eq!(read.len(), 39);
        for entry in read {
            assert_eq!(&entry.payload[..], vec![entry.index as u8; 700]);
        }
        assert!(segments <= 4, "{segments} segments for 39 entries");
        log.append(vec![entry(490, 10)]).unwrap();
    }
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), Threading::Threads);
    let second = Log::open(Arc::new(StdVfs), dir.path(), Options::small_inline());
    assert!(matches!(second, Err(OpenError::Locked { .. })));
}
