//! The obvious model of the log, and random work for it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use willow_storage::log::{Bounds, Log, Options, Record, Recovered};
use willow_storage::vfs::FaultVfs;
use willow_storage::{OpenError, WriteError};

/// Where the log of every test lies.
pub(crate) const DIR: &str = "/data/log";

/// Small segments, so that little work goes through many.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 32 << 10,
        max_batch_bytes: 8 << 10,
        max_state_bytes: 4 << 10,
        cache_bytes: 2 << 10,
        reserve_bytes: 4 << 10,
        slack_segments: 1,
        ..Options::small_inline()
    }
}

pub(crate) fn try_open(vfs: &FaultVfs, options: Options) -> Result<(Log, Recovered), OpenError> {
    Log::open(Arc::new(vfs.clone()), Path::new(DIR), options)
}

pub(crate) fn open(vfs: &FaultVfs) -> Log {
    match try_open(vfs, options()) {
        Ok((log, _)) => log,
        Err(error) => panic!("the log should open: {error}"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelGroup {
    pub(crate) purged: Option<u64>,
    pub(crate) base: u64,
    pub(crate) entries: Vec<(u64, Bytes)>,
    pub(crate) state: BTreeMap<u16, Bytes>,
}

impl ModelGroup {
    pub(crate) fn next(&self) -> u64 {
        self.base + self.entries.len() as u64
    }
}

/// What a log should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) groups: BTreeMap<u32, ModelGroup>,
}

impl Model {
    pub(crate) fn apply(&mut self, record: &Record) {
        if let Record::Forget { group } = record {
            self.groups.remove(group);
            return;
        }
        let group = self.groups.entry(record.group()).or_default();
        match record {
            Record::Entry { index, term, payload, .. } => {
                if group.entries.is_empty() && group.purged.is_none() {
                    group.base = *index;
                }
                assert_eq!(*index, group.next());
                group.entries.push((*term, payload.clone()));
            }
            Record::Truncate { from, .. } => {
                let keep = from.saturating_sub(group.base) as usize;
                group.entries.truncate(keep);
            }
            Record::Purge { up_to, .. } => {
                let empty = group.entries.is_empty() && group.purged.is_none();
                if *up_to + 1 >= group.base || empty {
                    let gone = (up_to + 1).saturating_sub(group.base) as usize;
                    group.entries.drain(..gone.min(group.entries.len()));
                    group.base = up_to + 1;
                    group.purged = Some(*up_to);
                }
            }
            Record::State { key, value, .. } => {
                group.state.insert(*key, value.clone());
            }
            Record::Forget { .. } => {}
        }
    }

    /// What a log holds, read through its public face.
    pub(crate) fn of(log: &Log) -> Self {
        let mut model = Self::default();
        for id in log.groups() {
            let Bounds { first, next, purged, last_term } = log.bounds(id);
            let entries = log.read(id, 0..u64::MAX, u64::MAX).unwrap();
            assert_eq!(entries.len() as u64, next - first, "group {id} has a gap");
            assert_eq!(entries.last().map(|entry| entry.term), last_term);
            for (entry, index) in entries.iter().zip(first..) {
                assert_eq!(entry.index, index);
                assert_eq!(log.term(id, index), Some(entry.term));
            }
            let group = ModelGroup {
                purged,
                base: first,
                entries: entries.into_iter().map(|e| (e.term, e.payload)).collect(),
                state: (0..4).filter_map(|key| Some((key, log.load_state(id, key)?))).collect(),
            };
            model.groups.insert(id, group);
        }
        model
    }
}

/// One submission, as a choice that fits any state of the log.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Append {
        group: u32,
        count: u8,
        len: u16,
    },
    /// Cut up to this many entries off the end, and append as many others.
    Overwrite {
        group: u32,
        back: u8,
        len: u16,
    },
    Truncate {
        group: u32,
        back: u8,
    },
    Purge {
        group: u32,
        keep: u8,
    },
    /// As after a snapshot from elsewhere.
    PurgeAhead {
        group: u32,
        ahead: u8,
    },
    State {
        group: u32,
        key: u16,
        len: u8,
    },
    Forget {
        group: u32,
    },
}

