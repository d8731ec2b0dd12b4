//! The known failures of queues (DESIGN.md §8), by their numbers there: each must be impossible here.

mod support;

use support::{
    check_replay_and_restore, kv,
    queue::{Bench, LEASE_MS, config, data, dequeue, item, q, updatable},
};
use willow_core::{
    Command, Outcome,
    queue::{
        self, Ack, DeleteChannel, DeleteQueue, Delivery, Enqueue, How, Nacked, NewItem, PauseKind, Purge, QueueConfig,
        Redrive,
    },
};

/// Ways for a delivery to end.
const ENDS: [&str; 11] = [
    "ack",
    "nack",
    "nack to dead letter",
    "release",
    "lease expiry",
    "item expiry, then nack",
    "item expiry, then lease expiry",
    "update while it runs, then nack",
    "channel deleted, then ack",
    "cancelled",
    "nack of a superseded item to its own limit",
];

fn end(bench: &mut Bench, how: &str) {
    let expires_in_ms = how.starts_with("item expiry").then_some(LEASE_MS / 2);
    let updates = how.starts_with("update") || how.contains("superseded");
    let max_attempts = (how == "nack to dead letter").then_some(Some(1));
    bench.enqueue(NewItem { expires_in_ms, updatable: Some(updates), max_attempts, ..item("job=a", "first") });
    let delivery = bench.take_one("");
    assert_eq!(bench.held(), 1, "{how}");
    if expires_in_ms.is_some() {
        bench.logged.pass(LEASE_MS / 2 + 1);
    }
    if updates {
        bench.enqueue(updatable("job=a", "second"));
    }
    match how {
        "ack" => bench.ack(&delivery),
        "release" => bench.release(&delivery),
        "lease expiry" | "item expiry, then lease expiry" => bench.logged.pass(LEASE_MS + 1),
        "cancelled" => bench.cancel(willow_core::WaiterId(77), Some(vec![delivery])),
        "channel deleted, then ack" => {
            let channel = bench.channel_id("job=a");
            bench.apply(queue::Command::DeleteChannel(DeleteChannel { queue: q(), channel })).expect("it is there");
            bench.ack(&delivery);
        }
        _ => {
            bench.nack(&delivery);
        }
    }
}

/// A slot leaked by whatever ends a delivery would wedge the queue for good.
#[test]
fn failure_02_no_end_of_a_delivery_leaks_its_slot() {
    for how in ENDS {
        let mut bench = Bench::new(config());
        bench.rule("one at a time", "_willow_queue_name=q", 1);
        end(&mut bench, how);
        assert_eq!(bench.held(), 0, "{how}");
        assert_eq!(bench.view().counts.in_flight, 0, "{how}");
        // Another channel under the same limit runs.
        bench.enqueue(item("job=b", "other"));
        let other = bench.take_one("job = \"b\"");
        assert_eq!(data(&other), "other", "{how}");
        check_replay_and_restore(&mut bench.logged, 11);
    }
}

#[test]
fn failure_02_a_deleted_queue_gives_its_slots_back() {
    let mut bench = Bench::new(config());
    bench.rule("shared", "gpu=*", 2);
    for at in 0..2500 {
        bench.enqueue(item(&format!("gpu=h100 job={at}"), "x"));
    }
    assert_eq!(bench.take(dequeue("", 10, 0)).len(), 2);
    let delete = DeleteQueue { queue: q(), if_match: None };
    assert_eq!(bench.apply(queue::Command::DeleteQueue(delete.clone())), Ok(Outcome::Queue(queue::Outcome::Deleting)));
    assert_eq!(Bench::error(bench.apply(queue::Command::DeleteQueue(delete))), queue::Error::QueueDeleting);
    assert!(bench.view().deleting, "2500 channels are more than one step");
    // A step a batch: the node proposes one whenever a deadline is due.
    (0..10).for_each(|_| bench.logged.pass(100));
    assert!(bench.logged.machine.queues().queue(&q()).is_none());
    assert_eq!(bench.held(), 0);
    check_replay_and_restore(&mut bench.logged, 2503);
}

