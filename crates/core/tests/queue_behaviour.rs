//! What the Queue promises, one promise per test.

mod support;

use std::collections::BTreeMap;

use support::{
    check_replay_and_restore,
    queue::{Bench, LEASE_MS, config, data, dequeue, item, of, options, q, updatable},
};
use willow_core::{
    Command, Outcome,
    queue::{
        self, Backoff, DeleteChannel, Delivery, Dequeue, Enqueue, Extend, How, ItemOptions, Nack, Nacked, NewItem,
        Order, PauseKind, Position, QueueConfig, Reason, Redrive, Toleration, TolerationOperator,
    },
};
use willow_model::Key;
use willow_query::{Direction, Missing, OrderBy, Query};

fn ordered(order: Order) -> Dequeue {
    Dequeue { order, ..dequeue("", 1, 0) }
}

/// What `count` dequeues give, one after the other.
fn drain(bench: &mut Bench, dequeue: &Dequeue, count: usize) -> Vec<String> {
    (0..count).flat_map(|_| bench.take(dequeue.clone())).map(|delivery| data(&delivery).to_owned()).collect()
}

fn texts(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(data).collect()
}

#[test]
fn within_a_channel_by_priority_then_by_age() {
    let mut bench = Bench::new(config());
    for (text, priority) in [("b", 0), ("c", -5), ("a", 9), ("b2", 0), ("min", i32::MIN)] {
        bench.enqueue(NewItem { priority: Some(priority), ..item("job=a", text) });
    }
    assert_eq!(texts(&bench.take(dequeue("", 10, 0))), ["a", "b", "b2", "c", "min"]);
}

