//! Enqueue and dequeue, on the machine and on the naive queue.

use std::sync::Arc;

use willow_core::{
    Command, Outcome,
    queue::{self, Dequeue, Enqueue, Enqueued, How, NewItem, Order, Toleration, TolerationOperator},
};
use willow_model::Key;
use willow_query::{Direction, Missing, OrderBy};

use super::{Item, Run, State, Waiting, channel_kv, name, ops::New, query};

impl Run {
    pub(crate) fn enqueue(&mut self, new: &New) {
        let New { channel, updatable, priority, weight, delay_ms, expires_in_ms, key } = *new;
        self.data += 1;
        let item = NewItem {
            key_values: channel_kv(channel),
            data: Arc::from(self.data.to_be_bytes()),
            content_type: "application/octet-stream".into(),
            updatable: Some(updatable),
            max_attempts: None,
            backoff: None,
            retry_position: None,
            lease_ms: None,
            priority: Some(priority),
            weight: Some(weight),
            delay_ms,
            expires_in_ms,
            idempotency_key: key.map(|key| key.to_string().into()),
        };
        let reply = self.apply(queue::Command::Enqueue(Enqueue { queue: name(), items: vec![item] }));
        let Ok(Outcome::Queue(queue::Outcome::Enqueued(mut results))) = reply else { panic!("{reply:?}") };
        let Enqueued { item: id, revision, how, .. } = results.pop().expect("one answer").expect("there is room");
        if let Some(first) = key.and_then(|key| self.keys.get(&key)) {
            assert_eq!((how, id), (How::Duplicate, *first), "the key was seen before");
            return;
        }
        self.keys.extend(key.map(|key| (key, id)));
        let state = if delay_ms == 0 { State::Waiting } else { State::Delayed(self.now() + delay_ms) };
        let expires_ms = expires_in_ms.map(|ms| self.now() + ms);
        self.places += 1;
        let (data, weight, row) = (self.data, u64::from(weight), self.free_row());
        let mut queued =
            self.items.iter_mut().filter(|item| item.channel == channel && !matches!(item.state, State::InFlight(..)));
        if let Some(old) = queued.find(|item| item.updatable) {
            assert_eq!((how, id), (How::Updated, old.id), "an updatable item that waits is updated in place");
            *old = Item { data, updatable, priority, weight, attempts: 0, revision, expires_ms, state, ..old.clone() };
            return;
        }
        assert_eq!(how, How::Created);
        self.items.push(Item {
            id,
            channel,
            data,
            updatable,
            priority,
            weight,
            attempts: 0,
            revision,
            sequence: revision,
            place: self.places,
            expires_ms,
            expired: false,
            row,
            state,
        });
    }

    /// `repeated` sends the same request twice: the second is answered as the first.
    pub(crate) fn dequeue(&mut self, by: Waiting, wait_ms: u64, repeated: bool) {
        let toleration = Toleration { key: None, operator: TolerationOperator::Exists, effect: None };
        let key = Key::new("branch").expect("a short key");
        let dequeue = Dequeue {
            queue: name(),
            query: query(by.query),
            order: match by.order {
                0 => Order::Oldest,
                1 => Order::Priority,
                2 => Order::LongestIdle,
                super::ROUND_ROBIN => Order::RoundRobin { cursor: "c".into() },
                super::RANDOM => Order::Random,
                _ => Order::By(vec![OrderBy { key, direction: Direction::Asc, missing: Missing::Last }]),
            },
            tolerations: if by.tolerant { vec![toleration] } else { vec![] },
            max_items: by.max_items,
            lease_ms: None,
            wait_ms,
            consumer: None,
        };
        let command = Command::Queue(queue::Command::Dequeue(dequeue));
        let request_id = repeated.then(|| format!("request {}", self.logged.log.len()));
        let reply = self.logged.apply_with(request_id.as_deref(), command.clone());
        if repeated {
            assert_eq!(self.logged.apply_with(request_id.as_deref(), command), reply, "a repeat is not done twice");
        }
        match reply {
            Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) => {
                assert!(wait_ms == 0 || !deliveries.is_empty());
                self.take(&deliveries, &by);
            }
            Ok(Outcome::Waiting(waiter)) => {
                assert!(wait_ms > 0);
                self.waiting.insert(waiter, by);
            }
            other => panic!("{other:?}"),
        }
    }
}
