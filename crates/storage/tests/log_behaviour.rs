//! Limits, order, bounds of the disk, and many threads at once.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use common::{Model, Work, open, options, payload, run, try_open, work};
use proptest::prelude::*;
use willow_storage::WriteError;
use willow_storage::log::{Log, Options, Pace, Record, Threading};
use willow_storage::vfs::{CrashMode, FaultVfs, Op};

fn entry(group: u32, index: u64, len: usize) -> Record {
    Record::Entry { group, index, term: 1, payload: payload(u64::from(group) << 32 | index, len) }
}

fn threaded() -> Options {
    Options { threading: Threading::Threads, idle_seal: Some(Duration::from_millis(1)), ..options() }
}

#[test]
fn records_that_do_not_follow_on_are_refused_and_change_nothing() {
    let vfs = FaultVfs::new(1);
    let log = open(&vfs);
    log.append(vec![entry(1, 5, 10), entry(1, 6, 10)]).unwrap();
    log.append(vec![Record::Purge { group: 1, up_to: 5 }]).unwrap();
    let before = Model::of(&log);
    let refused = [
        vec![entry(1, 8, 1)],
        vec![entry(1, 6, 1)],
        vec![Record::Truncate { group: 1, from: 5 }],
        vec![Record::Purge { group: 1, up_to: u64::MAX }],
        vec![entry(2, u64::MAX, 1)],
        // The last record fails; those before it must not stay.
        vec![
            Record::State { group: 3, key: 1, value: Bytes::from_static(b"x") },
            Record::Forget { group: 1 },
            entry(1, 1, 1),
            entry(1, 3, 1),
        ],
    ];
    for records in refused {
        let error = log.append(records.clone()).unwrap_err();
        assert!(matches!(error, WriteError::OutOfOrder { .. }), "{records:?}: {error}");
        assert_eq!(Model::of(&log), before, "{records:?}");
    }
    log.append(vec![entry(1, 7, 1)]).unwrap();
}

/// A disk that writes when it is told to.
#[derive(Default)]
struct Waits(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waits")
    }
}

impl Pace for Waits {
    fn turn(&self, turn: Box<dyn FnOnce() + Send>) {
        self.0.lock().unwrap().push(turn);
    }
}

#[test]
fn a_slow_disk_takes_what_came_meanwhile_with_one_sync_and_a_crash_loses_it() {
    let (vfs, pace) = (FaultVfs::new(1), Arc::new(Waits::default()));
    let slow = || Options { pace: Some(Arc::clone(&pace) as _), ..options() };
    let turn = || pace.0.lock().unwrap().pop();
    let told = Arc::new(AtomicU64::new(0));
    let submit = |log: &Log, index| {
        let told = Arc::clone(&told);
        log.submit(vec![entry(1, index, 10)], move |result| {
            told.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
        })
        .unwrap();
    };
    let log = try_open(&vfs, slow()).unwrap().0;
    (1..=3).for_each(|index| submit(&log, index));
    let synced = log.stats().counters.batches;
    assert_eq!(told.load(Ordering::Relaxed), 0, "nothing is durable before its turn");
    turn().unwrap()();
    assert!(turn().is_none(), "one turn for all");
    assert_eq!((told.load(Ordering::Relaxed), log.stats().counters.batches), (3, synced + 1));
    submit(&log, 4);
    vfs.crash(CrashMode::KeepAll);
    let again = try_open(&vfs, slow()).unwrap().0;
    assert_eq!(again.bounds(1).last(), Some((3, 1)), "what waited for its turn is nowhere");
    drop(log);
    assert_eq!(told.load(Ordering::Relaxed), 3);
}

#[test]
fn an_entry_may_fill_a_segment_but_not_more() {
    let vfs = FaultVfs::new(2);
    let log = open(&vfs);
    let max = options().max_record_bytes();
    log.save_state(1, 1, payload(1, 3000)).unwrap();
    for index in 1..=3 {
        log.append(vec![entry(1, index, 100), entry(2, index, max as usize)]).unwrap();
    }
    let error = log.append(vec![entry(1, 4, max as usize + 1)]).unwrap_err();
    assert!(matches!(error, WriteError::TooLarge { .. }), "{error}");
    let held = Model::of(&log);
    drop(log);
    assert_eq!(Model::of(&open(&vfs)), held);
}

