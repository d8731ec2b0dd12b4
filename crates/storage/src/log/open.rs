//! Opening and creating a log.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex};

use super::format::{Decoded, SEGMENT_HEADER, SegmentHeader};
use super::index::{Group, Held, Index};
use super::options::{Options, Threading};
use super::recover::{self, Replayed, TornTail};
use super::segment::{Segment, is_spare, parse_segment, segment_path};
use super::shared::{Counters, Shared};
use super::standby::{Maker, Standby};
use super::writer::Writer;
use super::{Inner, Log};
use crate::error::{IoContext, IoError, OpenError};
use crate::vfs::{LockGuard, OpenMode, Vfs};

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The log did not exist and was created.
    pub created: bool,
    /// Intact batches read.
    pub batches: u64,
    /// Segments read.
    pub segments: u64,
    /// A write that was cut short by a crash, never acknowledged, and now cut off.
    pub torn: Option<TornTail>,
}

impl Log {
    /// Whether there is a log in `dir`.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn exists(vfs: &dyn Vfs, dir: &Path) -> Result<bool, OpenError> {
        vfs.create_dir_all(dir).context("create", dir)?;
        Ok(vfs.list(dir).context("list", dir)?.iter().any(|name| parse_segment(name).is_some()))
    }

    /// Opens the log in `dir`, creating both if need be, and locks the directory.
    ///
    /// Everything whose callback said durable is there again. A torn last write is cut off with
    /// a warning; damage to anything before it is [`OpenError::Corrupt`], and then nothing on
    /// disk was changed.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, options: Options) -> Result<(Self, Recovered), OpenError> {
        options.check()?;
        vfs.create_dir_all(dir).context("create", dir)?;
        let lock = lock_dir(&*vfs, dir)?;
        let mut files = find(&*vfs, dir)?;
        drop_empty_log(&*vfs, dir, &mut files, &options)?;
        let created = files.segments.is_empty();
        let nonce = match files.nonce {
            Some(nonce) => nonce,
            None => options.nonce.unwrap_or_else(random),
        };
        let maker = Maker {
            vfs: Arc::clone(&vfs),
            dir: dir.to_owned(),
            nonce,
            segment_bytes: options.segment_bytes,
            min_free_bytes: options.min_free_bytes,
            stop: AtomicBool::new(false),
        };
        if created {
            let first = maker.make(1, files.spares.pop())?;
            files.segments.push(Arc::new(first));
        }
        let replayed = recover::replay(&files.segments, nonce)?;
        recover::mend(&files.segments, &replayed)?;
        let recovered = report(&replayed, created, files.segments.len());
        let standby = Standby::new(maker, files.spares, options.retry_interval, options.threading == Threading::Inline);
        let beyond = files.segments.split_off(replayed.tail + 1);
        let ready = keep_standby(&*vfs, dir, beyond, &options)?;
        let opening = Opening { vfs, dir: dir.to_owned(), options, nonce, lock, standby: Arc::new(standby) };
        let log = opening.finish(replayed, files.segments, ready)?;
        Ok((log, recovered))
    }
}

struct Opening {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    options: Options,
    nonce: u64,
    lock: Box<dyn LockGuard>,
    standby: Arc<Standby>,
}

