//! The known failures of systems like this that touch limits, each by its number in the design (§8).

use super::*;

/// §8.1
#[test]
fn a_limit_is_checked_with_the_amount_and_nothing_overflows() {
    let mut world = World::default();
    world.rule("five", pattern(&[("a", "*")]), 5);
    let (key, free) = (counter(&[("a", "x")]), counter(&[("b", "x")]));
    let Err(Error::LimitReached { denied_by, .. }) = world.try_increment(&key, 100) else { panic!() };
    assert_eq!(names(&denied_by), ["five [a=x] 0+100/5 waiting 0"]);
    world.try_increment(&key, 5).unwrap();
    assert!(matches!(world.try_increment(&key, u64::MAX), Err(Error::LimitReached { .. })));
    world.try_increment(&free, u64::MAX).unwrap();
    assert_eq!(world.try_increment(&free, 1), Err(Error::Overflow));
    assert_eq!(world.increment(&free, 1, Some(1_000), 0), Err(Error::Overflow.into()));
    assert_eq!(world.explain(&free, 1, &[]), Err(Error::Overflow));
    // Two counters of a whole u64 each in one bucket: the sum is kept all the same.
    let other = counter(&[("b", "x"), ("c", "x")]);
    world.try_increment(&other, u64::MAX).unwrap();
    world.rule("late", pattern(&[("b", "x")]), u64::MAX);
    assert!(matches!(world.try_increment(&counter(&[("b", "x"), ("d", "x")]), 1), Err(Error::LimitReached { .. })));
    world.decrement(&other, u64::MAX).unwrap();
    world.decrement(&free, 1).unwrap();
    world.try_increment(&free, 1).unwrap();
    assert_eq!(world.decrement(&key, 6), Err(Error::Underflow { available: 5 }.into()));
    assert_eq!(world.decrement(&key, 0).is_err(), world.increment(&key, 0, None, 0).is_err());
}

/// §8.2
#[test]
fn a_hold_is_given_back_exactly_once_however_it_ends() {
    let mut world = World::at(1_000);
    world.rule("one", pattern(&[("a", "*")]), 1);
    let key = counter(&[("a", "x")]);
    let hold = world.hold(&key, 1, 500);
    world.advance(1_400);
    world.run(Command::HeartbeatHold(HeartbeatHold { hold, ttl_ms: None })).unwrap();
    world.advance(1_899);
    assert_eq!(world.amount(&key), 1);
    world.advance(1_900);
    assert_eq!(world.amount(&key), 0, "the lease has ended");
    assert_eq!(world.release(hold), Err(Error::NoSuchHold.into()));
    let next = world.hold(&key, 1, 500);
    assert_eq!(world.decrement(&key, 1), Err(Error::Underflow { available: 0 }.into()), "held amounts are not free");
    world.release(next).unwrap();
    assert_eq!(world.release(next), Err(Error::NoSuchHold.into()));
    world.advance(10_000);
    assert_eq!((world.amount(&key), world.limiter.counters.rows.len()), (0, 0));
    world.limiter.claim(&key, 1, &mut world.cx).unwrap();
    world.limiter.unclaim(&key, 1, &mut world.cx);
    assert_eq!(world.limiter.buckets.iter().count(), 0, "nothing is counted, so nothing is kept");
}

/// §8.4: only who gains something wakes up; see also `waits`.
#[test]
fn one_bucket_that_opens_wakes_nobody_else() {
    let mut world = World::at(1_000);
    world.rule("each", pattern(&[("a", "*")]), 1);
    let keys: Vec<KeyValues> = ["x", "y", "z"].iter().map(|value| counter(&[("a", value)])).collect();
    for key in &keys {
        world.try_increment(key, 1).unwrap();
    }
    let waiters: Vec<WaiterId> = keys.iter().map(|key| world.wait(key, 1)).collect();
    world.decrement(&keys[1], 1).unwrap();
    assert_eq!(world.resolved(), [(waiters[1], true)]);
}

