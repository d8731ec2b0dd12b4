//! The Queue's words. Every script begins with a machine that has the queue `q`.
//!
//! ```text
//! settings [--max N] [--dead N] [--lease MS] [--attempts N|unlimited] [--backoff INITIAL/FACTOR/MAX]
//! put KEY=VALUE… --data TEXT [--priority N] [--weight N] [--delay MS] [--expires MS] [--attempts N|unlimited]
//!         [--lease MS] [--updatable] [--retry front|back] [--once KEY] [+ KEY=VALUE… …]
//! take [QUERY] [--max N] [--wait MS] [--lease MS] [--tolerate KEY,…] [--consumer WHO] [--request ID]
//!         [--order oldest|priority|idle|random|round:CURSOR|by:KEY[:desc]]      each delivery gets a name: d1, d2, …
//! ack | release | extend DELIVERY… [--lease MS]
//! nack DELIVERY [--delay MS] [--position front|back] [--reason WHY]
//! cancel WAITER          the caller went away; if its answer is known, it never arrived
//! label KEY=VALUE… --set KEY=VALUE,… | --unset KEY,…
//! taint KEY=VALUE… [--with KEY,…]
//! pause | drain | resume | purge [QUERY]
//! redrive | bury [QUERY] [--max N]        `bury` removes dead letters for good
//! remove KEY=VALUE…                       the channel
//! rule | limit NAME KEY=VALUE… --limit N
//! explain KEY=VALUE…
//! queue | channels | items | dead | counters
//! ```

use std::collections::BTreeMap;

use willow_core::{
    Command, Outcome, Refusal, Reply, WaiterId,
    command::CancelWait,
    limiter::{self, CreateRule, Limit, RuleMode, Selector, UpdateRule},
    queue::{
        self, Ack, Backoff, ChannelView, CreateQueue, DeleteChannel, Delivered, Delivery, Dequeue, Enqueue, Extend,
        ItemState, ItemView, Nack, NewItem, Order, PatchMetadata, Pause, PauseKind, Position, Purge, PurgeDeadLetters,
        Redrive, Release, Resume, Taint, TaintEffect, Toleration, TolerationOperator, UpdateQueue,
    },
};
use willow_model::{Id, Key, Kind, Value};
use willow_query::{Direction, Missing, OrderBy, Query};

use super::{Group, Words, queue_text};
use crate::support::{
    Logged, kv, pattern,
    queue::{config, item, q},
};

#[derive(Default)]
pub(crate) struct Vocabulary {
    /// Deliveries by name.
    deliveries: BTreeMap<String, Delivered>,
    answers: BTreeMap<WaiterId, Reply>,
    began: bool,
}

impl super::Vocabulary for Vocabulary {
    fn run(&mut self, words: &Words, logged: &mut Logged) -> Result<Vec<String>, String> {
        if !std::mem::replace(&mut self.began, true) {
            let create = CreateQueue { name: "q".into(), key_values: None, config: config() };
            logged.apply(Command::Queue(queue::Command::CreateQueue(create))).map_err(|error| error.to_string())?;
        }
        if let Some(shown) = self.show(words, logged)? {
            return Ok(shown);
        }
        let command = match self.limits(words)? {
            Some(command) => Command::Limit(command),
            None if words.verb == "cancel" => self.cancel(words)?,
            None => Command::Queue(self.command(words)?),
        };
        let reply = logged.apply_with(words.option("request"), command);
        Ok(self.reply(&reply))
    }

    fn effects(&mut self, logged: &mut Logged) -> Vec<String> {
        let mut lines = Vec::new();
        for (waiter, reply) in logged.take_resolved() {
            lines.push(format!("w{} => {}", waiter.0, self.reply(&reply).join("; ")));
            self.answers.insert(waiter, reply);
        }
        lines
    }
}

