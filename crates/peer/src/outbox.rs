//! What waits to be written on a connection, gathered so that one write takes many frames.

use std::{collections::VecDeque, io, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{Notify, Semaphore},
};

use crate::{
    frame::{HEADER_BYTES, Header, Kind},
    keepalive::Life,
    settings::{MAX_CONTROL_BYTES, MAX_QUEUED_BYTES},
};

/// Payloads up to here are copied next to their header; longer ones are written from where they are.
const COPIED_BYTES: usize = 8 << 10;

/// The connection takes no more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Room for a frame that its sender has waited for.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: u32,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    room: Semaphore,
}

#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<Bytes>,
    /// Small frames after `parts`.
    tail: BytesMut,
    /// Room that these frames take.
    room: usize,
    /// Bytes that nobody made room for.
    control: usize,
    ping: bool,
    pong: bool,
    /// Batches that the writer has taken. What came before has, for all one knows, been sent.
    taken: u64,
    /// The writer is at work on a batch.
    writing: bool,
    /// The peer does not read.
    overflowed: bool,
    closed: bool,
}

/// Frames on their way into the socket.
#[derive(Debug)]
struct Batch {
    parts: VecDeque<Bytes>,
    room: usize,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { queue: Mutex::default(), filled: Notify::new(), room: Semaphore::new(MAX_QUEUED_BYTES) }
    }

    /// Waits until a payload of `length` may be queued.
    pub(crate) async fn room(&self, length: usize) -> Result<Room, Closed> {
        let bytes = (length + HEADER_BYTES).min(MAX_QUEUED_BYTES);
        let bytes = u32::try_from(bytes).map_err(|_| Closed)?;
        self.room.acquire_many(bytes).await.map_err(|_| Closed)?.forget();
        Ok(Room { bytes })
    }

    /// Gives back room that was not used.
    pub(crate) fn give_back(&self, room: Room) {
        self.room.add_permits(room.bytes as usize);
    }

    /// Queues a frame; says in which batch it goes.
    pub(crate) fn push(&self, kind: Kind, id: u64, payload: Bytes, room: Room) -> Result<u64, Closed> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(Closed);
        }
        queue.room += room.bytes as usize;
        queue.add(kind, id, payload);
        let batch = queue.taken;
        drop(queue);
        self.filled.notify_one();
        Ok(batch)
    }

    /// Queues a small frame for which nobody can wait. When too many of them pile up, the connection ends.
    pub(crate) fn push_control(&self, kind: Kind, id: u64, reason: &'static str) {
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        queue.control += HEADER_BYTES + reason.len();
        queue.overflowed |= queue.control > MAX_CONTROL_BYTES;
        if !queue.overflowed {
            queue.add(kind, id, Bytes::from_static(reason.as_bytes()));
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&self) {
        self.queue.lock().ping = true;
        self.filled.notify_one();
    }

    /// Gives one. Many pings at once get one.
    pub(crate) fn pong(&self) {
        self.queue.lock().pong = true;
        self.filled.notify_one();
    }

    /// True while there is something that the peer has not taken.
    pub(crate) fn is_writing(&self) -> bool {
        let queue = self.queue.lock();
        queue.writing || !queue.is_empty()
    }

    /// Takes no more frames. Those of batches before the returned one may have been sent, others have not.
    pub(crate) fn close(&self) -> u64 {
        let mut queue = self.queue.lock();
        queue.closed = true;
        self.room.close();
        queue.taken
    }

    /// Writes what is queued, until the connection fails. `busy` says whether more is likely to come at once,
    /// for which it is worth waiting a turn of the scheduler.
    pub(crate) async fn write_to<W: AsyncWrite + Unpin>(
        &self,
        to: &mut W,
        life: &Life,
        busy: impl Fn() -> bool,
    ) -> io::Error {
        loop {
            self.filled.notified().await;
            if busy() {
                tokio::task::yield_now().await;
            }
            while let Some(batch) = self.take() {
                if let Err(error) = self.write(batch, to, life).await {
                    return error;
                }
            }
            if self.queue.lock().overflowed {
                return io::Error::new(io::ErrorKind::TimedOut, "the peer does not read what is sent to it");
            }
        }
    }

    fn take(&self) -> Option<Batch> {
        let mut queue = self.queue.lock();
        if queue.is_empty() || queue.closed {
            queue.writing = false;
            return None;
        }
        queue.writing = true;
        queue.taken += 1;
        for (kind, wanted) in [(Kind::Ping, queue.ping), (Kind::Pong, queue.pong)] {
            if wanted {
                queue.add(kind, 0, Bytes::new());
            }
        }
        (queue.ping, queue.pong, queue.control) = (false, false, 0);
        queue.close_tail();
        Some(Batch { parts: std::mem::take(&mut queue.parts), room: std::mem::take(&mut queue.room) })
    }

    async fn write<W: AsyncWrite + Unpin>(&self, mut batch: Batch, to: &mut W, life: &Life) -> io::Result<()> {
        while batch.has_remaining() {
            let written = to.write_buf(&mut batch).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            life.written(written);
        }
        to.flush().await?;
        self.room.add_permits(batch.room);
        Ok(())
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.tail.is_empty() && !self.ping && !self.pong
    }

    fn add(&mut self, kind: Kind, id: u64, payload: Bytes) {
        Header { kind, id, length: payload.len() }.write(&mut self.tail);
        if payload.len() <= COPIED_BYTES {
            self.tail.extend_from_slice(&payload);
        } else {
            self.close_tail();
            self.parts.push_back(payload);
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let frames = self.tail.split().freeze();
            self.parts.push_back(frames);
        }
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    fn has_remaining(&self) -> bool {
        // No part is empty.
        !self.parts.is_empty()
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(part) = self.parts.front_mut() else { return };
            if count < part.len() {
                part.advance(count);
                return;
            }
            count -= part.len();
            self.parts.pop_front();
        }
    }
}
