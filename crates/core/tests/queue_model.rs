//! Random commands against a naive queue: one list of items, everything found by looking at all of them.

#[path = "queue_model/acts.rs"]
mod acts;
#[path = "queue_model/ops.rs"]
mod ops;
mod support;
#[path = "queue_model/time.rs"]
mod time;

use std::collections::BTreeMap;

use ops::{Op, op};
use proptest::{prelude::*, test_runner::RngSeed};
use support::{Logged, check_replay_and_restore, kv, pattern};
use willow_core::{
    Command, Outcome, Reply, WaiterId,
    limiter::{self, CreateRule, Limit, RuleMode, Selector, UpdateRule},
    machine::Lookup,
    queue::{
        self, Ack, Backoff, CreateQueue, Delivered, Delivery, Extend, ItemOptions, LeaseToken, Nack, Nacked,
        PatchMetadata, Pause, PauseKind, Position, QueueConfig, Release, Resume, Taint, TaintEffect,
    },
};
use willow_model::{Id, Kind, Revision};
use willow_query::Query;

const LEASE_MS: u64 = 1000;
const BACKOFF_MS: u64 = 300;
const BRANCHES: [&str; 3] = ["main", "dev", "fix"];
const SYSTEMS: [&str; 2] = ["linux", "mac"];
const QUERIES: [&str; 5] = [
    "",
    "os = \"linux\"",
    "branch = \"main\" or os = \"mac\"",
    "branch in [\"dev\", \"fix\"]",
    "os = \"linux\" and branch != \"main\"",
];

/// Oldest, priority, longest idle, round robin, random, by branch.
const ORDERS: usize = 6;
const ROUND_ROBIN: usize = 3;
const RANDOM: usize = 4;
/// Idempotency keys.
const KEYS: usize = 4;

type Channel = (usize, usize);

/// Rules, and which channels they put into which bucket.
const RULES: [(&str, &str); 3] = [("per-branch", "branch=*"), ("mac", "os=mac"), ("all", "_willow_queue_name=q")];

