//! Waits, deadlines and the end of the node, as callers see them.

mod support;

use support::{World, is_grant, put, put_range, release, request, spawn, wait_for};
use willow_core::Outcome;
use willow_node::{Node, ProposeError, Proposed, Waiting};
use willow_storage::vfs::CrashMode;

const MINUTE_MS: u64 = 60_000;

fn waiting(node: &Node) -> usize {
    node.read_stale(|machine| machine.waiting())
}

async fn begin_to_wait(node: &Node, id: Option<&str>) -> Waiting {
    let id = id.and_then(request);
    match node.propose_waiting(wait_for("busy", MINUTE_MS), id).await.expect("the command is taken") {
        Proposed::Waiting(waiter) => waiter,
        Proposed::Done(outcome) => panic!("{outcome:?}"),
    }
}

/// A node with the lock `busy` held.
async fn busy(world: &World) -> (Node, Outcome) {
    let node = world.start().await;
    let held = node.propose(put("busy"), None).await.expect("the lock is free");
    (node, held)
}

/// Lets what was set in motion go on until `done`. The number of steps is only there to fail.
async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..1_000_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to that");
}

#[tokio::test]
async fn a_wait_ends_with_what_it_waited_for() {
    let (node, held) = busy(&World::new(1)).await;
    let waiter = begin_to_wait(&node, None).await;
    assert_eq!((node.stats().waiters, waiting(&node)), (1, 1));
    node.propose(release(&held), None).await.unwrap();
    assert!(is_grant(&waiter.await.unwrap()));
    assert_eq!((node.stats().waiters, waiting(&node)), (0, 0));
}

/// The wait and its end may be in one batch: the caller must hear of it all the same.
#[tokio::test]
async fn a_wait_that_ends_in_the_apply_it_began_in_is_heard() {
    for _ in 0..20 {
        let (node, held) = busy(&World::new(2)).await;
        let (granted, released) =
            tokio::join!(node.propose(wait_for("busy", MINUTE_MS), None), node.propose(release(&held), None));
        released.unwrap();
        assert!(is_grant(&granted.unwrap()));
    }
}

#[tokio::test]
async fn a_deadline_ends_the_wait_through_the_log() {
    let world = World::new(3);
    let (node, _held) = busy(&world).await;
    let waiter = begin_to_wait(&node, None).await;
    let (applied, batches) = (node.stats().applied_index, node.stats().batches);
    world.clock.advance(MINUTE_MS - 1);
    tokio::task::yield_now().await;
    assert_eq!(node.stats().applied_index, applied, "nothing is due yet");
    world.clock.advance(1);
    let outcome = waiter.await;
    assert!(!matches!(&outcome, Ok(outcome) if is_grant(outcome)), "{outcome:?}");
    assert_eq!(node.stats().batches, batches + 1, "one tick, no more");
    assert_eq!(waiting(&node), 0);
}

#[tokio::test]
async fn a_caller_who_goes_away_is_not_waited_for() {
    let (node, _held) = busy(&World::new(4)).await;
    drop(begin_to_wait(&node, None).await);
    until(|| waiting(&node) == 0).await;
    // The same for a caller who never saw that it waits.
    let task = spawn(&node, wait_for("busy", MINUTE_MS), None);
    until(|| waiting(&node) == 1).await;
    task.abort();
    until(|| waiting(&node) == 0).await;
    assert_eq!(node.stats().waiters, 0);
}

#[tokio::test]
async fn with_a_request_id_a_caller_can_come_back() {
    let (node, held) = busy(&World::new(5)).await;
    drop(begin_to_wait(&node, Some("mine")).await);
    let waiter = begin_to_wait(&node, Some("mine")).await;
    assert_eq!(waiting(&node), 1, "the same wait, not another");
    node.propose(release(&held), None).await.unwrap();
    let granted = waiter.await.unwrap();
    assert!(is_grant(&granted));
    // And again, after the end.
    let again = node.propose(wait_for("busy", MINUTE_MS), request("mine")).await.unwrap();
    assert_eq!(again, granted);
}

