//! What the log does when the disk is full, refuses, lies, or was damaged.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{DIR, Model, open, options, payload, try_open};
use willow_storage::log::{Log, Options, Record, Threading};
use willow_storage::vfs::{CrashMode, FaultVfs, Op};
use willow_storage::{OpenError, ReadError, WriteError};

fn entry(group: u32, index: u64, len: usize) -> Record {
    Record::Entry { group, index, term: 1, payload: payload(index, len) }
}

/// Appends entries of group 1 from its next index on, until one is refused.
fn fill(log: &Log, len: usize) -> WriteError {
    for index in log.bounds(1).next.. {
        if let Err(error) = log.append(vec![entry(1, index, len)]) {
            return error;
        }
        assert!(index < 10_000, "nothing was refused");
    }
    unreachable!()
}

fn segments(vfs: &FaultVfs) -> Vec<PathBuf> {
    let mut paths = vfs.paths();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "seg"));
    paths
}

// --- full disk ---------------------------------------------------------------------------------

#[test]
fn a_full_disk_refuses_then_recovers_without_restart() {
    let vfs = FaultVfs::new(1);
    vfs.set_capacity(Some(4 * options().segment_bytes + 100));
    let log = open(&vfs);
    assert!(log.writable().is_ok());
    let error = fill(&log, 1000);
    assert!(matches!(error, WriteError::DiskFull { .. }), "{error}");
    assert!(matches!(log.writable(), Err(WriteError::DiskFull { .. })));
    let before = Model::of(&log);
    // What gives space back still goes, and so does small state.
    log.save_state(1, 1, Bytes::from_static(b"vote")).unwrap();
    assert_eq!(log.load_state(1, 1).unwrap(), "vote");
    vfs.set_capacity(None);
    assert!(log.writable().is_ok(), "space came back");
    log.append(vec![entry(1, before.groups[&1].next(), 1000)]).unwrap();
    let held = Model::of(&log);
    drop(log);
    vfs.crash(CrashMode::LoseUnsynced);
    assert_eq!(Model::of(&open(&vfs)), held);
}

#[test]
fn a_purge_on_a_full_disk_makes_room() {
    let vfs = FaultVfs::new(2);
    vfs.set_capacity(Some(4 * options().segment_bytes + 100));
    let log = open(&vfs);
    fill(&log, 1000);
    let next = log.bounds(1).next;
    log.append(vec![Record::Purge { group: 1, up_to: next - 5 }]).unwrap();
    assert!(log.writable().is_ok());
    log.append(vec![entry(1, next, 1000)]).unwrap();
}

#[test]
fn writable_turns_before_entries_are_refused() {
    let vfs = FaultVfs::new(3);
    vfs.set_capacity(Some(3 * options().segment_bytes));
    let log = open(&vfs);
    let mut taken = 0;
    while log.writable().is_ok() {
        log.append(vec![entry(1, log.bounds(1).next, 200)]).unwrap();
        taken += 1;
    }
    // What was proposed before the turn still fits.
    for _ in 0..6 {
        log.append(vec![entry(1, log.bounds(1).next, 200)]).unwrap();
    }
    assert!(taken > 20);
}

#[test]
fn the_free_space_reserve_counts() {
    let vfs = FaultVfs::new(4);
    vfs.set_capacity(Some(10 * options().segment_bytes));
    let limited = Options { min_free_bytes: 6 * options().segment_bytes, ..options() };
    let (log, _) = try_open(&vfs, limited).unwrap();
    let error = fill(&log, 1000);
    assert!(matches!(error, WriteError::DiskFull { .. }), "{error}");
    assert!(vfs.used_bytes() <= 4 * options().segment_bytes);
}

