//! Random commands against the naive Limiter, with every invariant checked after each; beside it runs
//! a second Limiter that is restored from a snapshot now and then and must do the very same.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    naive::{Naive, NaiveRule},
    random::Random,
    *,
};
use crate::command::CancelWait;

/// What is known of an increment that waits.
#[derive(Clone, Debug)]
struct Waiting {
    key_values: KeyValues,
    amount: u64,
    hold: Option<u64>,
}

/// The queue's part: what is claimed, and what is parked where.
#[derive(Clone, Debug, Default)]
struct Channels {
    claimed: Vec<(KeyValues, u64)>,
    parked: BTreeMap<(BucketId, u64), Vec<KeyValues>>,
}

struct Run {
    random: Random,
    world: World,
    twin: World,
    naive: Naive,
    waiting: BTreeMap<WaiterId, Waiting>,
    channels: Channels,
}

#[test]
fn random_commands_agree_with_the_naive_model() {
    // More of them: WILLOW_SEEDS=400 cargo test.
    let seeds = option_env!("WILLOW_SEEDS").and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 0..seeds {
        let mut run = Run {
            random: Random(seed),
            world: World::at(1_000),
            twin: World::at(1_000),
            naive: Naive::default(),
            waiting: BTreeMap::new(),
            channels: Channels::default(),
        };
        for step in 0..250 {
            let context = format!("seed {seed} step {step}");
            run.step(&context);
            run.settle(&context);
            run.check(&context);
        }
    }
}

impl Run {
    /// Both Limiters answer, and the same.
    fn both(&mut self, command: &Command, context: &str) -> Reply {
        let reply = self.world.run(command.clone());
        assert_eq!(self.twin.run(command.clone()), reply, "{context}: the restored one differs");
        reply
    }

    fn step(&mut self, context: &str) {
        match self.random.below(25) {
            0 | 1 => self.create_rule(context),
            2 => self.update_rule(context),
            3 => self.delete_rule(context),
            4 | 5 => self.create_override(context),
            6 => self.update_override(context),
            7 => self.delete_override(context),
            8..=13 => self.increment(context),
            14 | 15 => self.decrement(context),
            16 => self.set(context),
            17 => self.release_or_renew(context),
            18 => self.advance(),
            19 | 20 => self.cancel(),
            21 | 22 => self.claim(context),
            23 => self.unclaim(),
            _ => self.restore_twin(),
        }
    }

    fn create_rule(&mut self, context: &str) {
        let key_values = self.random.pattern();
        let (limit, mode) = (self.random.limit(), self.random.mode());
        let name = format!("r{}", self.random.below(6));
        let taken = self.naive.rules.iter().any(|rule| rule.name == name || rule.key_values == key_values);
        let command = CreateRule { name: name.as_str().into(), key_values: key_values.clone(), limit, mode };
        let reply = self.both(&Command::CreateRule(command), context);
        assert_eq!(reply.is_err(), taken, "{context}: {reply:?}");
        if !taken {
            self.naive.rules.push(NaiveRule { name, key_values, limit, mode, overrides: vec![] });
        }
    }

    fn pick_rule(&mut self) -> Option<usize> {
        let len = self.naive.rules.len() as u64;
        (len > 0).then(|| self.random.below(len) as usize)
    }

    fn update_rule(&mut self, context: &str) {
        let Some(at) = self.pick_rule() else { return };
        let (limit, mode) = (self.random.limit(), self.random.mode());
        let rule = &mut self.naive.rules[at];
        (rule.limit, rule.mode) = (limit, mode);
        let rule = by_name(&rule.name.clone());
        let command = UpdateRule { rule, name: None, key_values: None, limit, mode, if_match: None };
        self.both(&Command::UpdateRule(command), context).unwrap();
    }

    fn delete_rule(&mut self, context: &str) {
        let Some(at) = self.pick_rule() else { return };
        let rule = by_name(&self.naive.rules.remove(at).name);
        self.both(&Command::DeleteRule(DeleteRule { rule, if_match: None }), context).unwrap();
    }