fn bucket(rule: usize, (branch, os): Channel) -> Option<usize> {
    match rule {
        0 => Some(branch),
        1 => (SYSTEMS[os] == "mac").then_some(0),
        _ => Some(0),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Waiting,
    Delayed(u64),
    InFlight(LeaseToken, u64),
}

#[derive(Clone, Debug)]
struct Item {
    id: Id,
    channel: Channel,
    data: u64,
    updatable: bool,
    priority: i32,
    weight: u64,
    attempts: u32,
    revision: Revision,
    sequence: Revision,
    place: i64,
    expires_ms: Option<u64>,
    expired: bool,
    /// The lowest that was free when it came: of deadlines at one moment, the lowest goes first.
    row: u32,
    state: State,
}

#[derive(Clone, Debug)]
struct Waiting {
    query: usize,
    tolerant: bool,
    order: usize,
    max_items: u32,
    deadline_ms: u64,
}

struct Run {
    logged: Logged,
    items: Vec<Item>,
    dead: Vec<Item>,
    /// When each channel was last delivered from, as a place in the order of all that happened.
    delivered: BTreeMap<Channel, i64>,
    tainted: BTreeMap<Channel, bool>,
    pauses: Vec<usize>,
    limits: Vec<u64>,
    waiting: BTreeMap<WaiterId, Waiting>,
    /// The channel where the round robin stands.
    cursor: Option<Id>,
    /// What idempotency keys brought first.
    keys: BTreeMap<usize, Id>,
    /// Stands in for the revisions that places are made of: only their order counts.
    places: i64,
    data: u64,
}

fn name() -> Selector {
    Selector::Name("q".into())
}

fn channel_kv((branch, os): Channel) -> willow_model::KeyValues {
    kv(&format!("branch={} os={}", BRANCHES[branch], SYSTEMS[os]))
}

fn channel_id(channel: Channel) -> Id {
    let queue = Id::derive(Kind::Queue, None, b"q");
    Id::derive(Kind::Channel, Some(queue), channel_kv(channel).as_bytes())
}

fn query(index: usize) -> Query {
    QUERIES[index].parse().expect("a well-formed query")
}

fn holds(index: usize, (branch, os): Channel) -> bool {
    let (branch, os) = (BRANCHES[branch], SYSTEMS[os]);
    match index {
        0 => true,
        1 => os == "linux",
        2 => branch == "main" || os == "mac",
        3 => branch != "main",
        _ => os == "linux" && branch != "main",
    }
}

impl Run {
    fn new() -> Self {
        let mut logged = Logged::default();
        let options = ItemOptions {
            updatable: false,
            max_attempts: Some(3),
            backoff: Backoff { initial_ms: BACKOFF_MS, factor_milli: 1000, max_ms: BACKOFF_MS, jitter_milli: 0 },
            retry_position: Position::Back,
            lease_ms: LEASE_MS,
            priority: 0,
            weight: 1,
        };
        let config = QueueConfig { max_items: None, max_dead_letters: 1000, defaults: options };
        let create = CreateQueue { name: "q".into(), key_values: None, config };
        logged.apply(Command::Queue(queue::Command::CreateQueue(create))).expect("a new queue");
        for (name, key_values) in RULES {
            let rule = CreateRule {
                name: name.into(),
                key_values: pattern(key_values),
                limit: Limit::At(3),
                mode: RuleMode::Enforce,
            };
            logged.apply(Command::Limit(limiter::Command::CreateRule(rule))).expect("a new rule");
        }
        Self {
            logged,
            items: vec![],
            dead: vec![],
            delivered: BTreeMap::new(),
            tainted: BTreeMap::new(),
            pauses: vec![],
            limits: vec![3; RULES.len()],
            waiting: BTreeMap::new(),
            cursor: None,
            keys: BTreeMap::new(),
            places: 0,
            data: 0,
        }
    }

    fn apply(&mut self, command: queue::Command) -> Reply {
        self.logged.apply(Command::Queue(command))
    }

    fn now(&self) -> u64 {
        self.logged.now_ms
    }

    fn used(&self, rule: usize, of: usize) -> u64 {
        let in_flight = self.items.iter().filter(|item| matches!(item.state, State::InFlight(..)));
        in_flight.filter(|item| bucket(rule, item.channel) == Some(of)).map(|item| item.weight).sum()
    }

    /// The head of each channel that may go out now to somebody.
    fn eligible(&self) -> Vec<&Item> {
        let mut heads: BTreeMap<Channel, &Item> = BTreeMap::new();
        for item in self.items.iter().filter(|item| item.state == State::Waiting) {
            let head = heads.entry(item.channel).or_insert(item);
            if (-item.priority, item.place) < (-head.priority, head.place) {
                *head = item;
            }
        }
        let serial = |head: &Item| {
            let mut running = self
                .items
                .iter()
                .filter(|item| item.channel == head.channel && matches!(item.state, State::InFlight(..)));
            running.any(|item| item.updatable || head.updatable)
        };
        let paused = |head: &Item| self.pauses.iter().any(|pause| holds(*pause, head.channel));
        let limited = |head: &Item| {
            (0..RULES.len()).any(|rule| {
                bucket(rule, head.channel).is_some_and(|of| self.used(rule, of) + head.weight > self.limits[rule])
            })
        };
        heads.into_values().filter(|head| !serial(head) && !paused(head) && !limited(head)).collect()
    }

    /// Those that a consumer may have.
    fn fitting(&self, by: &Waiting) -> Vec<&Item> {
        let tainted = |item: &Item| self.tainted.get(&item.channel) == Some(&true);
        let mut fitting = self.eligible();
        fitting.retain(|item| holds(by.query, item.channel) && (by.tolerant || !tainted(item)));
        fitting
    }

    /// The one that it gets; of a random order, one that it may get.
    fn best(&self, by: &Waiting) -> Option<&Item> {
        let fitting = self.fitting(by);
        let id = |item: &&&Item| channel_id(item.channel);
        let best = match by.order {
            0 => fitting.iter().min_by_key(|item| item.sequence),
            1 => fitting.iter().min_by_key(|item| (-item.priority, item.sequence)),
            2 => fitting.iter().min_by_key(|item| (self.delivered.get(&item.channel).copied(), item.sequence)),
            ROUND_ROBIN => {
                let ahead = fitting.iter().filter(|item| self.cursor.is_none_or(|cursor| id(item) > cursor));
                ahead.min_by_key(id).or_else(|| fitting.iter().min_by_key(id))
            }
            RANDOM => fitting.first(),
            _ => fitting.iter().min_by_key(|item| (BRANCHES[item.channel.0], id(item))),
        };
        best.copied()
    }

    #[expect(clippy::too_many_lines, reason = "one arm per operation")]
    fn step(&mut self, op: &Op) {
        match op.clone() {
            Op::Enqueue(new) => self.enqueue(&new),
            Op::Dequeue { query, tolerant, order, max_items, wait_ms, repeated } => {
                let by = Waiting { query, tolerant, order, max_items, deadline_ms: self.now() + wait_ms };
                self.dequeue(by, wait_ms, repeated);
            }
            Op::Ack(index) => self.with_delivery(index, |run, at, delivered| {
                let reply = run.apply(queue::Command::Ack(Ack { queue: name(), items: vec![delivered] }));
                assert_eq!(reply, Ok(Outcome::Queue(queue::Outcome::Acked(vec![Ok(())]))));
                run.items.remove(at);
            }),
            Op::Nack { delivery, delay_ms, front } => self.with_delivery(delivery, |run, at, delivered| {
                let position = Some(if front { Position::Front } else { Position::Back });
                let nack = Nack { queue: name(), delivered, delay_ms, position, reason: Some("no".into()) };
                let reply = run.apply(queue::Command::Nack(nack));
                let became = run.fail(at, delay_ms.unwrap_or(BACKOFF_MS), front);
                assert_eq!(reply, Ok(Outcome::Queue(queue::Outcome::Nacked(became))));
            }),
            Op::Release(index) => self.with_delivery(index, |run, at, delivered| {
                run.apply(queue::Command::Release(Release { queue: name(), delivered })).expect("it is held");
                run.hand_back(at);
            }),
            Op::Extend(index) => self.with_delivery(index, |run, at, delivered| {
                let extend = Extend { queue: name(), delivered, lease_ms: None };
                run.apply(queue::Command::Extend(extend)).expect("it is held");
                run.items[at].state = State::InFlight(delivered.token, run.now() + LEASE_MS);
            }),
            Op::Stale(index) => self.with_delivery(index, |run, _, delivered| {
                let token = LeaseToken { nonce: delivered.token.nonce ^ 1, ..delivered.token };
                let stale = Delivered { token, ..delivered };
                let reply = run.apply(queue::Command::Ack(Ack { queue: name(), items: vec![stale] }));
                let refused = Err(queue::Error::StaleLease { item: stale.item });
                assert_eq!(reply, Ok(Outcome::Queue(queue::Outcome::Acked(vec![refused]))));
            }),
            Op::Taint { channel, on } => self.taint(channel, on),
            Op::Pause { query: index, on } => {
                // The empty query is the whole queue's pause.
                let query = (index > 0).then(|| query(index));
                if on {
                    let pause = Pause { queue: name(), query, kind: PauseKind::Dequeue };
                    self.apply(queue::Command::Pause(pause)).expect("few pauses");
                    self.pauses.retain(|pause| *pause != index);
                    self.pauses.push(index);
                } else {
                    let known = self.pauses.contains(&index);
                    let reply = self.apply(queue::Command::Resume(Resume { queue: name(), query }));
                    assert_eq!(reply.is_ok(), known);
                    self.pauses.retain(|pause| *pause != index);
                }
            }
            Op::Limit { rule, limit } => {
                let update = UpdateRule {
                    rule: Selector::Name(RULES[rule].0.into()),
                    name: None,
                    key_values: None,
                    limit: Limit::At(limit),
                    mode: RuleMode::Enforce,
                    if_match: None,
                };
                self.logged.apply(Command::Limit(limiter::Command::UpdateRule(update))).expect("a rule");
                self.limits[rule] = limit;
            }
            Op::Purge { query: index } => {
                let purge = queue::Purge { queue: name(), query: (index > 0).then(|| query(index)) };
                self.apply(queue::Command::Purge(purge)).expect("a queue");
                self.items.retain(|item| !holds(index, item.channel) || matches!(item.state, State::InFlight(..)));
            }
            Op::DeleteChannel(channel) => self.delete_channel(channel),
            Op::Redrive => self.redrive(),
            Op::Cancel(index) => {
                let waiter = self.waiting.keys().nth(index % self.waiting.len().max(1)).copied();
                if let Some(waiter) = waiter {
                    self.cancel(waiter, vec![]);
                    self.waiting.remove(&waiter);
                    self.logged.take_resolved();
                }
            }
            Op::Undelivered(index) => self.with_delivery(index, |run, at, delivered| {
                // Only what names the delivery counts of what comes back.
                let item = run.logged.machine.queues().item(&name(), delivered.item, run.logged.machine.lookup(0));
                let item = item.expect("it is held");
                let delivery = Delivery {
                    item: item.id,
                    channel: item.channel,
                    key_values: item.key_values,
                    data: item.data,
                    content_type: item.content_type,
                    attempt: item.attempts,
                    revision: item.revision,
                    token: delivered.token,
                    expires_in_ms: 0,
                    priority: item.priority,
                    age_ms: item.age_ms,
                };
                run.cancel(WaiterId(u64::MAX), vec![delivery]);
                run.hand_back(at);
            }),
            Op::Pass { ms } => self.pass(ms),
        }
        self.settle();
        self.check();
    }

    fn with_delivery(&mut self, index: usize, act: impl FnOnce(&mut Self, usize, Delivered)) {
        let running: Vec<(usize, LeaseToken)> = self
            .items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| match item.state {
                State::InFlight(token, _) => Some((at, token)),
                State::Waiting | State::Delayed(_) => None,
            })
            .collect();
        if let Some(&(at, token)) = running.get(index % running.len().max(1)) {
            let item = self.items[at].id;
            act(self, at, Delivered { item, token });
        }
    }

    /// Each delivery must be the best of what the naive queue would hand out, one after the other, and so many
    /// as there are.
    fn take(&mut self, deliveries: &[Delivery], by: &Waiting) {
        let now = self.now();
        for delivery in deliveries {
            let best = self.best(by).map(|item| item.id);
            let may = by.order == RANDOM && self.fitting(by).iter().any(|item| item.id == delivery.item);
            assert!(may || Some(delivery.item) == best, "{:?} is not the best for {by:?}, {best:?} is", delivery.item);
            let item = self.items.iter_mut().find(|item| item.id == delivery.item).expect("it is there");
            item.attempts += 1;
            assert_eq!((delivery.attempt, delivery.revision), (item.attempts, item.revision));
            assert_eq!(*delivery.data, item.data.to_be_bytes(), "stale data");
            item.state = State::InFlight(delivery.token, now + LEASE_MS);
            self.places += 1;
            self.delivered.insert(item.channel, self.places);
            if by.order == ROUND_ROBIN {
                self.cursor = Some(channel_id(item.channel));
            }
        }
        assert!(deliveries.len() <= by.max_items as usize);
        let left = self.best(by).filter(|_| deliveries.len() < by.max_items as usize);
        assert!(left.is_none(), "left lying: {left:?}");
    }

    fn bury(&mut self, at: usize) {
        let item = self.items.remove(at);
        self.dead.push(item);
    }

    fn is_superseded(&self, at: usize) -> bool {
        let item = &self.items[at];
        let newer = |other: &Item| {
            other.channel == item.channel
                && !matches!(other.state, State::InFlight(..))
                && other.revision > item.revision
        };
        item.updatable && self.items.iter().any(newer)
    }

    fn fail(&mut self, at: usize, delay_ms: u64, front: bool) -> Nacked {
        if self.is_superseded(at) {
            self.items.remove(at);
            return Nacked::Superseded;
        }
        self.places += 1;
        let (place, now) = (self.places, self.now());
        let item = &mut self.items[at];
        if item.expired || item.attempts >= 3 {
            self.bury(at);
            return Nacked::DeadLetter;
        }
        item.place = if front { -place } else { place };
        item.state = if delay_ms == 0 { State::Waiting } else { State::Delayed(now + delay_ms) };
        Nacked::Retry { delay_ms }
    }

    fn hand_back(&mut self, at: usize) {
        let superseded = self.is_superseded(at);
        let item = &mut self.items[at];
        item.attempts -= 1;
        item.state = State::Waiting;
        if superseded {
            self.items.remove(at);
        } else if item.expired {
            self.bury(at);
        }
    }

    fn cancel(&mut self, waiter: WaiterId, deliveries: Vec<Delivery>) {
        let undelivered = Some(Box::new(Outcome::Queue(queue::Outcome::Dequeued(deliveries))));
        let cancel = willow_core::command::CancelWait { waiter, undelivered };
        self.logged.apply(Command::CancelWait(cancel)).expect("always");
    }

    fn delete_channel(&mut self, channel: Channel) {
        let there = self.is_there(channel);
        let delete = queue::DeleteChannel { queue: name(), channel: channel_id(channel) };
        assert_eq!(self.apply(queue::Command::DeleteChannel(delete)).is_ok(), there);
        self.items.retain(|item| item.channel != channel || matches!(item.state, State::InFlight(..)));
        self.tainted.remove(&channel);
    }

    fn redrive(&mut self) {
        let before = self.logged.machine.revision();
        let redrive = queue::Redrive { queue: name(), query: None, max_items: 1000 };
        self.apply(queue::Command::Redrive(redrive)).expect("a queue");
        let now = self.now();
        for (at, letter) in std::mem::take(&mut self.dead).into_iter().enumerate() {
            let beside = |item: &Item| item.channel == letter.channel;
            if letter.updatable && self.items.iter().any(|item| beside(item) && item.revision > letter.revision) {
                continue;
            }
            if letter.updatable {
                self.items.retain(|item| !beside(item) || !item.updatable || matches!(item.state, State::InFlight(..)));
            }
            self.places += 1;
            self.items.push(Item {
                row: self.free_row(),
                attempts: 0,
                // Any number of those that the command took, in order, stands for the true one.
                sequence: Revision(before.0 + 1 + at as u64),
                place: self.places,
                expires_ms: letter.expires_ms.filter(|at_ms| *at_ms > now),
                expired: false,
                state: State::Waiting,
                ..letter
            });
        }
    }

    fn free_row(&self) -> u32 {
        (0..).find(|row| self.items.iter().all(|item| item.row != *row)).expect("few items")
    }

    fn is_there(&self, channel: Channel) -> bool {
        self.items.iter().any(|item| item.channel == channel) || self.tainted.get(&channel) == Some(&true)
    }

    fn taint(&mut self, channel: Channel, on: bool) {
        let id = channel_id(channel);
        let taint = Taint { key: "special".into(), value: "".into(), effect: TaintEffect::NoSchedule };
        let taints = Some(if on { vec![taint] } else { vec![] });
        let patch = PatchMetadata { queue: name(), channel: id, set: vec![], taints, if_match: None };
        let there = self.is_there(channel);
        let reply = self.apply(queue::Command::PatchMetadata(patch));
        assert_eq!(reply.is_ok(), there, "{reply:?}");
        if there {
            self.tainted.insert(channel, on);
        }
    }

    fn check(&mut self) {
        // A channel that comes back has never been delivered from.
        let gone: Vec<Channel> = self.delivered.keys().copied().filter(|channel| !self.is_there(*channel)).collect();
        gone.iter().for_each(|channel| {
            self.delivered.remove(channel);
        });
        let machine = &self.logged.machine;
        let lookup: Lookup<'_> = machine.lookup(0);
        let view = machine.queues().queue(&name()).expect("the queue");
        let count = |state: fn(&State) -> bool| self.items.iter().filter(|item| state(&item.state)).count() as u64;
        assert_eq!(view.counts.waiting, count(|state| *state == State::Waiting));
        assert_eq!(view.counts.delayed, count(|state| matches!(state, State::Delayed(_))));
        assert_eq!(view.counts.in_flight, count(|state| matches!(state, State::InFlight(..))));
        assert_eq!(view.dead_letters, self.dead.len() as u64);
        // In flight is what the Limiter counts, to the last unit.
        let counters = machine.limiter().query_counters(&Query::default(), lookup).expect("no page token");
        let held: u64 = counters.items.iter().map(|counter| counter.held).sum();
        let weights: u64 =
            self.items.iter().filter(|item| matches!(item.state, State::InFlight(..))).map(|item| item.weight).sum();
        assert_eq!(held, weights, "in flight is not what is held");
        // No item lost, none twice.
        let mut listed = Vec::new();
        let mut page = Query { limit: 3, ..Query::default() };
        loop {
            let found =
                machine.queues().query_items(&name(), &page, &[], lookup).expect("our own token").expect("the queue");
            listed.extend(found.items.iter().map(|item| item.id));
            page.page_token = found.next_page_token;
            if page.page_token.is_none() {
                break;
            }
        }
        let mut known: Vec<Id> = self.items.iter().map(|item| item.id).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_the_naive_queue(ops in prop::collection::vec(op(), 1..100), seed in any::<u64>()) {
        let mut run = Run::new();
        for op in &ops {
            run.step(op);
        }
        check_replay_and_restore(&mut run.logged, seed);
    }
}
