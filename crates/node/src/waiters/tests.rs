//! Who hears of the end of a wait, and what happens when nobody does.

use futures_util::FutureExt;

use super::*;

#[derive(Default)]
struct Cancels(Mutex<Vec<CancelWait>>);

impl Cancel for Cancels {
    fn cancel(&self, cancel: CancelWait) {
        self.0.lock().push(cancel);
    }
}

struct Fixture {
    waiters: Arc<Waiters>,
    cancels: Arc<Cancels>,
}

const WAIT: WaiterId = WaiterId(7);

impl Fixture {
    fn new() -> Self {
        let cancels = Arc::new(Cancels::default());
        Self { waiters: Arc::new(Waiters::new(Arc::clone(&cancels) as _)), cancels }
    }

    fn caller(&self, cancel_on_drop: bool) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        self.waiters.register(WAIT, Slot { answer, cancel_on_drop });
        answered
    }

    fn waiter(&self, cancel_on_drop: bool) -> Waiter {
        match self.caller(cancel_on_drop).try_recv() {
            Ok(Answer::Waiting(waiter)) => waiter,
            other => panic!("{other:?}"),
        }
    }

    fn cancels(&self) -> Vec<Option<Outcome>> {
        let cancels = std::mem::take(&mut *self.cancels.0.lock());
        assert!(cancels.iter().all(|cancel| cancel.waiter == WAIT));
        cancels.into_iter().map(|cancel| cancel.undelivered.map(|outcome| *outcome)).collect()
    }
}

fn heard(waiter: Waiter) -> Result<Outcome, ProposeError> {
    waiter.now_or_never().expect("the wait is over")
}

#[test]
fn everyone_who_waits_hears_and_nothing_is_cancelled() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.waiter(false), fixture.waiter(false));
    assert_eq!((first.id(), fixture.waiters.len()), (WAIT, 2));
    fixture.waiters.resolve(WAIT, Ok(Outcome::Done));
    assert_eq!(heard(first), Ok(Outcome::Done));
    assert_eq!(heard(second), Ok(Outcome::Done));
    assert_eq!((fixture.waiters.len(), fixture.cancels()), (0, vec![]));
}

#[test]
fn a_refusal_comes_through() {
    let fixture = Fixture::new();
    let waiter = fixture.waiter(true);
    fixture.waiters.resolve(WAIT, Err(willow_core::Refusal::WaitCancelled));
    assert_eq!(heard(waiter), Err(ProposeError::Refused(willow_core::Refusal::WaitCancelled)));
    assert_eq!(fixture.cancels(), []);
}

#[test]
fn dropping_the_handle_cancels_the_wait() {
    let fixture = Fixture::new();
    drop(fixture.waiter(true));
    assert_eq!((fixture.waiters.len(), fixture.cancels()), (0, vec![None]));
}

#[test]
fn with_a_request_id_the_wait_goes_on() {
    let fixture = Fixture::new();
    drop(fixture.waiter(false));
    assert_eq!((fixture.waiters.len(), fixture.cancels()), (0, vec![]));
    // The grant that comes meanwhile is in the record for whoever comes back.
    let waiter = fixture.waiter(false);
    fixture.waiters.resolve(WAIT, Ok(Outcome::Done));
    drop(waiter);
    assert_eq!(fixture.cancels(), []);
}

#[test]
fn a_caller_gone_before_the_handle_cancels_too() {
    let fixture = Fixture::new();
    let (answer, answered) = oneshot::channel();
    drop(answered);
    fixture.waiters.register(WAIT, Slot { answer, cancel_on_drop: true });
    assert_eq!((fixture.waiters.len(), fixture.cancels()), (0, vec![None]));
    // The handle was on its way, and nobody took it.
    drop(fixture.caller(true));
    assert_eq!((fixture.waiters.len(), fixture.cancels()), (0, vec![None]));
}

#[test]
fn a_grant_that_nobody_took_goes_back() {
    let fixture = Fixture::new();
    let waiter = fixture.waiter(true);
    fixture.waiters.resolve(WAIT, Ok(Outcome::Done));
    drop(waiter);
    assert_eq!(fixture.cancels(), [Some(Outcome::Done)]);
}

#[test]
fn a_log_that_stops_fails_the_caller_but_not_the_wait() {
    let fixture = Fixture::new();
    let (anonymous, named) = (fixture.waiter(true), fixture.waiter(false));
    let unknown = ProposeError::OutcomeUnknown { reason: "disk".to_owned() };
    fixture.waiters.fail_all(&unknown);
    assert_eq!(heard(anonymous), Err(unknown.clone()));
    assert_eq!(heard(named), Err(unknown));
    // The anonymous caller cannot come back: its wait ends as soon as the log allows.
    assert_eq!(fixture.cancels(), [None]);
}

#[test]
fn stopping_sends_everyone_away_once() {
    let fixture = Fixture::new();
    let (anonymous, named) = (fixture.waiter(true), fixture.waiter(false));
    fixture.waiters.stop();
    assert_eq!(heard(anonymous), Err(ProposeError::ShuttingDown));
    assert_eq!(heard(named), Err(ProposeError::ShuttingDown));
    assert_eq!(fixture.cancels(), [None]);
    // Whoever begins to wait now is sent away too.
    match fixture.caller(true).try_recv() {
        Ok(Answer::Failed(ProposeError::ShuttingDown)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!((fixture.waiters.len(), fixture.cancels()), (0, vec![None]));
}

#[test]
fn a_handle_dropped_after_stopping_cancels_nothing_twice() {
    let fixture = Fixture::new();
    let waiter = fixture.waiter(true);
    fixture.waiters.stop();
    drop(waiter);
    assert_eq!(fixture.cancels(), [None]);
}
