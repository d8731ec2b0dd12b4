//! The side of a connection that calls.

use std::{
    collections::HashMap,
    io,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::AsyncRead,
    sync::{Notify, oneshot},
};
use willow_node::TransportError;

use crate::{
    dial::{Stream, dial},
    frame::{FrameReader, Kind, invalid},
    keepalive::{Life, watch},
    outbox::{Outbox, Room},
    security::{Security, io_advice},
    settings::{MAX_CALLS, Settings},
    throttle::Throttle,
};

/// Longest text of a peer that is passed on in an error.
const MAX_REASON_BYTES: usize = 300;

type Answer = Result<Bytes, TransportError>;

/// One connection to a peer, from before it is made until after it ended.
#[derive(Debug)]
pub(crate) struct Link {
    addr: String,
    calls: Mutex<Calls>,
    outbox: Outbox,
    /// How many calls there are, readable without the lock.
    count: AtomicUsize,
    stop: Notify,
}

#[derive(Debug)]
struct Calls {
    by_id: HashMap<u64, Call>,
    next_id: u64,
    last_used: Instant,
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Call {
    answer: oneshot::Sender<Answer>,
    /// Which batch of the outbox its request is in.
    batch: u64,
}

/// Why a link takes no more calls.
#[derive(Clone, Debug)]
struct Closed {
    reason: String,
    /// Nothing was wrong with it.
    was_idle: bool,
}

/// A call did not come to an answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The link was just being closed because nobody used it: take a new one.
    WasIdle,
    Failed(TransportError),
}

impl Link {
    pub(crate) fn new(addr: String) -> Self {
        let calls = Calls { by_id: HashMap::new(), next_id: 1, last_used: Instant::now(), closed: None };
        Self { addr, calls: Mutex::new(calls), outbox: Outbox::new(), count: AtomicUsize::new(0), stop: Notify::new() }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.calls.lock().closed.is_some()
    }

    /// Sends a request and waits for its answer. When the future is dropped, the peer is told.
    pub(crate) async fn call(&self, request: Bytes) -> Result<Bytes, CallError> {
        let Ok(room) = self.outbox.room(request.len()).await else { return Err(self.closed_error()) };
        let (id, answer) = self.start(request, room)?;
        let _cancel = CancelOnDrop { link: self, id };
        match answer.await {
            Ok(answer) => answer.map_err(CallError::Failed),
            Err(_) => Err(CallError::Failed(self.broken("it was closed"))),
        }
    }

    fn start(&self, request: Bytes, room: Room) -> Result<(u64, oneshot::Receiver<Answer>), CallError> {
        let mut calls = self.calls.lock();
        if calls.by_id.len() >= MAX_CALLS {
            drop(calls);
            self.outbox.give_back(room);
            let reason = format!("{MAX_CALLS} calls wait for it already");
            return Err(CallError::Failed(self.unreachable(reason)));
        }
        let id = calls.next_id;
        // The batch is known only under the lock: closing must see the call and its batch together.
        let Ok(batch) = self.outbox.push(Kind::Request, id, request, room) else {
            drop(calls);
            return Err(self.closed_error());
        };
        let (sender, receiver) = oneshot::channel();
        calls.next_id += 1;
        calls.last_used = Instant::now();
        calls.by_id.insert(id, Call { answer: sender, batch });
        self.count.store(calls.by_id.len(), Ordering::Relaxed);
        Ok((id, receiver))
    }

    fn closed_error(&self) -> CallError {
        let closed = self.calls.lock().closed.clone();
        match closed {
            Some(Closed { was_idle: true, .. }) => CallError::WasIdle,
            Some(Closed { reason, .. }) => CallError::Failed(self.unreachable(reason)),
            None => CallError::Failed(self.unreachable("it is being closed")),
        }
    }

    /// The link's life: connects, and moves frames until the connection ends, for whatever reason.
    pub(crate) async fn run(&self, security: &Security, settings: &Settings, log: &Throttle) {
        let closer = CloseOnDrop(self);
        let stopped = self.stop.notified();
        tokio::select! {
            () = stopped => {}
            () = self.connect_and_run(security, settings, log) => {}
        }
        drop(closer);
    }

    async fn connect_and_run(&self, security: &Security, settings: &Settings, log: &Throttle) {
        let (reason, message) = match dial(&self.addr, security, settings).await {
            Err(reason) => (reason, "a peer cannot be reached"),
            Ok(stream) => match self.exchange(stream, settings).await {
                None => return,
                Some(reason) => (reason, "the connection to a peer broke"),
            },
        };
        if let Some(left_out) = log.line(&self.addr) {
            tracing::warn!(addr = self.addr, reason, left_out, "{message}");
        }
        self.close(&reason, false);
    }