    fn create_override(&mut self, context: &str) {
        let Some(at) = self.pick_rule() else { return };
        let rule = self.naive.rules[at].clone();
        let key_values = self.random.narrower(&rule.key_values);
        let (limit, name) = (self.random.limit(), format!("o{}", self.random.below(5)));
        let taken = rule.overrides.iter().any(|(other, pattern, _)| *other == name || *pattern == key_values);
        let command = CreateOverride {
            rule: by_name(&rule.name),
            name: name.as_str().into(),
            key_values: key_values.clone(),
            limit,
        };
        let reply = self.both(&Command::CreateOverride(command), context);
        assert_eq!(reply.is_err(), taken, "{context}: {reply:?}");
        if let Ok(Answer::Limit(Outcome::Override(view))) = reply {
            let overlaps = |other: &KeyValues| {
                key_values.iter().all(|(key, value)| {
                    let any = willow_model::ValueRef::Any;
                    other.get(key).is_none_or(|of| of == value || of == any || value == any)
                })
            };
            let expected: BTreeSet<&str> =
                rule.overrides.iter().filter(|(_, of, _)| overlaps(of)).map(|(name, ..)| name.as_str()).collect();
            let found: BTreeSet<&str> = view.overlaps.iter().map(|name| &**name).collect();
            assert_eq!(found, expected, "{context}");
            self.naive.rules[at].overrides.push((name, key_values, limit));
        }
    }

    fn pick_override(&mut self) -> Option<(usize, usize)> {
        let at = self.pick_rule()?;
        let len = self.naive.rules[at].overrides.len() as u64;
        (len > 0).then(|| (at, self.random.below(len) as usize))
    }

    fn update_override(&mut self, context: &str) {
        let Some((at, child)) = self.pick_override() else { return };
        let limit = self.random.limit();
        let rule = &mut self.naive.rules[at];
        rule.overrides[child].2 = limit;
        let (rule, override_) = (by_name(&rule.name), by_name(&rule.overrides[child].0));
        let command = UpdateOverride { rule, override_, name: None, key_values: None, limit, if_match: None };
        self.both(&Command::UpdateOverride(command), context).unwrap();
    }

    fn delete_override(&mut self, context: &str) {
        let Some((at, child)) = self.pick_override() else { return };
        let rule = &mut self.naive.rules[at];
        let (name, ..) = rule.overrides.remove(child);
        let command = DeleteOverride { rule: by_name(&rule.name), override_: by_name(&name), if_match: None };
        self.both(&Command::DeleteOverride(command), context).unwrap();
    }

    fn increment(&mut self, context: &str) {
        let key_values = self.random.counter();
        let amount = 1 + self.random.below(3);
        let hold = (self.random.below(2) == 0).then(|| 100 + self.random.below(400));
        let wait_ms = if self.random.below(2) == 0 { 0 } else { 1 + self.random.below(3_000) };
        let standing = self.naive.standing(&key_values);
        let explained = self.world.explain(&key_values, amount, &[]).unwrap();
        let command = Increment { key_values: key_values.clone(), amount, hold_ttl_ms: hold, wait_ms };
        match self.both(&Command::Increment(command), context) {
            Ok(Answer::Limit(Outcome::Incremented(done))) => {
                assert!(explained.allowed, "{context}: explain said no: {:?}", explained.denied_by);
                let over = |mode| standing.iter().filter(move |of| of.mode == mode && !of.fits(amount)).count();
                assert_eq!(over(RuleMode::Enforce), 0, "{context}: admitted past a limit");
                assert_eq!(done.shadow_denied_by.len(), over(RuleMode::Shadow), "{context}");
                self.granted(&Waiting { key_values, amount, hold }, &done);
            }
            Ok(Answer::Waiting(waiter)) => {
                assert!(!explained.allowed && wait_ms > 0, "{context}");
                self.waiting.insert(waiter, Waiting { key_values, amount, hold });
            }
            Err(Refusal::Limit(Error::LimitReached { denied_by, .. })) => {
                assert_eq!(denied_by, explained.denied_by, "{context}");
                let listed = |rule: &str, override_: Option<&str>| {
                    denied_by.iter().any(|of| &*of.rule_name == rule && of.override_name.as_deref() == override_)
                };
                for of in standing.iter().filter(|of| of.mode == RuleMode::Enforce && !of.fits(amount)) {
                    assert!(listed(&of.rule, of.override_.as_deref()), "{context}: {of:?} is not named");
                }
                for blocking in &denied_by {
                    let named = (&*blocking.rule_name, blocking.override_name.as_deref());
                    let of = standing.iter().find(|of| (&*of.rule, of.override_.as_deref()) == named).unwrap();
                    assert_eq!(of.bucket, blocking.bucket, "{context}");
                    assert_eq!(u128::from(blocking.used), of.used, "{context}");
                    assert!(!of.fits(amount) || blocking.waiting > 0, "{context}: {blocking:?} does not block");
                }
            }
            other => panic!("{context}: {other:?}"),
        }
    }

