//! What was answered is there again, whatever ends the node.

mod support;

use support::{World, holds_all, put, put_one, put_range};
use willow_node::{Health, ProposeError, StartError, Unavailable};
use willow_storage::log::{Log, Record, Threading};
use willow_storage::vfs::{CrashMode, Op};

#[tokio::test]
async fn a_restart_keeps_everything() {
    let world = World::new(1);
    let node = world.start().await;
    let cluster = node.read_stale(|machine| machine.cluster_id());
    assert_ne!(cluster, 0);
    let outcomes = put_range(&node, 0, 40).await;
    let digest = node.digest();
    node.shutdown().await;
    drop(node);
    let node = world.start().await;
    assert_eq!(node.health(), Health::Ready);
    assert_eq!(node.digest(), digest);
    assert_eq!(node.read_stale(|machine| machine.cluster_id()), cluster);
    assert!(holds_all(&node, &outcomes));
    // It goes on from there.
    put_range(&node, 40, 42).await;
}

#[tokio::test]
async fn a_data_directory_belongs_to_one_node() {
    let world = World::new(1);
    let _node = world.start().await;
    let second = willow_node::Node::start(world.config()).await;
    assert!(matches!(second, Err(StartError::Storage(_))), "{second:?}");
}

/// Not a fresh start: revisions would go back, and what was acknowledged would be gone without a word. A service
/// manager starts it again and again: the first start must not make a log that the second takes for the member's.
#[tokio::test]
async fn a_member_without_its_log_is_not_started() {
    for (has_snapshots, has_name) in [(true, true), (true, false), (false, true)] {
        let world = World::new(1);
        let node = world.start().await;
        put_range(&node, 0, 5).await;
        node.snapshot().await.unwrap();
        put_range(&node, 5, 10).await;
        node.shutdown().await;
        drop(node);
        let dir = world.config().data_dir;
        for path in world.vfs.paths() {
            let is_lost = path.starts_with(dir.join("log"))
                || !has_snapshots && path.extension().is_some_and(|extension| extension == "snap")
                || !has_name && path == dir.join("node.json");
            if is_lost {
                world.vfs.lose(&path);
            }
        }
        for _ in 0..2 {
            let started = willow_node::Node::start(world.config()).await;
            assert!(matches!(started, Err(StartError::LogGone)), "{has_snapshots} {has_name}: {started:?}");
        }
    }
}

/// The power goes at each operation of the disk in turn.
#[tokio::test]
async fn a_crash_at_any_moment_loses_nothing_answered() {
    for ops in 1..60 {
        for mode in [CrashMode::LoseUnsynced, CrashMode::Torn, CrashMode::KeepAll] {
            let world = World::new(ops);
            let node = world.start().await;
            world.vfs.crash_after(ops);
            let mut answered = Vec::new();
            for n in 0..80 {
                match put_one(&node, n).await {
                    Ok(outcome) => answered.push(outcome),
                    Err(_) => break,
                }
            }
            assert!(world.vfs.has_crashed(), "the test must reach operation {ops}");
            world.crash(node, mode);
            let node = world.start().await;
            assert!(holds_all(&node, &answered), "crash at operation {ops}, {mode:?}");
            put_range(&node, 100, 101).await;
        }
    }
}

/// The same while snapshots are written and the log is purged.
#[tokio::test]
async fn a_crash_during_a_snapshot_loses_nothing_answered() {
    for ops in 1..40 {
        let world = World::new(ops);
        let node = world.start().await;
        let mut answered = put_range(&node, 0, 20).await;
        node.snapshot().await.unwrap();
        answered.extend(put_range(&node, 20, 40).await);
        world.vfs.crash_after(ops);
        // Whether it was written is of no matter.
        let _outcome = node.snapshot().await;
        for n in 40..60 {
            match put_one(&node, n).await {
                Ok(outcome) => answered.push(outcome),
                Err(_) => break,
            }
        }
        world.crash(node, CrashMode::Torn);
        let node = world.start().await;
        assert!(holds_all(&node, &answered), "crash at operation {ops}");
    }
}

