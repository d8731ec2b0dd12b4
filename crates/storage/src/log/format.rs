//! Bytes of the log: segment header, batch header, record header. See the crate's head for the
//! picture.
//!
//! Every integer is little-endian. Decoders take arbitrary bytes and answer `None` for anything
//! that is not exactly what an encoder here wrote.

use bytes::Bytes;

use super::record::{GroupId, StateKey};
use crate::bugs;

/// Unit of a torn write: a batch starts on a sector of its own, so that a torn sector can never
/// belong to a batch that was acknowledged earlier.
pub(crate) const SECTOR: usize = 512;
/// Writes end on a page boundary, so that the kernel never has to read a page to change a part.
pub(crate) const PAGE: usize = 4096;
/// The segment header has a page to itself.
pub(crate) const SEGMENT_HEADER: usize = PAGE;

const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"WillowSg");
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"WBat");
const SEGMENT_VERSION: u16 = 1;
const BATCH_VERSION: u16 = 1;
const RECORD_VERSION: u8 = 1;

const SEGMENT_HEADER_USED: usize = 40;
/// Length of a batch header.
pub(crate) const BATCH_HEADER: usize = 48;
/// Length of a record header.
pub(crate) const RECORD_HEADER: usize = 32;

/// First bytes of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Drawn at random when the log is created; binds every batch to its log.
    pub(crate) nonce: u64,
    /// Number of the segment, from 1, without gaps.
    pub(crate) segment: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
}

/// What a decoder made of bytes that should be a versioned header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded<T> {
    /// Intact.
    Valid(T),
    /// Intact, but of a version this build does not know.
    UnknownVersion(u16),
    /// Not one of ours, or damaged.
    Invalid,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER);
        out.extend_from_slice(&SEGMENT_MAGIC.to_le_bytes());
        out.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.nonce.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(out.len(), SEGMENT_HEADER_USED);
        out.resize(SEGMENT_HEADER, 0);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let Some(head) = bytes.get(..SEGMENT_HEADER_USED) else {
            return Decoded::Invalid;
        };
        let mut input = Input(head);
        let fields = (|| {
            let magic = input.u64()?;
            let version = input.u16()?;
            let _reserved = input.u16()?;
            let header = Self { nonce: input.u64()?, segment: input.u64()?, bytes: input.u64()? };
            Some((magic, version, header, input.u32()?))
        })();
        match fields {
            Some((SEGMENT_MAGIC, version, header, crc)) if crc == crc32fast::hash(&head[..SEGMENT_HEADER_USED - 4]) => {
                if version == SEGMENT_VERSION {
                    Decoded::Valid(header)
                } else {
                    Decoded::UnknownVersion(version)
                }
            }
            _ => Decoded::Invalid,
        }
    }
}

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchFlags(pub(crate) u16);

impl BatchFlags {
    /// Ordinary records.
    pub(crate) const NONE: Self = Self(0);
    /// First batch of a segment: starts with the marks and state of every group.
    pub(crate) const CHECKPOINT: Self = Self(1);
    /// Carries nothing; its presence proves that the batch before it was durable.
    pub(crate) const SEAL: Self = Self(2);

    pub(crate) fn is_checkpoint(self) -> bool {
        self.0 & Self::CHECKPOINT.0 != 0
    }
}

/// Head of a batch: what one write put on disk and one sync made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) flags: BatchFlags,
    pub(crate) nonce: u64,
    pub(crate) segment: u64,
    /// Number of the batch in the log, from 1, without gaps. A batch is written only after the
    /// one before it was synced, so a batch proves that all earlier ones were durable.
    pub(crate) sequence: u64,
    pub(crate) payload_len: u32,
    pub(crate) records: u32,
    pub(crate) payload_crc: u32,
}

