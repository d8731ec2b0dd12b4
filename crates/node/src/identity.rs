//! Who this node is: a small file in the data directory, written before anything else there.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use willow_storage::vfs::{OpenMode, Vfs};

use crate::StartError;

const NAME: &str = "node.json";
const PARTIAL: &str = "node.json.partial";
/// 2 has a checksum.
const VERSION: u32 = 2;

/// Who this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    version: u32,
    /// Drawn when this file was first written; what the node is known by until it has an id.
    #[serde(with = "hex")]
    pub(crate) identity: u128,
    /// The cluster; zero until it has joined one.
    #[serde(with = "hex")]
    pub(crate) cluster: u128,
    /// Its id in the cluster; zero until it has joined one.
    pub(crate) node: u64,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct File {
    #[serde(flatten)]
    identity: Identity,
    /// Over all the rest: with one wrong digit this node would vote in another's name.
    checksum: String,
}

/// Whether the data directory is that of a member of some cluster: it then goes on as that, whatever it is told
/// about starting. Blocks.
///
/// # Errors
/// When the directory cannot be used, or the file in it cannot be read.
pub fn is_member(vfs: &dyn Vfs, dir: &Path) -> Result<bool, StartError> {
    Ok(Identity::read(vfs, dir)?.is_some_and(|identity| identity.is_member()))
}

impl Identity {
    pub(crate) fn new(identity: u128) -> Self {
        Self { version: VERSION, identity, cluster: 0, node: 0 }
    }

    pub(crate) fn is_member(&self) -> bool {
        self.node != 0
    }

    /// Reads the file, if there is one. Blocks.
    pub(crate) fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Option<Self>, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError::Storage(format!("{NAME}: {error}"));
        vfs.create_dir_all(dir).map_err(|error| failed(&error))?;
        let names = vfs.list(dir).map_err(|error| failed(&error))?;
        if !names.iter().any(|name| name == NAME) {
            // Whoever wrote a log had a name: taken for another, it would vote twice.
            let has_log = vfs.list(&dir.join("log")).is_ok_and(|names| !names.is_empty());
            if has_log {
                let reason = "it is missing, but there is a log: put it back, or start on an empty data directory (what \
                              builds before the first release wrote is not read)";
                return Err(failed(&reason));
            }
            return Ok(None);
        }
        let file = vfs.open(&dir.join(NAME), OpenMode::Read).map_err(|error| failed(&error))?;
        let len = usize::try_from(file.len().map_err(|error| failed(&error))?).unwrap_or(usize::MAX);
        if len > 4096 {
            return Err(failed(&"it is too large to be one"));
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0).map_err(|error| failed(&error))?;
        let damaged = |reason: &dyn std::fmt::Display| {
            failed(&format!(
                "it is damaged ({reason}). In a cluster: remove this node, give it an empty data directory and join it \
                 again. A single node: restore a backup, after checking the disk"
            ))
        };
        let read: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| damaged(&error))?;
        match read.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(failed(&format!("version {version}, but this build reads {VERSION}"))),
            None => return Err(damaged(&"it has no version")),
        }
        let read: File = serde_json::from_value(read).map_err(|error| damaged(&error))?;
        // Compared with what would be written, so that no change of any byte goes unseen.
        let is_intact = read.identity.encode().is_ok_and(|written| written == bytes);
        if is_intact { Ok(Some(read.identity)) } else { Err(damaged(&"its checksum is another")) }
    }

    /// The bytes of the file.
    fn encode(self) -> std::io::Result<Vec<u8>> {
        let rest = serde_json::to_vec(&self).map_err(std::io::Error::other)?;
        let checksum = blake3::hash(&rest).to_hex().to_string();
        serde_json::to_vec_pretty(&File { identity: self, checksum }).map_err(std::io::Error::other)
    }

    /// Writes the file in place of the one before, durably. Blocks.
    pub(crate) fn write(&self, vfs: &dyn Vfs, dir: &Path) -> Result<(), StartError> {
        let written = || -> std::io::Result<()> {
            let (path, partial): (PathBuf, PathBuf) = (dir.join(NAME), dir.join(PARTIAL));
            if vfs.list(dir)?.iter().any(|name| name == PARTIAL) {
                vfs.remove(&partial)?;
            }
            let file = vfs.open(&partial, OpenMode::CreateNew)?;
            let bytes = self.encode()?;
            file.write_all_at(&bytes, 0)?;
            file.sync_data()?;
            vfs.rename(&partial, &path)?;
            vfs.sync_dir(dir)
        };
        written().map_err(|error| StartError::Storage(format!("{NAME}: {error}")))
    }
}

/// Ids as people read them.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{id:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use willow_storage::vfs::{CrashMode, FaultVfs};

    use super::*;

    #[test]
    fn an_identity_comes_back_and_the_newest_counts() {
        let (vfs, dir) = (FaultVfs::new(1), Path::new("data"));
        assert_eq!(Identity::read(&vfs, dir).unwrap(), None);
        let new = Identity::new(7);
        new.write(&vfs, dir).unwrap();
        assert_eq!(Identity::read(&vfs, dir).unwrap(), Some(new));
        let member = Identity { cluster: 9, node: 3, ..new };
        member.write(&vfs, dir).unwrap();
        vfs.crash(CrashMode::LoseUnsynced);
        assert_eq!(Identity::read(&vfs, dir).unwrap(), Some(member));
    }

    #[test]
    fn a_log_whose_node_has_no_name_is_refused() {
        let (vfs, dir) = (FaultVfs::new(1), Path::new("data"));
        vfs.create_dir_all(&dir.join("log")).unwrap();
        assert_eq!(Identity::read(&vfs, dir).unwrap(), None);
        vfs.open(&dir.join("log").join("segment"), OpenMode::CreateNew).unwrap();
        assert!(Identity::read(&vfs, dir).unwrap_err().to_string().contains("is missing"));
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let (vfs, dir) = (FaultVfs::new(1), Path::new("data"));
        Identity { cluster: 9, node: 3, ..Identity::new(7) }.write(&vfs, dir).unwrap();
        let path = dir.join(NAME);
        let bits = vfs.contents(&path).unwrap().len() as u64 * 8;
        for bit in 0..bits {
            vfs.flip_bit(&path, bit);
            let error = Identity::read(&vfs, dir).unwrap_err().to_string();
            assert!(error.contains(NAME), "bit {bit}: {error}");
            vfs.flip_bit(&path, bit);
        }
        assert!(Identity::read(&vfs, dir).is_ok());
    }
}
