//! Bytes of a snapshot file, and the names of its files.

/// The largest chunk; a reader needs this much memory.
pub const MAX_CHUNK_BYTES: usize = 16 << 20;
/// The most meta bytes a snapshot can carry.
pub const MAX_META_BYTES: usize = 1 << 20;

const MAGIC: u64 = u64::from_le_bytes(*b"WillowSn");
const VERSION: u16 = 1;

/// Length of the header before the meta bytes.
pub(super) const HEADER: usize = 28;
/// Length of the head of a chunk.
pub(super) const CHUNK_HEADER: usize = 8;
/// Length of the footer.
pub(super) const FOOTER: usize = CHUNK_HEADER + 48;

pub(super) const SUFFIX: &str = ".snap";
/// Suffix of a snapshot that is being written.
pub(super) const PARTIAL_SUFFIX: &str = ".partial";

pub(super) fn name(id: u64, suffix: &str) -> String {
    format!("{id:016x}{suffix}")
}

/// The id in a file name with `suffix`, if it is exactly the name we would give.
pub(super) fn parse_name(file: &str, suffix: &str) -> Option<u64> {
    let id = u64::from_str_radix(file.strip_suffix(suffix)?, 16).ok()?;
    (name(id, suffix) == file).then_some(id)
}

/// What a header says, before the meta bytes are checked with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u16,
    pub(super) id: u64,
    pub(super) meta_len: usize,
    pub(super) crc: u32,
}

/// Header and meta bytes.
pub(super) fn encode_header(id: u64, meta: &[u8]) -> Vec<u8> {
    let len = u32::try_from(meta.len()).expect("meta bytes are bounded");
    let mut out = Vec::with_capacity(HEADER + meta.len());
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    let crc = header_crc(&out, meta);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(meta);
    out
}

/// Checksum of a header (without its checksum) and the meta bytes.
pub(super) fn header_crc(head: &[u8], meta: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(meta);
    hasher.finalize()
}

pub(super) fn decode_header(bytes: &[u8; HEADER]) -> Option<Header> {
    let header = Header {
        version: u16::from_le_bytes(field(bytes, 8)?),
        id: u64::from_le_bytes(field(bytes, 12)?),
        meta_len: u32::from_le_bytes(field(bytes, 20)?) as usize,
        crc: u32::from_le_bytes(field(bytes, 24)?),
    };
    let known = u64::from_le_bytes(field(bytes, 0)?) == MAGIC && header.meta_len <= MAX_META_BYTES;
    known.then_some(header)
}

/// Whether this build can read a version.
pub(super) fn is_known(version: u16) -> bool {
    version == VERSION
}

pub(super) fn chunk_header(number: u64, bytes: &[u8]) -> [u8; CHUNK_HEADER] {
    let len = u32::try_from(bytes.len()).expect("chunks are bounded");
    let mut out = [0; CHUNK_HEADER];
    out[..4].copy_from_slice(&len.to_le_bytes());
    out[4..].copy_from_slice(&chunk_crc(number, bytes).to_le_bytes());
    out
}

/// Covers the number, so that chunks cannot change places.
pub(super) fn chunk_crc(number: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Length (zero says: footer) and checksum.
pub(super) fn decode_chunk_header(bytes: &[u8; CHUNK_HEADER]) -> (usize, u32) {
    let len = u32::from_le_bytes(field(bytes, 0).unwrap_or_default());
    let crc = u32::from_le_bytes(field(bytes, 4).unwrap_or_default());
    (len as usize, crc)
}

/// End of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) chunks: u64,
    /// Bytes in the chunks, without their headers.
    pub(super) bytes: u64,
    pub(super) hash: [u8; 32],
}

impl Footer {
    pub(super) fn encode(&self) -> [u8; FOOTER] {
        let mut out = [0; FOOTER];
        out[8..16].copy_from_slice(&self.chunks.to_le_bytes());
        out[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        out[24..56].copy_from_slice(&self.hash);
        let crc = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8; FOOTER]) -> Option<Self> {
        let footer = Self {
            chunks: u64::from_le_bytes(field(bytes, 8)?),
            bytes: u64::from_le_bytes(field(bytes, 16)?),
            hash: field(bytes, 24)?,
        };
        (footer.encode() == *bytes).then_some(footer)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}
