//! Reading a snapshot.

use std::path::{Path, PathBuf};

use super::format::{self, CHUNK_HEADER, FOOTER, Footer, HEADER, MAX_CHUNK_BYTES};
use crate::error::{IoContext, IoError, SnapshotError};
use crate::vfs::{OpenMode, Vfs, VfsFile};

/// Reads one snapshot, chunk by chunk. Stays readable when newer ones take its place.
#[derive(Debug)]
pub struct SnapshotReader {
    path: PathBuf,
    file: Box<dyn VfsFile>,
    len: u64,
    id: u64,
    meta: Vec<u8>,
    /// Where the first chunk starts.
    start: u64,
    /// Where the next one starts.
    offset: u64,
    next: u64,
    bytes: u64,
    footer: Option<Footer>,
}

impl SnapshotReader {
    /// Opens a snapshot and checks its header.
    pub(super) fn open(vfs: &dyn Vfs, path: &Path, id: u64) -> Result<Self, SnapshotError> {
        let file = vfs.open(path, OpenMode::Read).context("open", path)?;
        let len = file.len().context("measure", path)?;
        let mut reader = Self {
            path: path.to_owned(),
            file,
            len,
            id,
            meta: Vec::new(),
            start: 0,
            offset: 0,
            next: 0,
            bytes: 0,
            footer: None,
        };
        let head: [u8; HEADER] = reader.read(0)?;
        let Some(header) = format::decode_header(&head) else {
            return Err(reader.corrupt(0, "the header is damaged"));
        };
        let mut meta = vec![0; header.meta_len];
        reader.read_into(&mut meta, HEADER as u64)?;
        if format::header_crc(&head[..HEADER - 4], &meta) != header.crc {
            return Err(reader.corrupt(0, "the header or the meta bytes are damaged"));
        }
        if !format::is_known(header.version) {
            return Err(SnapshotError::UnknownVersion { path: path.to_owned(), version: header.version });
        }
        if header.id != id {
            return Err(reader.corrupt(0, "the header has the number of another snapshot"));
        }
        reader.start = (HEADER + meta.len()) as u64;
        reader.offset = reader.start;
        reader.meta = meta;
        Ok(reader)
    }

    /// Reads everything through and compares it with the footer, then goes back to the start.
    pub(super) fn verify(&mut self) -> Result<(), SnapshotError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&format::encode_header(self.id, &self.meta));
        loop {
            let number = self.next;
            let Some(chunk) = self.next_chunk()? else {
                break;
            };
            hasher.update(&format::chunk_header(number, &chunk));
            hasher.update(&chunk);
        }
        let whole = *hasher.finalize().as_bytes();
        if self.footer.is_none_or(|footer| footer.hash != whole) {
            return Err(self.corrupt(self.offset, "the checksum of the whole does not match"));
        }
        self.rewind();
        Ok(())
    }

    /// Number of the snapshot; later ones have higher numbers.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The meta bytes given when it was written.
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.len
    }

    /// Goes back to the first chunk.
    pub fn rewind(&mut self) {
        self.offset = self.start;
        self.next = 0;
        self.bytes = 0;
    }

    /// The next chunk, as it was written; `None` after the last, when the footer agrees.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        let head: [u8; CHUNK_HEADER] = self.read(self.offset)?;
        let (len, crc) = format::decode_chunk_header(&head);
        if len == 0 {
            return self.read_footer().map(|()| None);
        }
        let rest = self.len.saturating_sub(self.offset + CHUNK_HEADER as u64);
        if len > MAX_CHUNK_BYTES || len as u64 > rest {
            return Err(self.corrupt(self.offset, "the length of a chunk is damaged"));
        }
        let mut chunk = vec![0; len];
        self.read_into(&mut chunk, self.offset + CHUNK_HEADER as u64)?;
        if format::chunk_crc(self.next, &chunk) != crc {
            return Err(self.corrupt(self.offset, "a chunk is damaged"));
        }
        self.offset += (CHUNK_HEADER + len) as u64;
        self.next += 1;
        self.bytes += len as u64;
        Ok(Some(chunk))
    }

    fn read_footer(&mut self) -> Result<(), SnapshotError> {
        let bytes: [u8; FOOTER] = self.read(self.offset)?;
        let agrees = |footer: &Footer| {
            footer.chunks == self.next && footer.bytes == self.bytes && self.len == self.offset + FOOTER as u64
        };
        match Footer::decode(&bytes).filter(agrees) {
            Some(footer) => {
                self.footer = Some(footer);
                Ok(())
            }
            None => Err(self.corrupt(self.offset, "the footer is damaged")),
        }
    }

    fn read<const N: usize>(&self, offset: u64) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.read_into(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn read_into(&self, bytes: &mut [u8], offset: u64) -> Result<(), SnapshotError> {
        match self.file.read_exact_at(bytes, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt(offset, "the file ends too early"))
            }
            Err(error) => Err(IoError::new("read", &self.path, error).into()),
            Ok(()) => Ok(()),
        }
    }

    fn corrupt(&self, offset: u64, reason: &'static str) -> SnapshotError {
        SnapshotError::Corrupt { path: self.path.clone(), offset, reason }
    }
}