    fn granted(&mut self, what: &Waiting, done: &Incremented) {
        let Waiting { key_values, amount, hold } = what;
        if let Some(ttl_ms) = hold {
            let id = done.hold.as_ref().unwrap().id;
            self.naive.holds.insert(id, (key_values.clone(), *amount, self.world.cx.now_ms + ttl_ms));
            self.naive.add(key_values, 0, *amount);
        } else {
            self.naive.add(key_values, *amount, 0);
        }
    }

    fn decrement(&mut self, context: &str) {
        let all: Vec<KeyValues> = self.naive.counters.keys().cloned().collect();
        let Some(key_values) = self.random.pick(&all).cloned() else { return };
        let amount = 1 + self.random.below(3);
        let (free, _) = self.naive.counters[&key_values];
        match self.both(&Command::Decrement(Decrement { key_values: key_values.clone(), amount }), context) {
            Ok(_) => self.naive.take(&key_values, amount, 0),
            Err(Refusal::Limit(Error::Underflow { available })) => {
                assert!(available == free && free < amount, "{context}");
            }
            other => panic!("{context}: {other:?}"),
        }
    }

    fn set(&mut self, context: &str) {
        let (key_values, amount) = (self.random.counter(), self.random.below(4));
        let command = SetCounter { key_values: key_values.clone(), amount };
        self.both(&Command::SetCounter(command), context).unwrap();
        let (_, held) = self.naive.counters.get(&key_values).copied().unwrap_or_default();
        self.naive.counters.remove(&key_values);
        self.naive.add(&key_values, amount, held);
        self.naive.take(&key_values, 0, 0);
    }

    fn release_or_renew(&mut self, context: &str) {
        let all: Vec<Id> = self.naive.holds.keys().copied().collect();
        let Some(hold) = self.random.pick(&all).copied() else { return };
        if self.random.below(2) == 0 {
            let ttl_ms = 100 + self.random.below(400);
            let command = HeartbeatHold { hold, ttl_ms: Some(ttl_ms) };
            self.both(&Command::HeartbeatHold(command), context).unwrap();
            self.naive.holds.get_mut(&hold).unwrap().2 = self.world.cx.now_ms + ttl_ms;
        } else {
            self.both(&Command::ReleaseHold(ReleaseHold { hold }), context).unwrap();
            let (key_values, amount, _) = self.naive.holds.remove(&hold).unwrap();
            self.naive.take(&key_values, 0, amount);
        }
    }

    fn advance(&mut self) {
        let now_ms = self.world.cx.now_ms + self.random.below(300);
        // Deadlines fire one by one, so that the naive state keeps up.
        while let Some(at_ms) = self.world.cx.timers.next_ms().filter(|at_ms| *at_ms <= now_ms) {
            self.world.advance(at_ms);
            self.twin.advance(at_ms);
            let ended: Vec<Id> =
                self.naive.holds.iter().filter(|(_, (.., end))| *end <= at_ms).map(|(id, _)| *id).collect();
            for hold in ended {
                let (key_values, amount, _) = self.naive.holds.remove(&hold).unwrap();
                self.naive.take(&key_values, 0, amount);
            }
            self.resolve("advance");
        }
        self.world.advance(now_ms);
        self.twin.advance(now_ms);
    }