impl BatchHeader {
    pub(crate) fn encode(&self) -> [u8; BATCH_HEADER] {
        let mut out = [0; BATCH_HEADER];
        out[0..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&BATCH_VERSION.to_le_bytes());
        out[6..8].copy_from_slice(&self.flags.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.nonce.to_le_bytes());
        out[16..24].copy_from_slice(&self.segment.to_le_bytes());
        out[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        out[32..36].copy_from_slice(&self.payload_len.to_le_bytes());
        out[36..40].copy_from_slice(&self.records.to_le_bytes());
        out[40..44].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32fast::hash(&out[..44]);
        out[44..48].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let Some(head) = bytes.get(..BATCH_HEADER) else {
            return Decoded::Invalid;
        };
        let mut input = Input(head);
        let fields = (|| {
            let magic = input.u32()?;
            let version = input.u16()?;
            let header = Self {
                flags: BatchFlags(input.u16()?),
                nonce: input.u64()?,
                segment: input.u64()?,
                sequence: input.u64()?,
                payload_len: input.u32()?,
                records: input.u32()?,
                payload_crc: input.u32()?,
            };
            Some((magic, version, header, input.u32()?))
        })();
        match fields {
            Some((BATCH_MAGIC, version, header, crc)) if crc == crc32fast::hash(&head[..44]) => {
                if version == BATCH_VERSION { Decoded::Valid(header) } else { Decoded::UnknownVersion(version) }
            }
            _ => Decoded::Invalid,
        }
    }

    /// Bytes the batch takes in its segment, the pad to the next sector included.
    pub(crate) fn disk_len(&self) -> u64 {
        padded(BATCH_HEADER as u64 + u64::from(self.payload_len))
    }
}

/// Rounds up to whole sectors.
pub(crate) fn padded(len: u64) -> u64 {
    len.next_multiple_of(SECTOR as u64)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Entry = 1,
    Truncate = 2,
    Purge = 3,
    State = 4,
    Forget = 5,
    /// In a checkpoint: where a group's entries start and end. `index` is the first entry,
    /// `term` the one after the last, `aux` bit 0 says whether anything was ever purged.
    Mark = 6,
    /// An entry written again further on, so that the segment that held it can be dropped.
    Moved = 7,
    /// In a checkpoint: a small durable value, after the mark of its group.
    MarkState = 8,
}

impl Kind {
    fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Entry,
            2 => Self::Truncate,
            3 => Self::Purge,
            4 => Self::State,
            5 => Self::Forget,
            6 => Self::Mark,
            7 => Self::Moved,
            8 => Self::MarkState,
            _ => return None,
        })
    }
}

/// Head of a record, without its length and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: Kind,
    /// State key, or flags of a mark; zero otherwise.
    pub(crate) aux: StateKey,
    pub(crate) group: GroupId,
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// Appends a record to `out`. The payload must be shorter than 4 GiB, which the limits on a
/// segment ensure.
pub(crate) fn encode_record(header: &RecordHeader, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let len = u32::try_from(payload.len()).expect("payload is bounded by the segment's length");
    out.push(RECORD_VERSION);
    out.push(header.kind as u8);
    out.extend_from_slice(&header.aux.to_le_bytes());
    out.extend_from_slice(&header.group.to_le_bytes());
    out.extend_from_slice(&header.index.to_le_bytes());
    out.extend_from_slice(&header.term.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[start..]);
    crc.update(payload);
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    out.extend_from_slice(payload);
}

/// Decodes the record at the head of `bytes`: its header, its payload, and the bytes it takes.
pub(crate) fn decode_record(bytes: &[u8]) -> Option<(RecordHeader, &[u8], usize)> {
    let head = bytes.get(..RECORD_HEADER)?;
    let mut input = Input(head);
    let version = input.u8()?;
    let kind = Kind::from_u8(input.u8()?)?;
    let header = RecordHeader { kind, aux: input.u16()?, group: input.u32()?, index: input.u64()?, term: input.u64()? };
    let len = usize::try_from(input.u32()?).ok()?;
    let crc = input.u32()?;
    let end = RECORD_HEADER.checked_add(len)?;
    let payload = bytes.get(RECORD_HEADER..end)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..RECORD_HEADER - 4]);
    hasher.update(payload);
    let is_intact = hasher.finalize() == crc || bugs::accepts_torn_tails();
    (version == RECORD_VERSION && is_intact).then_some((header, payload, end))
}

