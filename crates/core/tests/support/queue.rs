//! A machine with a queue or two, in few words.

use std::sync::Arc;

use willow_core::{
    Command, Outcome, Refusal, Reply, WaiterId,
    command::CancelWait,
    limiter::{self, CreateRule, DeleteRule, Limit, RuleMode, Selector, UpdateRule},
    queue::{
        self, Ack, Backoff, ChannelExplanation, CreateQueue, Delivered, Delivery, Dequeue, Enqueue, Enqueued,
        ItemOptions, Nack, Nacked, NewItem, Order, PatchMetadata, Pause, PauseKind, Position, QueueConfig, QueueView,
        Release, Resume, Taint, TaintEffect,
    },
};
use willow_model::{Id, Key, Kind, Value};
use willow_query::Query;

use super::{Logged, kv, pattern};

pub(crate) const LEASE_MS: u64 = 1000;

/// A machine with the queue `q`.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) logged: Logged,
}

pub(crate) fn q() -> Selector {
    Selector::Name("q".into())
}

pub(crate) fn options() -> ItemOptions {
    ItemOptions {
        updatable: false,
        max_attempts: Some(3),
        backoff: Backoff { initial_ms: 0, factor_milli: 1000, max_ms: 0, jitter_milli: 0 },
        retry_position: Position::Back,
        lease_ms: LEASE_MS,
        priority: 0,
        weight: 1,
    }
}

pub(crate) fn config() -> QueueConfig {
    QueueConfig { max_items: None, max_dead_letters: 100, defaults: options() }
}

pub(crate) fn item(key_values: &str, data: &str) -> NewItem {
    NewItem::new(kv(key_values), Arc::from(data.as_bytes()), "text/plain")
}

pub(crate) fn updatable(key_values: &str, data: &str) -> NewItem {
    NewItem { updatable: Some(true), ..item(key_values, data) }
}

pub(crate) fn dequeue(query: &str, max_items: u32, wait_ms: u64) -> Dequeue {
    Dequeue {
        queue: q(),
        query: query.parse().expect("a well-formed query"),
        order: Order::Oldest,
        tolerations: vec![],
        max_items,
        lease_ms: None,
        wait_ms,
        consumer: None,
    }
}

pub(crate) fn of(delivery: &Delivery) -> Delivered {
    Delivered { item: delivery.item, token: delivery.token }
}

pub(crate) fn data(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.data).expect("text")
}

impl Bench {
    pub(crate) fn new(config: QueueConfig) -> Self {
        let mut bench = Self { logged: Logged::default() };
        let create = CreateQueue { name: "q".into(), key_values: None, config };
        bench.apply(queue::Command::CreateQueue(create)).expect("a new queue");
        bench
    }

    pub(crate) fn apply(&mut self, command: queue::Command) -> Reply {
        self.logged.apply(Command::Queue(command))
    }

