//! Enqueue and dequeue, on the machine and on the naive queue.

use std::sync::Arc;

use willow_core::{
    Outcome,
    queue::{self, Dequeue, Enqueue, Enqueued, How, NewItem, Order, Toleration, TolerationOperator},
};

use super::{Channel, Item, Run, State, Waiting, channel_kv, name, query};

impl Run {
    pub(crate) fn enqueue(
        &mut self,
        channel: Channel,
        updatable: bool,
        priority: i32,
        weight: u32,
        delay_ms: u64,
        expires_in_ms: Option<u64>,
    ) {
        self.data += 1;
        let new = NewItem {
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
            idempotency_key: None,
        };
        let reply = self.apply(queue::Command::Enqueue(Enqueue { queue: name(), items: vec![new] }));
        let Ok(Outcome::Queue(queue::Outcome::Enqueued(mut results))) = reply else { panic!("{reply:?}") };
        let Enqueued { item: id, revision, how, .. } = results.pop().expect("one answer").expect("there is room");
        let state = if delay_ms == 0 { State::Waiting } else { State::Delayed(self.now() + delay_ms) };
        let expires_ms = expires_in_ms.map(|ms| self.now() + ms);
        self.places += 1;
        let mut queued =
            self.items.iter_mut().filter(|item| item.channel == channel && !matches!(item.state, State::InFlight(..)));
        let (data, weight) = (self.data, u64::from(weight));
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
            woke_ms: 0,
            state,
        });
    }

    pub(crate) fn dequeue(&mut self, index: usize, tolerant: bool, order: usize, max_items: u32, wait_ms: u64) {
        let toleration = Toleration { key: None, operator: TolerationOperator::Exists, effect: None };
        let dequeue = Dequeue {
            queue: name(),
            query: query(index),
            order: [Order::Oldest, Order::Priority, Order::LongestIdle][order].clone(),
            tolerations: if tolerant { vec![toleration] } else { vec![] },
            max_items,
            lease_ms: None,
            wait_ms,
            consumer: None,
        };
        let waiting = Waiting { query: index, tolerant, order, deadline_ms: self.now() + wait_ms };
        match self.apply(queue::Command::Dequeue(dequeue)) {
            Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) => {
                assert!(deliveries.len() <= max_items as usize);
                let full = deliveries.len() == max_items as usize;
                self.take(&deliveries, &waiting);
                let left = self.best(index, tolerant, order);
                assert!(full || left.is_none(), "left lying: {left:?}");
            }
            Ok(Outcome::Waiting(waiter)) => {
                assert!(wait_ms > 0);
                self.waiting.insert(waiter, waiting);
            }
            other => panic!("{other:?}"),
        }
    }
}
