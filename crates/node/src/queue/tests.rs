//! Bounds, order, and who hears what when the log stops.

use tokio::sync::oneshot;
use willow_core::WaiterId;

use super::*;
use crate::Unavailable;
use crate::proposal::Answer;

fn queue(change: impl FnOnce(&mut Config)) -> Queue {
    let mut config = Config::new("unused");
    change(&mut config);
    Queue::new(Bounds::from(&config))
}

fn command(request_id: &str) -> Encoded {
    let cancel = CancelWait { waiter: WaiterId(1), undelivered: None };
    let request_id = willow_core::RequestId::new(request_id);
    Encoded::new(Envelope { request_id, entropy: 0, command: Command::CancelWait(cancel) }).unwrap()
}

fn push(queue: &mut Queue, request_id: &str) -> Result<oneshot::Receiver<Answer>, ProposeError> {
    let (answer, answered) = oneshot::channel();
    queue.push(command(request_id), Slot { answer, cancel_on_drop: true })?;
    Ok(answered)
}

fn take(queue: &mut Queue) -> Option<(Ticket, Proposal)> {
    let (ticket, gathering) = queue.take(|| 0)?;
    let proposal = gathering.seal(5).unwrap();
    queue.launch(ticket, &proposal).then_some((ticket, proposal))
}

fn ids(proposal: &Proposal) -> Vec<String> {
    let batch = record::decode_batch(proposal.encoded()).unwrap();
    let id = |envelope: &Envelope| envelope.request_id.as_ref().map_or("-", |id| id.as_str()).to_owned();
    batch.envelopes.iter().map(id).collect()
}

