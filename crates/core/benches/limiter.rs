//! The Limiter in process: `cargo bench -p willow-core --bench limiter`, and with `-- million` also
//! memory, a rule over a million counters, and their restore.
//!
//! Each time is that of `Machine::apply` of one batch with one command: what the log's follower pays.
#![expect(clippy::disallowed_types, reason = "a benchmark reads the clock and its memory")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark talks and may fail")]

use std::time::Instant;

use willow_core::{
    Batch, Command, Envelope, Machine,
    limiter::{self, CreateOverride, CreateRule, Decrement, Increment, Limit, RuleMode, Selector},
    snapshot::Restore,
};
use willow_model::{KeyValues, Value};

const ROUNDS: usize = 20_000;

fn main() {
    if std::env::args().any(|argument| argument == "profile") {
        cycle("all rules match", &mut all_match(), &wide(10, 7), ROUNDS * 10);
        return;
    }
    println!("{:<58} {:>9} {:>9} {:>11}", "increment, then decrement (each timed)", "p50 ns", "p99 ns", "pairs/s");
    let plain = cycle("no rules, the counter comes and goes", &mut Machine::default(), &job(5, 7), ROUNDS);
    let mut machine = hundred_by_hundred();
    let one = cycle("100 rules x 100 overrides, one matches", &mut machine, &job(5, 7), ROUNDS);
    let mut machine = ten_match();
    let mut pairs: Vec<(String, String)> = (0..10).map(|key| (format!("r{key}"), "1".to_owned())).collect();
    pairs.extend([("client".to_owned(), "3".to_owned()), ("tier".to_owned(), "3".to_owned())]);
    let counter = KeyValues::user(pairs).unwrap();
    let ten = cycle("100 rules x 100 overrides, ten rules match, 1 override each", &mut machine, &counter, ROUNDS);
    let mut machine = all_match();
    let all = cycle("100 rules x 100 overrides, all rules match, 1 override each", &mut machine, &wide(10, 7), ROUNDS);
    let [one, ten, all] = [one, ten, all].map(|rate| rate / plain * 100.0);
    println!("rate under rules: {one:.0}% (one matches), {ten:.0}% (ten match), {all:.0}% (all match)");
    let mut machine = hundred_by_hundred();
    apply(&mut machine, increment(&job(5, 7)));
    cycle("100 rules x 100 overrides, the counter stays", &mut machine, &job(5, 7), ROUNDS);
    for rules in [1_000, 10_000, 100_000] {
        let (mut machine, matched) = many_rules(rules);
        let name = format!("{rules} rules of 3 to 32 keys ({matched} match), counter of 32 keys");
        cycle(&name, &mut machine, &wide(32, 7), ROUNDS / 4);
    }
    if std::env::args().any(|argument| argument == "million") {
        million();
    }
}

fn apply(machine: &mut Machine, command: limiter::Command) {
    let envelope = Envelope { request_id: None, entropy: 1, command: Command::Limit(command) };
    let applied = machine.apply(Batch { time_ms: 1, envelopes: vec![envelope] });
    assert!(applied.replies[0].is_ok(), "{:?}", applied.replies[0]);
}

fn increment(key_values: &KeyValues) -> limiter::Command {
    limiter::Command::Increment(Increment { key_values: key_values.clone(), amount: 1, hold_ttl_ms: None, wait_ms: 0 })
}

fn decrement(key_values: &KeyValues) -> limiter::Command {
    limiter::Command::Decrement(Decrement { key_values: key_values.clone(), amount: 1 })
}

/// Pairs of commands per second.
fn cycle(name: &str, machine: &mut Machine, key_values: &KeyValues, rounds: usize) -> f64 {
    let mut times = Vec::with_capacity(rounds * 2);
    let begin = Instant::now();
    for _ in 0..rounds {
        for command in [increment(key_values), decrement(key_values)] {
            let before = Instant::now();
            apply(machine, command);
            times.push(before.elapsed().as_nanos());
        }
    }
    let rate = rounds as f64 / begin.elapsed().as_secs_f64();
    times.sort_unstable();
    println!("{name:<58} {:>9} {:>9} {rate:>11.0}", times[times.len() / 2], times[times.len() * 99 / 100]);
    rate
}

fn rule(name: String, key_values: KeyValues) -> limiter::Command {
    let limit = Limit::At(1_000_000_000);
    limiter::Command::CreateRule(CreateRule { name: name.into(), key_values, limit, mode: RuleMode::Enforce })
}

fn override_(rule: String, name: String, key_values: KeyValues) -> limiter::Command {
    let (rule, limit) = (Selector::Name(rule.into()), Limit::At(1_000_000_000));
    limiter::Command::CreateOverride(CreateOverride { rule, name: name.into(), key_values, limit })
}

fn job(service: usize, user: usize) -> KeyValues {
    let pairs = [("region", "eu".to_owned()), ("service", format!("s{service}")), ("user", format!("u{user}"))];
    KeyValues::user(pairs).unwrap()
}

