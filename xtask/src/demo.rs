//! The main job on real input.

use std::path::PathBuf;

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
}

pub(crate) fn run(sh: &Shell, arguments: &Arguments) -> anyhow::Result<()> {
    cmd!(sh, "cargo build --release --package willow --package willow-examples").run()?;
    let release = format!("{}/release", target(sh));
    let repo = &arguments.repo;
    cmd!(sh, "{release}/ci --repo {repo}").run()?;
    match (&arguments.pods, &arguments.nodes) {
        (Some(pods), Some(nodes)) => {
            cmd!(sh, "{release}/cluster-trace --pods {pods} --nodes {nodes}").run()?;
        }
        _ => eprintln!("cluster trace skipped: pass its files with --pods and --nodes"),
    }
    Ok(())
}

/// Where cargo puts what it builds.
pub(crate) fn target(sh: &Shell) -> String {
    sh.var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into())
}
