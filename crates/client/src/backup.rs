//! Backups: a file streamed to wherever it is to go, and checked on the way.

use std::{collections::VecDeque, io::Write};

use http::Method;

use crate::{Client, Error, transport::Call};

/// Bytes of the checksum at the end of a backup.
const CHECKSUM_BYTES: usize = blake3::OUT_LEN;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] Error),
    /// It could not be written.
    #[error("the backup could not be written: {0}")]
    Write(std::io::Error),
    /// What came is not whole.
    #[error("the backup came damaged, its checksum is wrong; make it again")]
    Damaged,
}

impl Client {
    /// Writes a backup of all data to `out`, and returns its size in bytes. It is whole only when this says so.
    ///
    /// # Errors
    /// See [`BackupError`]. Another server is asked only while nothing has been written.
    pub async fn backup(&self, mut out: impl Write + Send) -> Result<u64, BackupError> {
        let call = Call::new(Method::POST, "/v1/cluster/backup".to_owned());
        let transport = &self.inner.transport;
        let mut failure = BackupError::Damaged;
        for _server in 0..transport.servers() {
            let (mut check, mut bytes) = (Check::default(), 0);
            let sink = |data: &[u8]| {
                check.take(data);
                bytes += data.len() as u64;
                out.write_all(data)
            };
            match transport.download(&call, sink).await {
                Ok(()) if check.is_whole() => return Ok(bytes),
                Ok(()) => return Err(BackupError::Damaged),
                Err(error) if bytes > 0 => return Err(error),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The checksum of everything but the last bytes, which are it.
#[derive(Debug, Default)]
struct Check {
    hasher: blake3::Hasher,
    last: VecDeque<u8>,
}

impl Check {
    fn take(&mut self, data: &[u8]) {
        self.last.extend(data);
        let whole = self.last.len().saturating_sub(CHECKSUM_BYTES);
        self.hasher.update(&self.last.drain(..whole).collect::<Vec<u8>>());
    }

    fn is_whole(&self) -> bool {
        self.last.iter().eq(self.hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_file_has_the_right_checksum_however_it_comes() {
        let mut file = vec![7; 1000];
        file.extend_from_slice(blake3::hash(&file).as_bytes());
        for part in [1, 31, 32, 33, 2000] {
            let whole = |file: &[u8]| {
                let mut check = Check::default();
                file.chunks(part).for_each(|part| check.take(part));
                check.is_whole()
            };
            assert!(whole(&file));
            assert!(!whole(&file[..file.len() - 1]) && !whole(&file[..40]) && !whole(b""));
        }
    }
}