#[test]
fn a_submission_that_needs_a_segment_that_cannot_be_made_is_taken_back() {
    let vfs = FaultVfs::new(5);
    // No reserve, so that the failure is met at the last moment.
    let exposed = Options { reserve_bytes: 0, ..options() };
    let (log, _) = try_open(&vfs, exposed.clone()).unwrap();
    vfs.set_capacity(Some(vfs.used_bytes()));
    let error = fill(&log, 700);
    assert!(matches!(error, WriteError::DiskFull { .. }), "{error}");
    let before = Model::of(&log);
    let next = before.groups[&1].next();
    let records = vec![
        Record::State { group: 2, key: 1, value: Bytes::from_static(b"never") },
        Record::Truncate { group: 1, from: next - 3 },
        entry(1, next - 3, 3000),
    ];
    assert!(log.append(records).is_err());
    assert_eq!(Model::of(&log), before, "nothing of it shows");
    vfs.set_capacity(None);
    log.append(vec![entry(1, next, 700)]).unwrap();
    drop(log);
    vfs.crash(CrashMode::LoseUnsynced);
    let (log, _) = try_open(&vfs, exposed).unwrap();
    assert_eq!(log.bounds(1).next, next + 1);
}

#[test]
fn a_segment_that_cannot_be_made_for_another_reason_is_said_so() {
    let vfs = FaultVfs::new(6);
    let log = open(&vfs);
    vfs.fail(Op::Create, ErrorKind::PermissionDenied, 0, u64::MAX);
    let error = fill(&log, 1000);
    assert!(matches!(error, WriteError::NoSegment { .. }), "{error}");
    vfs.heal();
    assert!(log.writable().is_ok());
}

// --- failing writes ----------------------------------------------------------------------------

#[test]
fn a_failed_write_or_sync_stops_writing_but_not_reading() {
    for op in [Op::Write, Op::Sync] {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            let vfs = FaultVfs::new(7);
            let log = open(&vfs);
            log.append(vec![entry(1, 1, 3000)]).unwrap();
            log.append(vec![entry(1, 2, 3000)]).unwrap();
            let before = Model::of(&log);
            vfs.fail(op, kind, 0, 1);
            let error = log.append(vec![entry(1, 3, 10)]).unwrap_err();
            assert!(matches!(error, WriteError::Poisoned { .. }), "{error}");
            // The disk works again, but what it holds is unknown.
            let error = log.append(vec![entry(1, 3, 10)]).unwrap_err();
            assert!(matches!(error, WriteError::Poisoned { .. }), "{error}");
            assert!(matches!(log.writable(), Err(WriteError::Poisoned { .. })));
            assert!(log.stats().poisoned.is_some());
            assert_eq!(Model::of(&log), before, "reads go on");
            drop(log);
            vfs.crash(CrashMode::LoseUnsynced);
            assert_eq!(Model::of(&open(&vfs)), before);
        }
    }
}

/// After a failed sync the kernel takes the pages for clean. A process that starts again without
/// a reboot sees the batch; it must be durable before anyone builds on it.
#[test]
fn what_recovery_shows_after_a_failed_sync_is_made_durable() {
    let vfs = FaultVfs::new(8);
    let log = open(&vfs);
    log.append(vec![entry(1, 1, 100)]).unwrap();
    vfs.fail(Op::Sync, ErrorKind::Other, 0, 1);
    log.append(vec![entry(1, 2, 100)]).unwrap_err();
    drop(log);
    vfs.crash(CrashMode::KeepAll);
    let log = open(&vfs);
    let shown = Model::of(&log);
    assert_eq!(shown.groups[&1].entries.len(), 2, "the write is in the kernel's memory");
    drop(log);
    vfs.crash(CrashMode::LoseUnsynced);
    assert_eq!(Model::of(&open(&vfs)), shown);
}