#[tokio::test]
async fn a_wait_with_a_request_id_survives_a_crash() {
    let world = World::new(6);
    let (node, held) = busy(&world).await;
    let waiter = begin_to_wait(&node, Some("mine")).await;
    world.crash(node, CrashMode::LoseUnsynced);
    drop(waiter);
    let node = world.start().await;
    let waiter = begin_to_wait(&node, Some("mine")).await;
    assert_eq!(waiting(&node), 1);
    node.propose(release(&held), None).await.unwrap();
    assert!(is_grant(&waiter.await.unwrap()));
}

#[tokio::test]
async fn shutdown_sends_waiters_away_and_keeps_the_place_of_those_who_can_return() {
    let world = World::new(7);
    let (node, held) = busy(&world).await;
    let anonymous = begin_to_wait(&node, None).await;
    let named = begin_to_wait(&node, Some("mine")).await;
    let also = spawn(&node, wait_for("busy", MINUTE_MS), None);
    until(|| waiting(&node) == 3).await;
    node.shutdown().await;
    for outcome in [anonymous.await, named.await, also.await.unwrap()] {
        assert_eq!(outcome, Err(ProposeError::ShuttingDown));
    }
    assert_eq!(node.propose(put("late"), None).await, Err(ProposeError::ShuttingDown));
    node.shutdown().await;
    drop(node);
    let node = world.start().await;
    assert_eq!(waiting(&node), 1);
    let named = begin_to_wait(&node, Some("mine")).await;
    node.propose(release(&held), None).await.unwrap();
    assert!(is_grant(&named.await.unwrap()));
}

#[tokio::test]
async fn a_full_disk_fails_waiters_but_not_their_waits() {
    let world = World::new(8);
    let (node, held) = busy(&world).await;
    let named = begin_to_wait(&node, Some("mine")).await;
    let anonymous = begin_to_wait(&node, None).await;
    world.vfs.set_capacity(Some(world.vfs.used_bytes()));
    let mut n = 0;
    while support::put_one(&node, n).await.is_ok() {
        n += 1;
    }
    for outcome in [named.await, anonymous.await] {
        assert!(matches!(outcome, Err(ProposeError::OutcomeUnknown { .. })), "{outcome:?}");
    }
    world.vfs.set_capacity(None);
    world.pass_until(|| node.health().is_ready() && waiting(&node) == 1).await;
    let named = begin_to_wait(&node, Some("mine")).await;
    node.propose(release(&held), None).await.unwrap();
    assert!(is_grant(&named.await.unwrap()));
}

#[tokio::test]
async fn a_read_sees_what_was_answered_before_it() {
    let node = World::new(9).start().await;
    for n in 0..50 {
        let outcomes = put_range(&node, n, n + 1).await;
        assert!(node.read(|machine| support::holds(machine, &outcomes[0])).await.unwrap());
    }
}

#[tokio::test]
async fn callers_at_once_share_entries() {
    let node = World::new(10).start().await;
    let before = node.stats();
    let tasks: Vec<_> = (0..300).map(|n| spawn(&node, put(&format!("lock-{n}")), None)).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let after = node.stats();
    assert_eq!(after.commands - before.commands, 300);
    assert!(after.batches - before.batches < 100, "{} batches", after.batches - before.batches);
    assert_eq!((after.queue_depth, after.overloaded), (0, 0));
}

#[tokio::test]
async fn too_many_callers_are_told_to_come_back() {
    let world = World::new(11);
    let mut config = world.config();
    config.queue_commands = 10;
    let node = Node::start(config).await.unwrap();
    let tasks: Vec<_> = (0..100).map(|n| spawn(&node, put(&format!("lock-{n}")), None)).collect();
    let mut refused = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => {}
            Err(ProposeError::Overloaded { retry_after }) => {
                assert!(!retry_after.is_zero());
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0);
    assert_eq!(node.stats().overloaded, refused);
    // Whoever comes back is served.
    put_range(&node, 100, 103).await;
}
