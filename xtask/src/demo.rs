//! The main job on real input.

use std::{ffi::OsStr, path::PathBuf};

use xshell::{Shell, cmd};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The git repository whose history is built
    #[arg(long, default_value = ".")]
    repo: PathBuf,
    /// Pods of a cluster trace
    #[arg(long, requires = "nodes")]
    pods: Option<PathBuf>,
    /// Nodes of a cluster trace
    #[arg(long, requires = "pods")]
    nodes: Option<PathBuf>,
    /// On three servers, whose leader is killed so often meanwhile (`5s`)
    #[arg(long)]
    kill_leader_every: Option<String>,
}

/// What a build takes while leaders are killed: all builds together outlast several of them.
const OUTLASTS_LEADERS_MS: &str = "500";

pub(crate) fn run(sh: &Shell, arguments: &Arguments) -> anyhow::Result<()> {
    let release = format!("{}/release", target(sh));
    let mut packages = vec!["--package", "willow", "--package", "willow-examples"];
    let mut around = Vec::new();
    if let Some(every) = &arguments.kill_leader_every {
        packages.extend(["--package", "willow-chaos"]);
        let host = [format!("{release}/willow-chaos"), "host".into(), "--kill-leader-every".into(), every.clone()];
        around.extend(host);
    }
    cmd!(sh, "cargo build --release {packages...}").run()?;
    let mut ci: Vec<&OsStr> = vec![OsStr::new("--repo"), arguments.repo.as_os_str()];
    if arguments.kill_leader_every.is_some() {
        ci.extend(["--build-ms", OUTLASTS_LEADERS_MS].map(OsStr::new));
    }
    run_example(sh, &around, &format!("{release}/ci"), &ci)?;
    match (&arguments.pods, &arguments.nodes) {
        (Some(pods), Some(nodes)) => {
            let files = ["--pods".as_ref(), pods.as_os_str(), "--nodes".as_ref(), nodes.as_os_str()];
            run_example(sh, &around, &format!("{release}/cluster-trace"), &files)?;
        }
        _ => eprintln!("cluster trace skipped: pass its files with --pods and --nodes"),
    }
    Ok(())
}

/// Runs an example, by way of the program that hosts a cluster for it, if there is one.
fn run_example(sh: &Shell, around: &[String], program: &str, arguments: &[&OsStr]) -> anyhow::Result<()> {
    match around.split_first() {
        Some((host, flags)) => cmd!(sh, "{host} {flags...} {program} {arguments...}").run()?,
        None => cmd!(sh, "{program} {arguments...}").run()?,
    }
    Ok(())
}

/// Where cargo puts what it builds.
pub(crate) fn target(sh: &Shell) -> String {
    sh.var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into())
}