/// Decodes an entry that was read alone: all of `bytes`, checked against where it should be.
pub(crate) fn decode_entry(bytes: Bytes, group: GroupId, index: u64, term: u64) -> Option<Bytes> {
    let (header, _, used) = decode_record(&bytes)?;
    let wanted = matches!(header.kind, Kind::Entry | Kind::Moved)
        && (header.group, header.index, header.term) == (group, index, term)
        && used == bytes.len();
    wanted.then(|| bytes.slice(RECORD_HEADER..))
}

/// A cursor over bytes that answers `None` at their end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [Kind; 8] =
        [Kind::Entry, Kind::Truncate, Kind::Purge, Kind::State, Kind::Forget, Kind::Mark, Kind::Moved, Kind::MarkState];

    fn record_header() -> impl Strategy<Value = RecordHeader> {
        let kind = prop::sample::select(KINDS.to_vec());
        (kind, any::<(u16, u32, u64, u64)>()).prop_map(|(kind, (aux, group, index, term))| RecordHeader {
            kind,
            aux,
            group,
            index,
            term,
        })
    }

    proptest! {
        #[test]
        fn a_segment_header_comes_back((nonce, segment, bytes) in any::<(u64, u64, u64)>()) {
            let header = SegmentHeader { nonce, segment, bytes };
            let encoded = header.encode();
            prop_assert_eq!(encoded.len(), SEGMENT_HEADER);
            prop_assert_eq!(SegmentHeader::decode(&encoded), Decoded::Valid(header));
        }

        #[test]
        fn a_batch_header_comes_back_and_no_flipped_bit_passes(
            (flags, nonce, segment, sequence) in any::<(u16, u64, u64, u64)>(),
            (payload_len, records, payload_crc) in any::<(u32, u32, u32)>(),
            bit in 0..BATCH_HEADER * 8,
        ) {
            let header = BatchHeader {
                flags: BatchFlags(flags),
                nonce,
                segment,
                sequence,
                payload_len,
                records,
                payload_crc,
            };
            let mut encoded = header.encode();
            prop_assert_eq!(BatchHeader::decode(&encoded), Decoded::Valid(header));
            encoded[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(BatchHeader::decode(&encoded), Decoded::Invalid);
            prop_assert_eq!(super::super::flip::header_but_one_bit(&encoded), Some(header));
        }

        #[test]
        fn records_come_back_one_after_the_other(
            records in prop::collection::vec(
                (record_header(), prop::collection::vec(any::<u8>(), 0..100)),
                1..5,
            ),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            for (header, payload) in &records {
                encode_record(header, payload, &mut bytes);
            }
            let mut at = 0;
            for (header, payload) in &records {
                let (got, got_payload, used) = decode_record(&bytes[at..]).expect("intact");
                prop_assert_eq!((&got, got_payload), (header, &payload[..]));
                // Any part of it is not a record.
                prop_assert_eq!(decode_record(&bytes[at..at + cut.index(used)]), None);
                at += used;
            }
            prop_assert_eq!(at, bytes.len());
        }

        #[test]
        fn a_flipped_bit_in_a_record_is_found(
            header in record_header(),
            payload in prop::collection::vec(any::<u8>(), 0..100),
            place in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            encode_record(&header, &payload, &mut bytes);
            let bit = place.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode_record(&bytes), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = SegmentHeader::decode(&bytes);
            let _ = BatchHeader::decode(&bytes);
            let _ = decode_record(&bytes);
            let _ = decode_entry(bytes.into(), 1, 2, 3);
        }
    }

    #[test]
    fn an_unknown_version_is_told_from_damage() {
        let header = SegmentHeader { nonce: 1, segment: 2, bytes: 3 };
        let mut encoded = header.encode();
        encoded[8] = 2;
        assert_eq!(SegmentHeader::decode(&encoded), Decoded::Invalid);
        let crc = crc32fast::hash(&encoded[..SEGMENT_HEADER_USED - 4]);
        encoded[SEGMENT_HEADER_USED - 4..SEGMENT_HEADER_USED].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&encoded), Decoded::UnknownVersion(2));
    }
}
