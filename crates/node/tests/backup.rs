//! A backup is whole or refused, and founds a cluster of its own.

mod support;

use std::path::{Path, PathBuf};

use support::*;
use willow_node::{Config, Node, RestoreError, restore};
use willow_storage::vfs::CrashMode;

/// Writes a backup of `node` to a file.
async fn back_up(node: &Node, folder: &Path) -> PathBuf {
    let mut backup = node.backup().await.expect("a backup");
    let mut bytes = Vec::new();
    while let Some(part) = backup.next().await.expect("it is read") {
        bytes.extend_from_slice(&part);
    }
    let file = folder.join("backup");
    std::fs::write(&file, bytes).expect("it is written");
    file
}

/// A disk with nothing on it, and a small chunk size so that there are many.
fn config(world: &World) -> Config {
    Config { snapshot_chunk_bytes: 64, ..world.config() }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_and_every_new_token_is_greater() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = World::new(1);
    let node = Node::start(config(&old)).await.expect("it starts");
    let locks = put_range(&node, 0, 50).await;
    let file = back_up(&node, folder.path()).await;
    // What comes after the backup is not in it, but its tokens were given out.
    put_range(&node, 50, 60).await;
    let (revision, cluster) = node.read_stale(|machine| (machine.revision(), machine.cluster_id()));
    node.shutdown().await;

    let new = World::new(2);
    // Else a number that only looks random would be drawn twice.
    let config = Config { entropy: std::sync::Arc::new(Counted::from(1 << 40)), ..config(&new) };
    let head = restore(&config, &file, "n1:7171").expect("it is restored");
    assert_eq!(head.cluster, format!("{cluster:032x}"));
    for _life in 0..3 {
        let node = Node::start(config.clone()).await.expect("it starts");
        assert!(holds_all(&node, &locks));
        assert_ne!(node.read_stale(willow_core::Machine::cluster_id), cluster);
        let before = node.read_stale(willow_core::Machine::revision);
        assert!(before.0 > revision.0, "{before:?} after {revision:?}");
        put_one(&node, 1000 + usize::try_from(before.0).expect("64 bits")).await.expect("it takes writes");
        assert!(node.read_stale(willow_core::Machine::revision) > before);
        new.crash(node, CrashMode::LoseUnsynced);
    }
}

#[tokio::test]
async fn a_backup_that_is_not_whole_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = World::new(1);
    let node = Node::start(config(&old)).await.expect("it starts");
    put_range(&node, 0, 5).await;
    let file = back_up(&node, folder.path()).await;
    node.shutdown().await;
    let whole = std::fs::read(&file).expect("it is there");
    let damaged = folder.path().join("damaged");
    let new = World::new(2);
    let refused = |bytes: &[u8]| {
        std::fs::write(&damaged, bytes).expect("it is written");
        let error = restore(&config(&new), &damaged, "").expect_err("it is refused");
        assert!(matches!(error, RestoreError::Backup(_)), "{error}");
    };
    for length in (0..whole.len()).step_by(7) {
        refused(&whole[..length]);
    }
    for at in (0..whole.len()).step_by(11) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        refused(&flipped);
    }
    refused(&[&whole[..], &b"x"[..]].concat());
    restore(&config(&new), &file, "").expect("the directory is still empty");
    let again = restore(&config(&new), &file, "").expect_err("now it is not");
    assert!(matches!(again, RestoreError::NotEmpty), "{again}");
}
