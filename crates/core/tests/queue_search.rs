//! A dequeue that finds very many channels blocked goes on in the background, and nobody misses anything.

mod support;

use support::{
    check_replay_and_restore,
    queue::{Bench, config, dequeue, item},
};
use willow_core::{Outcome, limits, queue::PauseKind};

/// More blocked channels than one batch may try, and one behind them that is not.
fn bench(blocked: usize) -> Bench {
    let mut bench = Bench::new(config());
    let items: Vec<_> = (0..blocked).map(|at| item(&format!("job={at} blocked=1"), "blocked")).collect();
    for some in items.chunks(1000) {
        bench.try_enqueue(some.to_vec());
    }
    bench.enqueue(item("job=last", "free"));
    bench
}

/// Background steps are some milliseconds apart.
fn some_steps(bench: &mut Bench) {
    (0..5).for_each(|_| bench.logged.pass(10));
}

fn texts(handed: &[(willow_core::WaiterId, Vec<String>)]) -> Vec<&str> {
    handed.iter().flat_map(|(_, texts)| texts).map(String::as_str).collect()
}

#[test]
fn the_search_goes_on_in_steps_until_it_finds_what_may_go_out() {
    let mut bench = bench(2 * limits::TRIES_PER_BATCH + 10);
    bench.pause(Some("blocked = 1"), PauseKind::Dequeue);
    // One that does not want to wait is answered when the search is done; so are those who wait.
    let first = bench.wait(dequeue("", 1, 0));
    let second = bench.wait(dequeue("", 1, 0));
    assert_eq!(bench.handed(), [], "the first batch did not come to an end of it");
    some_steps(&mut bench);
    assert_eq!(bench.handed(), [(first, vec!["free".to_owned()]), (second, vec![])]);
    assert!(bench.take(dequeue("", 1, 0)).is_empty(), "all are parked now");
    let last = bench.wait(dequeue("job = 5", 1, 60_000));
    bench.resume(Some("blocked = 1"));
    assert_eq!(bench.handed(), [(last, vec!["blocked".to_owned()])]);
    check_replay_and_restore(&mut bench.logged, 26);
}

#[test]
fn nobody_who_waits_is_forgotten_when_a_search_is_cut_short() {
    let mut bench = bench(limits::TRIES_PER_BATCH + 10);
    bench.rule("none", "blocked=*", 0);
    let waiters = [bench.wait(dequeue("", 1, 60_000)), bench.wait(dequeue("job is string", 1, 60_000))];
    bench.logged.pass(1);
    // Comes while the search is not done: both fit, in whatever order they were searched for.
    bench.enqueue(item("job=more", "more"));
    some_steps(&mut bench);
    let handed = bench.handed();
    assert_eq!(handed.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(), waiters);
    assert_eq!(texts(&handed), ["free", "more"]);
    assert!(matches!(
        bench.apply(willow_core::queue::Command::Dequeue(dequeue("", 1, 0))),
        Ok(Outcome::Queue(willow_core::queue::Outcome::Dequeued(taken))) if taken.is_empty()
    ));
}