impl Vocabulary {
    fn command(&self, words: &Words) -> Result<queue::Command, String> {
        let queue = q();
        Ok(match words.verb.as_str() {
            "settings" => queue::Command::UpdateQueue(settings(words)?),
            "put" => {
                let items = words.groups.iter().map(new_item).collect::<Result<_, _>>()?;
                queue::Command::Enqueue(Enqueue { queue, items })
            }
            "take" => queue::Command::Dequeue(dequeue(words)?),
            "ack" => {
                let items = words.text().split(' ').map(|name| self.delivered(name)).collect::<Result<_, _>>()?;
                queue::Command::Ack(Ack { queue, items })
            }
            "nack" => queue::Command::Nack(Nack {
                queue,
                delivered: self.delivered(words.text())?,
                delay_ms: words.number("delay")?,
                position: position(words.option("position"))?,
                reason: words.option("reason").map(Into::into),
            }),
            "release" => queue::Command::Release(Release { queue, delivered: self.delivered(words.text())? }),
            "extend" => {
                let delivered = self.delivered(words.text())?;
                queue::Command::Extend(Extend { queue, delivered, lease_ms: words.number("lease")? })
            }
            "label" | "taint" => queue::Command::PatchMetadata(patch(words)?),
            "pause" => queue::Command::Pause(Pause { queue, query: query(words)?, kind: PauseKind::Dequeue }),
            "drain" => queue::Command::Pause(Pause { queue, query: query(words)?, kind: PauseKind::Enqueue }),
            "resume" => queue::Command::Resume(Resume { queue, query: query(words)? }),
            "purge" => queue::Command::Purge(Purge { queue, query: query(words)? }),
            "redrive" => {
                queue::Command::Redrive(Redrive { queue, query: query(words)?, max_items: small(words, "max", 100)? })
            }
            "bury" => {
                let max_items = small(words, "max", 100)?;
                queue::Command::PurgeDeadLetters(PurgeDeadLetters { queue, query: query(words)?, max_items })
            }
            "remove" => queue::Command::DeleteChannel(DeleteChannel { queue, channel: channel(words.text()) }),
            other => return Err(format!("{other}: not a word of the Queue's")),
        })
    }

    fn limits(&self, words: &Words) -> Result<Option<limiter::Command>, String> {
        let (name, rest) = words.text().split_once(' ').unwrap_or_else(|| (words.text(), ""));
        let limit = || words.number("limit")?.map(Limit::At).ok_or_else(|| "--limit is missing".to_owned());
        let mode = RuleMode::Enforce;
        Ok(match words.verb.as_str() {
            "rule" => {
                let rule = CreateRule { name: name.into(), key_values: pattern(rest), limit: limit()?, mode };
                Some(limiter::Command::CreateRule(rule))
            }
            "limit" => Some(limiter::Command::UpdateRule(UpdateRule {
                rule: Selector::Name(name.into()),
                name: None,
                key_values: None,
                limit: limit()?,
                mode,
                if_match: None,
            })),
            _ => None,
        })
    }

    fn cancel(&self, words: &Words) -> Result<Command, String> {
        let number = words.text().trim_start_matches('w').parse().map_err(|_| "cancel whom?")?;
        let waiter = WaiterId(number);
        let undelivered = self.answers.get(&waiter).and_then(|reply| reply.clone().ok()).map(Box::new);
        Ok(Command::CancelWait(CancelWait { waiter, undelivered }))
    }

    fn delivered(&self, name: &str) -> Result<Delivered, String> {
        self.deliveries.get(name).copied().ok_or_else(|| format!("no delivery is called {name}"))
    }

    fn show(&self, words: &Words, logged: &Logged) -> Result<Option<Vec<String>>, String> {
        let (machine, all) = (&logged.machine, Query::default());
        let (queues, lookup) = (machine.queues(), machine.lookup(0));
        let failed = |error: willow_query::Error| error.to_string();
        let mut lines: Vec<String> = match words.verb.as_str() {
            "queue" => return Ok(queues.queue(&q()).map(|view| vec![queue_text::queue(&view)])),
            "explain" => {
                let explained = queues.explain(&q(), channel(words.text()), machine.limiter(), lookup);
                let nothing = || vec!["no such channel".to_owned()];
                return Ok(Some(explained.map_or_else(nothing, |explained| queue_text::explanation(&explained))));
            }
            "channels" => {
                let page = queues.query_channels(&q(), &all, lookup).map_err(failed)?.ok_or("no queue")?;
                page.items.iter().map(|view: &ChannelView| queue_text::channel(view)).collect()
            }
            "items" => {
                let page = queues.query_items(&q(), &all, &[], lookup).map_err(failed)?.ok_or("no queue")?;
                page.items.iter().map(|view: &ItemView| queue_text::item(view)).collect()
            }
            "dead" => {
                let page = queues.query_dead_letters(&q(), &all, lookup).map_err(failed)?.ok_or("no queue")?;
                debug_assert!(page.items.iter().all(|view| view.state == ItemState::Dead));
                page.items.iter().map(|view: &ItemView| queue_text::item(view)).collect()
            }
            "counters" => {
                let page = machine.limiter().query_counters(&all, lookup).map_err(failed)?;
                let line =
                    |of: &limiter::CounterView| format!("{{{}}} held {} of {}", of.key_values, of.held, of.amount);
                page.items.iter().map(line).collect()
            }
            _ => return Ok(None),
        };
        // By what they say: ids are hashes, and their order tells nothing.
        lines.sort();
        if lines.is_empty() {
            lines.push("none".to_owned());
        }
        Ok(Some(lines))
    }

