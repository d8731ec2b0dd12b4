//! Queue: channels of items by key values, dequeued by query, within the Limiter's limits.
//!
//! ```text
//!  enqueue ──► Channel: waiting │ delayed │ in flight      (a `Line` each)
//!                 │ refresh: has it a due head, may it go out?
//!                 ▼
//!              Pools: ready │ parked per limit or pause ◄── take_opened (room under a bucket)
//!                 │ take: the consumer's query and order over `ready` and the open parked sets
//!                 ▼
//!              claim (Limiter) ──► no: park under the bucket, try the next
//!                 │ yes
//!                 ▼
//!              in flight (lease) ──► ack │ nack │ release │ expiry: the claim is given back once
//! ```
//! Consumers that find nothing wait as rows, in groups of equal query and tolerations. A channel that
//! becomes eligible while a command is applied is offered to them when it is done ([`Queues::settle`]):
//! so no wake-up is lost, and only who gains something wakes up.
//!
//! What is tried, and in what order, depends on replicated rows alone: what a channel is parked under
//! and which parked sets are open are rows, too.

mod ack;
mod command;
mod create_queue;
mod delete;
mod dequeue;
mod enqueue;
mod error;
mod explain;
mod front;
mod groups;
mod items;
mod line;
mod lookup;
mod lookup_items;
mod metadata;
mod nack;
mod outcome;
mod pause;
mod place;
mod pool;
mod purge;
mod rebuild;
mod redrive;
mod refresh;
mod rows;
mod settle;
mod take;
mod validate;
mod view;

pub use command::*;
pub use error::Error;
pub use outcome::*;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use willow_model::{Id, Kind, Revision};
use willow_query::{Index, Options};

use crate::{
    Context, Reply, WaiterId,
    limiter::{Limiter, Selector},
    limits,
    table::{Snapshot, Table},
    timer::Timer,
};
use groups::Groups;
use pool::Pools;
use rows::{Channel, Consumer, Cursor, DeadLetter, Item, OpenSet, Parked, QueueRow, Remembered};

/// All queues, channels, items and waiting consumers of one machine.
#[derive(Debug, Default)]
pub struct Queues {
    queues: Table<QueueRow>,
    channels: Table<Channel>,
    items: Table<Item>,
    consumers: Table<Consumer>,
    dead: Table<DeadLetter>,
    remembered: Table<Remembered>,
    cursors: Table<Cursor>,
    open: Table<OpenSet>,

    // Derived from here on.
    /// By the queue's row.
    queues_live: Vec<Option<Box<QueueLive>>>,
    by_name: BTreeMap<Box<str>, u32>,
    index: QueueIndex,
    /// Queues with a closed parked set, by what the Limiter watches for them.
    watchers: BTreeMap<(Id, u64), BTreeSet<u32>>,
    remembered_expiry: BTreeSet<(u64, u32)>,
    cursors_by_use: BTreeSet<(Revision, u32)>,

    /// Channels that this batch may still find blocked; see [`limits::TRIES_PER_BATCH`].
    tries: usize,
    // Empty between applies.
    /// Channels that became eligible while consumers wait.
    to_offer: VecDeque<u32>,
    /// Parked sets that opened.
    opened: VecDeque<(u32, Parked)>,
    /// Queues whose standing pause ended.
    resumed: VecDeque<u32>,
}

/// The index of queues by their labels and name.
#[derive(Debug)]
struct QueueIndex(Index);

impl Default for QueueIndex {
    fn default() -> Self {
        Self(Index::new(Options::default()))
    }
}

/// Derived state of one queue.
#[derive(Debug)]
struct QueueLive {
    /// Channels; documents are rows.
    index: Index,
    pools: Pools,
    groups: Groups,
    counts: Counts,
    /// Dead letters; documents are rows.
    dead_index: Index,
    dead_order: BTreeSet<(Revision, u32)>,
    /// Options and content type of the item enqueued last: most are like it and share them.
    last_options: Arc<ItemOptions>,
    last_content_type: Arc<str>,
}

impl QueueLive {
    fn new(config: &QueueConfig) -> Self {
        Self {
            index: Index::new(Options::default()),
            pools: Pools::default(),
            groups: Groups::default(),
            counts: Counts::default(),
            dead_index: Index::new(Options::default()),
            dead_order: BTreeSet::new(),
            last_options: Arc::new(config.defaults.clone()),
            last_content_type: "".into(),
        }
    }
}

