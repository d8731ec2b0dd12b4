//! Whether the peer at the other end of a connection still lives.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::outbox::Outbox;

/// Counts what goes over a connection. Any byte is a sign of life, also one in the middle of a long frame.
#[derive(Debug, Default)]
pub(crate) struct Life {
    received: AtomicU64,
    written: AtomicU64,
}

impl Life {
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Returns when the peer has been silent, or has not taken a byte that waits for it, at `missed` looks in a row.
///
/// Looks are counted, not time: when this process itself stood still (SIGSTOP, a starved machine), that is one
/// look, and what has come meanwhile is read before the next.
pub(crate) async fn watch(life: &Life, outbox: &Outbox, every: Duration, missed: u32, ping: bool) -> String {
    let mut looks = interval_at(Instant::now() + every, every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut silent, mut stuck) = (0, 0);
    let (mut received, mut written) = (0, 0);
    loop {
        looks.tick().await;
        let now_received = life.received.load(Ordering::Relaxed);
        silent = if now_received == received { silent + 1 } else { 0 };
        received = now_received;
        let now_written = life.written.load(Ordering::Relaxed);
        stuck = if now_written == written && outbox.is_writing() { stuck + 1 } else { 0 };
        written = now_written;
        let bound_ms = every.as_millis() * u128::from(missed);
        if silent >= missed {
            return format!("nothing came from the peer for about {bound_ms} ms");
        }
        if stuck >= missed {
            return format!("the peer took nothing for about {bound_ms} ms");
        }
        if ping {
            outbox.ping();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(400);

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_noticed_within_two_seconds() {
        let (life, outbox, start) = (Life::default(), Outbox::new(), Instant::now());
        life.received(1);
        let reason = watch(&life, &outbox, EVERY, 4, true).await;
        assert_eq!(start.elapsed(), EVERY * 5);
        assert_eq!(reason, "nothing came from the peer for about 1600 ms");
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_and_a_pause_of_this_process_are_no_silence() {
        let (life, outbox) = (Life::default(), Outbox::new());
        let bytes = async {
            for _ in 0..10 {
                tokio::time::sleep(EVERY * 3).await;
                life.received(1);
            }
            // As if the process had been stopped: one look in all that time.
            tokio::time::advance(EVERY * 100).await;
            tokio::time::sleep(EVERY).await;
        };
        tokio::select! {
            // Nobody writes here, so a ping would stay where it is.
            reason = watch(&life, &outbox, EVERY, 4, false) => panic!("{reason}"),
            () = bytes => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_noticed_though_it_speaks() {
        let (life, outbox) = (Life::default(), Outbox::new());
        outbox.pong();
        let bytes = async {
            loop {
                tokio::time::sleep(EVERY / 2).await;
                life.received(1);
            }
        };
        tokio::select! {
            reason = watch(&life, &outbox, EVERY, 4, false) => assert!(reason.contains("took nothing"), "{reason}"),
            () = bytes => {}
        }
    }
}
