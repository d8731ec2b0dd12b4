//! The Queue in process: `cargo bench -p willow-core --bench queue`; `-- small` is for a quick look, and
//! `-- parked` or another part's name for that part alone.
//!
//! Each time is that of `Machine::apply` of one batch with one command: what the log's follower pays.
#![expect(clippy::disallowed_types, reason = "a benchmark reads the clock and its memory")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark talks and may fail")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use willow_core::{
    Applied, Batch, Command, Effect, Envelope, Machine, Outcome,
    limiter::{self, CreateRule, Limit, RuleMode, Selector},
    queue::{
        self, Ack, Backoff, CreateQueue, Delivered, Delivery, Dequeue, Enqueue, ItemOptions, NewItem, Order, Position,
        QueueConfig,
    },
    snapshot::Restore,
};
use willow_model::KeyValues;

const ROUNDS: usize = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let small = arguments.iter().any(|argument| argument == "small");
    let million = if small { 100_000 } else { 1_000_000 };
    type Part<'a> = (&'static str, &'a dyn Fn());
    let parts: [Part<'_>; 7] = [
        ("plain", &plain),
        ("batches", &|| batches(million)),
        ("parked", &|| parked(million)),
        ("behind_others", &|| behind_others(million)),
        ("few_eligible", &|| few_eligible(million)),
        ("thousand_waiting", &thousand_waiting),
        ("orders", &|| orders(million / 10)),
    ];
    let all = arguments.len() == usize::from(small);
    println!("{:<62} {:>8} {:>8}", "", "p50 ns", "p99 ns");
    for (name, part) in parts {
        if all || arguments.iter().any(|argument| argument == name) {
            part();
        }
    }
}

/// A machine and how long its commands take.
struct Bench {
    machine: Machine,
    time_ms: u64,
    entropy: u128,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { machine: Machine::default(), time_ms: 1_700_000_000_000, entropy: 1 };
        let defaults = ItemOptions {
            updatable: false,
            max_attempts: None,
            backoff: Backoff { initial_ms: 1000, factor_milli: 2000, max_ms: 60_000, jitter_milli: 100 },
            retry_position: Position::Back,
            lease_ms: 30_000,
            priority: 0,
            weight: 1,
        };
        let config = QueueConfig { max_items: None, max_dead_letters: 1000, defaults };
        bench.queue(queue::Command::CreateQueue(CreateQueue { name: "q".into(), key_values: None, config }));
        bench
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let mut applied = self.batch(Some(command));
        applied.replies.pop().unwrap().unwrap()
    }

    fn batch(&mut self, command: Option<Command>) -> Applied {
        self.entropy = self.entropy.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(1);
        let envelope = |command| Envelope { request_id: None, entropy: self.entropy, command };
        let envelopes = command.into_iter().map(envelope).collect();
        self.machine.apply(Batch { time_ms: self.time_ms, envelopes })
    }

    fn queue(&mut self, command: queue::Command) -> Outcome {
        self.apply(Command::Queue(command))
    }

    fn rule(&mut self, name: &str, key_values: &[(&str, &str)], limit: u64) {
        let key_values = KeyValues::pattern(key_values.iter().copied()).unwrap();
        let rule = CreateRule { name: name.into(), key_values, limit: Limit::At(limit), mode: RuleMode::Enforce };
        self.apply(Command::Limit(limiter::Command::CreateRule(rule)));
    }

    fn enqueue(&mut self, items: Vec<NewItem>) {
        self.queue(queue::Command::Enqueue(Enqueue { queue: q(), items }));
    }

    fn dequeue(&mut self, dequeue: Dequeue) -> Vec<Delivery> {
        match self.queue(queue::Command::Dequeue(dequeue)) {
            Outcome::Queue(queue::Outcome::Dequeued(deliveries)) => deliveries,
            other => panic!("{other:?}"),
        }
    }

    /// A dequeue that may go on in background steps: what it brings in the end, and the longest step.
    fn dequeue_in_steps(&mut self, dequeue: Dequeue) -> (Vec<Delivery>, Duration) {
        let mut longest = Duration::ZERO;
        let mut command = Some(Command::Queue(queue::Command::Dequeue(dequeue)));
        loop {
            let begin = Instant::now();
            let Applied { replies, effects } = self.batch(command.take());
            longest = longest.max(begin.elapsed());
            let resolved = effects.into_iter().filter_map(|effect| match effect {
                Effect::Resolve { reply, .. } => Some(reply),
                Effect::Audit(_) => None,
            });
            let answers = replies.into_iter().chain(resolved);
            let dequeued = answers.filter_map(|answer| match answer.unwrap() {
                Outcome::Queue(queue::Outcome::Dequeued(deliveries)) => Some(deliveries),
                _ => None,
            });
            if let Some(deliveries) = dequeued.last() {
                return (deliveries, longest);
            }
            self.time_ms = self.machine.next_deadline_ms().unwrap();
        }
    }

    fn ack(&mut self, deliveries: &[Delivery]) {
        assert!(!deliveries.is_empty(), "the benchmark ran dry");
        let items =
            deliveries.iter().map(|delivery| Delivered { item: delivery.item, token: delivery.token }).collect();
        self.queue(queue::Command::Ack(Ack { queue: q(), items }));
    }
}