#[test]
fn every_callback_is_called_once_also_when_the_disk_fails() {
    let vfs = FaultVfs::new(9);
    let threads = Options { threading: Threading::Threads, ..options() };
    let (log, _) = try_open(&vfs, threads).unwrap();
    let results = Arc::new(Mutex::new(Vec::new()));
    vfs.fail(Op::Sync, ErrorKind::Other, 3, 1);
    let mut submitted = 0;
    for index in 1..200 {
        let results = Arc::clone(&results);
        let told = move |result: Result<(), WriteError>| {
            results.lock().unwrap().push((index, result.is_ok()));
        };
        if log.submit(vec![entry(1, index, 50)], told).is_err() {
            break;
        }
        submitted = index;
    }
    log.close();
    let results = results.lock().unwrap();
    let order: Vec<u64> = results.iter().map(|(index, _)| *index).collect();
    assert_eq!(order, (1..=submitted).collect::<Vec<_>>(), "each once, in order");
    let durable = results.iter().filter(|(_, ok)| *ok).count();
    assert!(results[..durable].iter().all(|(_, ok)| *ok), "a prefix");
    drop(log);
    vfs.crash(CrashMode::LoseUnsynced);
    assert_eq!(open(&vfs).bounds(1).len(), durable as u64);
}

// --- damage ------------------------------------------------------------------------------------

/// A log of a few batches in one segment.
fn small_log(seed: u64, clean: bool) -> (FaultVfs, Model) {
    let vfs = FaultVfs::new(seed);
    let log = open(&vfs);
    for index in 1..=3 {
        log.append(vec![entry(1, index, 300), entry(2, index, 20)]).unwrap();
    }
    log.save_state(1, 1, Bytes::from_static(b"vote")).unwrap();
    let model = Model::of(&log);
    if clean {
        drop(log);
    } else {
        vfs.crash(CrashMode::LoseUnsynced);
    }
    (vfs, model)
}

#[test]
fn no_flipped_bit_is_taken_for_good_or_cut_off_silently() {
    for clean in [false, true] {
        let (vfs, model) = small_log(10, clean);
        let path = segments(&vfs).remove(0);
        let good = vfs.contents(&path).unwrap();
        // Segment header, then three batches, one of state, and the seal; the rest is padding.
        let used = |byte: u64| match byte.checked_sub(4096) {
            None => byte < 40,
            Some(at) => at % 512 < [432, 432, 432, 84, if clean { 48 } else { 0 }][at as usize / 512],
        };
        // Thirty-seven is prime to eight, so every place in a byte has its turn.
        let bits = (0..40 * 8).chain(4096 * 8..(4096 + 5 * 512) * 8);
        for bit in bits.step_by(37) {
            vfs.flip_bit(&path, bit);
            let before = vfs.contents(&path);
            match try_open(&vfs, options()) {
                Ok((log, recovered)) => {
                    assert!(!used(bit / 8), "bit {bit} was taken for good");
                    assert_eq!(recovered.torn, None, "bit {bit}");
                    assert_eq!(Model::of(&log), model, "bit {bit}");
                }
                Err(OpenError::Corrupt { .. }) => {
                    assert_eq!(vfs.contents(&path), before, "bit {bit}: left as found");
                }
                Err(error) => panic!("bit {bit}: {error}"),
            }
            vfs.damage(&path, 0, &good);
        }
    }
}

#[test]
fn a_lost_sector_in_acknowledged_data_is_refused() {
    let (vfs, _) = small_log(11, true);
    let path = segments(&vfs).remove(0);
    let good = vfs.contents(&path).unwrap();
    for sector in (4096 / 512)..(4096 / 512 + 4) {
        vfs.damage(&path, sector * 512, &[0; 512]);
        let error = try_open(&vfs, options()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{sector}: {error}");
        let text = error.to_string();
        assert!(text.contains("restore a backup"), "says what to do: {text}");
        vfs.damage(&path, 0, &good);
    }
}

#[test]
fn a_lost_segment_is_refused() {
    for lost in 0..4 {
        let vfs = FaultVfs::new(12);
        let log = open(&vfs);
        for index in 1..=120 {
            log.append(vec![entry(1, index, 1000)]).unwrap();
        }
        drop(log);
        let segments = segments(&vfs);
        assert!(segments.len() > 4);
        vfs.lose(&segments[lost]);
        vfs.crash(CrashMode::KeepAll);
        let error = try_open(&vfs, options()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{lost}: {error}");
    }
}

#[test]
fn a_damaged_entry_is_found_when_it_is_read() {
    let vfs = FaultVfs::new(13);
    let log = open(&vfs);
    for index in 1..=20 {
        log.append(vec![entry(1, index, 1000)]).unwrap();
    }
    // The cache holds only the last few.
    let path = segments(&vfs).remove(0);
    vfs.flip_bit(&path, (4096 + 48 + 32 + 500) * 8);
    let error = log.read(1, 1..3, u64::MAX).unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { index: 1, .. }), "{error}");
    assert_eq!(log.read(1, 2..4, u64::MAX).unwrap().len(), 2);
}

