//! The side of a connection that answers.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::AsyncRead,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
};
use willow_node::Service;

use crate::{
    dial::Stream,
    frame::{FrameReader, Header, Kind, invalid},
    keepalive::{Life, watch},
    outbox::Outbox,
    settings::{MAX_CALLS, MAX_FRAME_BYTES, OWN_REQUEST_BYTES, PATIENCE, Settings},
};

/// One peer's connection: every request is a task, so that none waits for another.
#[derive(Debug)]
pub(crate) struct Connection {
    service: Arc<dyn Service>,
    outbox: Outbox,
    running: Mutex<HashMap<u64, AbortHandle>>,
    /// How many run, readable without the lock.
    count: AtomicUsize,
    /// Bytes of requests that this connection, and that all of the listener together may hold.
    own: Arc<Semaphore>,
    shared: Arc<Semaphore>,
}

impl Connection {
    pub(crate) fn new(service: Arc<dyn Service>, shared: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self {
            service,
            outbox: Outbox::new(),
            running: Mutex::default(),
            count: AtomicUsize::new(0),
            own: Arc::new(Semaphore::new(OWN_REQUEST_BYTES)),
            shared,
        })
    }

    /// Answers until the connection ends, and says why it did.
    pub(crate) async fn run(self: &Arc<Self>, stream: Stream, settings: &Settings) -> io::Error {
        let _stop = StopOnDrop(self);
        let (from, mut to) = tokio::io::split(stream);
        let life = Life::default();
        let missed = settings.missed_pings.saturating_mul(PATIENCE);
        let is_busy = || self.count.load(Ordering::Relaxed) > 0;
        tokio::select! {
            error = self.read(from, &life) => error,
            error = self.outbox.write_to(&mut to, &life, is_busy) => error,
            reason = watch(&life, &self.outbox, settings.ping_every, missed, false) => {
                io::Error::new(io::ErrorKind::TimedOut, reason)
            }
        }
    }

    async fn read(self: &Arc<Self>, from: impl AsyncRead + Unpin, life: &Life) -> io::Error {
        let mut frames = FrameReader::new(from, life);
        loop {
            if let Err(error) = self.read_frame(&mut frames).await {
                return error;
            }
        }
    }

    async fn read_frame<R: AsyncRead + Unpin>(self: &Arc<Self>, frames: &mut FrameReader<'_, R>) -> io::Result<()> {
        let header = frames.header().await?;
        match header.kind {
            Kind::Request => self.request(header, frames).await,
            Kind::Cancel => {
                if let Some(task) = self.remove(header.id) {
                    task.abort();
                }
                frames.skip(header.length).await
            }
            Kind::Ping => {
                self.outbox.pong();
                frames.skip(header.length).await
            }
            kind => Err(invalid(format!("a {kind:?} from the side that calls"))),
        }
    }

    async fn request<R: AsyncRead + Unpin>(
        self: &Arc<Self>,
        header: Header,
        frames: &mut FrameReader<'_, R>,
    ) -> io::Result<()> {
        let Some(held) = self.admit(header.length) else {
            frames.skip(header.length).await?;
            self.outbox.push_control(Kind::Refused, header.id, "it has too many requests of peers to answer");
            return Ok(());
        };
        let request = frames.payload(header.length).await?;
        let mut running = self.running.lock();
        if running.contains_key(&header.id) {
            return Err(invalid(format!("a second request {}", header.id)));
        }
        let task = tokio::spawn(Arc::clone(self).answer(header.id, request, held));
        running.insert(header.id, task.abort_handle());
        self.count.store(running.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether a request may come in: never by waiting, for pings and cancellations come after it.
    fn admit(&self, length: usize) -> Option<OwnedSemaphorePermit> {
        if self.count.load(Ordering::Relaxed) >= MAX_CALLS {
            return None;
        }
        let length = u32::try_from(length).ok()?;
        let own = Arc::clone(&self.own).try_acquire_many_owned(length);
        own.or_else(|_| Arc::clone(&self.shared).try_acquire_many_owned(length)).ok()
    }

    async fn answer(self: Arc<Self>, id: u64, request: Bytes, held: OwnedSemaphorePermit) {
        let failed = FailOnPanic { connection: &self, id };
        let answer = self.service.answer(request).await;
        drop((failed, held));
        let (kind, answer) = if answer.len() > MAX_FRAME_BYTES {
            tracing::error!(bytes = answer.len(), "an answer to a peer is too long to be sent");
            (Kind::Failed, Bytes::from_static(b"its answer is too long to be sent"))
        } else {
            (Kind::Answer, answer)
        };
        // A peer that does not take its answers loses the connection, and this with it.
        let Ok(room) = self.outbox.room(answer.len()).await else { return };
        self.remove(id);
        let _queued = self.outbox.push(kind, id, answer, room);
    }

    fn remove(&self, id: u64) -> Option<AbortHandle> {
        let mut running = self.running.lock();
        let task = running.remove(&id);
        self.count.store(running.len(), Ordering::Relaxed);
        task
    }
}

/// A caller must not wait for a task that has panicked.
struct FailOnPanic<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.connection.remove(self.id);
            self.connection.outbox.push_control(Kind::Failed, self.id, "it failed while it worked on the answer");
        }
    }
}

/// Nobody waits for the answers when the connection is gone.
struct StopOnDrop<'a>(&'a Connection);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.outbox.close();
        let running = std::mem::take(&mut *self.0.running.lock());
        for task in running.into_values() {
            task.abort();
        }
    }
}