#[test]
fn failure_02_a_weight_is_given_back_whole() {
    let mut bench = Bench::new(config());
    bench.rule("gpus", "_willow_queue_name=q", 8);
    bench.enqueue(NewItem { weight: Some(8), ..item("job=big", "big") });
    bench.enqueue(item("job=small", "small"));
    let big = bench.take_one("");
    assert_eq!((data(&big), bench.held()), ("big", 8));
    let waiter = bench.wait(dequeue("", 1, 5000));
    bench.nack(&big);
    // The freed room goes to who waits; the small job is no further from the head than the retry.
    let handed = bench.handed();
    assert_eq!(handed.len(), 1);
    assert_eq!(handed[0].0, waiter);
}

/// A failed delivery must never bring old data back over new.
#[test]
fn failure_03_a_stale_payload_never_overwrites_a_newer_one() {
    let ends: [fn(&mut Bench, &Delivery); 4] = [
        |bench, delivery| assert_eq!(bench.nack(delivery), Nacked::Superseded),
        |bench, delivery| bench.release(delivery),
        |bench, _| bench.logged.pass(LEASE_MS + 1),
        |bench, delivery| bench.cancel(willow_core::WaiterId(9), Some(vec![delivery.clone()])),
    ];
    for (at, end) in ends.iter().enumerate() {
        let mut bench = Bench::new(config());
        bench.enqueue(updatable("job=a", "old"));
        let running = bench.take_one("");
        bench.enqueue(updatable("job=a", "new"));
        assert_eq!(bench.enqueue(updatable("job=a", "newest")).how, How::Updated);
        end(&mut bench, &running);
        let next = bench.take_one("");
        assert_eq!(data(&next), "newest", "end {at}");
        bench.ack(&next);
        assert!(bench.take(dequeue("", 10, 0)).is_empty(), "end {at}: the old one came back");
        assert_eq!(bench.view().channels, 0, "end {at}");
    }
}

#[test]
fn failure_03_nor_does_a_redriven_one() {
    let mut bench = Bench::new(config());
    bench.enqueue(NewItem { max_attempts: Some(Some(1)), ..updatable("job=a", "old") });
    let running = bench.take_one("");
    assert_eq!(bench.nack(&running), Nacked::DeadLetter);
    bench.enqueue(updatable("job=a", "new"));
    let redrive = Redrive { queue: q(), query: None, max_items: 10 };
    bench.apply(queue::Command::Redrive(redrive)).expect("a queue");
    assert_eq!(data(&bench.take_one("")), "new");
    assert_eq!(bench.view().counts.waiting, 0);
    assert!(bench.dead().is_empty());
}

