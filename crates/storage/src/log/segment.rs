//! A segment file, and its name.

use std::path::{Path, PathBuf};

use crate::error::{IoContext, IoError};
use crate::vfs::VfsFile;

/// Suffix of a segment that is part of the log.
const SEGMENT_SUFFIX: &str = ".seg";
/// Suffix of a file that is being prepared, or waits to be used again.
const SPARE_SUFFIX: &str = ".spare";

/// An open segment. Readers share it; the file stays readable for them after it was removed.
#[derive(Debug)]
pub(crate) struct Segment {
    /// From 1, without gaps.
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn VfsFile>,
    /// Length of the file.
    pub(crate) bytes: u64,
}

impl Segment {
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<(), IoError> {
        self.file.write_all_at(bytes, offset).context("write", &self.path)
    }

    pub(crate) fn sync(&self) -> Result<(), IoError> {
        self.file.sync_data().context("sync", &self.path)
    }

    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), IoError> {
        self.file.read_exact_at(buf, offset).context("read", &self.path)
    }
}

/// Path of segment `number`.
pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}{SEGMENT_SUFFIX}"))
}

/// Path of a spare file.
pub(crate) fn spare_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}{SPARE_SUFFIX}"))
}

/// The number in a segment's name.
pub(crate) fn parse_segment(name: &str) -> Option<u64> {
    parse(name, SEGMENT_SUFFIX)
}

/// Whether a name is that of a spare file.
pub(crate) fn is_spare(name: &str) -> bool {
    parse(name, SPARE_SUFFIX).is_some()
}

fn parse(name: &str, suffix: &str) -> Option<u64> {
    let stem = name.strip_suffix(suffix)?;
    let canonical = stem.len() == 16 && stem.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !canonical {
        return None;
    }
    u64::from_str_radix(stem, 16).ok()
}