#[test]
fn between_channels_by_each_order() {
    let mut bench = Bench::new(config());
    for (job, priority) in [("a", 1), ("b", 3), ("c", 2)] {
        for run in 1..3 {
            bench.enqueue(NewItem { priority: Some(priority), ..item(&format!("job={job}"), &format!("{job}{run}")) });
        }
        bench.patch(&format!("job={job}"), &[("cost", Some((5 - priority).into()))], None).expect("a channel");
    }
    let release = |bench: &mut Bench, dequeue: Dequeue| {
        let deliveries = bench.take(dequeue);
        deliveries.iter().for_each(|delivery| bench.release(delivery));
        deliveries.iter().map(|delivery| data(delivery).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(release(&mut bench, ordered(Order::Oldest)), ["a1"]);
    assert_eq!(release(&mut bench, ordered(Order::Priority)), ["b1"]);
    let by = |direction| {
        let key = Key::new("metadata.cost").expect("a key");
        Order::By(vec![OrderBy { key, direction, missing: Missing::Exclude }])
    };
    assert_eq!(release(&mut bench, ordered(by(Direction::Asc))), ["b1"]);
    assert_eq!(release(&mut bench, ordered(by(Direction::Desc))), ["a1"]);
    // Delivered so far: b before a; c never.
    let idle: Vec<String> = (0..6).flat_map(|_| release(&mut bench, ordered(Order::LongestIdle))).collect();
    assert_eq!(idle, ["c1", "b1", "a1", "c1", "b1", "a1"]);
    let cursor = |name: &str| Order::RoundRobin { cursor: name.into() };
    let mut ids: Vec<_> =
        ["a", "b", "c"].map(|job| (bench.channel_id(&format!("job={job}")), format!("{job}1"))).into();
    ids.sort_unstable();
    let circle: Vec<String> = ids.into_iter().map(|(_, text)| text).collect();
    for at in 0..7 {
        assert_eq!(release(&mut bench, ordered(cursor("one"))), [circle[at % 3].clone()], "turn {at}");
        if at < 2 {
            assert_eq!(release(&mut bench, ordered(cursor("two"))), [circle[at].clone()], "another cursor, turn {at}");
        }
    }
    // What is excluded by the order is not handed out.
    bench.patch("job=a", &[("cost", None)], None).expect("a channel");
    let left = Dequeue { max_items: 10, ..ordered(by(Direction::Asc)) };
    assert_eq!(release(&mut bench, left), ["b1", "b2", "c1", "c2"]);
    check_replay_and_restore(&mut bench.logged, 17);
}

/// Uniform over what may go out, whatever is known to be blocked: the blocked half is in the pool at
/// first, then parked.
#[test]
fn random_is_uniform_over_the_eligible() {
    let mut bench = Bench::new(config());
    bench.rule("blocked", "os=mac", 0);
    for job in 0..20 {
        let os = if job % 2 == 0 { "linux" } else { "mac" };
        bench.enqueue(item(&format!("job={job} os={os}"), &job.to_string()));
    }
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..2000 {
        let deliveries = bench.take(ordered(Order::Random));
        *counts.entry(data(&deliveries[0]).to_owned()).or_default() += 1;
        bench.release(&deliveries[0]);
    }
    assert_eq!(counts.len(), 10, "the blocked ones never");
    let chi_square: f64 = counts.values().map(|count| (f64::from(*count) - 200.0).powi(2) / 200.0).sum();
    assert!(chi_square < 27.9, "9 degrees of freedom, 1 in 1000: {chi_square} {counts:?}");
    check_replay_and_restore(&mut bench.logged, 30);
}

#[test]
fn a_waiting_consumer_gets_as_much_of_a_batch_as_it_asked_for() {
    let mut bench = Bench::new(config());
    let waiter = bench.wait(dequeue("", 3, 60_000));
    bench.try_enqueue((0..5).map(|at| item(&format!("job={}", at % 2), &at.to_string())).collect());
    let expected = ["0", "1", "2"].map(str::to_owned).to_vec();
    assert_eq!(bench.handed(), [(waiter, expected)]);
    let late = bench.wait(dequeue("job = 7", 3, 500));
    bench.logged.pass(500);
    assert_eq!(bench.handed(), [(late, vec![])], "the wait ends with nothing");
    let gone = bench.wait(dequeue("job = 7", 3, 500));
    bench.cancel(gone, None);
    bench.logged.take_resolved();
    bench.enqueue(item("job=7", "x"));
    assert_eq!(bench.handed(), [], "nobody waits any more");
    assert_eq!(bench.view().consumers_waiting, 0);
}

#[test]
fn retries_back_off_then_end_as_dead_letters_and_can_be_redriven() {
    let backoff = Backoff { initial_ms: 100, factor_milli: 3000, max_ms: 250, jitter_milli: 0 };
    let mut bench = Bench::new(QueueConfig { defaults: ItemOptions { backoff, ..options() }, ..config() });
    bench.enqueue(item("job=a", "x"));
    for delay_ms in [100, 250] {
        let delivery = bench.take_one("");
        assert_eq!(bench.nack(&delivery), Nacked::Retry { delay_ms });
        bench.logged.pass(delay_ms - 1);
        assert!(bench.take(dequeue("", 1, 0)).is_empty(), "not due");
        bench.logged.pass(1);
    }
    let last = bench.take_one("");
    assert_eq!(last.attempt, 3);
    bench.logged.pass(LEASE_MS);
    assert_eq!(bench.dead(), ["x"]);
    assert_eq!(bench.view().channels, 0, "the dead letter outlives its channel");
    let query: Query = "job = \"a\"".parse().expect("a query");
    let redrive = |query| queue::Command::Redrive(Redrive { queue: q(), query: Some(query), max_items: 10 });
    let none = bench.apply(redrive("job = \"b\"".parse().expect("a query")));
    assert_eq!(none, Ok(Outcome::Queue(queue::Outcome::Redriven { items: 0, more: false })));
    assert_eq!(bench.apply(redrive(query)), Ok(Outcome::Queue(queue::Outcome::Redriven { items: 1, more: false })));
    let again = bench.take_one("");
    assert_eq!((again.attempt, again.item), (1, last.item));
    bench.ack(&again);
    check_replay_and_restore(&mut bench.logged, 8);
}

#[test]
fn the_oldest_dead_letters_leave_first() {
    let mut bench = Bench::new(QueueConfig { max_dead_letters: 2, ..config() });
    for at in 0..4 {
        bench.enqueue(NewItem { expires_in_ms: Some(10 + at), ..item(&format!("job={at}"), &at.to_string()) });
    }
    bench.logged.pass(100);
    let mut dead = bench.dead();
    dead.sort();
    assert_eq!(dead, ["2", "3"]);
}

#[test]
fn a_failed_item_goes_to_the_front_or_the_back_and_a_released_one_where_it_stood() {
    let mut bench = Bench::new(config());
    for text in ["1", "2", "3"] {
        bench.enqueue(item("job=a", text));
    }
    let nack = |bench: &mut Bench, position| {
        let delivered = of(&bench.take_one(""));
        let nack = Nack { queue: q(), delivered, delay_ms: None, position: Some(position), reason: None };
        bench.apply(queue::Command::Nack(nack)).expect("it is held");
    };
    nack(&mut bench, Position::Back);
    nack(&mut bench, Position::Front);
    let released = bench.take_one("");
    assert_eq!((data(&released), released.attempt), ("2", 2));
    bench.release(&released);
    let taken = bench.take(dequeue("", 10, 0));
    assert_eq!(texts(&taken), ["2", "3", "1"]);
    assert_eq!(taken[0].attempt, 2, "a release charges no attempt");
}

#[test]
fn a_stale_token_is_refused_everywhere() {
    let mut bench = Bench::new(config());
    bench.enqueue(item("job=a", "x"));
    let stale = bench.take_one("");
    let extend = queue::Command::Extend(Extend { queue: q(), delivered: of(&stale), lease_ms: Some(2 * LEASE_MS) });
    assert_eq!(
        bench.apply(extend.clone()),
        Ok(Outcome::Queue(queue::Outcome::Extended { expires_in_ms: 2 * LEASE_MS }))
    );
    bench.logged.pass(2 * LEASE_MS - 1);
    assert!(bench.take(dequeue("", 1, 0)).is_empty(), "the longer lease holds");
    bench.logged.pass(1);
    let fresh = bench.take_one("");
    assert!(fresh.token.revision > stale.token.revision, "a later delivery has a larger token");
    let refused = queue::Error::StaleLease { item: stale.item };
    let delivered = of(&stale);
    let nack = Nack { queue: q(), delivered, delay_ms: None, position: None, reason: None };
    let release = queue::Release { queue: q(), delivered };
    for command in [extend, queue::Command::Nack(nack), queue::Command::Release(release)] {
        assert_eq!(Bench::error(bench.apply(command)), refused);
    }
    let ack = queue::Ack { queue: q(), items: vec![delivered, of(&fresh)] };
    let answers = vec![Err(refused), Ok(())];
    assert_eq!(bench.apply(queue::Command::Ack(ack)), Ok(Outcome::Queue(queue::Outcome::Acked(answers))));
}

#[test]
fn a_full_queue_takes_updates_and_an_idempotency_key_is_remembered() {
    let mut bench = Bench::new(QueueConfig { max_items: Some(2), ..config() });
    let key = |text: &str| NewItem { idempotency_key: Some("k".into()), ..item("job=a", text) };
    let first = bench.enqueue(key("1"));
    let repeat = bench.enqueue(key("other"));
    assert_eq!((repeat.how, repeat.item, repeat.revision), (How::Duplicate, first.item, first.revision));
    bench.enqueue(updatable("job=b", "2"));
    let answers = bench.try_enqueue(vec![item("job=c", "3"), updatable("job=b", "4"), key("5")]);
    assert_eq!(answers[0], Err(queue::Error::QueueFull { max_items: 2 }));
    assert_eq!(answers[1].as_ref().map(|enqueued| enqueued.how), Ok(How::Updated));
    assert_eq!(answers[2].as_ref().map(|enqueued| enqueued.how), Ok(How::Duplicate));
    assert_eq!(texts(&bench.take(dequeue("", 10, 0))), ["1", "4"]);
    bench.logged.pass(willow_core::limits::REQUEST_ID_RETENTION_MS);
    bench.take(dequeue("", 10, 0)).iter().for_each(|delivery| bench.ack(delivery));
    assert_eq!(bench.enqueue(key("6")).how, How::Created, "forgotten by now");
    check_replay_and_restore(&mut bench.logged, 4);
}

#[test]
fn a_draining_queue_takes_nothing_in_and_runs_dry() {
    let mut bench = Bench::new(config());
    bench.enqueue(item("os=mac", "1"));
    bench.pause(Some("os = \"mac\""), PauseKind::Enqueue);
    let answers = bench.try_enqueue(vec![item("os=mac", "2"), item("os=linux", "3"), item("os=mac new=1", "4")]);
    let refused: Vec<bool> = answers.iter().map(Result::is_err).collect();
    assert_eq!(refused, [true, false, true], "it holds for channels to come");
    bench.pause(None, PauseKind::Enqueue);
    assert_eq!(bench.try_enqueue(vec![item("os=linux", "5")]), [Err(queue::Error::Draining)]);
    assert_eq!(texts(&bench.take(dequeue("", 10, 0))), ["1", "3"]);
    bench.resume(None);
    bench.resume(Some("os = \"mac\""));
    bench.enqueue(item("os=mac", "6"));
    let unknown = queue::Command::Resume(queue::Resume { queue: q(), query: None });
    assert_eq!(Bench::error(bench.apply(unknown)), queue::Error::NoSuchPause);
}

#[test]
fn metadata_outlives_items_and_taints_need_tolerations() {
    let mut bench = Bench::new(config());
    bench.enqueue(item("job=a", "1"));
    bench.patch("job=a", &[("team", Some("red".into()))], Some(&["gpu", "night"])).expect("a channel");
    assert!(bench.take(dequeue("", 1, 0)).is_empty());
    let tolerates = |keys: &[&str]| {
        let exists =
            |key: &&str| Toleration { key: Some((*key).into()), operator: TolerationOperator::Exists, effect: None };
        Dequeue { tolerations: keys.iter().map(exists).collect(), ..dequeue("metadata.team = \"red\"", 1, 0) }
    };
    assert!(bench.take(tolerates(&["gpu"])).is_empty(), "every taint needs one");
    let taken = bench.take(tolerates(&["night", "gpu"]));
    assert_eq!(texts(&taken), ["1"]);
    bench.ack(&taken[0]);
    assert_eq!(bench.view().channels, 1, "its metadata is set");
    bench.enqueue(item("job=a", "2"));
    let channel = bench.channel_id("job=a");
    let delete = queue::Command::DeleteChannel(DeleteChannel { queue: q(), channel });
    assert_eq!(
        bench.apply(delete.clone()),
        Ok(Outcome::Queue(queue::Outcome::Removed { items: 1, continuing: false }))
    );
    assert_eq!(bench.view().channels, 0);
    assert_eq!(Bench::error(bench.apply(delete)), queue::Error::NoSuchChannel);
    assert_eq!(Bench::error(bench.patch("job=a", &[], None)), queue::Error::NoSuchChannel);
}

#[test]
fn explain_gives_every_reason() {
    let mut bench = Bench::new(config());
    assert!(bench.explain("job=a").is_none());
    bench.enqueue(NewItem { delay_ms: 50, ..item("job=a", "1") });
    let reasons = |bench: &Bench| bench.explain("job=a").expect("a channel").reasons;
    assert_eq!(reasons(&bench), [Reason::NotDue { due_in_ms: 50 }, Reason::NoConsumerMatches { waiting: 0 }]);
    bench.logged.pass(50);
    let explained = bench.explain("job=a").expect("a channel");
    assert!(explained.eligible && explained.matching_consumers == 0);
    bench.rule("none", "job=a", 0);
    bench.pause(None, PauseKind::Dequeue);
    bench.pause(Some("job = \"a\""), PauseKind::Dequeue);
    bench.pause(Some("job = \"b\""), PauseKind::Dequeue);
    bench.patch("job=a", &[], Some(&["gpu"])).expect("a channel");
    bench.wait(dequeue("job = \"b\"", 1, 60_000));
    let found = reasons(&bench);
    assert!(matches!(&found[0], Reason::Paused(pauses) if pauses.len() == 2), "{found:?}");
    assert!(
        matches!(&found[1], Reason::Limited(limits) if limits.len() == 1 && &*limits[0].rule_name == "none"),
        "{found:?}"
    );
    assert!(matches!(&found[2], Reason::Tainted(taints) if taints.len() == 1), "{found:?}");
    assert_eq!(found[3], Reason::NoConsumerMatches { waiting: 1 });
    assert_eq!(found.len(), 4);
    let mut bench = Bench::new(config());
    bench.enqueue(updatable("job=a", "1"));
    bench.take_one("");
    assert_eq!(reasons(&bench)[0], Reason::Empty);
    bench.enqueue(updatable("job=a", "2"));
    assert_eq!(reasons(&bench)[0], Reason::InFlight { items: 1 });
}

#[test]
fn a_repeated_dequeue_is_answered_with_the_bytes_again() {
    let mut bench = Bench::new(config());
    bench.try_enqueue(vec![item("job=a", "1"), item("job=b", "2")]);
    let request = Command::Queue(queue::Command::Dequeue(dequeue("", 2, 0)));
    let first = bench.logged.apply_with(Some("r1"), request.clone());
    let again = bench.logged.apply_with(Some("r1"), request.clone());
    assert_eq!(first, again);
    let Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) = first else { panic!("{first:?}") };
    bench.ack(&deliveries[0]);
    let rest = bench.logged.apply_with(Some("r1"), request);
    assert_eq!(
        rest,
        Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries[1..].to_vec()))),
        "what is done is not offered"
    );
}

