//! Frames: what is on a connection after the hello.
//!
//! ```text
//!  ┌──────────────┬────────┬──────────────┬─────────┐
//!  │ length (u32) │ kind   │ id (u64)     │ payload │   little-endian; the length is the payload's
//!  └──────────────┴────────┴──────────────┴─────────┘
//! ```

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{keepalive::Life, settings::MAX_FRAME_BYTES};

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 13;

/// Payloads up to here are copied into memory of their own size, so that a small request that waits for
/// minutes does not keep a whole read buffer; longer ones are read into their place.
const SMALL_BYTES: usize = 16 << 10;

/// Memory for a payload before any of it has come: the rest follows what really comes.
const FIRST_BYTES: usize = 1 << 20;

/// Read at once from a connection.
const BUFFER_BYTES: usize = 32 << 10;

/// What a frame means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answer this.
    Request,
    /// The answer.
    Answer,
    /// Nobody waits for the answer any more.
    Cancel,
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
    /// Instead of an answer: the request has not been looked at. The payload says why.
    Refused,
    /// Instead of an answer: there will be none. The payload says why.
    Failed,
}

impl Kind {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Answer => 2,
            Self::Cancel => 3,
            Self::Ping => 4,
            Self::Pong => 5,
            Self::Refused => 6,
            Self::Failed => 7,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        let kinds = [Self::Request, Self::Answer, Self::Cancel, Self::Ping, Self::Pong, Self::Refused, Self::Failed];
        kinds.into_iter().find(|kind| kind.byte() == byte)
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) length: usize,
}

impl Header {
    pub(crate) fn write(self, to: &mut BytesMut) {
        to.reserve(HEADER_BYTES);
        to.put_u32_le(u32::try_from(self.length).unwrap_or(u32::MAX));
        to.put_u8(self.kind.byte());
        to.put_u64_le(self.id);
    }

    fn read(bytes: [u8; HEADER_BYTES]) -> io::Result<Self> {
        let [l0, l1, l2, l3, kind, id @ ..] = bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(invalid(format!("a frame of {length} bytes, of {MAX_FRAME_BYTES} at most")));
        }
        let kind = Kind::from_byte(kind).ok_or_else(|| invalid(format!("a frame of the unknown kind {kind}")))?;
        Ok(Self { kind, id: u64::from_le_bytes(id), length })
    }
}

/// The peer does not keep to the protocol.
pub(crate) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// Takes frames off a connection.
#[derive(Debug)]
pub(crate) struct FrameReader<'a, R> {
    from: R,
    life: &'a Life,
    buffer: Box<[u8]>,
    /// What has been read and not been taken: `buffer[start..end]`.
    start: usize,
    end: usize,
}

impl<'a, R: AsyncRead + Unpin> FrameReader<'a, R> {
    pub(crate) fn new(from: R, life: &'a Life) -> Self {
        Self { from, life, buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The next header. Its payload must be taken, with [`Self::payload`] or [`Self::skip`], before the next.
    pub(crate) async fn header(&mut self) -> io::Result<Header> {
        while self.buffered() < HEADER_BYTES {
            self.fill().await?;
        }
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(&self.buffer[self.start..self.start + HEADER_BYTES]);
        self.start += HEADER_BYTES;
        Header::read(bytes)
    }

    pub(crate) async fn payload(&mut self, length: usize) -> io::Result<Bytes> {
        if length <= SMALL_BYTES {
            while self.buffered() < length {
                self.fill().await?;
            }
            let payload = Bytes::copy_from_slice(&self.buffer[self.start..self.start + length]);
            self.start += length;
            return Ok(payload);
        }
        let mut payload = BytesMut::with_capacity(length.min(FIRST_BYTES));
        let here = self.buffered().min(length);
        payload.extend_from_slice(&self.buffer[self.start..self.start + here]);
        self.start += here;
        while payload.len() < length {
            let missing = length - payload.len();
            if payload.capacity() == payload.len() {
                payload.reserve(missing.min(payload.len()));
            }
            let read = self.from.read_buf(&mut (&mut payload).limit(missing)).await?;
            self.came(read)?;
        }
        Ok(payload.freeze())
    }

    /// Lets a payload go by.
    pub(crate) async fn skip(&mut self, length: usize) -> io::Result<()> {
        let mut missing = length;
        loop {
            let here = self.buffered().min(missing);
            self.start += here;
            missing -= here;
            if missing == 0 {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// Reads some bytes into the buffer. There is room: nobody asks for more than fits.
    async fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let read = match self.from.read(&mut self.buffer[self.end..]).await {
            // A process that ends does not say good-bye in TLS: the same as without.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read?,
        };
        self.end += read;
        self.came(read)
    }

    fn came(&self, read: usize) -> io::Result<()> {
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed it"));
        }
        self.life.received(read);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(kind: Kind, id: u64, payload: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::new();
        Header { kind, id, length: payload.len() }.write(&mut bytes);
        bytes.extend_from_slice(payload);
        bytes
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let payloads: Vec<Vec<u8>> = [0, 1, 200, SMALL_BYTES, SMALL_BYTES + 1, BUFFER_BYTES * 3, FIRST_BYTES * 3]
            .into_iter()
            .map(|length| (0..length).map(|at| (at % 251) as u8).collect())
            .collect();
        let mut stream = BytesMut::new();
        for (id, payload) in payloads.iter().enumerate() {
            stream.unsplit(encoded(Kind::Request, id as u64, payload));
            stream.unsplit(encoded(Kind::Cancel, id as u64, payload));
        }
        for piece in [7, 4096, usize::MAX] {
            let chunks: Vec<io::Result<Bytes>> =
                stream.chunks(piece.min(stream.len())).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
            let life = Life::default();
            let from = tokio_test_reader(chunks);
            let mut reader = FrameReader::new(from, &life);
            for (id, payload) in payloads.iter().enumerate() {
                let header = reader.header().await.expect("header");
                assert_eq!(header, Header { kind: Kind::Request, id: id as u64, length: payload.len() });
                assert_eq!(reader.payload(header.length).await.expect("payload"), payload);
                let skipped = reader.header().await.expect("header");
                reader.skip(skipped.length).await.expect("skip");
            }
            let end = reader.header().await.expect_err("the end");
            assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    /// Reads give one chunk each.
    fn tokio_test_reader(chunks: Vec<io::Result<Bytes>>) -> impl AsyncRead + Unpin {
        let (reader, mut writer) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            for chunk in chunks {
                let chunk = chunk.expect("a chunk");
                tokio::io::AsyncWriteExt::write_all(&mut writer, &chunk).await.expect("write");
            }
        });
        reader
    }

    #[tokio::test]
    async fn lengths_past_the_bound_and_unknown_kinds_are_refused_before_memory_is_taken() {
        let mut long = BytesMut::new();
        Header { kind: Kind::Request, id: 1, length: MAX_FRAME_BYTES + 1 }.write(&mut long);
        let mut unknown = encoded(Kind::Request, 1, b"");
        unknown[4] = 99;
        for (bytes, said) in [(long, "67108865 bytes"), (unknown, "unknown kind 99")] {
            let life = Life::default();
            let error = FrameReader::new(&bytes[..], &life).header().await.expect_err("refused");
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn every_kind_has_its_byte() {
        for byte in 0..=u8::MAX {
            assert_eq!(Kind::from_byte(byte).map_or(byte, Kind::byte), byte);
        }
    }
}