    /// Ends with the reason, or with `None` when nobody needs the connection.
    async fn exchange(&self, stream: Stream, settings: &Settings) -> Option<String> {
        let (from, mut to) = tokio::io::split(stream);
        let life = Life::default();
        let is_busy = || self.count.load(Ordering::Relaxed) > 1;
        tokio::select! {
            error = self.read(from, &life) => Some(io_advice(&error)),
            error = self.outbox.write_to(&mut to, &life, is_busy) => Some(io_advice(&error)),
            reason = watch(&life, &self.outbox, settings.ping_every, settings.missed_pings, true) => Some(reason),
            () = self.idle(settings.idle_timeout) => None,
        }
    }

    async fn read(&self, from: impl AsyncRead + Unpin, life: &Life) -> io::Error {
        let mut frames = FrameReader::new(from, life);
        loop {
            if let Err(error) = self.read_frame(&mut frames).await {
                return error;
            }
        }
    }

    async fn read_frame<R: AsyncRead + Unpin>(&self, frames: &mut FrameReader<'_, R>) -> io::Result<()> {
        let header = frames.header().await?;
        match header.kind {
            Kind::Answer | Kind::Refused | Kind::Failed => {
                if !self.calls.lock().by_id.contains_key(&header.id) {
                    // Its caller has gone.
                    return frames.skip(header.length).await;
                }
                let payload = frames.payload(header.length).await?;
                let answer = match header.kind {
                    Kind::Answer => Ok(payload),
                    Kind::Refused => Err(self.unreachable(text(&payload))),
                    _ => Err(self.broken(text(&payload))),
                };
                self.finish(header.id, answer);
                Ok(())
            }
            Kind::Pong => frames.skip(header.length).await,
            kind => Err(invalid(format!("a {kind:?} from the side that answers"))),
        }
    }

    fn finish(&self, id: u64, answer: Answer) {
        if let Some(call) = self.remove(id) {
            // Who has stopped waiting needs no answer.
            let _sent = call.answer.send(answer);
        }
    }

    fn remove(&self, id: u64) -> Option<Call> {
        let mut calls = self.calls.lock();
        let call = calls.by_id.remove(&id);
        calls.last_used = Instant::now();
        self.count.store(calls.by_id.len(), Ordering::Relaxed);
        call
    }

    /// Returns when nobody has used the link for a while; it is closed then.
    async fn idle(&self, timeout: Duration) {
        loop {
            tokio::time::sleep(timeout / 4).await;
            let mut calls = self.calls.lock();
            if calls.by_id.is_empty() && calls.last_used.elapsed() >= timeout {
                calls.closed = Some(Closed { reason: "it was idle".to_owned(), was_idle: true });
                self.outbox.close();
                return;
            }
        }
    }

    /// Ends the link; every call on it fails.
    pub(crate) fn close(&self, reason: &str, was_idle: bool) {
        let mut calls = self.calls.lock();
        if calls.closed.is_some() {
            return;
        }
        calls.closed = Some(Closed { reason: reason.to_owned(), was_idle });
        let taken = self.outbox.close();
        let failed = std::mem::take(&mut calls.by_id);
        drop(calls);
        self.stop.notify_one();
        for call in failed.into_values() {
            let error = if call.batch < taken { self.broken(reason) } else { self.unreachable(reason) };
            let _sent = call.answer.send(Err(error));
        }
    }

    fn unreachable(&self, reason: impl Into<String>) -> TransportError {
        TransportError::Unreachable { addr: self.addr.clone(), reason: reason.into() }
    }

    fn broken(&self, reason: impl Into<String>) -> TransportError {
        TransportError::Broken { addr: self.addr.clone(), reason: reason.into() }
    }
}

/// A peer's words, within bounds.
fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(&payload[..payload.len().min(MAX_REASON_BYTES)]).into_owned()
}

/// Tells the peer that nobody waits any more, unless the call has ended.
struct CancelOnDrop<'a> {
    link: &'a Link,
    id: u64,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if self.link.remove(self.id).is_some() {
            self.link.outbox.push_control(Kind::Cancel, self.id, "");
        }
    }
}

/// Calls must not wait for a task that is no more, whatever ended it.
struct CloseOnDrop<'a>(&'a Link);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close("it was closed", false);
    }
}
