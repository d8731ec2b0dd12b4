//! Arbitrary damage: opening never panics, never invents, never loses without a word.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::path::PathBuf;

use common::{Model, open, options, run, try_open, work};
use proptest::prelude::*;
use willow_storage::OpenError;
use willow_storage::vfs::{CrashMode, FaultVfs};

/// What happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    /// Bytes are overwritten.
    Bytes(u64, Vec<u8>),
    /// A stretch of zeros, as of a lost write.
    Zeros { sector: u64, sectors: u8 },
    /// A stretch is replaced by another of the same file, as of a misdirected write.
    Copy { from: u64, to: u64, sectors: u8 },
    /// A file is gone.
    Lost,
}

fn damage() -> impl Strategy<Value = Damage> {
    let sector = 0..64u64;
    prop_oneof![
        (0..32_768u64, prop::collection::vec(any::<u8>(), 1..64)).prop_map(|(at, bytes)| Damage::Bytes(at, bytes)),
        (sector.clone(), 1..20u8).prop_map(|(sector, sectors)| Damage::Zeros { sector, sectors }),
        (sector.clone(), sector, 1..20u8).prop_map(|(from, to, sectors)| Damage::Copy { from, to, sectors }),
        Just(Damage::Lost),
    ]
}

fn apply(vfs: &FaultVfs, damage: &Damage, file: prop::sample::Index) {
    let paths = vfs.paths();
    let path = &paths[file.index(paths.len())];
    match damage {
        Damage::Bytes(at, bytes) => vfs.damage(path, *at, bytes),
        Damage::Zeros { sector, sectors } => {
            vfs.damage(path, sector * 512, &vec![0; usize::from(*sectors) * 512]);
        }
        Damage::Copy { from, to, sectors } => {
            let bytes = vfs.contents(path).unwrap();
            let start = (*from as usize * 512).min(bytes.len());
            let end = (start + usize::from(*sectors) * 512).min(bytes.len());
            vfs.damage(path, to * 512, &bytes[start..end]);
        }
        Damage::Lost => vfs.lose(path),
    }
}

/// The last batch header: in which file, where, and the bytes.
fn last_header(vfs: &FaultVfs) -> (PathBuf, u64, Vec<u8>) {
    let mut last = (0, PathBuf::new(), 0, Vec::new());
    for path in vfs.paths() {
        let bytes = vfs.contents(&path).unwrap();
        for (sector, chunk) in bytes.chunks(512).enumerate().skip(8) {
            let sequence = u64::from_le_bytes(chunk[24..32].try_into().unwrap());
            if chunk.starts_with(b"WBat") && sequence > last.0 {
                last = (sequence, path.clone(), sector as u64, chunk[..48].to_vec());
            }
        }
    }
    (last.1, last.2, last.3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_log_is_refused_or_is_as_it_was(
        work in prop::collection::vec(work(), 1..60),
        damages in prop::collection::vec((damage(), any::<prop::sample::Index>()), 1..3),
    ) {
        let vfs = FaultVfs::new(1);
        let log = open(&vfs);
        let mut salt = 0;
        let mut states = vec![Model::default()];
        for one in work {
            let before = states[states.len() - 1].clone();
            states.push(run(&vfs, &log, before, &[one], &mut salt).acked);
        }
        // Sealed, so that damage to the last batch is told from a torn write too.
        drop(log);
        let (path, sector, seal) = last_header(&vfs);
        for (damage, file) in &damages {
            apply(&vfs, damage, *file);
        }
        let end_intact = vfs
            .contents(&path)
            .is_some_and(|bytes| bytes[sector as usize * 512..].starts_with(&seal));
        match try_open(&vfs, options()) {
            Ok((log, _)) => {
                let found = Model::of(&log);
                // Without its very end, a log cannot be told from what it was earlier.
                prop_assert!(states.contains(&found), "invented");
                prop_assert!(!end_intact || Some(&found) == states.last(), "lost");
                drop(log);
                vfs.crash(CrashMode::LoseUnsynced);
                prop_assert_eq!(Model::of(&open(&vfs)), found);
            }
            Err(OpenError::Corrupt { .. } | OpenError::UnknownVersion { .. }) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