#[tokio::test]
async fn a_snapshot_and_the_log_after_it_are_the_same_as_the_whole_log() {
    let digest = async |snapshot_every: usize| {
        let world = World::new(3);
        let node = world.start().await;
        for n in 0..60 {
            put_range(&node, n, n + 1).await;
            if n % snapshot_every == snapshot_every - 1 {
                node.snapshot().await.unwrap();
            }
        }
        let before = node.digest();
        node.shutdown().await;
        drop(node);
        let node = world.start().await;
        assert_eq!(node.digest(), before, "a snapshot every {snapshot_every}");
        before
    };
    let whole_log = digest(usize::MAX).await;
    assert_eq!(digest(7).await, whole_log);
    assert_eq!(digest(60).await, whole_log);
}

#[tokio::test]
async fn snapshots_come_by_themselves_and_bound_the_log() {
    let world = World::new(4);
    let mut config = world.config();
    config.snapshot_commands = 25;
    let node = willow_node::Node::start(config).await.unwrap();
    let outcomes = put_range(&node, 0, 400).await;
    // The last one may be under way.
    while node.stats().snapshots < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.stats().snapshots_failed, 0);
    let digest = node.digest();
    node.shutdown().await;
    drop(node);
    let node = world.start().await;
    assert_eq!(node.digest(), digest);
    assert!(holds_all(&node, &outcomes));
}