    pub(crate) fn try_enqueue(&mut self, items: Vec<NewItem>) -> Vec<Result<Enqueued, queue::Error>> {
        match self.apply(queue::Command::Enqueue(Enqueue { queue: q(), items })) {
            Ok(Outcome::Queue(queue::Outcome::Enqueued(answers))) => answers,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn enqueue(&mut self, item: NewItem) -> Enqueued {
        self.try_enqueue(vec![item]).pop().expect("one answer").expect("it is taken in")
    }

    pub(crate) fn take(&mut self, dequeue: Dequeue) -> Vec<Delivery> {
        match self.apply(queue::Command::Dequeue(dequeue)) {
            Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) => deliveries,
            other => panic!("{other:?}"),
        }
    }

    /// The one item that a dequeue of the query gives.
    pub(crate) fn take_one(&mut self, query: &str) -> Delivery {
        let mut deliveries = self.take(dequeue(query, 1, 0));
        deliveries.pop().unwrap_or_else(|| panic!("nothing to take for {query:?}"))
    }

    pub(crate) fn wait(&mut self, dequeue: Dequeue) -> WaiterId {
        match self.apply(queue::Command::Dequeue(dequeue)) {
            Ok(Outcome::Waiting(waiter)) => waiter,
            other => panic!("{other:?}"),
        }
    }

    /// Who was handed what since this was last asked, as text.
    pub(crate) fn handed(&mut self) -> Vec<(WaiterId, Vec<String>)> {
        let resolved = self.logged.take_resolved().into_iter();
        resolved
            .map(|(waiter, reply)| match reply {
                Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) => {
                    (waiter, deliveries.iter().map(|delivery| data(delivery).to_owned()).collect())
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    pub(crate) fn ack(&mut self, delivery: &Delivery) {
        let reply = self.apply(queue::Command::Ack(Ack { queue: q(), items: vec![of(delivery)] }));
        assert_eq!(reply, Ok(Outcome::Queue(queue::Outcome::Acked(vec![Ok(())]))));
    }

    pub(crate) fn nack(&mut self, delivery: &Delivery) -> Nacked {
        let nack = Nack { queue: q(), delivered: of(delivery), delay_ms: None, position: None, reason: None };
        match self.apply(queue::Command::Nack(nack)) {
            Ok(Outcome::Queue(queue::Outcome::Nacked(nacked))) => nacked,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn release(&mut self, delivery: &Delivery) {
        self.apply(queue::Command::Release(Release { queue: q(), delivered: of(delivery) })).expect("it is held");
    }

    pub(crate) fn cancel(&mut self, waiter: WaiterId, undelivered: Option<Vec<Delivery>>) {
        let undelivered = undelivered.map(|deliveries| Box::new(Outcome::Queue(queue::Outcome::Dequeued(deliveries))));
        self.logged.apply(Command::CancelWait(CancelWait { waiter, undelivered })).expect("always");
    }

    pub(crate) fn rule(&mut self, name: &str, key_values: &str, limit: u64) {
        let rule = CreateRule {
            name: name.into(),
            key_values: pattern(key_values),
            limit: Limit::At(limit),
            mode: RuleMode::Enforce,
        };
        self.logged.apply(Command::Limit(limiter::Command::CreateRule(rule))).expect("a new rule");
    }

    pub(crate) fn set_limit(&mut self, name: &str, limit: u64) {
        let update = UpdateRule {
            rule: Selector::Name(name.into()),
            name: None,
            key_values: None,
            limit: Limit::At(limit),
            mode: RuleMode::Enforce,
            if_match: None,
        };
        self.logged.apply(Command::Limit(limiter::Command::UpdateRule(update))).expect("the rule is there");
    }

    pub(crate) fn delete_rule(&mut self, name: &str) {
        let delete = DeleteRule { rule: Selector::Name(name.into()), if_match: None };
        self.logged.apply(Command::Limit(limiter::Command::DeleteRule(delete))).expect("the rule is there");
    }

    pub(crate) fn pause(&mut self, query: Option<&str>, kind: PauseKind) {
        let query = query.map(|query| query.parse().expect("a well-formed query"));
        self.apply(queue::Command::Pause(Pause { queue: q(), query, kind })).expect("few pauses");
    }

    pub(crate) fn resume(&mut self, query: Option<&str>) {
        let query = query.map(|query| query.parse().expect("a well-formed query"));
        self.apply(queue::Command::Resume(Resume { queue: q(), query })).expect("it was paused");
    }

    pub(crate) fn channel_id(&self, key_values: &str) -> Id {
        let queue = self.view().id;
        Id::derive(Kind::Channel, Some(queue), kv(key_values).as_bytes())
    }

    pub(crate) fn patch(&mut self, key_values: &str, set: &[(&str, Option<Value>)], taints: Option<&[&str]>) -> Reply {
        let taint = |key: &&str| Taint { key: (*key).into(), value: "".into(), effect: TaintEffect::NoSchedule };
        let set = set.iter().map(|(key, value)| (Key::new(*key).expect("a short key"), value.clone())).collect();
        let taints = taints.map(|taints| taints.iter().map(taint).collect());
        let patch = PatchMetadata { queue: q(), channel: self.channel_id(key_values), set, taints, if_match: None };
        self.apply(queue::Command::PatchMetadata(patch))
    }

    pub(crate) fn view(&self) -> QueueView {
        self.logged.machine.queues().queue(&q()).expect("the queue is there")
    }

    pub(crate) fn explain(&self, key_values: &str) -> Option<ChannelExplanation> {
        let machine = &self.logged.machine;
        machine.queues().explain(&q(), self.channel_id(key_values), machine.limiter(), machine.lookup(0))
    }

    /// What the Limiter counts as held, over all counters.
    pub(crate) fn held(&self) -> u64 {
        let machine = &self.logged.machine;
        let page = machine.limiter().query_counters(&Query::default(), machine.lookup(0)).expect("no page token");
        page.items.iter().map(|counter| counter.held).sum()
    }

    /// Dead letters as text, by id.
    pub(crate) fn dead(&self) -> Vec<String> {
        let machine = &self.logged.machine;
        let page = machine.queues().query_dead_letters(&q(), &Query::default(), machine.lookup(0));
        let items = page.expect("no page token").expect("the queue is there").items;
        items.iter().map(|item| String::from_utf8(item.data.to_vec()).expect("text")).collect()
    }

    pub(crate) fn error(reply: Reply) -> queue::Error {
        match reply {
            Err(Refusal::Queue(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}