impl Opening {
    fn finish(self, replayed: Replayed, segments: Vec<Arc<Segment>>, ready: Option<Segment>) -> Result<Log, OpenError> {
        let current = Arc::clone(&segments[replayed.tail]);
        let (offset, sequence, sealed) = (replayed.offset, replayed.sequence, replayed.sealed);
        let durable = replayed.marks.clone();
        let index = build_index(replayed, segments, self.options.cache_bytes);
        if index.state_bytes() > self.options.max_state_bytes {
            return Err(OpenError::Options(format!(
                "max_state_bytes is {}, but the log holds {} bytes of state",
                self.options.max_state_bytes,
                index.state_bytes()
            )));
        }
        let shared = Arc::new(Mutex::new(Shared {
            index,
            queue: VecDeque::new(),
            inflight: VecDeque::new(),
            queued_bytes: 0,
            remaining: current.bytes - offset,
            poisoned: None,
            closed: false,
            counters: Counters::default(),
        }));
        let next = current.number + 1;
        let writer = Writer {
            vfs: self.vfs,
            dir: self.dir.clone(),
            options: self.options.clone(),
            nonce: self.nonce,
            current,
            offset,
            sequence,
            durable,
            standby: Arc::clone(&self.standby),
            sealed,
            buffer: Vec::new(),
            stuck_segment: None,
            _lock: self.lock,
        };
        let inner = start(writer, shared, &self.standby, self.options).context("start a thread for", &self.dir)?;
        match ready {
            Some(segment) => self.standby.put(segment),
            None => self.standby.request(next),
        }
        Ok(Log { inner: Arc::new(inner) })
    }
}

fn start(writer: Writer, shared: Arc<Mutex<Shared>>, standby: &Arc<Standby>, options: Options) -> io::Result<Inner> {
    let work = Arc::new(Condvar::new());
    let mut threads = Vec::new();
    let mut inline = None;
    match options.threading {
        Threading::Inline => inline = Some(Mutex::new(writer)),
        Threading::Threads => {
            let (shared, work) = (Arc::clone(&shared), Arc::clone(&work));
            let thread = std::thread::Builder::new().name("willow-log".to_owned());
            threads.push(thread.spawn(move || super::run_writer(writer, shared, &work))?);
            threads.push(standby.spawn()?);
        }
    }
    Ok(Inner {
        shared,
        work,
        standby: Arc::clone(standby),
        options,
        inline,
        has_asked: AtomicBool::new(false),
        threads: Mutex::new(threads),
    })
}

fn lock_dir(vfs: &dyn Vfs, dir: &Path) -> Result<Box<dyn LockGuard>, OpenError> {
    vfs.lock_dir(dir).map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            OpenError::Locked { dir: dir.to_owned() }
        } else {
            IoError::new("lock", dir, error).into()
        }
    })
}

#[derive(Debug)]
struct Files {
    /// Numbered without gaps.
    segments: Vec<Arc<Segment>>,
    nonce: Option<u64>,
    spares: Vec<PathBuf>,
}

/// Lists the directory and opens the segments in it.
fn find(vfs: &dyn Vfs, dir: &Path) -> Result<Files, OpenError> {
    let names = vfs.list(dir).context("list", dir)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse_segment(name)).collect();
    numbers.sort_unstable();
    let mut spares: Vec<PathBuf> = names.iter().filter(|name| is_spare(name)).map(|name| dir.join(name)).collect();
    spares.sort();
    let mut files = Files { segments: Vec::with_capacity(numbers.len()), nonce: None, spares };
    for number in numbers {
        let path = segment_path(dir, number);
        let corrupt = |reason: String| OpenError::Corrupt { path: path.clone(), offset: 0, reason };
        let last = files.segments.last().map_or(number, |last| last.number + 1);
        if last != number {
            return Err(corrupt(format!("segment {last:016x} before it is missing")));
        }
        let (segment, nonce) = open_segment(vfs, number, path.clone())?;
        if files.nonce.is_some_and(|known| known != nonce) {
            return Err(corrupt("it belongs to another log".to_owned()));
        }
        files.nonce = Some(nonce);
        files.segments.push(Arc::new(segment));
    }
    Ok(files)
}