    fn reply(&mut self, reply: &Reply) -> Vec<String> {
        match reply {
            Ok(Outcome::Waiting(waiter)) => vec![format!("waiting as w{}", waiter.0)],
            Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) if deliveries.is_empty() => {
                vec!["nothing".to_owned()]
            }
            Ok(Outcome::Queue(queue::Outcome::Dequeued(deliveries))) => {
                deliveries.iter().map(|delivery| self.delivery(delivery)).collect()
            }
            Ok(Outcome::Queue(queue::Outcome::Enqueued(answers))) => answers
                .iter()
                .map(|answer| match answer {
                    Ok(enqueued) => format!("{:?}", enqueued.how),
                    Err(error) => format!("refused: {error}"),
                })
                .collect(),
            Ok(Outcome::Queue(queue::Outcome::Acked(answers))) => answers
                .iter()
                .map(|answer| answer.as_ref().map_or_else(|error| format!("refused: {error}"), |()| "done".to_owned()))
                .collect(),
            Ok(Outcome::Queue(queue::Outcome::Channel(view))) => {
                vec![view.as_ref().map_or_else(|| "the channel is gone".to_owned(), queue_text::channel)]
            }
            Ok(Outcome::Queue(queue::Outcome::Queue(view))) => vec![queue_text::queue(view)],
            Ok(Outcome::Queue(outcome)) => vec![format!("{outcome:?}")],
            Ok(Outcome::Limit(_)) => vec!["set".to_owned()],
            Ok(outcome) => vec![format!("{outcome:?}")],
            Err(Refusal::Queue(error)) => vec![format!("refused: {error}")],
            Err(refusal) => vec![format!("refused: {refusal}")],
        }
    }

    /// Tells a delivery by its name: the one it has, or a new one.
    fn delivery(&mut self, delivery: &Delivery) -> String {
        let delivered = Delivered { item: delivery.item, token: delivery.token };
        let known = self.deliveries.iter().find(|(_, known)| **known == delivered).map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| format!("d{}", self.deliveries.len() + 1));
        self.deliveries.insert(name.clone(), delivered);
        let Delivery { key_values, attempt, expires_in_ms, .. } = delivery;
        let data = String::from_utf8_lossy(&delivery.data);
        format!("{name}: {data} of {{{key_values}}}, attempt {attempt}, {expires_in_ms} left")
    }
}

/// The id of a channel of the queue.
fn channel(key_values: &str) -> Id {
    let queue = Id::derive(Kind::Queue, None, b"q");
    Id::derive(Kind::Channel, Some(queue), kv(key_values).as_bytes())
}

fn query(words: &Words) -> Result<Option<Query>, String> {
    let text = words.text();
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|error| format!("{error:?}")) }
}

fn small(words: &Words, name: &str, otherwise: u32) -> Result<u32, String> {
    let number = words.number(name)?.map(u32::try_from).transpose();
    number.map(|number| number.unwrap_or(otherwise)).map_err(|_| format!("--{name}: too large"))
}

fn position(text: Option<&str>) -> Result<Option<Position>, String> {
    match text {
        None => Ok(None),
        Some("front") => Ok(Some(Position::Front)),
        Some("back") => Ok(Some(Position::Back)),
        Some(other) => Err(format!("{other}: front or back")),
    }
}

fn attempts(text: &str) -> Result<Option<u32>, String> {
    if text == "unlimited" { Ok(None) } else { text.parse().map(Some).map_err(|_| format!("{text}: how many?")) }
}

