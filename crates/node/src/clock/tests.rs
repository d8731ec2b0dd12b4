use futures_util::FutureExt;

use super::*;

#[tokio::test]
async fn a_manual_clock_wakes_sleepers_when_it_passes_them() {
    let clock = ManualClock::new(10);
    clock.sleep(0).await;
    let mut later = clock.sleep(15);
    let mut poll = || (&mut later).now_or_never();
    assert!(poll().is_none());
    clock.advance(14);
    assert!(poll().is_none());
    clock.advance(1);
    assert!(poll().is_some());
    assert_eq!(clock.now_ms(), 25);
}

#[test]
fn the_system_clock_goes_on() {
    let clock = SystemClock::default();
    assert!(clock.now_ms() > 1_700_000_000_000);
    let since = clock.monotonic_ms();
    let begun = Instant::now();
    while clock.monotonic_ms() < since + 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "time stands still");
        std::thread::yield_now();
    }
}

fn log_clock(is_alone: bool) -> LogClock {
    let clock = LogClock::new(Arc::new(ManualClock::new(0)));
    clock.set_alone(is_alone);
    clock
}

/// The log was once written with a clock ten years ahead.
#[test]
fn alone_and_behind_the_log_time_goes_on_from_there() {
    let clock = LogClock::new(Arc::new(SystemClock::default()));
    clock.set_alone(true);
    let ahead_ms = clock.now_ms() + 10 * 365 * 24 * 60 * 60 * 1000;
    clock.observe(ahead_ms);
    let begun = Instant::now();
    while clock.now_ms() < ahead_ms + 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "time stands still");
        std::thread::yield_now();
    }
    clock.observe(5);
    assert!(clock.now_ms() >= ahead_ms + 2);
}

#[test]
fn alone_a_wall_clock_set_back_does_not_stop_time_and_one_set_forward_is_followed() {
    let clock = log_clock(true);
    assert_eq!(clock.at(0, 1000), 1000);
    assert_eq!(clock.at(10, 1010), 1010);
    // An hour back, as it were.
    assert_eq!(clock.at(20, 3), 1020);
    assert_eq!(clock.at(500, 483), 1500);
    assert_eq!(clock.at(504, 5000), 5000);
    assert_eq!(clock.at(506, 4000), 5002);
}

/// A follower whose wall clock is a minute ahead takes over: nobody's lease ends a minute early.
#[test]
fn among_others_time_goes_on_from_the_log_whatever_the_wall_clock_says() {
    let manual = Arc::new(ManualClock::new(61_000));
    let clock = LogClock::new(Arc::clone(&manual) as _);
    clock.set_alone(false);
    clock.observe(1_000);
    assert_eq!(clock.now_ms(), 1_000);
    manual.advance(100);
    assert_eq!(clock.now_ms(), 1_100);
    // It catches up with the wall clock by a two-hundredth of what passes.
    for _ in 0..9 {
        manual.advance(100);
        clock.now_ms();
    }
    assert_eq!(clock.now_ms(), 2_005);
    // However long nobody asked, it does not jump.
    manual.advance(20_000_000);
    assert_eq!(clock.now_ms(), 20_002_005 + 1);
    for _ in 0..1_000_000 {
        manual.advance(20);
        clock.now_ms();
    }
    assert_eq!(clock.now_ms(), manual.now_ms());
    // The leader is another, and its time is behind: so is the log's.
    clock.observe(1_500);
    assert_eq!(clock.now_ms(), 1_500);
}

#[test]
fn among_others_a_wall_clock_that_is_behind_holds_nothing_up() {
    let manual = Arc::new(ManualClock::new(5));
    let clock = LogClock::new(Arc::clone(&manual) as _);
    clock.set_alone(false);
    clock.observe(1_000_000);
    manual.advance(70);
    assert_eq!(clock.now_ms(), 1_000_070);
}

/// It reads its log back before it knows who else votes.
#[test]
fn a_member_that_comes_back_goes_on_from_its_log_and_not_from_its_wall_clock() {
    let manual = Arc::new(ManualClock::new(61_000));
    let clock = LogClock::new(Arc::clone(&manual) as _);
    clock.observe(1_000);
    clock.set_alone(false);
    assert_eq!(clock.now_ms(), 1_000);
}

#[test]
fn who_is_no_longer_alone_goes_on_from_what_it_said() {
    let manual = Arc::new(ManualClock::new(1_000));
    let clock = LogClock::new(Arc::clone(&manual) as _);
    clock.set_alone(true);
    clock.observe(10);
    assert_eq!(clock.now_ms(), 1_000);
    clock.set_alone(false);
    manual.advance(10);
    assert_eq!(clock.now_ms(), 1_010);
}

#[tokio::test]
async fn a_deadline_in_the_past_is_not_waited_for() {
    let clock = LogClock::new(Arc::new(SystemClock::default()));
    clock.sleep_until(clock.now_ms().saturating_sub(5)).await;
}