#[test]
fn a_large_submission_is_split_and_acknowledged_once() {
    let vfs = FaultVfs::new(3);
    let log = open(&vfs);
    let records: Vec<Record> = (1..=200).map(|index| entry(1, index, 500)).collect();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    log.submit(records, move |result| {
        result.unwrap();
        counted.fetch_add(1, Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(log.stats().counters.batches > 10);
    vfs.crash(CrashMode::LoseUnsynced);
    assert_eq!(open(&vfs).bounds(1).len(), 200);
}

#[test]
fn state_and_queue_are_bounded() {
    let vfs = FaultVfs::new(4);
    let log = open(&vfs);
    let mut refused = None;
    for key in 0..10 {
        if let Err(error) = log.save_state(1, key, payload(1, 1000)) {
            refused = Some((key, error));
            break;
        }
    }
    let (key, error) = refused.unwrap();
    assert!(matches!(error, WriteError::StateTooLarge { .. }), "{error}");
    assert_eq!(log.load_state(1, key), None);
    // Replacing takes no more, forgetting gives it back.
    log.save_state(1, 0, payload(2, 1000)).unwrap();
    log.append(vec![Record::Forget { group: 1 }]).unwrap();
    log.save_state(2, 0, payload(2, 1000)).unwrap();

    let tight = Options { max_queued_bytes: 1000, ..options() };
    let vfs = FaultVfs::new(4);
    let (log, _) = try_open(&vfs, tight).unwrap();
    let error = log.append(vec![entry(1, 1, 1001)]).unwrap_err();
    assert!(matches!(error, WriteError::QueueFull { .. }), "{error}");
}

#[test]
fn reading_stops_at_the_byte_limit_but_always_gets_on() {
    let vfs = FaultVfs::new(5);
    let log = open(&vfs);
    for index in 1..=10 {
        log.append(vec![entry(1, index, 1000)]).unwrap();
    }
    assert_eq!(log.read(1, 1..11, 3500).unwrap().len(), 3);
    assert_eq!(log.read(1, 4..11, 10).unwrap().len(), 1);
    assert_eq!(log.read(1, 9..100, u64::MAX).unwrap().len(), 2);
    assert!(log.read(1, 11..100, u64::MAX).unwrap().is_empty());
    assert!(log.read(7, 0..100, u64::MAX).unwrap().is_empty());
}

#[test]
fn one_slow_group_does_not_keep_the_disk_from_shrinking() {
    let vfs = FaultVfs::new(6);
    let log = open(&vfs);
    // Group 1 keeps what it has; group 2 writes and purges on and on.
    for index in 1..=40 {
        log.append(vec![entry(1, index, 800)]).unwrap();
    }
    let mut most = 0;
    for index in 1..=2000 {
        log.append(vec![entry(2, index, 800)]).unwrap();
        if index % 10 == 0 {
            log.append(vec![Record::Purge { group: 2, up_to: index - 5 }]).unwrap();
        }
        most = most.max(log.stats().segment_bytes);
    }
    let stats = log.stats();
    let options = options();
    // Twice the live bytes, the slack, the one written to, and one that is about to go.
    let live = 60 * 832;
    let bound = 2 * live + (options.slack_segments + 2) * options.segment_bytes;
    assert!(most <= bound, "{most} bytes in segments, bound {bound}");
    assert!(stats.counters.moved > 0 && stats.counters.dropped_segments > 50);
    // With the standby and two spares.
    assert!(vfs.used_bytes() <= bound + 3 * options.segment_bytes);
    let held = Model::of(&log);
    assert_eq!(held.groups[&1].entries.len(), 40);
    vfs.crash(CrashMode::LoseUnsynced);
    assert_eq!(Model::of(&open(&vfs)), held);
}

#[test]
fn readers_never_see_what_is_not_theirs() {
    let vfs = FaultVfs::new(7);
    let (log, _) = try_open(&vfs, threaded()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (log, stop, reads) = (log.clone(), Arc::clone(&stop), Arc::clone(&reads));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for entry in log.read(1, 0..u64::MAX, u64::MAX).unwrap() {
                        let want = payload(1 << 32 | entry.index, 300);
                        assert_eq!(entry.payload, want);
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for index in 1..=3000 {
        log.submit(vec![entry(1, index, 300)], |result| result.unwrap()).unwrap();
        if index % 50 == 0 {
            log.append(vec![Record::Purge { group: 1, up_to: index - 40 }]).unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert!(reads.load(Ordering::Relaxed) > 0);
    assert!(log.stats().counters.dropped_segments > 10);
}

#[test]
fn a_file_is_not_recycled_under_a_reader() {
    let vfs = FaultVfs::new(7);
    let log = open(&vfs);
    for index in 1..=60 {
        log.append(vec![entry(1, index, 1000)]).unwrap();
    }
    // The reader has found its entries, and waits in front of the first file.
    let (found, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let inside = (Arc::clone(&found), Arc::clone(&go_on));
    let waited = AtomicBool::new(false);
    vfs.set_hook(move |op, _| {
        let reader = std::thread::current().name() == Some("reader");
        if reader && op == Op::Read && !waited.swap(true, Ordering::Relaxed) {
            inside.0.wait();
            inside.1.wait();
        }
    });
    let reading = log.clone();
    let reader = std::thread::Builder::new().name("reader".to_owned());
    let reader = reader.spawn(move || reading.read(1, 3..50, u64::MAX)).unwrap();
    found.wait();
    // Meanwhile their segments go, and several are made and filled.
    log.append(vec![Record::Purge { group: 1, up_to: 59 }]).unwrap();
    for index in 61..=260 {
        log.append(vec![entry(1, index, 1000), Record::Purge { group: 1, up_to: index - 1 }]).unwrap();
    }
    assert!(log.stats().counters.dropped_segments > 5);
    go_on.wait();
    let entries = reader.join().unwrap().unwrap();
    assert_eq!(entries.len(), 47);
    for entry in entries {
        assert_eq!(entry.payload, payload(1 << 32 | entry.index, 1000));
    }
}

#[test]
fn many_threads_share_syncs_and_each_gets_its_word() {
    let vfs = FaultVfs::new(8);
    let (log, _) = try_open(&vfs, threaded()).unwrap();
    let writers: Vec<_> = (1..=4u32)
        .map(|group| {
            let log = log.clone();
            std::thread::spawn(move || {
                let (tell, told) = mpsc::channel();
                for index in 1..=300 {
                    let tell = tell.clone();
                    let done = move |result: Result<(), WriteError>| {
                        result.unwrap();
                        tell.send(index).unwrap();
                    };
                    log.submit(vec![entry(group, index, 60)], done).unwrap();
                    // Readable at once, durable or not.
                    assert_eq!(log.bounds(group).next, index + 1);
                }
                drop(tell);
                told.iter().collect::<Vec<u64>>()
            })
        })
        .collect();
    for writer in writers {
        assert_eq!(writer.join().unwrap(), (1..=300).collect::<Vec<_>>());
    }
    assert!(log.stats().counters.batches < 1200 + 50, "{:?}", log.stats());
    let held = Model::of(&log);
    drop(log);
    vfs.crash(CrashMode::LoseUnsynced);
    assert_eq!(Model::of(&open(&vfs)), held);
}

#[test]
fn a_closed_log_refuses_and_a_callback_may_drop_the_last_handle() {
    let vfs = FaultVfs::new(9);
    let (log, _) = try_open(&vfs, threaded()).unwrap();
    log.append(vec![entry(1, 1, 10)]).unwrap();
    log.close();
    assert!(matches!(log.append(vec![entry(1, 2, 10)]), Err(WriteError::Closed)));
    assert_eq!(log.read(1, 0..9, 999).unwrap().len(), 1);
    drop(log);

    let (log, _) = try_open(&vfs, threaded()).unwrap();
    let (tell, told) = mpsc::channel();
    let moved: Log = log.clone();
    log.submit(vec![entry(1, 2, 10)], move |result| {
        drop(moved);
        tell.send(result.is_ok()).unwrap();
    })
    .unwrap();
    drop(log);
    assert!(told.recv().unwrap());
}

#[test]
fn a_changed_segment_length_takes_effect() {
    let vfs = FaultVfs::new(10);
    let larger = Options { segment_bytes: 128 << 10, max_batch_bytes: 64 << 10, ..options() };
    drop(open(&vfs));
    let (log, _) = try_open(&vfs, larger.clone()).unwrap();
    log.append(vec![entry(1, 1, 60_000)]).unwrap();
    drop(log);
    let log = open(&vfs);
    for index in 2..=80 {
        log.append(vec![entry(1, index, 1000)]).unwrap();
    }
    drop(log);
    let (log, _) = try_open(&vfs, larger).unwrap();
    log.append(vec![entry(1, 81, 60_000), entry(1, 82, 60_000)]).unwrap();
    assert_eq!(Model::of(&log).groups[&1].entries.len(), 82);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Threads or not, the same work gives the same log.
    #[test]
    fn the_writer_thread_agrees_with_the_model(
        work in proptest::collection::vec(work(), 1..80),
    ) {
        let vfs = FaultVfs::new(11);
        let (log, _) = try_open(&vfs, threaded()).unwrap();
        let mut salt = 0;
        let outcome = run(&vfs, &log, Model::default(), &work, &mut salt);
        drop(log);
        vfs.crash(CrashMode::LoseUnsynced);
        prop_assert_eq!(Model::of(&open(&vfs)), outcome.acked);
    }

    /// Submissions pile up behind each other, so that truncations and purges meet entries that
    /// are not durable yet.
    #[test]
    fn submissions_that_wait_together_come_out_right(
        work in proptest::collection::vec(work(), 1..80),
        full_after in proptest::option::of(1..8u64),
    ) {
        let vfs = FaultVfs::new(12);
        let exposed = Options { reserve_bytes: 0, ..threaded() };
        let (log, _) = try_open(&vfs, exposed.clone()).unwrap();
        if let Some(segments) = full_after {
            vfs.set_capacity(Some((1 + segments) * exposed.segment_bytes));
        }
        // The first write waits until everything is submitted.
        let gate = Arc::new(Barrier::new(2));
        let passed = AtomicBool::new(false);
        let inside = Arc::clone(&gate);
        vfs.set_hook(move |op, _| {
            let writer = std::thread::current().name() == Some("willow-log");
            if writer && op == Op::Write && !passed.swap(true, Ordering::Relaxed) {
                inside.wait();
            }
        });
        let (tell, told) = mpsc::channel();
        let mut model = Model::default();
        let mut states = vec![model.clone()];
        for (salt, one) in work.iter().enumerate() {
            let records = Work::records(one, &model, salt as u64);
            let tell = tell.clone();
            let at = states.len();
            let mut after = model.clone();
            records.iter().for_each(|record| after.apply(record));
            let submitted = log.submit(records, move |result: Result<(), WriteError>| {
                tell.send((at, result.is_ok())).unwrap();
            });
            if submitted.is_err() {
                break;
            }
            model = after;
            states.push(model.clone());
        }
        if states.len() > 1 {
            gate.wait();
        }
        log.close();
        drop(tell);
        let results: Vec<(usize, bool)> = told.iter().collect();
        prop_assert_eq!(results.len() + 1, states.len());
        let durable = results.iter().filter(|(_, ok)| *ok).count();
        prop_assert!(results[..durable].iter().all(|(_, ok)| *ok), "a prefix: {:?}", results);
        prop_assert_eq!(&Model::of(&log), &states[durable]);
        drop(log);
        vfs.set_capacity(None);
        vfs.crash(CrashMode::LoseUnsynced);
        let (log, _) = try_open(&vfs, Options { reserve_bytes: 0, ..options() }).unwrap();
        prop_assert_eq!(&Model::of(&log), &states[durable]);
    }
}
