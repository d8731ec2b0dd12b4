//! What a connection is doing, and since when; and the watchdog that ends it when that takes too long.
//!
//! One timer a connection instead of one a request: whatever begins after a look has a deadline later than
//! the next look, since looks are at most the shortest time-out apart. So deadlines are met exactly.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::Config;

/// What goes on on one connection. Times are ms since it was opened, plus 1, so that 0 is "not".
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// Requests being served.
    requests: AtomicUsize,
    /// When the last request ended.
    idle_since: AtomicU64,
    /// When the head of a request began to come in.
    head_since: AtomicU64,
    /// Since when the client takes no byte of a reply.
    stuck_since: AtomicU64,
    /// HTTP/2, where bytes also come in between requests.
    is_h2: AtomicBool,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It idled: end it in good order.
    Idle,
    /// The client is too slow: end it.
    TooSlow,
}

impl Activity {
    /// A connection that was just opened: its first head is due.
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(1),
            head_since: AtomicU64::new(1),
            stuck_since: AtomicU64::new(0),
            is_h2: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The head of a request is complete.
    pub(super) fn request_begins(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
    }

    /// A request has its answer.
    pub(super) fn request_ended(&self) {
        self.idle_since.store(self.now(), Relaxed);
        self.requests.fetch_sub(1, Relaxed);
    }

    fn bytes_came(&self) {
        let is_head = self.requests.load(Relaxed) == 0 && !self.is_h2.load(Relaxed);
        if is_head && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    fn write_is_stuck(&self) {
        if self.stuck_since.load(Relaxed) == 0 {
            self.stuck_since.store(self.now(), Relaxed);
        }
    }

    fn write_goes_on(&self) {
        // Written to only when needed: this is on the way of every reply.
        if self.stuck_since.load(Relaxed) != 0 {
            self.stuck_since.store(0, Relaxed);
        }
    }

    /// What is to be done now, or how long until the next look.
    fn look(&self, limits: &Limits) -> Result<Duration, Verdict> {
        let now = self.now();
        let mut next = limits.shortest_ms;
        let mut check = |since: u64, limit_ms: u64, verdict| {
            let left_ms = since.saturating_add(limit_ms).saturating_sub(now);
            next = next.min(left_ms);
            if left_ms == 0 { Err(verdict) } else { Ok(()) }
        };
        let stuck_since = self.stuck_since.load(Relaxed);
        if stuck_since != 0 {
            check(stuck_since, limits.write_ms, Verdict::TooSlow)?;
        }
        if self.requests.load(Relaxed) == 0 {
            match self.head_since.load(Relaxed) {
                0 => check(self.idle_since.load(Relaxed), limits.idle_ms, Verdict::Idle)?,
                head_since => check(head_since, limits.head_ms, Verdict::TooSlow)?,
            }
        }
        Ok(Duration::from_millis(next.max(1)))
    }

    /// Ends when the connection is to end.
    pub(super) async fn watch(&self, limits: Limits) -> Verdict {
        loop {
            match self.look(&limits) {
                Ok(next) => tokio::time::sleep(next).await,
                Err(verdict) => return verdict,
            }
        }
    }
}

/// How long each thing may take, ms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    head_ms: u64,
    idle_ms: u64,
    write_ms: u64,
    shortest_ms: u64,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        let (head_ms, idle_ms, write_ms) = (config.header_timeout_ms, config.idle_timeout_ms, config.write_timeout_ms);
        Self { head_ms, idle_ms, write_ms, shortest_ms: head_ms.min(idle_ms).min(write_ms) }
    }
}

/// A socket that notes when bytes come in, and when they cannot go out.
#[derive(Debug)]
pub(super) struct TimedIo {
    stream: TcpStream,
    activity: Arc<Activity>,
    has_read: bool,
}

impl TimedIo {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self { stream, activity, has_read: false }
    }

    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Pending => self.activity.write_is_stuck(),
            Poll::Ready(_) => self.activity.write_goes_on(),
        }
        written
    }
}

impl AsyncRead for TimedIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let came = &buf.filled()[before..];
        if !came.is_empty() {
            if !self.has_read {
                self.has_read = true;
                // No method starts like HTTP/2's preface `PRI * HTTP/2.0`.
                self.activity.is_h2.store(came.starts_with(b"PRI"), Relaxed);
            }
            self.activity.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TimedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(head_ms: u64, idle_ms: u64, write_ms: u64) -> Limits {
        Limits { head_ms, idle_ms, write_ms, shortest_ms: head_ms.min(idle_ms).min(write_ms) }
    }

    /// A connection opened so long ago.
    fn aged(ms: u64) -> Activity {
        let activity = Activity::new();
        Activity { opened: activity.opened.checked_sub(Duration::from_millis(ms)).unwrap(), ..activity }
    }

    #[test]
    fn a_first_head_that_does_not_come_is_too_slow() {
        assert_eq!(aged(100).look(&limits(100, 1000, 1000)), Err(Verdict::TooSlow));
        assert!(aged(50).look(&limits(10_000, 20_000, 20_000)).is_ok());
    }

    #[test]
    fn between_requests_a_connection_idles() {
        let activity = aged(1000);
        activity.request_begins();
        assert!(activity.look(&limits(10, 10, 10_000)).is_ok(), "a running request may take its time");
        activity.request_ended();
        assert!(activity.look(&limits(10, 10_000, 10_000)).is_ok());
        activity.idle_since.store(1, Relaxed);
        assert_eq!(activity.look(&limits(10_000, 1000, 10_000)), Err(Verdict::Idle));
        activity.bytes_came();
        assert!(activity.look(&limits(10_000, 1000, 10_000)).is_ok(), "a head has begun");
    }

    #[test]
    fn bytes_between_requests_of_http_2_are_no_head() {
        let activity = aged(1000);
        activity.is_h2.store(true, Relaxed);
        activity.request_begins();
        activity.request_ended();
        activity.bytes_came();
        assert_eq!(activity.head_since.load(Relaxed), 0);
    }

    #[test]
    fn a_reply_not_taken_is_too_slow_until_it_goes_on() {
        let activity = aged(1000);
        activity.request_begins();
        activity.stuck_since.store(1, Relaxed);
        activity.write_is_stuck();
        assert_eq!(activity.look(&limits(10_000, 10_000, 500)), Err(Verdict::TooSlow));
        activity.write_goes_on();
        assert!(activity.look(&limits(10_000, 10_000, 500)).is_ok());
    }
}