impl Queues {
    /// A new batch begins: what it may spend is whole again.
    pub(crate) fn begin_batch(&mut self) {
        self.tries = limits::TRIES_PER_BATCH;
    }

    pub(crate) fn apply(&mut self, command: Command, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        match command {
            Command::CreateQueue(command) => self.create_queue(command, cx),
            Command::UpdateQueue(command) => self.update_queue(command, cx),
            Command::DeleteQueue(command) => self.delete_queue(&command, limiter, cx),
            Command::Enqueue(command) => self.enqueue(command, limiter, cx),
            Command::Dequeue(command) => self.dequeue(command, limiter, cx),
            Command::Ack(command) => self.ack(&command, limiter, cx),
            Command::Nack(command) => self.nack(command, limiter, cx),
            Command::Release(command) => self.release(&command, limiter, cx),
            Command::Extend(command) => self.extend(&command, cx),
            Command::PatchMetadata(command) => self.patch_metadata(command, limiter, cx),
            Command::DeleteChannel(command) => self.delete_channel(&command, limiter, cx),
            Command::Pause(command) => self.pause(command, cx),
            Command::Resume(command) => self.resume(&command, limiter, cx),
            Command::Purge(command) => self.purge(command, limiter, cx),
            Command::Redrive(command) => self.redrive(&command, limiter, cx),
            Command::PurgeDeadLetters(command) => self.purge_dead_letters(&command),
        }
    }

    /// Who waits.
    pub(crate) fn waits(&self) -> impl Iterator<Item = WaiterId> {
        self.consumers.iter().map(|(_, waiter)| waiter.waiter)
    }

    /// Tables with their snapshot tags.
    pub(crate) fn tables(&mut self) -> Vec<(u8, &mut dyn Snapshot)> {
        vec![
            (30, &mut self.queues),
            (31, &mut self.channels),
            (32, &mut self.items),
            (33, &mut self.consumers),
            (34, &mut self.dead),
            (35, &mut self.remembered),
            (36, &mut self.cursors),
            (37, &mut self.open),
        ]
    }

    /// A queue that may be acted on.
    fn active(&self, selector: &Selector) -> Result<u32, Error> {
        let slot = self.find(selector).ok_or(Error::NoSuchQueue)?;
        if self.queue_row(slot).deleting { Err(Error::QueueDeleting) } else { Ok(slot) }
    }

    fn find(&self, selector: &Selector) -> Option<u32> {
        match selector {
            Selector::Id(id) => self.queues.slot(id),
            Selector::Name(name) => self.by_name.get(name).copied(),
        }
    }

    fn queue_row(&self, slot: u32) -> &QueueRow {
        self.queues.get(slot).expect("a channel's or consumer's queue is stored")
    }

    fn queue_mut(&mut self, slot: u32) -> &mut QueueRow {
        self.queues.get_mut(slot).expect("a channel's or consumer's queue is stored")
    }

    fn state(&self, slot: u32) -> &QueueLive {
        self.queues_live[slot as usize].as_ref().expect("a stored queue has derived state")
    }

    fn state_mut(&mut self, slot: u32) -> &mut QueueLive {
        self.queues_live[slot as usize].as_mut().expect("a stored queue has derived state")
    }

    /// Sets up what is derived from a stored queue.
    fn link_queue(&mut self, slot: u32, cx: &mut Context) {
        let row = self.queues.get(slot).expect("the caller's queue is stored");
        if self.queues_live.len() <= slot as usize {
            self.queues_live.resize_with(slot as usize + 1, || None);
        }
        self.queues_live[slot as usize] = Some(Box::new(QueueLive::new(&row.config)));
        self.by_name.insert(row.name.clone(), slot);
        let labels = row.key_values.clone().unwrap_or_else(willow_model::KeyValues::none);
        let name = willow_model::ValueRef::String(&row.name);
        self.index.0.insert(slot, row.id, &labels, &[(willow_model::reserved::QUEUE_NAME, name)]);
        if let Some(at_ms) = row.step_at_ms {
            cx.timers.set(at_ms, Timer::QueueStep(slot));
        }
    }
}

/// The id of a queue by its name.
fn queue_id(name: &str) -> Id {
    Id::derive(Kind::Queue, None, name.as_bytes())
}