fn settings(words: &Words) -> Result<UpdateQueue, String> {
    let mut config = config();
    config.max_items = words.number("max")?;
    config.max_dead_letters = words.number("dead")?.unwrap_or(config.max_dead_letters);
    config.defaults.lease_ms = words.number("lease")?.unwrap_or(config.defaults.lease_ms);
    if let Some(text) = words.option("attempts") {
        config.defaults.max_attempts = attempts(text)?;
    }
    if let Some(text) = words.option("backoff") {
        let parts: Vec<u64> = text.split('/').filter_map(|part| part.parse().ok()).collect();
        let [initial_ms, factor, max_ms] = parts[..] else { return Err("--backoff INITIAL/FACTOR/MAX".to_owned()) };
        let factor_milli = u32::try_from(factor * 1000).map_err(|_| "a smaller factor")?;
        config.defaults.backoff = Backoff { initial_ms, factor_milli, max_ms, jitter_milli: 0 };
    }
    Ok(UpdateQueue { queue: q(), config, if_match: None })
}

fn new_item(group: &Group) -> Result<NewItem, String> {
    let option = |name: &str| group.options.get(name).map(String::as_str);
    let number = |name: &str| {
        let parse = |text: &str| text.parse::<u64>().map_err(|_| format!("--{name} {text}: not a number"));
        option(name).map(parse).transpose()
    };
    Ok(NewItem {
        updatable: option("updatable").map(|_| true),
        max_attempts: option("attempts").map(attempts).transpose()?,
        retry_position: position(option("retry"))?,
        lease_ms: number("lease")?,
        priority: option("priority").map(str::parse).transpose().map_err(|_| "--priority: a number")?,
        weight: option("weight").map(str::parse).transpose().map_err(|_| "--weight: a number")?,
        delay_ms: number("delay")?.unwrap_or(0),
        expires_in_ms: number("expires")?,
        idempotency_key: option("once").map(Into::into),
        ..item(&group.text, option("data").unwrap_or("x"))
    })
}

fn dequeue(words: &Words) -> Result<Dequeue, String> {
    let tolerate = |key: &str| Toleration {
        key: Some(key.into()),
        operator: TolerationOperator::Exists,
        effect: Some(TaintEffect::NoSchedule),
    };
    let tolerated = words.option("tolerate").into_iter().flat_map(|keys| keys.split(','));
    Ok(Dequeue {
        queue: q(),
        query: query(words)?.unwrap_or_default(),
        order: order(words.option("order").unwrap_or("oldest"))?,
        tolerations: tolerated.map(tolerate).collect(),
        max_items: small(words, "max", 1)?,
        lease_ms: words.number("lease")?,
        wait_ms: words.number("wait")?.unwrap_or(0),
        consumer: words.option("consumer").map(Into::into),
    })
}

fn order(text: &str) -> Result<Order, String> {
    let mut parts = text.split(':');
    Ok(match (parts.next().unwrap_or_default(), parts.next()) {
        ("oldest", _) => Order::Oldest,
        ("priority", _) => Order::Priority,
        ("idle", _) => Order::LongestIdle,
        ("random", _) => Order::Random,
        ("round", Some(cursor)) => Order::RoundRobin { cursor: cursor.into() },
        ("by", Some(key)) => {
            let direction = if parts.next() == Some("desc") { Direction::Desc } else { Direction::Asc };
            let key = Key::new(key).map_err(|error| error.to_string())?;
            Order::By(vec![OrderBy { key, direction, missing: Missing::Last }])
        }
        _ => return Err(format!("{text}: not an order")),
    })
}

fn patch(words: &Words) -> Result<PatchMetadata, String> {
    let list = |name: &str| words.option(name).into_iter().flat_map(|keys| keys.split(',')).collect::<Vec<_>>();
    let key = |text: &str| Key::new(text).map_err(|error| error.to_string());
    let mut set = Vec::new();
    for pair in list("set") {
        let (name, value) = pair.split_once('=').ok_or("--set KEY=VALUE")?;
        let value = value.parse().map_or_else(|_| Value::from(value), |number: i64| Value::from(number));
        set.push((key(name)?, Some(value)));
    }
    for name in list("unset") {
        set.push((key(name)?, None));
    }
    let taint = |key: &str| Taint { key: key.into(), value: "".into(), effect: TaintEffect::NoSchedule };
    let taints = (words.verb == "taint").then(|| list("with").into_iter().map(taint).collect());
    Ok(PatchMetadata { queue: q(), channel: channel(words.text()), set, taints, if_match: None })
}