#[test]
fn pages_of_items_repeat_and_skip_nothing_while_items_come_and_go() {
    let mut bench = Bench::new(config());
    for at in 0..60 {
        bench.enqueue(item(&format!("job=j{}", at % 7), &format!("stays {at}")));
    }
    let machine = |bench: &Bench, page: &Query| {
        let machine = &bench.logged.machine;
        machine.queues().query_items(&q(), page, &[], machine.lookup(0)).expect("our own token").expect("the queue")
    };
    let mut page = Query { limit: 4, ..Query::default() };
    let key = Key::new("job").expect("a key");
    page.order_by = vec![OrderBy { key, direction: Direction::Desc, missing: Missing::Last }];
    let mut seen = Vec::new();
    for round in 0.. {
        let listing = machine(&bench, &page);
        seen.extend(listing.items.iter().map(|item| String::from_utf8(item.data.to_vec()).expect("text")));
        page.page_token = listing.next_page_token;
        if page.page_token.is_none() {
            break;
        }
        bench.enqueue(item(&format!("job=j{}", round % 9), "comes"));
        let gone = bench.enqueue(NewItem { priority: Some(9), ..item(&format!("job=j{}", (round + 3) % 7), "goes") });
        let taken = bench.take_one(&format!("job = \"j{}\"", (round + 3) % 7));
        assert_eq!(taken.item, gone.item);
        bench.ack(&taken);
    }
    let mut stays: Vec<_> = seen.into_iter().filter(|text| text.starts_with("stays")).collect();
    let count = stays.len();
    stays.sort();
    stays.dedup();
    assert_eq!((stays.len(), count), (60, 60));
}

#[test]
fn a_thousand_items_of_a_batch_answer_one_by_one() {
    let mut bench = Bench::new(config());
    let mut items: Vec<NewItem> = (0..1000).map(|at| item(&format!("job={at}"), "x")).collect();
    items[500].weight = Some(0);
    let answers = bench.try_enqueue(items);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 999);
    assert!(matches!(answers[500], Err(queue::Error::OutOfBounds { .. })));
    let too_many = queue::Command::Enqueue(Enqueue { queue: q(), items: vec![item("a=1", ""); 1001] });
    assert!(matches!(Bench::error(bench.apply(too_many)), queue::Error::OutOfBounds { .. }));
    let drained = drain(&mut bench, &dequeue("", 1, 0), 2);
    assert_eq!(drained, ["x", "x"]);
}