    fn cancel(&mut self) {
        let all: Vec<WaiterId> = self.waiting.keys().copied().collect();
        let Some(waiter) = self.random.pick(&all).copied() else { return };
        let command = CancelWait { waiter, undelivered: None };
        self.world.limiter.cancel_wait(&command, &mut self.world.cx);
        self.twin.limiter.cancel_wait(&command, &mut self.twin.cx);
    }

    fn claim(&mut self, context: &str) {
        let key_values = self.random.counter().with_reserved(willow_model::reserved::QUEUE_NAME, "q").unwrap();
        let weight = 1 + self.random.below(3);
        let _ = self.claim_of(key_values, weight, context);
    }

    fn claim_of(&mut self, key_values: KeyValues, weight: u64, context: &str) -> Result<(), BucketId> {
        let standing = self.naive.standing(&key_values);
        let claimed = self.world.limiter.claim(&key_values, weight, &mut self.world.cx);
        assert_eq!(self.twin.limiter.claim(&key_values, weight, &mut self.twin.cx), claimed, "{context}");
        match claimed {
            Ok(()) => {
                let fits = standing.iter().all(|of| of.mode == RuleMode::Shadow || of.fits(weight));
                assert!(fits, "{context}: claimed past a limit");
                self.naive.add(&key_values, 0, weight);
                self.channels.claimed.push((key_values, weight));
            }
            Err(bucket) => {
                self.channels.parked.entry((bucket, weight)).or_default().push(key_values);
                self.world.limiter.watch(bucket, weight);
                self.twin.limiter.watch(bucket, weight);
            }
        }
        claimed
    }

    fn unclaim(&mut self) {
        if self.channels.claimed.is_empty() {
            return;
        }
        let at = self.random.below(self.channels.claimed.len() as u64) as usize;
        let (key_values, weight) = self.channels.claimed.swap_remove(at);
        self.world.limiter.unclaim(&key_values, weight, &mut self.world.cx);
        self.twin.limiter.unclaim(&key_values, weight, &mut self.twin.cx);
        self.naive.take(&key_values, 0, weight);
    }

    /// The second one is made from a snapshot of the first; who is parked watches again.
    fn restore_twin(&mut self) {
        self.twin = self.world.restored();
        for (bucket, weight) in self.channels.parked.keys() {
            self.twin.limiter.watch(*bucket, *weight);
        }
        assert_eq!(self.twin.limiter.take_opened(), vec![], "nothing gains room by a restore");
    }

    /// Takes note of waits that ended.
    fn resolve(&mut self, context: &str) {
        let resolved = std::mem::take(&mut self.world.cx.resolved);
        assert_eq!(std::mem::take(&mut self.twin.cx.resolved), resolved, "{context}");
        for (waiter, reply) in resolved {
            let what = self.waiting.remove(&waiter).unwrap();
            match reply {
                Ok(Answer::Limit(Outcome::Incremented(done))) => {
                    self.granted(&what, &done);
                    for of in self.naive.standing(&what.key_values) {
                        assert!(of.mode == RuleMode::Shadow || of.fits(0), "{context}: granted past {of:?}");
                    }
                }
                Err(Refusal::WaitCancelled) => {}
                Err(Refusal::Limit(Error::LimitReached { denied_by, .. })) => {
                    assert!(!denied_by.is_empty(), "{context}")
                }
                other => panic!("{context}: {other:?}"),
            }
        }
    }

    /// As the queue does: whatever opened is tried, channel by channel, until its bucket is full again.
    fn settle(&mut self, context: &str) {
        self.resolve(context);
        loop {
            let opened = self.world.limiter.take_opened();
            assert_eq!(self.twin.limiter.take_opened(), opened, "{context}");
            if opened.is_empty() {
                return;
            }
            for (bucket, weight) in opened {
                let channels = self.channels.parked.remove(&(bucket, weight)).unwrap_or_default();
                self.world.limiter.unwatch(bucket, weight);
                self.twin.limiter.unwatch(bucket, weight);
                let mut channels = channels.into_iter();
                for key_values in channels.by_ref() {
                    if self.claim_of(key_values, weight, context) == Err(bucket) {
                        break;
                    }
                }
                // What is parked with one that is blocked there again stays, untried.
                self.channels.parked.entry((bucket, weight)).or_default().extend(channels);
            }
            self.channels.parked.retain(|_, channels| !channels.is_empty());
        }
    }

