//! A file system in memory that forgets, tears, flips and refuses as a bad disk would.
//!
//! What a program sees and what would survive a power cut are kept apart, by sectors of 512
//! bytes for data and by operations for the directory. The same seed and the same calls give the
//! same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{LockGuard, OpenMode, Vfs, VfsFile};

const SECTOR: usize = 512;

/// Kinds of operations, for counting and refusing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Opening a file that exists.
    Open,
    /// Creating a file.
    Create,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Syncing a file.
    Sync,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Syncing a directory.
    SyncDir,
}

/// What survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// The process was killed: everything written survives.
    KeepAll,
    /// The power went: nothing survives that was not synced.
    LoseUnsynced,
    /// The power went: of what was not synced, each sector survives or not by chance, and of the
    /// changes of directories the first few do.
    Torn,
}

type Hook = Arc<dyn Fn(Op, &Path) + Send + Sync>;

/// The file system. Clones share it.
#[derive(Clone)]
pub struct FaultVfs {
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for FaultVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultVfs").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of `names` that are not durable, in order.
    pending: Vec<DirChange>,
    locks: BTreeSet<PathBuf>,
    random: u64,
    capacity: Option<u64>,
    ops: u64,
    crash_at: Option<u64>,
    crashed: bool,
    /// Counts crashes; handles of an earlier life are dead.
    life: u64,
    faults: Vec<Fault>,
    hook: Option<Hook>,
}

#[derive(Clone, Debug)]
struct DirChange {
    remove: Option<PathBuf>,
    insert: Option<(PathBuf, u64)>,
}

#[derive(Debug)]
struct Fault {
    op: Op,
    kind: io::ErrorKind,
    /// Operations of this kind that still succeed.
    after: u64,
    /// How often it then fails.
    times: u64,
}

#[derive(Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Inode {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.dirty.extend(offset / SECTOR..=(end - 1) / SECTOR);
        }
    }

    fn persist(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(self.seen.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(&self.seen[start..end]);
    }

    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.persist(sector);
        }
    }
}

impl State {
    fn random(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Counts an operation; fails if it is to crash or to be refused.
    fn step(&mut self, op: Op) -> io::Result<()> {
        if self.crashed {
            return Err(crashed());
        }
        if op != Op::Read && op != Op::Open {
            self.ops += 1;
            if self.crash_at.is_some_and(|at| self.ops >= at) {
                self.crashed = true;
                return Err(crashed());
            }
        }
        for fault in self.faults.iter_mut().filter(|fault| fault.op == op) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                return Err(io::Error::from(fault.kind));
            }
        }
        Ok(())
    }

    fn change(&mut self, remove: Option<&Path>, insert: Option<(&Path, u64)>) {
        let change = DirChange {
            remove: remove.map(Path::to_owned),
            insert: insert.map(|(path, inode)| (path.to_owned(), inode)),
        };
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    fn used(&self) -> u64 {
        let lengths = self.names.values().map(|inode| self.inodes[inode].seen.len());
        lengths.sum::<usize>() as u64
    }

    fn crash(&mut self, mode: CrashMode) {
        let kept = match mode {
            CrashMode::KeepAll => self.pending.len(),
            CrashMode::LoseUnsynced => 0,
            CrashMode::Torn => (self.random() % (self.pending.len() as u64 + 1)) as usize,
        };
        let pending = std::mem::take(&mut self.pending);
        if mode == CrashMode::KeepAll {
            // The kernel lives on, and with it what it has not written yet.
            self.pending = pending;
        } else {
            let mut names = self.durable_names.clone();
            for change in &pending[..kept] {
                change.apply(&mut names);
            }
            self.names.clone_from(&names);
            self.durable_names = names;
            let mut inodes = std::mem::take(&mut self.inodes);
            inodes.retain(|number, _| self.names.values().any(|named| named == number));
            for inode in inodes.values_mut() {
                for sector in std::mem::take(&mut inode.dirty) {
                    if mode == CrashMode::Torn && self.random().is_multiple_of(2) {
                        inode.persist(sector);
                    }
                }
                inode.seen.clone_from(&inode.durable);
            }
            self.inodes = inodes;
        }
        self.locks.clear();
        self.crash_at = None;
        self.crashed = false;
        self.life += 1;
    }
}

