//! House rules that a compiler does not check. They also run as tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Which crate may use which of ours, outside its tests. ARCHITECTURE.md shows the same picture.
const ARROWS: &[(&str, &[&str])] = &[
    ("willow-model", &[]),
    ("willow-query", &["willow-model"]),
    ("willow-core", &["willow-model", "willow-query"]),
    ("willow-storage", &[]),
    ("willow-node", &["willow-core", "willow-model", "willow-storage"]),
    ("willow-peer", &["willow-node"]),
    ("willow-api", &["willow-model", "willow-query"]),
    ("willow-server", &["willow-api", "willow-core", "willow-model", "willow-node", "willow-peer", "willow-query"]),
    ("willow-client", &["willow-api", "willow-model", "willow-query"]),
    ("willow", &["willow-api", "willow-client", "willow-model", "willow-peer", "willow-query", "willow-server"]),
    ("willow-harness", &[]),
    ("willow-sim", &["willow-core", "willow-model", "willow-node", "willow-query", "willow-storage"]),
    ("willow-chaos", &["willow-api", "willow-client", "willow-harness", "willow-model", "willow-query", "willow-sim"]),
    ("willow-examples", &["willow-api", "willow-client", "willow-harness", "willow-model", "willow-query"]),
    ("willow-bench", &["willow-api", "willow-client", "willow-harness", "willow-model", "willow-query"]),
    ("xtask", &["willow-harness"]),
];

/// Crates that must not reach the outside world, and what they may not depend on for it.
const PURE: &[&str] = &["willow-model", "willow-query", "willow-core"];
const IMPURE: &[&str] = &["tokio", "rand", "tracing", "parking_lot", "rustix", "hyper", "uuid"];

/// A longer file wants another shape.
const MAX_LINES: usize = 600;

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let metadata = metadata(root)?;
    let mut faults = arrows(&metadata);
    faults.extend(undocumented_dependencies(&metadata, root)?);
    let files = rust_files(root)?;
    for file in &files {
        faults.extend(file_faults(root, file)?);
    }
    faults.extend(missing_tests(root, &files)?);
    if faults.is_empty() {
        return Ok(());
    }
    bail!("{}", faults.join("\n"))
}

fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec().context("cargo metadata")
}

/// Arrows that ARROWS does not allow, and impure dependencies of pure crates.
fn arrows(metadata: &Metadata) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut faults = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some(allowed) = allowed.get(name) else {
            faults.push(format!("{name}: a new crate; say in xtask/src/tidy.rs and ARCHITECTURE.md what it may use"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal) {
            let used = dependency.name.as_str();
            if dependency.path.is_some() && !allowed.contains(&used) {
                faults.push(format!("{name} must not use {used}: see ARCHITECTURE.md"));
            }
            if PURE.contains(&name) && IMPURE.contains(&used) {
                faults.push(format!("{name} is pure and must not use {used}"));
            }
        }
    }
    faults
}

/// Dependencies without a line in docs/dependencies.md, and lines without a dependency.
fn undocumented_dependencies(metadata: &Metadata, root: &Path) -> anyhow::Result<Vec<String>> {
    let page = fs::read_to_string(root.join("docs/dependencies.md")).context("docs/dependencies.md")?;
    let listed: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
    let used: BTreeSet<&str> = metadata
        .workspace_packages()
        .into_iter()
        .flat_map(|package| &package.dependencies)
        .filter(|dependency| dependency.path.is_none())
        .map(|dependency| dependency.name.as_str())
        .collect();
    let missing = used.difference(&listed).map(|name| format!("docs/dependencies.md: say why `{name}` is there"));
    let stale = listed.difference(&used).map(|name| format!("docs/dependencies.md: `{name}` is not used any more"));
    Ok(missing.chain(stale).collect())
}

/// Tests that docs/known-failures.md names and that are not there.
fn missing_tests(root: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let page = fs::read_to_string(root.join("docs/known-failures.md")).context("docs/known-failures.md")?;
    let mut there = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file)?;
        let names = text.lines().filter_map(|line| line.split_once("fn ")?.1.split_once('(')).map(|(name, _)| name);
        there.extend(names.map(str::to_owned));
    }
    let rows = page.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.rsplit('|').nth(1));
    let named = rows.flat_map(|tests| tests.split('`').skip(1).step_by(2));
    let missing = named.filter(|name| !there.contains(*name));
    Ok(missing.map(|name| format!("docs/known-failures.md: there is no test `{name}`")).collect())
}

fn rust_files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["bench", "crates", "examples", "xtask"].iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn file_faults(root: &Path, file: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(file)?;
    let shown = file.strip_prefix(root).unwrap_or(file).display();
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        faults.push(format!("{shown}: {lines} lines, of {MAX_LINES} at most; give it another shape"));
    }
    for (number, line) in text.lines().enumerate() {
        // Split so that this very line does not match itself.
        if line.contains(concat!("todo", "!(")) || line.contains(concat!("unimplemented", "!(")) {
            faults.push(format!("{shown}:{}: a stub", number + 1));
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn house_rules_hold() {
        run(&crate::root()).expect("tidy");
    }

    #[test]
    fn an_arrow_against_the_grain_is_found() {
        let metadata = metadata(&crate::root()).expect("metadata");
        let core = metadata.workspace_packages().into_iter().find(|package| *package.name == "willow-core");
        assert!(core.is_some_and(|package| !package.dependencies.is_empty()), "the check must see real dependencies");
        assert_eq!(arrows(&metadata), Vec::<String>::new());
    }
}
