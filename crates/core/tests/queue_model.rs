//! Random commands against a naive queue: one list of items, everything found by looking at all of them.

#[path = "queue_model/acts.rs"]
mod acts;
#[path = "queue_model/ops.rs"]
mod ops;
mod support;

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
use willow_model::{Id, Revision};
use willow_query::Query;

const LEASE_MS: u64 = 1000;
const BACKOFF_MS: u64 = 300;
const BRANCHES: [&str; 3] = ["main", "dev", "fix"];
const SYSTEMS: [&str; 2] = ["linux", "mac"];
const QUERIES: [&str; 4] = ["", "os = \"linux\"", "branch = \"main\" or os = \"mac\"", "branch in [\"dev\", \"fix\"]"];

/// Oldest, priority, longest idle.
const ORDERS: usize = 3;

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
    /// When it was last due after a delay.
    woke_ms: u64,
    state: State,
}

#[derive(Clone, Debug)]
struct Waiting {
    query: usize,
    tolerant: bool,
    order: usize,
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

fn query(index: usize) -> Query {
    QUERIES[index].parse().expect("a well-formed query")
}

fn holds(index: usize, (branch, os): Channel) -> bool {
    let (branch, os) = (BRANCHES[branch], SYSTEMS[os]);
    match index {
        0 => true,
        1 => os == "linux",
        2 => branch == "main" || os == "mac",
        _ => branch != "main",
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

    fn best(&self, query: usize, tolerant: bool, order: usize) -> Option<&Item> {
        let tainted = |item: &&Item| self.tainted.get(&item.channel) == Some(&true);
        let fits =
            self.eligible().into_iter().filter(|item| holds(query, item.channel) && (tolerant || !tainted(item)));
        fits.min_by_key(|item| {
            let first = match order {
                0 => 0,
                1 => -i64::from(item.priority),
                _ => self.delivered.get(&item.channel).copied().unwrap_or(0),
            };
            (first, item.sequence)
        })
    }

    #[expect(clippy::too_many_lines, reason = "one arm per operation")]
    fn step(&mut self, op: &Op) {
        match op.clone() {
            Op::Enqueue { channel, updatable, priority, weight, delay_ms, expires_in_ms } => {
                self.enqueue(channel, updatable, priority, weight, delay_ms, expires_in_ms);
            }
            Op::Dequeue { query, tolerant, order, max_items, wait_ms } => {
                self.dequeue(query, tolerant, order, max_items, wait_ms);
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

    /// Each delivery must be the best of what the naive queue would hand out, one after the other.
    fn take(&mut self, deliveries: &[Delivery], by: &Waiting) {
        for delivery in deliveries {
            let best = self.best(by.query, by.tolerant, by.order).map(|item| item.id);
            let now = self.now();
            // What became due at this very moment may have been handed out before the rest of it was due.
            let woke_now =
                |item: &Item| item.id == delivery.item && item.state == State::Waiting && item.woke_ms == now;
            let fits = Some(delivery.item) == best || self.items.iter().any(woke_now);
            assert!(fits, "{:?} is not the best item that may go out, {best:?} is", delivery.item);
            let item = self.items.iter_mut().find(|item| item.id == delivery.item).expect("it is there");
            item.attempts += 1;
            assert_eq!((delivery.attempt, delivery.revision), (item.attempts, item.revision));
            assert_eq!(*delivery.data, item.data.to_be_bytes(), "stale data");
            item.state = State::InFlight(delivery.token, now + LEASE_MS);
            self.places += 1;
            self.delivered.insert(item.channel, self.places);
        }
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
        let delete = queue::DeleteChannel { queue: name(), channel: self.channel_id(channel) };
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

    fn channel_id(&self, channel: Channel) -> Id {
        let queue = self.logged.machine.queues().queue(&name()).expect("the queue").id;
        Id::derive(willow_model::Kind::Channel, Some(queue), channel_kv(channel).as_bytes())
    }

    fn is_there(&self, channel: Channel) -> bool {
        self.items.iter().any(|item| item.channel == channel) || self.tainted.get(&channel) == Some(&true)
    }

    fn taint(&mut self, channel: Channel, on: bool) {
        let id = self.channel_id(channel);
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

    /// Time passes one deadline at a time, so that the naive queue sees them in order.
    fn pass(&mut self, ms: u64) {
        let end_ms = self.now() + ms;
        loop {
            let deadlines = self.items.iter().flat_map(|item| {
                let state = match item.state {
                    State::Waiting => None,
                    State::Delayed(at_ms) | State::InFlight(_, at_ms) => Some(at_ms),
                };
                let expiry = item.expires_ms.filter(|_| !item.expired);
                state.into_iter().chain(expiry)
            });
            let waits = self.waiting.values().map(|waiting| waiting.deadline_ms);
            let next_ms = deadlines.chain(waits).min().unwrap_or(u64::MAX).min(end_ms);
            self.fire(next_ms);
            if next_ms >= end_ms {
                return;
            }
        }
    }

    /// Leases first, then what is due, then expiries, as the machine's timers sort. Several at one
    /// moment are interleaved with hand-outs there: the comparison is left to ends that are alone.
    fn fire(&mut self, at_ms: u64) {
        self.logged.pass(at_ms - self.logged.now_ms);
        while let Some(at) =
            self.items.iter().position(|item| matches!(item.state, State::InFlight(_, end) if end <= at_ms))
        {
            self.fail(at, BACKOFF_MS, false);
            self.settle_some();
        }
        while let Some(at) =
            self.items.iter().position(|item| matches!(item.state, State::Delayed(due) if due <= at_ms))
        {
            self.items[at].state = State::Waiting;
            self.items[at].woke_ms = at_ms;
            self.settle_some();
        }
        while let Some(at) =
            self.items.iter().position(|item| !item.expired && item.expires_ms.is_some_and(|end| end <= at_ms))
        {
            self.items[at].expired = true;
            if !matches!(self.items[at].state, State::InFlight(..)) {
                self.bury(at);
            }
            self.settle_some();
        }
        self.settle();
        let late = self.waiting.values().find(|waiting| waiting.deadline_ms <= at_ms);
        assert!(late.is_none(), "waits past its deadline: {late:?}");
    }

    /// Takes over hand-outs as far as they fit what the naive queue knows by now.
    fn settle_some(&mut self) {
        while let Some((waiter, reply)) = self.logged.resolved.first().cloned() {
            let Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) = &reply else { panic!("{reply:?}") };
            let Some(waiting) = self.waiting.get(&waiter).cloned() else { panic!("nobody waits as {waiter:?}") };
            let best = self.best(waiting.query, waiting.tolerant, waiting.order).map(|item| item.id);
            let Some(first) = deliveries.first() else { return };
            if best != Some(first.item) {
                return;
            }
            self.take(deliveries, &waiting);
            self.waiting.remove(&waiter);
            drop(self.logged.resolved.remove(0));
        }
    }

    fn settle(&mut self) {
        for (waiter, reply) in self.logged.take_resolved() {
            let waiting = self.waiting.remove(&waiter).expect("who waits");
            match reply {
                Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) => {
                    assert!(!deliveries.is_empty() || waiting.deadline_ms <= self.now(), "a wait ended early");
                    self.take(&deliveries, &waiting);
                }
                other => panic!("{other:?}"),
            }
        }
        for waiting in self.waiting.values() {
            let best = self.best(waiting.query, waiting.tolerant, waiting.order);
            assert!(best.is_none(), "a wake-up was lost: {waiting:?} could have {best:?}");
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
    #![proptest_config(ProptestConfig { cases: 120, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_the_naive_queue(ops in prop::collection::vec(op(), 1..100), seed in any::<u64>()) {
        let mut run = Run::new();
        for op in &ops {
            run.step(op);
        }
        check_replay_and_restore(&mut run.logged, seed);
    }
}