#[test]
fn a_newer_version_is_named() {
    let (vfs, _) = small_log(14, true);
    let path = segments(&vfs).remove(0);
    let mut head = vfs.contents(&path).unwrap()[..40].to_vec();
    head[8] = 9;
    let crc = crc32fast::hash(&head[..36]);
    head[36..].copy_from_slice(&crc.to_le_bytes());
    vfs.damage(&path, 0, &head);
    let error = try_open(&vfs, options()).unwrap_err();
    assert!(matches!(error, OpenError::UnknownVersion { version: 9, .. }), "{error}");
}

/// An item may hold any bytes, those of another Willow's log too.
#[test]
fn stored_bytes_never_pass_for_batches() {
    let foreign = FaultVfs::new(15);
    let other = Options { nonce: Some(0xBAD), ..options() };
    let (log, _) = try_open(&foreign, other).unwrap();
    for index in 1..=20 {
        log.append(vec![entry(1, index, 100)]).unwrap();
    }
    drop(log);
    let bytes = foreign.contents(&segments(&foreign)[0]).unwrap();

    let vfs = FaultVfs::new(16);
    let log = open(&vfs);
    log.append(vec![entry(1, 1, 10)]).unwrap();
    let before = Model::of(&log);
    // Three writes to a commit: the batch is written, the crash comes at its sync.
    vfs.crash_after(2);
    let stored = Bytes::copy_from_slice(&bytes[4096 - 80..4096 - 80 + 7000]);
    let record = Record::Entry { group: 1, index: 2, term: 1, payload: stored };
    log.append(vec![record]).unwrap_err();
    vfs.crash(CrashMode::KeepAll);
    let path = segments(&vfs).remove(0);
    // Its header is torn off, so that its content lies bare.
    vfs.damage(&path, 4096 + 512, &[0; 512]);
    let (log, _) = try_open(&vfs, options()).unwrap();
    assert_eq!(Model::of(&log), before);
}

#[test]
fn a_torn_tail_is_reported_and_never_comes_back() {
    let vfs = FaultVfs::new(17);
    let log = open(&vfs);
    log.append(vec![entry(1, 1, 10)]).unwrap();
    vfs.crash_after(2);
    log.append(vec![entry(1, 2, 4000)]).unwrap_err();
    vfs.crash(CrashMode::KeepAll);
    let path = Path::new(DIR).join("0000000000000001.seg");
    let whole = vfs.contents(&path).unwrap();
    vfs.damage(&path, 4096 + 512 + 1024, &[0; 512]);
    let (log, recovered) = try_open(&vfs, options()).unwrap();
    let torn = recovered.torn.unwrap();
    assert_eq!((torn.offset, torn.bytes), (4096 + 512, Some(4096)));
    assert_eq!(log.bounds(1).next, 2);
    vfs.crash(CrashMode::LoseUnsynced);
    drop(log);
    // The sector that was missing turns up after all; the batch must not.
    vfs.damage(&path, 4096 + 512 + 1024, &whole[4096 + 512 + 1024..][..512]);
    let (log, recovered) = try_open(&vfs, options()).unwrap();
    assert_eq!((log.bounds(1).next, recovered.torn), (2, None));
}