/// §8.5
#[test]
fn usage_is_right_at_once_for_rules_that_come_and_go_over_counters() {
    let mut world = World::at(1_000);
    let (x, y) = (counter(&[("a", "x"), ("b", "1")]), counter(&[("a", "x"), ("b", "2")]));
    world.try_increment(&x, 3).unwrap();
    world.hold(&y, 2, 1_000);
    world.rule("a", pattern(&[("a", "*")]), 4);
    let Err(Error::LimitReached { denied_by, .. }) = world.try_increment(&y, 1) else { panic!() };
    assert_eq!(names(&denied_by), ["a [a=x] 5+1/4 waiting 0"], "usage above the limit stays");
    world.override_("a", "b2", pattern(&[("a", "*"), ("b", "2")]), 2);
    world.try_increment(&x, 1).unwrap();
    let Err(Error::LimitReached { denied_by, .. }) = world.try_increment(&y, 1) else { panic!() };
    assert_eq!(names(&denied_by), ["a/b2 [a=x b=\"2\"] 2+1/2 waiting 0"]);
    let command = DeleteOverride { rule: by_name("a"), override_: by_name("b2"), if_match: None };
    world.run(Command::DeleteOverride(command)).unwrap();
    assert_eq!(names(&world.explain(&y, 1, &[]).unwrap().denied_by), ["a [a=x] 6+1/4 waiting 0"]);
}

/// §8.10
#[test]
fn a_denial_names_everything_in_the_way_and_when_leases_make_room() {
    let mut world = World::at(1_000);
    world.rule("user", pattern(&[("user", "*")]), 2);
    world.rule("site", pattern(&[("site", "*")]), 9);
    world.override_("site", "small", pattern(&[("site", "s"), ("user", "*")]), 1);
    world.override_("site", "tiny", pattern(&[("site", "s")]), 1);
    let shadow = CreateRule {
        name: "shadow".into(),
        key_values: pattern(&[("user", "ann")]),
        limit: Limit::At(0),
        mode: RuleMode::Shadow,
    };
    world.run(Command::CreateRule(shadow)).unwrap();
    let ann = counter(&[("site", "s"), ("user", "ann")]);
    let Ok(Answer::Limit(Outcome::Incremented(done))) = world.increment(&ann, 1, Some(400), 0) else { panic!() };
    assert_eq!(names(&done.shadow_denied_by), ["shadow [user=ann] 0+1/0 waiting 0"]);
    assert_eq!(world.limiter.rule(&by_name("shadow")).unwrap().shadow_denials, 1);
    world.advance(1_100);
    let Err(Error::LimitReached { denied_by, retry_after_ms }) = world.try_increment(&ann, 1) else { panic!() };
    let expected = ["site/small [site=s user=ann] 1+1/1 waiting 0", "site/tiny [site=s] 1+1/1 waiting 0"];
    assert_eq!(names(&denied_by), expected);
    assert_eq!(retry_after_ms, Some(300));
    let Err(Error::LimitReached { retry_after_ms, .. }) = world.try_increment(&ann, 2) else { panic!() };
    assert_eq!(retry_after_ms, None, "two never fit");
}

/// §8.13
#[test]
fn a_star_is_an_ordinary_string_and_a_type_is_part_of_a_value() {
    let mut world = World::default();
    world.rule("star", KeyValues::pattern([("a", "*")]).unwrap(), 0);
    world.try_increment(&counter(&[("a", "x")]), 1).unwrap();
    assert!(world.try_increment(&KeyValues::user([("a", "*")]).unwrap(), 1).is_err());
    world.rule("four", KeyValues::pattern([("n", Value::U8(4))]).unwrap(), 0);
    assert!(world.try_increment(&KeyValues::user([("n", Value::U8(4))]).unwrap(), 1).is_err());
    world.try_increment(&KeyValues::user([("n", Value::I64(4))]).unwrap(), 1).unwrap();
    world.rule("any", pattern(&[("n", "*")]), 9);
    let any = pattern(&[("n", "*")]);
    assert!(matches!(world.try_increment(&any, 1), Err(Error::OutOfBounds { .. })), "a counter is concrete");
    let command = CreateOverride {
        rule: by_name("star"),
        name: "wide".into(),
        key_values: pattern(&[("a", "*")]),
        limit: Limit::Unlimited,
    };
    assert_eq!(world.run(Command::CreateOverride(command)), Err(Error::NotNarrower { key: "a".into() }.into()));
}

