//! The first bytes of a connection: who speaks which versions of the protocol.
//!
//! ```text
//!  ┌─────────────┬───────────┬───────────┬───────────────┬───────┐
//!  │ "WILLOWP\n" │ min (u16) │ max (u16) │ length (u16)  │ …     │  little-endian
//!  └─────────────┴───────────┴───────────┴───────────────┴───────┘
//! ```
//! Who dials speaks first. Both then use the highest version that both know, so that a build can meet the one
//! before it. What follows the length is for versions to come; it is passed over.

use std::{io, ops::RangeInclusive};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MAGIC: [u8; 8] = *b"WILLOWP\n";
const HELLO_BYTES: usize = 14;

/// Longest part for versions to come.
const MAX_EXTRA_BYTES: u16 = 1024;

/// Why two nodes do not talk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it wants TLS, and this node is set to insecure: give both certificates of `willow cluster certs`")]
    WantsTls,
    #[error("it is no Willow node: it begins with {0:?}")]
    NotWillow(String),
    #[error(
        "no common protocol version: this node speaks {}..={}, the peer {}..={}; update nodes one version at a time",
        ours.start(), ours.end(), theirs.start(), theirs.end()
    )]
    NoCommonVersion { ours: RangeInclusive<u16>, theirs: RangeInclusive<u16> },
}

/// The side that dials.
pub(crate) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    ours: &RangeInclusive<u16>,
) -> Result<u16, HelloError> {
    send(stream, ours).await?;
    let theirs = receive(stream).await?;
    highest_common(ours, theirs)
}

/// The side that is dialled. It says nothing to who is no Willow node.
pub(crate) async fn welcome<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    ours: &RangeInclusive<u16>,
) -> Result<u16, HelloError> {
    let theirs = receive(stream).await?;
    send(stream, ours).await?;
    highest_common(ours, theirs)
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, ours: &RangeInclusive<u16>) -> io::Result<()> {
    let mut hello = [0; HELLO_BYTES];
    hello[..8].copy_from_slice(&MAGIC);
    hello[8..10].copy_from_slice(&ours.start().to_le_bytes());
    hello[10..12].copy_from_slice(&ours.end().to_le_bytes());
    stream.write_all(&hello).await?;
    stream.flush().await
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Result<RangeInclusive<u16>, HelloError> {
    let mut magic = [0; MAGIC.len()];
    // By the byte, for a stranger may send fewer than these eight and wait.
    for at in 0..magic.len() {
        stream.read_exact(&mut magic[at..=at]).await?;
        if magic[at] != MAGIC[at] {
            return Err(stranger(&magic[..=at]));
        }
    }
    let (min, max) = (stream.read_u16_le().await?, stream.read_u16_le().await?);
    let extra = stream.read_u16_le().await?;
    if extra > MAX_EXTRA_BYTES {
        return Err(HelloError::NotWillow(format!("a hello of {extra} bytes")));
    }
    for _ in 0..extra {
        stream.read_u8().await?;
    }
    Ok(min..=max)
}

fn stranger(first: &[u8]) -> HelloError {
    // The record types of TLS: an alert, a handshake.
    if let [0x15 | 0x16] = first {
        return HelloError::WantsTls;
    }
    HelloError::NotWillow(String::from_utf8_lossy(first).into_owned())
}

fn highest_common(ours: &RangeInclusive<u16>, theirs: RangeInclusive<u16>) -> Result<u16, HelloError> {
    let highest = *ours.end().min(theirs.end());
    if ours.contains(&highest) && theirs.contains(&highest) {
        return Ok(highest);
    }
    Err(HelloError::NoCommonVersion { ours: ours.clone(), theirs })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn meet(
        dials: RangeInclusive<u16>,
        listens: RangeInclusive<u16>,
    ) -> (Result<u16, String>, Result<u16, String>) {
        let (mut here, mut there) = tokio::io::duplex(64);
        let (one, other) = tokio::join!(greet(&mut here, &dials), welcome(&mut there, &listens));
        (one.map_err(|error| error.to_string()), other.map_err(|error| error.to_string()))
    }

    #[tokio::test]
    async fn the_highest_version_that_both_speak_is_used() {
        for (dials, listens, version) in [(1..=1, 1..=1, 1), (1..=2, 1..=1, 1), (1..=2, 2..=3, 2), (1..=9, 3..=4, 4)] {
            assert_eq!(meet(dials.clone(), listens.clone()).await, (Ok(version), Ok(version)), "{dials:?} {listens:?}");
        }
    }

    #[tokio::test]
    async fn without_a_common_version_both_sides_name_both_ranges() {
        let (one, other) = meet(1..=1, 2..=3).await;
        let (one, other) = (one.expect_err("none"), other.expect_err("none"));
        assert!(one.contains("speaks 1..=1, the peer 2..=3"), "{one}");
        assert!(other.contains("speaks 2..=3, the peer 1..=1"), "{other}");
    }

    #[tokio::test]
    async fn what_a_later_version_adds_is_passed_over() {
        let mut hello = MAGIC.to_vec();
        for number in [1_u16, 7, 3] {
            hello.extend_from_slice(&number.to_le_bytes());
        }
        hello.extend_from_slice(b"newX");
        let mut rest = &hello[..];
        assert_eq!(receive(&mut rest).await.expect("a hello"), 1..=7);
        assert_eq!(rest, b"X");
    }

    #[tokio::test]
    async fn strangers_are_known_by_their_first_byte() {
        for (bytes, said) in
            [(&b"GET / HTTP/1.1\r\n"[..], "\"G\""), (b"\x16\x03\x01", "wants TLS"), (b"WILD", "\"WILD\"")]
        {
            let error = receive(&mut &bytes[..]).await.expect_err("a stranger").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