    fn check(&mut self, context: &str) {
        assert_eq!(self.world.rows(), self.twin.rows(), "{context}: rows differ after a restore");
        self.check_counters(context);
        self.check_buckets(context);
        self.check_lines(context);
        for ((bucket, weight), channels) in &self.channels.parked {
            for key_values in channels {
                let blocks = self.world.limiter.blocking(key_values, *weight, 0);
                assert!(!blocks.is_empty(), "{context}: a channel that could run was left parked");
            }
            assert!(!self.world.limiter.has_room(*bucket, *weight), "{context}: a channel was not woken");
            assert!(self.world.limiter.names.contains_key(bucket), "{context}: parked under nothing");
        }
        assert_eq!(self.world.cx.waiters, self.waiting.len(), "{context}");
    }

    fn check_counters(&self, context: &str) {
        let limiter = &self.world.limiter;
        let found: BTreeMap<KeyValues, (u64, u64)> =
            limiter.counters.rows.iter().map(|(_, of)| (of.key_values.clone(), (of.free, of.held))).collect();
        assert_eq!(found, self.naive.counters, "{context}");
        let mut held = BTreeMap::<&KeyValues, u64>::new();
        let holds = self.naive.holds.values().map(|(key_values, amount, _)| (key_values, amount));
        let claims = self.channels.claimed.iter().map(|(key_values, weight)| (key_values, weight));
        for (key_values, amount) in holds.chain(claims) {
            *held.entry(key_values).or_default() += amount;
        }
        for (key_values, (_, of)) in &self.naive.counters {
            assert_eq!(held.get(key_values).copied().unwrap_or(0), *of, "{context}: held on {key_values}");
        }
        assert_eq!(limiter.counters.holds.len(), self.naive.holds.len(), "{context}");
    }

    fn check_buckets(&self, context: &str) {
        let limiter = &self.world.limiter;
        let mut found = BTreeMap::new();
        for (_, bucket) in limiter.buckets.iter() {
            let rule = limiter.catalogue.rule(limiter.catalogue.rule_of(bucket.limit));
            let override_ = match bucket.limit {
                bucket::LimitRef::Rule(_) => None,
                bucket::LimitRef::Override(slot) => Some(limiter.catalogue.override_(slot).name.to_string()),
            };
            let keys = limiter.catalogue.pattern(bucket.limit).iter().map(|(key, _)| key);
            let values = bucket::split_values(&bucket.values).map(|value| Value::try_from(value).unwrap());
            let pairs = KeyValues::collect(willow_model::Origin::Willow, keys.zip(values)).unwrap();
            if bucket.used > 0 {
                found.insert((rule.name.to_string(), override_, pairs), bucket.used);
            } else {
                assert!(bucket.crowd.is_some(), "{context}: an empty bucket that nobody needs");
            }
        }
        assert_eq!(found, self.naive.buckets(), "{context}");
    }

    fn check_lines(&self, context: &str) {
        let limiter = &self.world.limiter;
        let mut seen = BTreeSet::new();
        for (_, bucket) in limiter.buckets.iter() {
            let Some(crowd) = &bucket.crowd else { continue };
            let terms = limiter.catalogue.terms(bucket.limit);
            for (waiter, slot) in crowd.line.iter().chain(&crowd.stuck) {
                let row = limiter.waiters.get(*slot).unwrap();
                assert!(row.id == *waiter && seen.insert(*waiter), "{context}: {waiter:?} stands twice");
                let falls_under = limiter.catalogue.limits_of(&row.key_values);
                assert!(falls_under.contains(&bucket.limit), "{context}: {waiter:?} stands in the wrong line");
                assert_eq!(terms.could_fit(row.amount), crowd.line.contains_key(waiter), "{context}");
            }
            if let Some(slot) = crowd.line.values().next() {
                let amount = limiter.waiters.get(*slot).unwrap().amount;
                assert!(!terms.passes(bucket.used, amount), "{context}: the head of a line was not served");
            }
        }
        assert!(seen.iter().eq(self.waiting.keys()), "{context}: who waits is in a line");
    }
}
