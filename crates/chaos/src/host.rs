//! A cluster for another program, whose leader is killed again and again.

use std::{path::Path, process::ExitStatus, time::Duration};

use tokio::{process::Command, time::sleep};

use crate::cluster::Cluster;

/// How long a killed leader stays dead.
const DEAD: Duration = Duration::from_millis(1500);

/// Starts a cluster, runs `command` with `--server` and the addresses of all nodes added to its arguments, kills
/// the leader `every` so often meanwhile, and starts it again. Returns how the command ended, and how many
/// leaders died.
///
/// # Errors
/// When the cluster or the command cannot be started.
pub async fn host(willow: &Path, every: Duration, command: &[String]) -> anyhow::Result<(ExitStatus, u32)> {
    let cluster = Cluster::start(willow).await?;
    let Some((program, arguments)) = command.split_first() else { anyhow::bail!("there is no command to run") };
    let mut child = Command::new(program).args(arguments).arg("--server").arg(cluster.urls().join(",")).spawn()?;
    let mut killed = 0;
    loop {
        tokio::select! {
            status = child.wait() => return Ok((status?, killed)),
            outcome = kill_leader(&cluster, every) => {
                outcome?;
                killed += 1;
            }
        }
    }
}

async fn kill_leader(cluster: &Cluster, every: Duration) -> anyhow::Result<()> {
    sleep(every.saturating_sub(DEAD)).await;
    let leader = loop {
        match cluster.leader().await {
            Some(leader) => break leader,
            None => sleep(Duration::from_millis(50)).await,
        }
    };
    cluster.kill(leader)?;
    sleep(DEAD).await;
    cluster.relaunch(leader)
}