fn failure(answered: &mut oneshot::Receiver<Answer>) -> ProposeError {
    match answered.try_recv() {
        Ok(Answer::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn batches_keep_order_and_bounds() {
    let mut queue = queue(|config| {
        config.batch_commands = 2;
        config.batches_in_flight = 9;
    });
    let _callers: Vec<_> = ["a", "b", "c"].map(|id| push(&mut queue, id).unwrap()).into();
    assert_eq!(queue.depth(), 3);
    assert_eq!(ids(&take(&mut queue).unwrap().1), ["a", "b"]);
    assert_eq!(ids(&take(&mut queue).unwrap().1), ["c"]);
    assert!(take(&mut queue).is_none());
    assert_eq!(queue.depth(), 0);
}

#[test]
fn bytes_bound_a_batch_but_a_large_command_still_goes() {
    let small = command("a").bytes.len();
    let mut queue = queue(|config| config.batch_bytes = small);
    let _callers: Vec<_> = ["a", "b", &"x".repeat(100)].map(|id| push(&mut queue, id).unwrap()).into();
    queue.bounds.batches_in_flight = 9;
    for expected in ["a", "b", &"x".repeat(100)] {
        assert_eq!(ids(&take(&mut queue).unwrap().1), [expected]);
    }
}

#[test]
fn no_more_batches_are_in_flight_than_allowed() {
    let mut queue = queue(|config| {
        config.batch_commands = 1;
        config.batches_in_flight = 2;
    });
    let _callers: Vec<_> = ["a", "b", "c"].map(|id| push(&mut queue, id).unwrap()).into();
    let (first, _) = take(&mut queue).unwrap();
    take(&mut queue).unwrap();
    assert!(take(&mut queue).is_none());
    queue.finish(first);
    assert_eq!(ids(&take(&mut queue).unwrap().1), ["c"]);
}

#[test]
fn a_full_queue_refuses_and_says_when_to_come_back() {
    let mut queue = queue(|config| config.queue_commands = 2);
    let _callers: Vec<_> = ["a", "b"].map(|id| push(&mut queue, id).unwrap()).into();
    let refused = push(&mut queue, "c").unwrap_err();
    let ProposeError::Overloaded { retry_after } = refused else { panic!("{refused:?}") };
    assert!((RETRY_AFTER_MIN..=RETRY_AFTER_MAX).contains(&retry_after));
    take(&mut queue).unwrap();
    push(&mut queue, "c").unwrap();
}

#[test]
fn bytes_bound_the_queue_but_not_its_only_command() {
    let mut queue = queue(|config| config.queue_bytes = 1);
    let _caller = push(&mut queue, "a").unwrap();
    assert!(matches!(push(&mut queue, "b"), Err(ProposeError::Overloaded { .. })));
}

#[test]
fn cancellations_are_never_refused_and_ride_along() {
    let mut queue = queue(|config| {
        config.queue_commands = 1;
        config.batch_commands = 3;
    });
    let _caller = push(&mut queue, "a").unwrap();
    for waiter in 0..4 {
        queue.push_cancel(CancelWait { waiter: WaiterId(waiter), undelivered: None });
    }
    assert_eq!(ids(&take(&mut queue).unwrap().1), ["a", "-", "-"]);
    assert_eq!(ids(&take(&mut queue).unwrap().1), ["-", "-"]);
    assert_eq!(queue.depth(), 0);
}

#[test]
fn a_tick_is_an_empty_batch_unless_another_goes() {
    let mut queue = queue(|config| config.batches_in_flight = 9);
    queue.want_tick();
    assert!(ids(&take(&mut queue).unwrap().1).is_empty());
    assert!(take(&mut queue).is_none());
    queue.want_tick();
    let _caller = push(&mut queue, "a").unwrap();
    assert_eq!(ids(&take(&mut queue).unwrap().1), ["a"]);
    assert!(take(&mut queue).is_none());
}

#[test]
fn a_stall_tells_what_was_not_done_from_what_may_be() {
    let mut queue = queue(|config| {
        config.batch_commands = 1;
        config.batches_in_flight = 1;
    });
    let mut in_flight = push(&mut queue, "a").unwrap();
    let mut queued = push(&mut queue, "b").unwrap();
    let (ticket, _proposal) = take(&mut queue).unwrap();
    let refusal = ProposeError::Unavailable(Unavailable::DiskFull);
    let unknown = ProposeError::OutcomeUnknown { reason: "disk".to_owned() };
    queue.stall(refusal.clone(), &unknown);
    assert_eq!(failure(&mut in_flight), unknown);
    assert_eq!(failure(&mut queued), refusal);
    assert_eq!(push(&mut queue, "c").unwrap_err(), refusal);
    // Cancellations are kept, but nothing goes out.
    queue.push_cancel(CancelWait { waiter: WaiterId(1), undelivered: None });
    queue.finish(ticket);
    assert!(take(&mut queue).is_none());
    queue.resume();
    assert_eq!(ids(&take(&mut queue).unwrap().1), ["-"]);
    assert!(push(&mut queue, "d").is_ok());
}

#[test]
fn a_batch_taken_as_the_log_stalls_is_not_proposed() {
    let mut queue = queue(|_| {});
    let mut caller = push(&mut queue, "a").unwrap();
    let (ticket, gathering) = queue.take(|| 0).unwrap();
    let refusal = ProposeError::Unavailable(Unavailable::DiskFull);
    queue.stall(refusal.clone(), &ProposeError::OutcomeUnknown { reason: String::new() });
    assert!(!queue.launch(ticket, &gathering.seal(5).unwrap()));
    assert_eq!(failure(&mut caller), refusal);
    assert!(queue.is_idle());
}

#[test]
fn what_was_queued_before_a_refusal_still_goes() {
    let mut queue = queue(|_| {});
    let _caller = push(&mut queue, "a").unwrap();
    queue.refuse(ProposeError::ShuttingDown);
    assert_eq!(push(&mut queue, "b").unwrap_err(), ProposeError::ShuttingDown);
    let (ticket, proposal) = take(&mut queue).unwrap();
    assert_eq!(ids(&proposal), ["a"]);
    assert!(!queue.is_idle());
    queue.finish(ticket);
    assert!(queue.is_idle());
}
