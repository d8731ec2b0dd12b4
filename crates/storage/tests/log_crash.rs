//! Crashes at every point: what was acknowledged is there again, and nothing else.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::{Model, Work, check, open, options, run, try_open, work};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use willow_storage::vfs::{CrashMode, FaultVfs};

const MODES: [CrashMode; 3] = [CrashMode::KeepAll, CrashMode::LoseUnsynced, CrashMode::Torn];

/// The same work for the same seed.
fn fixed_work(seed: u8, len: usize) -> Vec<Work> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = proptest::collection::vec(work(), len).new_tree(&mut runner);
    tree.unwrap().current()
}

/// Crashes a run at the `at`th operation, and checks what is found afterwards, twice. False if
/// the run ended before.
fn crash_at(at: u64, work: &[Work], mode: CrashMode, seed: u64) -> bool {
    let what = format!("crash at operation {at}, {mode:?}");
    let vfs = FaultVfs::new(seed ^ at);
    vfs.crash_after(at);
    let mut salt = 0;
    let outcome = match try_open(&vfs, options()) {
        Ok((log, _)) => run(&vfs, &log, Model::default(), work, &mut salt),
        Err(_) => common::Run { acked: Model::default(), maybe: None },
    };
    if !vfs.has_crashed() {
        return false;
    }
    vfs.crash(mode);
    let log = open(&vfs);
    let found = check(&log, &outcome, &what);
    // What was found must stay, whatever comes: it was shown to the world.
    let again = run(&vfs, &log, found, &work[..work.len().min(4)], &mut salt);
    drop(log);
    vfs.crash(CrashMode::LoseUnsynced);
    check(&open(&vfs), &again, &what);
    true
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    for (seed, mode) in MODES.into_iter().enumerate() {
        let work = fixed_work(seed as u8, 45);
        let mut at = 1;
        while crash_at(at, &work, mode, seed as u64) {
            at += 1;
        }
        assert!(at > 100, "only {at} operations");
    }
}

#[test]
fn a_crash_during_recovery_loses_nothing_either() {
    let work = fixed_work(9, 40);
    for at in 1..=12 {
        for mode in MODES {
            let vfs = FaultVfs::new(at);
            let mut salt = 0;
            let log = open(&vfs);
            vfs.crash_after(60);
            let outcome = run(&vfs, &log, Model::default(), &work, &mut salt);
            assert!(vfs.has_crashed());
            vfs.crash(CrashMode::Torn);
            vfs.crash_after(at);
            drop(try_open(&vfs, options()));
            vfs.crash(mode);
            check(&open(&vfs), &outcome, &format!("{at} {mode:?}"));
        }
    }
}

fn mode() -> impl Strategy<Value = CrashMode> {
    prop_oneof![Just(CrashMode::KeepAll), Just(CrashMode::LoseUnsynced), Just(CrashMode::Torn)]
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]

    /// Several lives, each with its own work and crash.
    #[test]
    fn any_life_continues_the_one_before(
        seed in any::<u64>(),
        lives in proptest::collection::vec(
            (proptest::collection::vec(work(), 1..40), 1..120u64, mode()),
            1..6,
        ),
    ) {
        let vfs = FaultVfs::new(seed);
        let mut salt = 0;
        let mut model = Model::default();
        for (work, at, mode) in lives {
            let log = open(&vfs);
            prop_assert_eq!(&Model::of(&log), &model);
            vfs.crash_after(at);
            let outcome = run(&vfs, &log, model, &work, &mut salt);
            drop(log);
            vfs.crash(mode);
            model = check(&open(&vfs), &outcome, "next life");
        }
    }
}