impl Work {
    /// The records, given what the log holds. `salt` makes payloads differ.
    pub(crate) fn records(&self, model: &Model, salt: u64) -> Vec<Record> {
        let of = |group: &u32| model.groups.get(group).cloned().unwrap_or_default();
        let entry = |group: u32, index: u64, len: u16| Record::Entry {
            group,
            index,
            term: salt,
            payload: payload(salt ^ (index << 32), usize::from(len)),
        };
        match self {
            Self::Append { group, count, len } => {
                let next = of(group).next();
                let count = (*count).max(1);
                (0..u64::from(count)).map(|i| entry(*group, next + i, *len)).collect()
            }
            Self::Overwrite { group, back, len } => {
                let held = of(group);
                let back = u64::from(*back).min(held.entries.len() as u64);
                let from = held.next() - back;
                let mut records = vec![Record::Truncate { group: *group, from }];
                records.extend((0..back).map(|i| entry(*group, from + i, *len)));
                records
            }
            Self::Truncate { group, back } => {
                let held = of(group);
                let back = u64::from(*back).min(held.entries.len() as u64);
                vec![Record::Truncate { group: *group, from: held.next() - back }]
            }
            Self::Purge { group, keep } => {
                let next = of(group).next();
                match next.checked_sub(u64::from(*keep) + 1) {
                    Some(up_to) => vec![Record::Purge { group: *group, up_to }],
                    None => Vec::new(),
                }
            }
            Self::PurgeAhead { group, ahead } => {
                vec![Record::Purge { group: *group, up_to: of(group).next() + u64::from(*ahead) }]
            }
            Self::State { group, key, len } => {
                vec![Record::State { group: *group, key: *key, value: payload(salt, usize::from(*len)) }]
            }
            Self::Forget { group } => vec![Record::Forget { group: *group }],
        }
    }
}

pub(crate) fn payload(salt: u64, len: usize) -> Bytes {
    let seed = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len as u64).map(|at| (seed.wrapping_mul(at | 1) >> 56) as u8).collect()
}

pub(crate) fn work() -> impl Strategy<Value = Work> {
    let group = 1..4u32;
    prop_oneof![
        8 => (group.clone(), 1..6u8, 0..1200u16)
            .prop_map(|(group, count, len)| Work::Append { group, count, len }),
        2 => (group.clone(), 0..5u8, 0..1200u16)
            .prop_map(|(group, back, len)| Work::Overwrite { group, back, len }),
        1 => (group.clone(), 0..5u8).prop_map(|(group, back)| Work::Truncate { group, back }),
        3 => (group.clone(), 0..8u8).prop_map(|(group, keep)| Work::Purge { group, keep }),
        1 => (group.clone(), 0..3u8).prop_map(|(group, ahead)| Work::PurgeAhead { group, ahead }),
        2 => (group.clone(), 0..4u16, 0..100u8)
            .prop_map(|(group, key, len)| Work::State { group, key, len }),
        1 => group.prop_map(|group| Work::Forget { group }),
    ]
}

/// How far a run came.
#[derive(Debug)]
pub(crate) struct Run {
    /// Acknowledged.
    pub(crate) acked: Model,
    /// Acknowledged or submitted and neither acknowledged nor refused for good: what may also be
    /// found after a crash.
    pub(crate) maybe: Option<Model>,
}

/// Does the work on the log until it ends or writing fails.
pub(crate) fn run(vfs: &FaultVfs, log: &Log, start: Model, work: &[Work], salt: &mut u64) -> Run {
    let mut acked = start;
    for one in work {
        *salt += 1;
        let records = one.records(&acked, *salt);
        let mut after = acked.clone();
        records.iter().for_each(|record| after.apply(record));
        match log.append(records) {
            Ok(()) => {
                acked = after;
                if vfs.has_crashed() {
                    return Run { acked, maybe: None };
                }
                assert_eq!(Model::of(log), acked, "after {one:?}");
            }
            Err(WriteError::DiskFull { .. } | WriteError::NoSegment { .. }) => {
                return Run { acked, maybe: None };
            }
            Err(WriteError::Poisoned { .. }) => {
                return Run { acked, maybe: Some(after) };
            }
            Err(error) => panic!("{one:?}: {error}"),
        }
    }
    Run { acked, maybe: None }
}

/// The log must hold what was acknowledged, or that and the one submission in flight.
pub(crate) fn check(log: &Log, run: &Run, what: &str) -> Model {
    let found = Model::of(log);
    let fits = found == run.acked || run.maybe.as_ref() == Some(&found);
    assert!(fits, "{what}: found {found:#?}, want {run:#?}");
    found
}