/// What may keep a channel from a consumer, and what takes it away.
type Obstacle = (&'static str, fn(&mut Bench), fn(&mut Bench));

const OBSTACLES: [Obstacle; 10] = [
    (
        "nothing there",
        |_| (),
        |bench| {
            bench.enqueue(item("job=a os=linux", "x"));
        },
    ),
    (
        "limit",
        |bench| {
            bench.rule("r", "os=linux", 0);
            bench.enqueue(item("job=a os=linux", "x"));
        },
        |bench| bench.set_limit("r", 1),
    ),
    (
        "rule",
        |bench| {
            bench.rule("r", "os=linux", 0);
            bench.enqueue(item("job=a os=linux", "x"));
        },
        |bench| bench.delete_rule("r"),
    ),
    (
        "slot",
        |bench| {
            bench.rule("r", "os=linux", 1);
            bench.enqueue(NewItem { max_attempts: Some(Some(1)), ..item("job=b os=linux", "before") });
            bench.take_one("job = \"b\"");
            bench.enqueue(item("job=a os=linux", "x"));
        },
        |bench| bench.logged.pass(LEASE_MS),
    ),
    (
        "taint",
        |bench| {
            bench.pause(None, PauseKind::Dequeue);
            bench.enqueue(item("job=a os=linux", "x"));
            bench.patch("job=a os=linux", &[], Some(&["special"])).expect("a channel");
            bench.resume(None);
        },
        |bench| {
            bench.patch("job=a os=linux", &[], Some(&[])).expect("a channel");
        },
    ),
    (
        "pause of the queue",
        |bench| {
            bench.pause(None, PauseKind::Dequeue);
            bench.enqueue(item("job=a os=linux", "x"));
        },
        |bench| bench.resume(None),
    ),
    (
        "pause by query",
        |bench| {
            bench.pause(Some("os = \"linux\""), PauseKind::Dequeue);
            bench.enqueue(item("job=a os=linux", "x"));
        },
        |bench| bench.resume(Some("os = \"linux\"")),
    ),
    (
        "pause by metadata",
        |bench| {
            bench.pause(Some("not metadata.ready = true"), PauseKind::Dequeue);
            bench.enqueue(item("job=a os=linux", "x"));
        },
        |bench| {
            bench.patch("job=a os=linux", &[("ready", Some(true.into()))], None).expect("a channel");
        },
    ),
    (
        "delay",
        |bench| {
            bench.enqueue(NewItem { delay_ms: 700, ..item("job=a os=linux", "x") });
        },
        |bench| bench.logged.pass(700),
    ),
    (
        "a heavier item before it",
        |bench| {
            bench.rule("r", "os=linux", 1);
            bench.enqueue(NewItem { weight: Some(2), expires_in_ms: Some(500), ..item("job=a os=linux", "heavy") });
            bench.enqueue(item("job=a os=linux", "x"));
        },
        |bench| bench.logged.pass(500),
    ),
];

/// Whatever was in the way, the change that takes it away hands the item over in the same apply, also
/// on a machine that was restored between the two (which the check of the log covers).
#[test]
fn failure_04_no_wake_up_is_lost_whatever_was_in_the_way() {
    for (name, put, take_away) in OBSTACLES {
        let mut bench = Bench::new(config());
        put(&mut bench);
        let waiter = bench.wait(dequeue("os = \"linux\"", 1, 60_000));
        let commands = bench.logged.log.len();
        assert_eq!(bench.handed(), [], "{name}");
        take_away(&mut bench);
        assert_eq!(bench.handed(), [(waiter, vec!["x".to_owned()])], "{name}");
        check_replay_and_restore(&mut bench.logged, commands as u64);
    }
}

/// The same with many channels behind one limit: its set is opened, not merged.
#[test]
fn failure_04_a_release_under_a_crowded_limit_reaches_who_waits_for_another_channel_than_the_oldest() {
    let mut bench = Bench::new(config());
    bench.rule("r", "_willow_queue_name=q", 1);
    for at in 0..20 {
        bench.enqueue(item(&format!("job=j{at}"), &at.to_string()));
    }
    let running = bench.take_one("");
    assert_eq!(bench.take(dequeue("", 20, 0)).len(), 0, "all are parked now");
    let waiter = bench.wait(dequeue("job = \"j13\"", 1, 60_000));
    bench.ack(&running);
    assert_eq!(bench.handed(), [(waiter, vec!["13".to_owned()])]);
    // The slot is taken again: nobody else gets anything, and nobody is asked twice.
    let second = bench.wait(dequeue("job = \"j7\"", 1, 60_000));
    let third = bench.wait(dequeue("job = \"j3\"", 1, 60_000));
    bench.logged.pass(LEASE_MS);
    assert_eq!(bench.handed(), [(second, vec!["7".to_owned()])], "the lease of 13 ended; who waits longest is first");
    bench.set_limit("r", 2);
    assert_eq!(bench.handed(), [(third, vec!["3".to_owned()])]);
    bench.set_limit("r", 100);
    let rest = bench.take(dequeue("", 100, 0));
    assert_eq!(rest.len(), 17, "{:?}", rest.iter().map(data).collect::<Vec<_>>());
    check_replay_and_restore(&mut bench.logged, 31);
}

#[test]
fn failure_04_only_who_gains_wakes_up() {
    let mut bench = Bench::new(config());
    let waiters: Vec<_> = (0..100).map(|at| bench.wait(dequeue(&format!("job = \"j{at}\""), 1, 60_000))).collect();
    let any = bench.wait(dequeue("", 1, 60_000));
    bench.enqueue(item("job=j42", "x"));
    assert_eq!(bench.handed(), [(waiters[42], vec!["x".to_owned()])]);
    bench.enqueue(item("job=j42", "y"));
    assert_eq!(bench.handed(), [(any, vec!["y".to_owned()])]);
    bench.enqueue(item("job=j42", "z"));
    assert_eq!(bench.handed(), []);
}

#[test]
fn failure_04_one_blocked_channel_delays_no_other() {
    let mut bench = Bench::new(config());
    bench.rule("r", "branch=*", 1);
    for job in 0..3 {
        bench.enqueue(item(&format!("branch=main job={job}"), &format!("main {job}")));
    }
    bench.enqueue(item("branch=dev job=0", "dev 0"));
    let taken = bench.take(dequeue("", 10, 0));
    assert_eq!(taken.iter().map(data).collect::<Vec<_>>(), ["main 0", "dev 0"]);
}

/// With 3000 channels under one limit, each release costs one try: rescanning what is parked would be
/// nine million tries here, and this test would not end.
#[test]
fn failure_05_what_is_parked_is_not_scanned_again() {
    let mut bench = Bench::new(config());
    bench.rule("r", "_willow_queue_name=q", 1);
    let items: Vec<NewItem> = (0..3000).map(|at| item(&format!("job=j{at}"), &at.to_string())).collect();
    for batch in items.chunks(1000) {
        let enqueue = queue::Command::Enqueue(Enqueue { queue: q(), items: batch.to_vec() });
        bench.logged.apply(Command::Queue(enqueue)).expect("a queue");
    }
    for at in 0..3000 {
        let delivery = bench.take_one("");
        assert_eq!(data(&delivery), at.to_string(), "oldest first, parked or not");
        bench.ack(&delivery);
    }
    assert_eq!(bench.view().channels, 0);
}

/// Adding again while it runs: one later run, never two at once, never none.
#[test]
fn failure_11_adding_again_while_it_runs_gives_exactly_one_later_run() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.enqueue(updatable("job=a", "1")).how, How::Created);
    let first = bench.take_one("");
    for add in 2..6 {
        let how = bench.enqueue(updatable("job=a", &add.to_string())).how;
        assert_eq!(how, if add == 2 { How::Created } else { How::Updated });
        assert!(bench.take(dequeue("", 10, 0)).is_empty(), "two at once");
    }
    let waiter = bench.wait(dequeue("", 10, 60_000));
    bench.ack(&first);
    assert_eq!(bench.handed(), [(waiter, vec!["5".to_owned()])]);
    bench.enqueue(updatable("job=a", "6"));
    assert!(bench.take(dequeue("", 10, 0)).is_empty(), "two at once");
    bench.logged.pass(LEASE_MS);
    assert_eq!(data(&bench.take_one("")), "6", "the run that died gave way to the newer");
    assert!(bench.take(dequeue("", 10, 0)).is_empty());
    check_replay_and_restore(&mut bench.logged, 7);
}

