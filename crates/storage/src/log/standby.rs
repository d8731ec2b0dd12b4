//! Keeps the next segment ready, so that rolling over costs nothing.
//!
//! A segment is prepared under a spare name (from a recycled file, or a new one filled with
//! zeros), given its header, synced, renamed into place and its directory synced. Failing at any
//! of it loses nothing: the half-made file is removed and it is tried again later.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::format::SegmentHeader;
use super::segment::{Segment, segment_path, spare_path};
use crate::error::{IoContext, IoError};
use crate::vfs::{OpenMode, Vfs};

/// Zeros are written and synced in steps of this size, to keep the disk's queue short for the
/// commits that go on meanwhile.
const FILL_BYTES: usize = 1 << 20;
/// Recycled files kept for later; more are removed.
const MAX_SPARES: usize = 2;

/// Makes segments.
#[derive(Debug)]
pub(crate) struct Maker {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) dir: PathBuf,
    pub(crate) nonce: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) min_free_bytes: u64,
    /// Set when the log is closed: a segment in the making is given up.
    pub(crate) stop: AtomicBool,
}

impl Maker {
    /// Makes segment `number`, from `spare` if there is one.
    pub(crate) fn make(&self, number: u64, spare: Option<PathBuf>) -> Result<Segment, IoError> {
        let (path, recycled) = match spare {
            Some(path) => (path, true),
            None => (spare_path(&self.dir, number), false),
        };
        let result = self.prepare(number, &path, recycled);
        if result.is_err()
            && let Err(error) = self.vfs.remove(&path)
        {
            tracing::debug!(path = %path.display(), %error, "half-made segment not removed");
        }
        result
    }

    fn prepare(&self, number: u64, from: &Path, recycled: bool) -> Result<Segment, IoError> {
        let file = if recycled {
            self.vfs.open(from, OpenMode::ReadWrite)
        } else {
            self.check_free()?;
            // What an earlier try may have left.
            if let Err(error) = self.vfs.remove(from)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(IoError::new("remove", from, error));
            }
            self.vfs.open(from, OpenMode::CreateNew)
        }
        .context("create", from)?;
        let segment = Segment { number, path: from.to_owned(), file, bytes: self.segment_bytes };
        if !recycled {
            self.fill(&segment)?;
        }
        let header = SegmentHeader { nonce: self.nonce, segment: number, bytes: self.segment_bytes };
        segment.write(&header.encode(), 0)?;
        segment.sync()?;
        let path = segment_path(&self.dir, number);
        self.vfs.rename(from, &path).context("rename", from)?;
        self.vfs.sync_dir(&self.dir).context("sync", &self.dir)?;
        Ok(Segment { path, ..segment })
    }

    fn check_free(&self) -> Result<(), IoError> {
        let free = self.vfs.free_bytes(&self.dir).context("measure the free space of", &self.dir)?;
        let needed = self.min_free_bytes.saturating_add(self.segment_bytes);
        if free >= needed {
            return Ok(());
        }
        let reason =
            format!("{free} bytes are free, and a new segment needs {needed} ({} to stay free)", self.min_free_bytes);
        let full = std::io::Error::new(std::io::ErrorKind::StorageFull, reason);
        Err(IoError::new("make a segment in", &self.dir, full))
    }

    fn fill(&self, segment: &Segment) -> Result<(), IoError> {
        let zeros = vec![0; FILL_BYTES];
        let mut offset = 0;
        while offset < segment.bytes {
            if self.stop.load(Ordering::Relaxed) {
                let closed = std::io::Error::from(std::io::ErrorKind::Interrupted);
                return Err(IoError::new("fill", &segment.path, closed));
            }
            let len = (segment.bytes - offset).min(FILL_BYTES as u64);
            segment.write(&zeros[..len as usize], offset)?;
            segment.sync()?;
            offset += len;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct State {
    /// Number of the segment to make.
    want: Option<u64>,
    ready: Option<Segment>,
    failed: Option<IoError>,
    spares: Vec<PathBuf>,
    stop: bool,
}

/// The next segment, ready or in the making.
#[derive(Debug)]
pub(crate) struct Standby {
    maker: Maker,
    state: Mutex<State>,
    changed: Condvar,
    retry_interval: Duration,
    inline: bool,
}

impl Standby {
    pub(crate) fn new(maker: Maker, spares: Vec<PathBuf>, retry_interval: Duration, inline: bool) -> Self {
        Self {
            maker,
            state: Mutex::new(State { spares, ..State::default() }),
            changed: Condvar::new(),
            retry_interval,
            inline,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread that makes segments.
    pub(crate) fn spawn(self: &Arc<Self>) -> std::io::Result<thread::JoinHandle<()>> {
        let standby = Arc::clone(self);
        thread::Builder::new().name("willow-segments".to_owned()).spawn(move || standby.run())
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.stop {
            if state.want.is_none() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state = self.make(state);
            if state.failed.is_some() && !state.stop {
                (state, _) =
                    self.changed.wait_timeout(state, self.retry_interval).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Makes the wanted segment, with the lock released meanwhile.
    fn make<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(number) = state.want else {
            return state;
        };
        let spare = state.spares.pop();
        drop(state);
        let made = self.maker.make(number, spare);
        state = self.lock();
        match made {
            Ok(segment) => {
                if state.failed.take().is_some() {
                    tracing::info!(segment = number, "a segment could be made again");
                }
                state.want = None;
                state.ready = Some(segment);
            }
            Err(error) => {
                if state.failed.is_none() && !state.stop {
                    tracing::warn!(segment = number, %error, "cannot make the next segment");
                }
                state.failed = Some(error);
            }
        }
        self.changed.notify_all();
        state
    }

    /// Asks for segment `number` to be made ready.
    pub(crate) fn request(&self, number: u64) {
        let mut state = self.lock();
        state.want = Some(number);
        if self.inline {
            drop(self.make(state));
        } else {
            self.changed.notify_all();
        }
    }

    /// Puts a segment that was found prepared when the log was opened.
    pub(crate) fn put(&self, segment: Segment) {
        self.lock().ready = Some(segment);
    }

    /// The requested segment. Waits for one in the making; an error says that making it failed,
    /// and will be tried again.
    pub(crate) fn take(&self) -> Result<Segment, IoError> {
        let mut state = self.lock();
        if self.inline && state.ready.is_none() {
            state = self.make(state);
        }
        loop {
            if let Some(segment) = state.ready.take() {
                return Ok(segment);
            }
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Why there is no segment ready, if making one failed.
    pub(crate) fn failure(&self) -> Option<IoError> {
        self.lock().failed.clone()
    }

    /// Tries again at once to make a segment, if that failed and nobody else is to do it.
    pub(crate) fn retry(&self) {
        let state = self.lock();
        if self.inline && state.failed.is_some() {
            drop(self.make(state));
        }
    }

    /// Where to put a file for recycling, or `None` when there are enough.
    pub(crate) fn wants_spare(&self) -> bool {
        self.lock().spares.len() < MAX_SPARES
    }

    /// Takes a file of a segment's length for recycling.
    pub(crate) fn add_spare(&self, path: PathBuf) {
        let mut state = self.lock();
        state.spares.push(path);
        if !self.inline {
            self.changed.notify_all();
        } else if state.failed.is_some() {
            drop(self.make(state));
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.maker.stop.store(true, Ordering::Relaxed);
        self.lock().stop = true;
        self.changed.notify_all();
    }
}