#[tokio::test]
async fn a_lost_snapshot_is_noticed() {
    let world = World::new(5);
    let node = world.start().await;
    for round in 0..4 {
        // Enough entries that some are purged.
        put_range(&node, round * 100, round * 100 + 100).await;
        node.snapshot().await.unwrap();
    }
    node.shutdown().await;
    drop(node);
    for path in world.vfs.paths() {
        if path.extension().is_some_and(|extension| extension == "snap") {
            world.vfs.lose(&path);
        }
    }
    let started = willow_node::Node::start(world.config()).await;
    assert!(matches!(started, Err(StartError::Gap { snapshot: None, .. })), "{started:?}");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room() {
    let world = World::new(6);
    let node = world.start().await;
    let mut answered = put_range(&node, 0, 10).await;
    world.vfs.set_capacity(Some(world.vfs.used_bytes()));
    let mut n = 10;
    let refused = loop {
        match put_one(&node, n).await {
            Ok(outcome) => answered.push(outcome),
            Err(error) => break error,
        }
        n += 1;
    };
    assert_eq!(refused, ProposeError::Unavailable(Unavailable::DiskFull));
    assert_eq!(node.health(), Health::ReadOnly(Unavailable::DiskFull));
    assert_eq!(put_one(&node, n).await.unwrap_err(), refused);
    // Reads go on, and see what was answered.
    assert!(node.read(|machine| answered.iter().all(|outcome| support::holds(machine, outcome))).await.unwrap());

    world.vfs.set_capacity(None);
    world.pass_until_ready(&node).await;
    answered.extend(put_range(&node, n, n + 5).await);
    let digest = node.digest();
    node.shutdown().await;
    drop(node);
    let node = world.start().await;
    assert_eq!(node.digest(), digest);
    assert!(holds_all(&node, &answered));
}

#[tokio::test]
async fn a_node_starts_on_a_full_disk_and_serves_reads() {
    let world = World::new(7);
    let node = world.start().await;
    let mut answered = Vec::new();
    world.vfs.set_capacity(Some(world.vfs.used_bytes()));
    while let Ok(outcome) = put_one(&node, answered.len()).await {
        answered.push(outcome);
    }
    world.crash(node, CrashMode::KeepAll);
    let node = world.start().await;
    assert_eq!(node.health(), Health::ReadOnly(Unavailable::DiskFull));
    assert!(node.read(|machine| answered.iter().all(|outcome| support::holds(machine, outcome))).await.unwrap());
    world.vfs.set_capacity(None);
    world.pass_until_ready(&node).await;
    put_range(&node, 1000, 1001).await;
}

#[tokio::test]
async fn a_failed_sync_is_never_taken_for_done() {
    let world = World::new(8);
    let node = world.start().await;
    let answered = put_range(&node, 0, 10).await;
    world.vfs.fail(Op::Sync, std::io::ErrorKind::Other, 0, 1);
    let unknown = put_one(&node, 10).await.unwrap_err();
    assert!(matches!(unknown, ProposeError::OutcomeUnknown { .. }), "{unknown:?}");
    let refused = put_one(&node, 11).await.unwrap_err();
    assert!(matches!(refused, ProposeError::Unavailable(Unavailable::Storage(_))), "{refused:?}");
    assert!(matches!(node.health(), Health::ReadOnly(Unavailable::Storage(_))));
    assert!(node.read(|machine| answered.iter().all(|outcome| support::holds(machine, outcome))).await.unwrap());
    // The disk works again, but what it holds is unknown until it is read back.
    world.vfs.heal();
    world.clock.advance(10_000);
    tokio::task::yield_now().await;
    assert!(put_one(&node, 12).await.is_err());
    node.shutdown().await;
    drop(node);
    let node = world.start().await;
    assert!(holds_all(&node, &answered));
    put_range(&node, 20, 21).await;
}

#[tokio::test]
async fn a_snapshot_that_fails_harms_nothing() {
    let world = World::new(9);
    let node = world.start().await;
    let answered = put_range(&node, 0, 10).await;
    world.vfs.fail(Op::Create, std::io::ErrorKind::Other, 0, 1);
    node.snapshot().await.unwrap_err();
    assert_eq!(node.stats().snapshots_failed, 1);
    assert_eq!(node.health(), Health::Ready);
    node.snapshot().await.unwrap();
    let outcome = node.propose(put("after"), None).await.unwrap();
    node.shutdown().await;
    drop(node);
    let node = world.start().await;
    assert!(holds_all(&node, &answered) && holds_all(&node, &[outcome]));
}

/// With callers at once, a writer of its own, and the power going somewhere in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_at_once_lose_nothing_answered() {
    for ops in [3, 10, 25, 60] {
        let world = World::new(ops);
        let mut config = world.config();
        config.log.threading = Threading::Threads;
        let node = willow_node::Node::start(config.clone()).await.unwrap();
        world.vfs.crash_after(ops);
        let tasks: Vec<_> = (0..200).map(|n| support::spawn(&node, put(&format!("lock-{n}")), None)).collect();
        let mut answered = Vec::new();
        for task in tasks {
            answered.extend(task.await.unwrap());
        }
        // However far that got, the rest is one crash away.
        while !world.vfs.has_crashed() {
            let _outcome = put_one(&node, 1000).await;
        }
        world.crash(node, CrashMode::Torn);
        let node = willow_node::Node::start(config).await.unwrap();
        assert!(holds_all(&node, &answered), "crash at operation {ops}");
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_record_of_another_version_is_refused_by_name() {
    let world = World::new(10);
    let node = world.start().await;
    put_range(&node, 0, 3).await;
    node.shutdown().await;
    drop(node);
    // What a later release might have written.
    let config = world.config();
    let (log, _) = Log::open(config.vfs, std::path::Path::new("data/log"), config.log).unwrap();
    let index = log.bounds(1).next;
    let payload = vec![9, 1, 1, 1, 0].into();
    log.append(vec![Record::Entry { group: 1, index, term: 1, payload }]).unwrap();
    log.close();
    drop(log);
    let refused = willow_node::Node::start(world.config()).await.unwrap_err().to_string();
    assert!(refused.contains("record version 9, but this build reads 2 to 2"), "{refused}");
}