/// Times of one kind of command.
#[derive(Default)]
struct Times(Vec<u128>);

impl Times {
    fn take<T>(&mut self, act: impl FnOnce() -> T) -> T {
        let before = Instant::now();
        let done = act();
        self.0.push(before.elapsed().as_nanos());
        done
    }

    fn show(mut self, name: &str) {
        self.0.sort_unstable();
        println!("{name:<62} {:>8} {:>8}", self.0[self.0.len() / 2], self.0[self.0.len() * 99 / 100]);
    }
}

fn q() -> Selector {
    Selector::Name("q".into())
}

fn item(key_values: &[(&str, String)]) -> NewItem {
    let key_values = KeyValues::user(key_values.iter().map(|(key, value)| (*key, value.as_str()))).unwrap();
    NewItem::new(key_values, Arc::from([7; 100]), "application/json")
}

fn dequeue(query: &str, order: Order) -> Dequeue {
    Dequeue {
        queue: q(),
        query: query.parse().unwrap(),
        order,
        tolerations: vec![],
        max_items: 1,
        lease_ms: None,
        wait_ms: 0,
        consumer: None,
    }
}

/// A build of a repository's branch: a channel of its own.
fn build(at: usize) -> NewItem {
    item(&[
        ("branch", format!("b{at}")),
        ("os", ["linux", "mac"][at % 2].to_owned()),
        ("repo", format!("r{}", at % 100)),
    ])
}