#[test]
fn explain_says_why_for_every_rule_and_what_an_unsaved_one_would_do() {
    let mut world = World::at(1_000);
    world.rule("missing", pattern(&[("a", "*"), ("z", "*")]), 1);
    world.rule("differs", pattern(&[("a", "y")]), 1);
    world.rule("unrelated", pattern(&[("q", "*")]), 0);
    world.rule("matched", pattern(&[("a", "*")]), 2);
    world.override_("matched", "x", pattern(&[("a", "x")]), 1);
    let key = counter(&[("a", "x")]);
    world.try_increment(&key, 1).unwrap();
    let verdicts = |explanation: &Explanation| -> Vec<String> {
        let verdict = |verdict: &Verdict| match verdict {
            Verdict::MissingKey { key } => format!("lacks {key}"),
            Verdict::ValueDiffers { key } => format!("other {key}"),
            Verdict::Matched(limits) => {
                let limit = |limit: &LimitExplanation| {
                    let name = limit.override_name.as_deref().unwrap_or("own");
                    format!("{name} {}+{}/{:?} {}", limit.used, limit.requested, limit.limit, limit.allowed)
                };
                limits.iter().map(limit).collect::<Vec<_>>().join(", ")
            }
        };
        explanation.rules.iter().map(|rule| format!("{}: {}", rule.name, verdict(&rule.verdict))).collect()
    };
    let explained = world.explain(&key, 1, &[]).unwrap();
    let expected = ["differs: other a", "matched: x 1+1/At(1) false", "missing: lacks z"];
    assert_eq!(verdicts(&explained), expected);
    assert!(!explained.allowed && explained.revision == world.cx.revision());
    assert_eq!(names(&explained.denied_by), ["matched/x [a=x] 1+1/1 waiting 0"]);

    let unsaved = |name: &str, key_values: KeyValues, limit| CreateRule {
        name: name.into(),
        key_values,
        limit: Limit::At(limit),
        mode: RuleMode::Enforce,
    };
    let what_if = [unsaved("matched", pattern(&[("a", "x")]), 9), unsaved("new", pattern(&[("a", "*")]), 1)];
    let explained = world.explain(&key, 1, &what_if).unwrap();
    let expected = ["differs: other a", "matched: own 1+1/At(9) true", "missing: lacks z", "new: own 1+1/At(1) false"];
    assert_eq!(verdicts(&explained), expected);
    assert_eq!(names(&explained.denied_by), ["new [a=x] 1+1/1 waiting 0"]);
}

#[test]
fn edits_are_guarded() {
    let mut world = World::default();
    let rule = world.rule("r", pattern(&[("a", "*")]), 1);
    world.rule("s", pattern(&[("b", "*")]), 1);
    let update = |name: Option<&str>, key_values: Option<KeyValues>, if_match: Option<u64>| {
        Command::UpdateRule(UpdateRule {
            rule: Selector::Id(rule.id),
            name: name.map(Into::into),
            key_values,
            limit: Limit::Unlimited,
            mode: RuleMode::Enforce,
            if_match: if_match.map(willow_model::Revision),
        })
    };
    let current = rule.revision;
    assert_eq!(world.run(update(None, None, Some(99))), Err(Error::RevisionMismatch { current }.into()));
    assert_eq!(world.run(update(None, Some(pattern(&[("b", "*")])), None)), Err(Error::KeyValuesChanged.into()));
    assert!(matches!(world.run(update(Some("s"), None, None)), Err(Refusal::Limit(Error::AlreadyExists { .. }))));
    assert!(matches!(world.run(update(Some(""), None, None)), Err(Refusal::Limit(Error::OutOfBounds { .. }))));
    world.run(update(Some("t"), Some(pattern(&[("a", "*")])), Some(current.0))).unwrap();
    assert!(world.limiter.rule(&by_name("r")).is_none());
    assert_eq!(world.limiter.rule(&by_name("t")).unwrap().limit, Limit::Unlimited);
}

/// §8.12. A rule has so many overrides, and they go with it at once.
#[test]
fn a_rule_has_so_many_overrides() {
    let mut world = World::default();
    world.rule("r", pattern(&[("user", "*")]), 5);
    for number in 0..crate::limits::OVERRIDES_PER_RULE {
        world.override_("r", &number.to_string(), pattern(&[("user", &number.to_string())]), 1);
    }
    let one_more = CreateOverride {
        rule: by_name("r"),
        name: "more".into(),
        key_values: pattern(&[("user", "more")]),
        limit: Limit::At(1),
    };
    assert_eq!(world.run(Command::CreateOverride(one_more)), Err(Refusal::Limit(Error::TooMany)));
    world.rule("other", pattern(&[("site", "*")]), 5);
    world.override_("other", "one", pattern(&[("site", "a")]), 1);
    world.try_increment(&counter(&[("user", "7")]), 1).unwrap();
    world.delete_rule("r");
    assert_eq!(world.limiter.catalogue.overrides.len(), 1, "another rule's");
    world.try_increment(&counter(&[("user", "7")]), 9).unwrap();
}