/// Each rule is of one service, and its overrides are of its users: a counter falls under one.
fn hundred_by_hundred() -> Machine {
    let mut machine = Machine::default();
    for service in 0..100 {
        let pairs = |user| [("service", Value::from(format!("s{service}"))), ("user", user)];
        let name = format!("r{service}");
        apply(&mut machine, rule(name.clone(), KeyValues::pattern(pairs(Value::Any)).unwrap()));
        for user in 0..100 {
            let key_values = KeyValues::pattern(pairs(Value::from(format!("u{user}")))).unwrap();
            apply(&mut machine, override_(name.clone(), format!("o{user}"), key_values));
        }
    }
    machine
}

/// As in `cargo xtask bench peers`: every tenth rule governs the counter.
fn ten_match() -> Machine {
    let mut machine = Machine::default();
    for rule_number in 0..100 {
        let pairs = |tier: Option<usize>| {
            let own = if rule_number % 10 == 0 {
                (format!("r{}", rule_number / 10), Value::Any)
            } else {
                ("team".to_owned(), Value::from(rule_number as u64))
            };
            let tier = tier.map(|tier| ("tier".to_owned(), Value::from(tier.to_string())));
            KeyValues::pattern([("client".to_owned(), Value::Any), own].into_iter().chain(tier)).unwrap()
        };
        let name = format!("r{rule_number}");
        apply(&mut machine, rule(name.clone(), pairs(None)));
        for tier in 0..100 {
            apply(&mut machine, override_(name.clone(), format!("o{tier}"), pairs(Some(tier))));
        }
    }
    machine
}

fn wide(keys: usize, value: usize) -> KeyValues {
    KeyValues::user((0..keys).map(|key| (format!("k{key:02}"), format!("v{value}")))).unwrap()
}

/// Every rule has two or three of ten keys and its overrides name a value of one: a counter with all
/// keys falls under an override of each of the hundred rules.
fn all_match() -> Machine {
    let mut machine = Machine::default();
    let triples = (0..10).flat_map(|a| (0..a).flat_map(move |b| (0..=b).map(move |c| [a, b, c])));
    for (at, mut keys) in triples.take(100).map(|keys| keys.to_vec()).enumerate() {
        keys.sort_unstable();
        keys.dedup();
        let pairs = |first: Value| {
            let value = move |place: usize| if place == 0 { first.clone() } else { Value::Any };
            keys.iter().enumerate().map(move |(place, key)| (format!("k{key:02}"), value(place)))
        };
        let name = format!("r{at}");
        apply(&mut machine, rule(name.clone(), KeyValues::pattern(pairs(Value::Any)).unwrap()));
        for value in 0..100 {
            let key_values = KeyValues::pattern(pairs(Value::from(format!("v{value}")))).unwrap();
            apply(&mut machine, override_(name.clone(), format!("o{value}"), key_values));
        }
    }
    machine
}

/// Rules of 3 to 32 of 32 keys, a third of the values `any`, of ten values each; the counter matches few.
fn many_rules(count: usize) -> (Machine, usize) {
    let mut machine = Machine::default();
    let mut state = 1_u64;
    let mut below = |end: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    };
    let mut made = std::collections::BTreeSet::new();
    while made.len() < count {
        let keys = 1 + below(32);
        let mut pairs = std::collections::BTreeMap::new();
        for _ in 0..keys {
            let value = if below(3) == 0 { Value::Any } else { Value::from(format!("v{}", below(10))) };
            pairs.insert(format!("k{:02}", below(32)), value);
        }
        let key_values = KeyValues::pattern(pairs).unwrap();
        if key_values.user_len() >= 3 && made.insert(key_values.clone()) {
            apply(&mut machine, rule(format!("r{}", made.len()), key_values));
        }
    }
    let counter = wide(32, 7);
    let matched = made.iter().filter(|pattern| willow_query::eval::pattern_matches(pattern, &counter)).count();
    (machine, matched)
}

fn resident_bytes() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

/// Memory per counter of three pairs, and what a million of them cost a new rule and a restore.
fn million() {
    const COUNTERS: usize = 1_000_000;
    let mut machine = Machine::default();
    apply(&mut machine, rule("user".into(), KeyValues::pattern([("user", Value::Any)]).unwrap()));
    let before = resident_bytes();
    let begin = Instant::now();
    for counter in 0..COUNTERS {
        apply(&mut machine, increment(&job(counter % 100, counter)));
    }
    println!("{COUNTERS} counters of three pairs under a rule with a bucket for each: {:?}", begin.elapsed());
    println!("memory: {:.0} bytes per counter", (resident_bytes() - before) / COUNTERS as f64);
    let begin = Instant::now();
    apply(&mut machine, rule("service".into(), KeyValues::pattern([("service", Value::Any)]).unwrap()));
    println!("a new rule over all of them: {:?}", begin.elapsed());
    let begin = Instant::now();
    let mut reader = machine.snapshot_begin();
    let chunks: Vec<Vec<u8>> = std::iter::from_fn(|| machine.snapshot_next(&mut reader, 1 << 20)).collect();
    println!("snapshot of {} MiB: {:?}", chunks.iter().map(Vec::len).sum::<usize>() >> 20, begin.elapsed());
    let begin = Instant::now();
    let mut restore = Restore::default();
    for chunk in &chunks {
        restore.push(chunk).unwrap();
    }
    let mut restored = restore.finish().unwrap();
    println!("restored: {:?}", begin.elapsed());
    assert_eq!(restored.digest(), machine.digest());
}