#[test]
fn failure_11_an_updatable_item_waits_for_all_of_its_channel() {
    let mut bench = Bench::new(config());
    bench.enqueue(item("job=a", "1"));
    bench.enqueue(item("job=a", "2"));
    bench.enqueue(updatable("job=a", "3"));
    let plain = bench.take(dequeue("", 10, 0));
    assert_eq!(plain.iter().map(data).collect::<Vec<_>>(), ["1", "2"], "plain items run side by side");
    bench.ack(&plain[0]);
    assert!(bench.take(dequeue("", 10, 0)).is_empty());
    let ack = Ack { queue: q(), items: vec![support::queue::of(&plain[1]), support::queue::of(&plain[0])] };
    let reply = bench.apply(queue::Command::Ack(ack));
    let Ok(Outcome::Queue(queue::Outcome::Acked(answers))) = reply else { panic!("{reply:?}") };
    assert_eq!(answers, [Ok(()), Err(queue::Error::NoSuchItem)]);
    assert_eq!(data(&bench.take_one("")), "3");
}

/// A purge in steps takes what was there and nothing that came later, whatever is in flight.
#[test]
fn a_purge_in_steps_keeps_what_came_later() {
    let mut bench = Bench::new(QueueConfig { max_dead_letters: 0, ..config() });
    for at in 0..2300 {
        bench.enqueue(item(&format!("job=j{} n={at}", at % 2), "old"));
    }
    let running = bench.take_one("job = \"j0\"");
    let purge = Purge { queue: q(), query: Some("job = \"j0\"".parse().expect("a query")) };
    let reply = bench.apply(queue::Command::Purge(purge));
    let Ok(Outcome::Queue(queue::Outcome::Removed { items, continuing: true })) = reply else { panic!("{reply:?}") };
    assert!(items > 0 && items < 1149);
    bench.enqueue(item("job=j0 n=2298", "new"));
    (0..10).for_each(|_| bench.logged.pass(10));
    let left = bench.take(dequeue("job = \"j0\"", 10, 0));
    assert_eq!(left.iter().map(data).collect::<Vec<_>>(), ["new"]);
    assert_eq!(left[0].key_values, kv("job=j0 n=2298"));
    bench.ack(&running);
    assert_eq!(bench.view().counts.waiting, 1150);
    check_replay_and_restore(&mut bench.logged, 2304);
}