impl DirChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        if let Some(path) = &self.remove {
            names.remove(path);
        }
        if let Some((path, inode)) = &self.insert {
            names.insert(path.clone(), *inode);
        }
    }
}

fn crashed() -> io::Error {
    io::Error::other("crashed (injected)")
}

impl FaultVfs {
    /// An empty file system. Chance is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State { random: seed, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the hook, then locks.
    fn enter(&self, op: Op, path: &Path) -> MutexGuard<'_, State> {
        let hook = self.lock().hook.clone();
        if let Some(hook) = hook {
            hook(op, path);
        }
        self.lock()
    }

    /// Operations counted so far; reading and opening are not.
    pub fn ops(&self) -> u64 {
        self.lock().ops
    }

    /// Crashes at the `ops`th operation from now (1: the next), before it has any effect but
    /// that of a write, which is left unsynced. Everything fails until [`FaultVfs::crash`].
    pub fn crash_after(&self, ops: u64) {
        let mut state = self.lock();
        state.crash_at = Some(state.ops + ops);
    }

    /// Whether the crash asked for has come.
    pub fn has_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Crashes now if that has not happened, and starts again with what survives. Handles and
    /// locks of before are dead.
    pub fn crash(&self, mode: CrashMode) {
        self.lock().crash(mode);
    }

    /// Lets `after` operations of a kind succeed, then refuses `times` of them.
    pub fn fail(&self, op: Op, kind: io::ErrorKind, after: u64, times: u64) {
        self.lock().faults.push(Fault { op, kind, after, times });
    }

    /// Refuses nothing any more.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Limits the sum of the lengths of all files; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// The sum of the lengths of all files.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used()
    }

    /// Calls `hook` before every operation, without holding any lock: to be slow, to wait for
    /// another thread, to advance a simulated clock, to trace.
    pub fn set_hook(&self, hook: impl Fn(Op, &Path) + Send + Sync + 'static) {
        self.lock().hook = Some(Arc::new(hook));
    }

    /// Paths of all files, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    /// The bytes of a file as a program sees them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.names.get(path)?;
        Some(state.inodes[inode].seen.clone())
    }

    /// Replaces bytes of a file, durably, as damage would. Bytes past its end are left out.
    pub fn damage(&self, path: &Path, offset: u64, bytes: &[u8]) {
        let mut state = self.lock();
        let Some(inode) = state.names.get(path).copied() else {
            return;
        };
        if let Some(inode) = state.inodes.get_mut(&inode) {
            let offset = offset as usize;
            for content in [&mut inode.seen, &mut inode.durable] {
                let target = content.iter_mut().skip(offset);
                target.zip(bytes).for_each(|(old, new)| *old = *new);
            }
        }
    }

    /// Flips one bit of a file, in what a program sees and in what would survive a power cut.
    pub fn flip_bit(&self, path: &Path, bit: u64) {
        let mut state = self.lock();
        let inode = state.names.get(path).copied();
        if let Some(inode) = inode.and_then(|inode| state.inodes.get_mut(&inode)) {
            for content in [&mut inode.seen, &mut inode.durable] {
                if let Some(byte) = content.get_mut((bit / 8) as usize) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    /// Removes a file, durably, as damage would.
    pub fn lose(&self, path: &Path) {
        let mut state = self.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }
}

impl Vfs for FaultVfs {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        // Directories are implied by the paths of files.
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        if state.crashed {
            return Err(crashed());
        }
        let files = state.names.keys().filter(|path| path.parent() == Some(dir));
        let names = files.filter_map(|path| path.file_name());
        Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn VfsFile>> {
        let op = match mode {
            OpenMode::CreateNew => Op::Create,
            OpenMode::ReadWrite | OpenMode::Read => Op::Open,
        };
        let mut state = self.enter(op, path);
        let known = state.names.get(path).copied();
        let inode = match (mode, known) {
            (OpenMode::CreateNew, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateNew, None) => {
                state.step(op)?;
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                state.change(None, Some((path, inode)));
                inode
            }
            (OpenMode::ReadWrite | OpenMode::Read, known) => {
                state.step(op)?;
                known.ok_or(io::ErrorKind::NotFound)?
            }
        };
        Ok(Box::new(FaultFile { vfs: self.clone(), inode, path: path.to_owned(), life: state.life }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.enter(Op::Rename, from);
        state.step(Op::Rename)?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(Some(from), Some((to, inode)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter(Op::Remove, path);
        state.step(Op::Remove)?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Some(path), None);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.enter(Op::SyncDir, dir);
        state.step(Op::SyncDir)?;
        // As a journal does, which has one order for all directories.
        let pending = std::mem::take(&mut state.pending);
        for change in pending {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.lock();
        let capacity = state.capacity.unwrap_or(u64::MAX);
        Ok(capacity.saturating_sub(state.used()))
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<Box<dyn LockGuard>> {
        let mut state = self.lock();
        if state.crashed {
            return Err(crashed());
        }
        if !state.locks.insert(dir.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FaultLock { vfs: self.clone(), dir: dir.to_owned(), life: state.life }))
    }
}

#[derive(Debug)]
struct FaultLock {
    vfs: FaultVfs,
    dir: PathBuf,
    life: u64,
}

impl LockGuard for FaultLock {}

impl Drop for FaultLock {
    fn drop(&mut self) {
        let mut state = self.vfs.lock();
        if state.life == self.life {
            state.locks.remove(&self.dir);
        }
    }
}

#[derive(Debug)]
struct FaultFile {
    vfs: FaultVfs,
    inode: u64,
    path: PathBuf,
    life: u64,
}

impl FaultFile {
    fn step(&self, op: Op) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.vfs.enter(op, &self.path);
        if state.life != self.life {
            return Err(crashed());
        }
        let was_crashed = state.crashed;
        match state.step(op) {
            Ok(()) => Ok(state),
            // The write that the crash meets may have reached the disk in part.
            Err(_) if op == Op::Write && state.crashed && !was_crashed => Ok(state),
            Err(error) => {
                if op == Op::Sync && !state.crashed {
                    // The kernel drops what it could not write and takes it for clean: a later
                    // sync succeeds without it.
                    if let Some(inode) = state.inodes.get_mut(&self.inode) {
                        inode.dirty.clear();
                    }
                }
                Err(error)
            }
        }
    }
}

impl VfsFile for FaultFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.step(Op::Read)?;
        let inode = state.inodes.get(&self.inode).ok_or_else(crashed)?;
        let start = offset as usize;
        let bytes = inode.seen.get(start..start + buf.len());
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.step(Op::Write)?;
        let used = state.used();
        let capacity = state.capacity.unwrap_or(u64::MAX);
        let is_crash = state.crashed;
        let inode = state.inodes.get_mut(&self.inode).ok_or_else(crashed)?;
        let end = offset + buf.len() as u64;
        let growth = end.saturating_sub(inode.seen.len() as u64);
        let room = capacity.saturating_sub(used);
        let fits = buf.len() - growth.saturating_sub(room).min(buf.len() as u64) as usize;
        inode.write(&buf[..fits], offset as usize);
        if is_crash {
            Err(crashed())
        } else if fits < buf.len() {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.step(Op::Sync)?;
        let inode = state.inodes.get_mut(&self.inode).ok_or_else(crashed)?;
        inode.sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.vfs.lock();
        let inode = state.inodes.get(&self.inode).ok_or_else(crashed)?;
        Ok(inode.seen.len() as u64)
    }
}