fn open_segment(vfs: &dyn Vfs, number: u64, path: PathBuf) -> Result<(Segment, u64), OpenError> {
    let file = vfs.open(&path, OpenMode::ReadWrite).context("open", &path)?;
    let bytes = file.len().context("measure", &path)?;
    let corrupt = |reason: &str| OpenError::Corrupt { path: path.clone(), offset: 0, reason: reason.to_owned() };
    if bytes < SEGMENT_HEADER as u64 {
        return Err(corrupt("it is too short for a segment"));
    }
    let mut head = vec![0; SEGMENT_HEADER];
    file.read_exact_at(&mut head, 0).context("read", &path)?;
    let header = match SegmentHeader::decode(&head) {
        Decoded::Valid(header) => header,
        Decoded::UnknownVersion(version) => {
            return Err(OpenError::UnknownVersion { path, version });
        }
        Decoded::Invalid => return Err(corrupt("its header is damaged")),
    };
    if header.segment != number {
        return Err(corrupt("its header has the number of another segment"));
    }
    if header.bytes != bytes {
        return Err(corrupt("it does not have the length in its header"));
    }
    let segment = Segment { number, path, file, bytes };
    Ok((segment, header.nonce))
}

/// Removes the only segment if nothing was ever written to it and it has another length than is
/// wanted now; and spares of another length.
fn drop_empty_log(vfs: &dyn Vfs, dir: &Path, files: &mut Files, options: &Options) -> Result<(), OpenError> {
    let mut kept = Vec::new();
    for spare in std::mem::take(&mut files.spares) {
        let file = vfs.open(&spare, OpenMode::Read).context("open", &spare)?;
        if file.len().context("measure", &spare)? == options.segment_bytes {
            kept.push(spare);
        } else {
            vfs.remove(&spare).context("remove", &spare)?;
        }
    }
    files.spares = kept;
    let only = match &*files.segments {
        [only] if only.bytes != options.segment_bytes => only,
        _ => return Ok(()),
    };
    let replayed = recover::replay(&files.segments, files.nonce.unwrap_or_default())?;
    if replayed.batches == 0 {
        vfs.remove(&only.path).context("remove", &only.path)?;
        vfs.sync_dir(dir).context("sync", dir)?;
        files.segments.clear();
        files.nonce = None;
    }
    Ok(())
}

/// Of the segments past the end, keeps the next one if it is of use, and removes the others.
fn keep_standby(
    vfs: &dyn Vfs,
    dir: &Path,
    beyond: Vec<Arc<Segment>>,
    options: &Options,
) -> Result<Option<Segment>, OpenError> {
    let mut ready = None;
    let mut removed = false;
    // Newest first, so that a crash in between leaves no gap.
    for (order, segment) in beyond.into_iter().enumerate().rev() {
        let only_handle = Arc::into_inner(segment).expect("nothing reads the log yet");
        if order == 0 && only_handle.bytes == options.segment_bytes {
            ready = Some(only_handle);
        } else {
            let path = &only_handle.path;
            vfs.remove(path).context("remove", path)?;
            removed = true;
        }
    }
    if removed {
        vfs.sync_dir(dir).context("sync", dir)?;
    }
    Ok(ready)
}

fn build_index(replayed: Replayed, segments: Vec<Arc<Segment>>, cache_bytes: u64) -> Index {
    let mut held: BTreeMap<u64, Held> =
        segments.into_iter().map(|segment| (segment.number, Held { segment, live: 0 })).collect();
    let mut entries = replayed.entries;
    let mut groups = BTreeMap::new();
    for (id, mark) in replayed.marks {
        let slots = entries.remove(&id).unwrap_or_default();
        for slot in slots.values() {
            if let Some(held) = slot.segment().and_then(|number| held.get_mut(&number)) {
                held.live += slot.record_len();
            }
        }
        let group = Group::recovered(mark, slots.into_values());
        groups.insert(id, group);
    }
    Index::new(groups, held, cache_bytes)
}

fn report(replayed: &Replayed, created: bool, segments: usize) -> Recovered {
    if let Some(torn) = &replayed.torn {
        tracing::warn!(
            segment = torn.segment,
            offset = torn.offset,
            "the last write was cut short by a crash; it was never acknowledged, and is dropped"
        );
    }
    Recovered { created, batches: replayed.batches, segments: segments as u64, torn: replayed.torn.clone() }
}

/// A number nobody can foresee, from the standard library's seed for hash maps.
fn random() -> u64 {
    RandomState::new().hash_one("willow log nonce")
}
