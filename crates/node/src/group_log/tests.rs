//! Writes that find no room wait, and land in order; writes that fail for good are never done.

use std::path::Path;
use std::time::Duration;

use willow_storage::log::{Options, Threading};
use willow_storage::vfs::{FaultVfs, Op};

use super::*;

#[derive(Default)]
struct Events(Mutex<Vec<&'static str>>);

impl LogEvents for Events {
    fn log_stalled(&self, why: Unavailable) {
        self.0.lock().push(if why == Unavailable::DiskFull { "full" } else { "broken" });
    }

    fn log_resumed(&self) {
        self.0.lock().push("resumed");
    }
}

struct Fixture {
    vfs: FaultVfs,
    log: Arc<GroupLog>,
    events: Arc<Events>,
    done: Arc<Mutex<Vec<u64>>>,
    next: u64,
}

impl Fixture {
    fn new(threading: Threading) -> Self {
        let vfs = FaultVfs::new(1);
        let options = Options { retry_interval: Duration::ZERO, threading, ..Options::small_inline() };
        let (log, _) = Log::open(Arc::new(vfs.clone()), Path::new("log"), options).unwrap();
        let events = Arc::new(Events::default());
        let log = GroupLog::new(GroupId(1), log, Arc::clone(&events) as _, Arc::new(Cells::new()));
        Self { vfs, log, events, done: Arc::default(), next: 0 }
    }

    /// Writes an entry; its index is noted once it is durable.
    fn write(&mut self) {
        let index = self.next;
        self.next += 1;
        let payload = Bytes::from(vec![7; 2000]);
        let done = Arc::clone(&self.done);
        let record = Record::Entry { group: 1, index, term: 1, payload };
        self.log.write(vec![record], Box::new(move || done.lock().push(index)));
    }

    fn fill(&mut self) {
        self.vfs.set_capacity(Some(self.vfs.used_bytes()));
        for _ in 0..10_000 {
            if self.log.is_stalled() {
                return;
            }
            self.write();
        }
        panic!("the disk never filled");
    }

    fn until(&self, done: impl Fn(&Self) -> bool) {
        let give_up = Instant::now() + Duration::from_secs(60);
        while !done(self) {
            assert!(Instant::now() < give_up, "it never came to that");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn events(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.events.0.lock())
    }

    fn done(&self) -> Vec<u64> {
        self.done.lock().clone()
    }
}

#[test]
fn what_finds_no_room_waits_and_lands_in_order() {
    let mut fixture = Fixture::new(Threading::Inline);
    fixture.write();
    assert_eq!((fixture.done(), fixture.events()), (vec![0], vec![]));
    fixture.fill();
    assert_eq!(fixture.events(), ["full"]);
    let landed = fixture.done();
    assert_eq!(landed, (0..fixture.next - 1).collect::<Vec<_>>());
    // What comes now waits behind it; a retry without room changes nothing.
    fixture.write();
    fixture.write();
    fixture.log.retry();
    assert_eq!((fixture.done(), fixture.events()), (landed, vec![]));
    fixture.vfs.set_capacity(None);
    fixture.log.retry();
    assert_eq!(fixture.done(), (0..fixture.next).collect::<Vec<_>>());
    assert_eq!(fixture.events(), ["resumed"]);
    assert!(!fixture.log.is_stalled());
    fixture.write();
    assert_eq!(fixture.done().len(), usize::try_from(fixture.next).unwrap());
}

/// With a writer of its own, the failure comes when more has been submitted.
#[test]
fn what_overtook_a_write_without_room_follows_it() {
    let mut fixture = Fixture::new(Threading::Threads);
    fixture.fill();
    fixture.write();
    fixture.vfs.set_capacity(None);
    let all = usize::try_from(fixture.next).unwrap();
    while fixture.done().len() < all || fixture.log.is_stalled() {
        fixture.log.retry();
        std::thread::yield_now();
    }
    assert_eq!(fixture.done(), (0..fixture.next).collect::<Vec<_>>());
    assert_eq!(fixture.events().last(), Some(&"resumed"));
}

/// The write before it has failed, but word of that has not come yet.
#[test]
fn what_overtakes_the_word_of_a_failure_waits_for_it() {
    let mut fixture = Fixture::new(Threading::Inline);
    fixture.write();
    let done = Arc::clone(&fixture.done);
    let record = Record::Entry { group: 1, index: 1, term: 1, payload: Bytes::new() };
    let failed = Write { records: vec![record], done: Box::new(move || done.lock().push(1)) };
    {
        let mut parked = fixture.log.parked.lock();
        (parked.next, parked.outstanding) = (2, 1);
    }
    fixture.next = 2;
    fixture.write();
    assert!(fixture.log.is_stalled());
    assert_eq!((fixture.done(), fixture.events()), (vec![0], vec![]));
    fixture.log.failed(1, failed, &WriteError::DiskFull { reason: "a test".to_owned() });
    assert_eq!(fixture.events(), ["full"]);
    fixture.log.retry();
    assert_eq!((fixture.done(), fixture.events()), (vec![0, 1, 2], vec!["resumed"]));
    fixture.write();
    assert_eq!(fixture.done(), [0, 1, 2, 3]);
}

/// Nothing before it is on its way: it can never be written.
#[test]
fn what_follows_nothing_is_the_end() {
    let mut fixture = Fixture::new(Threading::Inline);
    fixture.write();
    fixture.next = 2;
    fixture.write();
    assert_eq!(fixture.events(), ["broken"]);
    fixture.log.retry();
    assert!(fixture.log.is_stalled());
    assert_eq!((fixture.done(), fixture.events()), (vec![0], vec![]));
}

#[test]
fn a_disk_about_to_be_full_is_noticed_before_anything_is_written() {
    let mut fixture = Fixture::new(Threading::Inline);
    assert!(fixture.log.check_writable());
    fixture.vfs.set_capacity(Some(fixture.vfs.used_bytes()));
    while fixture.log.check_writable() {
        fixture.write();
    }
    assert_eq!(fixture.done().len(), usize::try_from(fixture.next).unwrap(), "nothing was left hanging");
    assert_eq!(fixture.events(), ["full"]);
    fixture.vfs.set_capacity(None);
    fixture.log.retry();
    assert_eq!(fixture.events(), ["resumed"]);
    assert!(fixture.log.check_writable());
}

#[test]
fn after_a_failed_sync_nothing_is_ever_done() {
    let mut fixture = Fixture::new(Threading::Inline);
    fixture.write();
    fixture.vfs.fail(Op::Sync, std::io::ErrorKind::Other, 0, 1);
    fixture.write();
    fixture.vfs.heal();
    fixture.write();
    fixture.log.retry();
    assert_eq!(fixture.done(), [0]);
    assert_eq!(fixture.events(), ["broken"]);
    assert!(fixture.log.is_stalled());
    // Reads go on.
    assert_eq!(fixture.log.read(0..9, u64::MAX).unwrap().len(), 1);
}

#[test]
fn what_may_fail_does_not_stall() {
    let mut fixture = Fixture::new(Threading::Inline);
    fixture.write();
    fixture.log.write_if_possible(vec![Record::Purge { group: 1, up_to: 0 }], "a test");
    assert_eq!((fixture.log.bounds().purged, fixture.events()), (Some(0), vec![]));
    // Out of order: refused, and that is all.
    let record = Record::Entry { group: 1, index: 9, term: 1, payload: Bytes::new() };
    fixture.log.write_if_possible(vec![record], "a test");
    assert_eq!(fixture.events(), Vec::<&str>::new());
    assert!(!fixture.log.is_stalled());
}

/// A leader's snapshot is installed while the disk is full: its purge finds room where the entries before did not.
#[test]
fn what_a_snapshot_has_moved_the_log_past_is_not_tried_for_ever() {
    for threading in [Threading::Inline, Threading::Threads] {
        let mut fixture = Fixture::new(threading);
        fixture.fill();
        fixture.write();
        let covered = fixture.next + 10;
        fixture.vfs.set_capacity(None);
        let purge = Record::Purge { group: 1, up_to: covered };
        fixture.log.write_if_possible(vec![purge], "a purge of the log");
        fixture.until(|fixture| fixture.log.bounds().purged == Some(covered));
        assert!(fixture.log.is_stalled());
        fixture.until(|fixture| {
            fixture.log.retry();
            !fixture.log.is_stalled()
        });
        assert_eq!(fixture.done(), (0..fixture.next).collect::<Vec<_>>());
        fixture.next = covered + 1;
        fixture.write();
        fixture.until(|fixture| fixture.done().last() == Some(&(covered + 1)));
    }
}