/// Enqueue, dequeue, ack one by one, beside ten thousand other channels.
fn plain() {
    for (name, rules) in [("no rules", 0), ("100 rules, one matches", 100)] {
        let mut bench = Bench::new();
        for rule in 0..rules {
            bench.rule(&format!("r{rule}"), &[("repo", &format!("r{rule}"))], 1_000_000);
        }
        for at in 0..10_000 {
            bench.enqueue(vec![build(at)]);
        }
        let (mut enqueues, mut dequeues, mut acks) = (Times::default(), Times::default(), Times::default());
        for at in 0..ROUNDS {
            // Even ones are for linux, so the dequeues never run dry.
            let items = vec![build(10_000 + at * 2)];
            enqueues.take(|| bench.enqueue(items));
            let taken = dequeues.take(|| bench.dequeue(dequeue("os = \"linux\"", Order::Oldest)));
            acks.take(|| bench.ack(&taken));
        }
        enqueues.show(&format!("enqueue, new channel, {name}"));
        dequeues.show(&format!("dequeue by os, oldest, {name}"));
        acks.show(&format!("ack, {name}"));
    }
    let mut bench = Bench::new();
    let (mut enqueues, mut dequeues, mut acks) = (Times::default(), Times::default(), Times::default());
    for at in 0..ROUNDS {
        let items = vec![build(at % 100)];
        enqueues.take(|| bench.enqueue(items));
    }
    for _ in 0..ROUNDS {
        let taken = dequeues.take(|| bench.dequeue(dequeue("", Order::Oldest)));
        acks.take(|| bench.ack(&taken));
    }
    enqueues.show("enqueue, 100 channels");
    dequeues.show("dequeue, 100 channels of 200 items");
    acks.show("ack, 100 channels");
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Batches of 1000 into 1000 channels, and into a channel each; memory; restore.
fn batches(count: usize) {
    for (name, channels) in [("1000 channels", 1000), ("a channel each", usize::MAX)] {
        let before = resident_bytes();
        let mut bench = Bench::new();
        let mut spent = 0;
        for batch in 0..count / 1000 {
            let items = (0..1000).map(|at| build((batch * 1000 + at) % channels)).collect();
            let begin = Instant::now();
            bench.enqueue(items);
            spent += begin.elapsed().as_nanos();
        }
        let per_item = spent as f64 / count as f64;
        let bytes = (resident_bytes() - before) as f64 / count as f64;
        println!(
            "batch enqueue of 1000, {count} items, {name}: {per_item:.0} ns and {bytes:.0} bytes per item of 100 bytes"
        );
        let begin = Instant::now();
        let mut reader = bench.machine.snapshot_begin();
        let mut restore = Restore::default();
        while let Some(chunk) = bench.machine.snapshot_next(&mut reader, 1 << 20) {
            restore.push(&chunk).unwrap();
        }
        drop(restore.finish().unwrap());
        println!("    snapshot and restore: {:.2} s", begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        let mut taken = 0;
        while taken < count / 10 {
            let all = bench.dequeue(Dequeue { max_items: 1000, ..dequeue("", Order::Oldest) });
            taken += all.len();
            bench.ack(&all);
        }
        println!(
            "    batch dequeue and ack of 1000: {:.0} ns per item",
            begin.elapsed().as_nanos() as f64 / taken as f64
        );
    }
}

/// Channels parked under one full bucket: each ack frees the slot for the next dequeue.
fn parked(count: usize) {
    let mut bench = Bench::new();
    bench.rule("r", &[("_willow_queue_name", "q")], 1);
    for batch in 0..count / 1000 {
        bench.enqueue((0..1000).map(|at| build(batch * 1000 + at)).collect());
    }
    let mut running = bench.dequeue(dequeue("", Order::Oldest));
    // The first dequeue tries all of them once and parks them, so many at a time. No lease may end meanwhile.
    let begin = Instant::now();
    let (none, longest) = bench.dequeue_in_steps(dequeue("", Order::Oldest));
    assert!(none.is_empty());
    println!(
        "{count} channels parked under one full bucket: {:.2} s, once; longest step {:.0} ms",
        begin.elapsed().as_secs_f64(),
        longest.as_secs_f64() * 1000.0
    );
    let (mut acks, mut dequeues, mut denied) = (Times::default(), Times::default(), Times::default());
    for _ in 0..ROUNDS {
        acks.take(|| bench.ack(&running));
        running = dequeues.take(|| bench.dequeue(dequeue("", Order::Oldest)));
        denied.take(|| bench.dequeue(dequeue("", Order::Oldest)));
    }
    acks.show("    ack that opens the bucket");
    dequeues.show("    dequeue of the oldest parked");
    denied.show("    dequeue when the bucket is full");
    let mut other = Times::default();
    for at in 0..1000 {
        bench.ack(&running);
        let name = format!("branch = \"b{}\"", count - 1 - at * 7);
        running = other.take(|| bench.dequeue(dequeue(&name, Order::Oldest)));
        assert_eq!(running.len(), 1);
    }
    other.show("    dequeue of another than the oldest parked");
}

/// Channels of one kind whose consumers are slow stand in front of as many of another.
fn behind_others(count: usize) {
    let kinds = |kind: usize| format!("os = \"linux\" and repo != \"r{}\"", kind * 2 + 1);
    type Query<'a> = (&'static str, &'a dyn Fn(usize) -> String);
    let queries: [Query<'_>; 4] = [
        ("os", &|_| "os = \"linux\"".to_owned()),
        ("os and a range", &|_| "os = \"linux\" and repo >= \"r3\"".to_owned()),
        ("32 queries in turn", &|at| kinds(at % 32)),
        ("64 queries in turn", &|at| kinds(at % 64)),
    ];
    let mut bench = Bench::new();
    for batch in 0..count / 1000 {
        let other = if batch < count / 2000 { 1 } else { 0 };
        bench.enqueue((0..1000).map(|at| build((batch * 1000 + at) * 2 + other)).collect());
    }
    bench.dequeue(dequeue("", Order::Oldest));
    println!("{} channels for mac in front of as many for linux", count / 2);
    for (name, query) in queries {
        let (mut enqueues, mut dequeues, mut acks) = (Times::default(), Times::default(), Times::default());
        let begin = Instant::now();
        bench.dequeue(dequeue(&query(0), Order::Oldest));
        println!("    first dequeue by {name}: {:.0} us", begin.elapsed().as_secs_f64() * 1e6);
        for at in 0..2_000 {
            let items = vec![build(count * 4 + at)];
            enqueues.take(|| bench.enqueue(items));
            let wanted = dequeue(&query(at), Order::Oldest);
            let taken = dequeues.take(|| bench.dequeue(wanted));
            acks.take(|| bench.ack(&taken));
        }
        enqueues.show("    enqueue");
        dequeues.show(&format!("    dequeue by {name}"));
        acks.show("    ack");
    }
}

/// Channels of which a hundred have a due item.
fn few_eligible(count: usize) {
    for channels in [100, count] {
        let mut bench = Bench::new();
        for batch in 0..channels / 100 {
            let later = |at| NewItem { delay_ms: 1_000_000_000, ..build(1_000 + batch * 100 + at) };
            bench.enqueue((0..100).map(later).collect());
        }
        bench.enqueue((0..100).map(build).collect());
        let by = || {
            let key = willow_model::Key::new("branch").unwrap();
            Order::By(vec![willow_query::OrderBy {
                key,
                direction: willow_query::Direction::Desc,
                missing: willow_query::Missing::Last,
            }])
        };
        let round_robin = || Order::RoundRobin { cursor: "c".into() };
        let orders: [(&str, &dyn Fn() -> Order); 4] = [
            ("oldest", &|| Order::Oldest),
            ("random", &|| Order::Random),
            ("round robin", &round_robin),
            ("by branch desc", &by),
        ];
        for (name, order) in orders {
            let mut times = Times::default();
            for at in 0..2_000 {
                let taken = times.take(|| bench.dequeue(dequeue("os = \"linux\" and repo >= \"r3\"", order())));
                bench.ack(&taken);
                bench.enqueue(
                    taken
                        .iter()
                        .map(|delivery| NewItem { key_values: delivery.key_values.clone(), ..build(at) })
                        .collect(),
                );
            }
            times.show(&format!("dequeue, {name}: {} channels, 100 eligible", channels + 100));
        }
    }
}

/// A thousand consumers that wait with queries of their own: an item wakes one.
fn thousand_waiting() {
    let mut bench = Bench::new();
    let wait = |bench: &mut Bench, at: usize| {
        let query = format!("branch = \"b{at}\" and os in [\"linux\", \"mac\"]");
        bench.queue(queue::Command::Dequeue(Dequeue { wait_ms: 60_000, ..dequeue(&query, Order::Oldest) }));
    };
    (0..1000).for_each(|at| wait(&mut bench, at));
    let mut times = Times::default();
    for at in 0..ROUNDS {
        let items = vec![build(at % 1000)];
        times.take(|| bench.enqueue(items));
        wait(&mut bench, at % 1000);
    }
    times.show("enqueue that wakes one of 1000 waiting consumers");
    let mut nobody = Times::default();
    for at in 0..ROUNDS {
        let items = vec![build(10_000 + at)];
        nobody.take(|| bench.enqueue(items));
    }
    nobody.show("enqueue that none of 1000 waiting consumers wants");
}

/// Every order over many eligible channels.
fn orders(count: usize) {
    let mut bench = Bench::new();
    for batch in 0..count / 1000 {
        bench.enqueue((0..1000).map(|at| build(batch * 1000 + at)).collect());
    }
    type Named = (&'static str, fn() -> Order);
    let orders: [Named; 5] = [
        ("oldest", || Order::Oldest),
        ("priority", || Order::Priority),
        ("longest idle", || Order::LongestIdle),
        ("random", || Order::Random),
        ("round robin", || Order::RoundRobin { cursor: "c".into() }),
    ];
    for (name, order) in orders {
        let begin = Instant::now();
        bench.dequeue(dequeue("", order()));
        println!("first dequeue, {name}: {:.1} ms", begin.elapsed().as_secs_f64() * 1000.0);
        let mut times = Times::default();
        for _ in 0..2_000 {
            times.take(|| bench.dequeue(dequeue("repo = \"r42\" or os = \"mac\"", order())));
        }
        times.show(&format!("dequeue, {name}: {count} channels, all eligible"));
    }
}
