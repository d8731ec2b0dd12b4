//! `willow cluster`.

use std::{
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use serde::Serialize;
use willow_client::{
    Client,
    api::cluster::{Cluster, Group, HealthState, Node, NodeState, Role},
};

use crate::{
    commands::certs,
    failure::Failure,
    output::{Columns, Format, Output},
};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// The nodes and how they are, and who leads the groups
    Status,
    /// Let a node go, also one that is down for good
    Remove {
        /// Its id, as in `willow cluster status`
        node: u64,
    },
    /// Make a node lead
    TransferLeader {
        /// Its id, as in `willow cluster status`
        node: u64,
        /// The group: 0 is the catalogue, 1 the data
        #[arg(long, default_value_t = 1)]
        group: u32,
    },
    /// Write all data to a file, from which `willow server --restore` founds a new cluster
    Backup {
        /// The file, or `-`, which is stdout; a file that is there is replaced once the new one is whole
        #[arg(long)]
        file: PathBuf,
    },
    /// Make a node's certificate, and the cluster's CA when there is none
    Certs(certs::Arguments),
}

const NODES: Columns = &[
    "id",
    "state",
    "health",
    "catalogue",
    "data",
    "term",
    "lag",
    "log_bytes",
    "snapshot_bytes",
    "free_bytes",
    "version",
    "client",
    "peers",
    "why",
];
const GROUPS: Columns = &["group", "name", "leader", "voters", "learners", "term", "committed"];

pub(crate) async fn run(client: &Client, verb: Verb, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Certs(arguments) => certs::run(&arguments, output),
        Verb::Status => {
            let cluster = client.cluster().await?;
            if output.format() == Format::Json {
                return output.one(&cluster);
            }
            output.list(&nodes(&cluster), NODES)?;
            output.line("");
            output.list(&groups(&cluster), GROUPS)?;
            let Cluster { id, answered_by, revision, waiting, .. } = &cluster;
            eprintln!("cluster {id}, answered by node {answered_by}: revision {revision}, {waiting} waiting");
            Ok(())
        }
        Verb::Remove { node } => {
            let reply = client.remove_node(node).await?;
            output.one(&reply)?;
            if reply.state == NodeState::Leaving {
                eprintln!("gone when `willow cluster status` does not show it any more");
            }
            Ok(())
        }
        Verb::Backup { file } => {
            if file.as_os_str() == "-" {
                client.backup(std::io::stdout()).await.map_err(anyhow::Error::from)?;
                return Ok(());
            }
            let bytes = backup(client, &file).await?;
            output.one(&Written { file: &file, size_bytes: bytes })
        }
        Verb::TransferLeader { node, group } => output.one(&client.transfer_leader(group, node).await?),
    }
}

/// What was written.
#[derive(Serialize)]
struct Written<'a> {
    file: &'a Path,
    size_bytes: u64,
}

/// Writes the file under another name first, so that what has the name is whole at any time.
async fn backup(client: &Client, file: &Path) -> anyhow::Result<u64> {
    // What a link points to is replaced, not the link; and no device or pipe is.
    let real = file.canonicalize().ok();
    anyhow::ensure!(
        real.as_deref().is_none_or(Path::is_file),
        "{} is no regular file; `-` writes to stdout",
        file.display()
    );
    let file = real.as_deref().unwrap_or(file);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut partial = tempfile::NamedTempFile::new_in(folder)?;
    let bytes = client.backup(BufWriter::new(partial.as_file_mut())).await?;
    partial.as_file().sync_all()?;
    partial.persist(file)?;
    File::open(folder)?.sync_all()?;
    Ok(bytes)
}

/// A node, as a line of the table.
#[derive(Serialize)]
struct NodeLine<'a> {
    id: u64,
    state: NodeState,
    health: HealthState,
    catalogue: Option<Role>,
    data: Option<Role>,
    term: Option<u64>,
    lag: Option<u64>,
    log_bytes: Option<u64>,
    snapshot_bytes: Option<u64>,
    free_bytes: Option<u64>,
    version: Option<&'a str>,
    client: Option<&'a str>,
    peers: Option<&'a str>,
    why: Option<&'a str>,
}

fn nodes(cluster: &Cluster) -> Vec<NodeLine<'_>> {
    cluster.nodes.iter().map(line).collect()
}

fn line(node: &Node) -> NodeLine<'_> {
    let part = |group: u32| node.groups.iter().find(|part| part.group == group);
    let data = part(1);
    NodeLine {
        id: node.id,
        state: node.state,
        health: node.health,
        catalogue: part(0).map(|part| part.role),
        data: data.map(|part| part.role),
        term: data.map(|part| part.term),
        lag: data.map(|part| part.lag),
        log_bytes: node.disk.map(|disk| disk.log_bytes),
        snapshot_bytes: node.disk.map(|disk| disk.snapshot_bytes),
        free_bytes: node.disk.and_then(|disk| disk.free_bytes),
        version: node.version.as_deref(),
        client: node.client_url.as_deref(),
        peers: node.peer_addr.as_deref(),
        why: node.reason.as_deref(),
    }
}

/// A group, as a line of the table.
#[derive(Serialize)]
struct GroupLine<'a> {
    group: u32,
    name: &'a str,
    leader: String,
    voters: String,
    learners: Option<String>,
    term: u64,
    committed: u64,
}

fn groups(cluster: &Cluster) -> Vec<GroupLine<'_>> {
    cluster.groups.iter().map(group_line).collect()
}

fn group_line(group: &Group) -> GroupLine<'_> {
    let ids = |nodes: &[u64]| nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    GroupLine {
        group: group.id,
        name: &group.name,
        leader: group.leader.map_or_else(|| "none".to_owned(), |node| node.to_string()),
        voters: ids(&group.voters),
        learners: Some(ids(&group.learners)).filter(|ids| !ids.is_empty()),
        term: group.term,
        committed: group.committed_index,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use willow_client::api::cluster::{Disk, NodeGroup};

    use super::*;
    use crate::output::table_of;

    fn node(id: u64, role: Option<Role>, reason: Option<&str>) -> Node {
        let part = |group| {
            let (term, leader, last_index) = (3, Some(1), 40);
            let [committed_index, applied_index] = [40, 38];
            role.map(|role| NodeGroup {
                group,
                role,
                term,
                leader,
                last_index,
                committed_index,
                applied_index,
                snapshot_index: 0,
                lag: 2,
            })
        };
        Node {
            id,
            state: NodeState::Active,
            peer_addr: Some(format!("10.0.0.{id}:7171")),
            client_url: Some(format!("http://10.0.0.{id}:7070")),
            health: if role.is_some() { HealthState::Ready } else { HealthState::Unreachable },
            reason: reason.map(str::to_owned),
            version: role.map(|_| "0.1.0".to_owned()),
            disk: role.map(|_| Disk { log_bytes: 67_108_864, snapshot_bytes: 0, free_bytes: Some(1 << 34) }),
            groups: [part(0), part(1)].into_iter().flatten().collect(),
        }
    }

    #[test]
    fn nodes_and_groups_are_tables() {
        let cluster = Cluster {
            id: willow_client::api::Id::from_u128(7),
            answered_by: 1,
            version: "0.1.0".to_owned(),
            revision: willow_client::api::Revision(9),
            waiting: 0,
            nodes: vec![
                node(1, Some(Role::Leader), None),
                node(2, Some(Role::Learner), None),
                node(3, None, Some("10.0.0.3:7171 cannot be reached: connection refused")),
            ],
            groups: vec![Group {
                id: 1,
                name: "data".to_owned(),
                leader: None,
                term: 3,
                committed_index: 40,
                voters: vec![1, 3],
                learners: vec![2],
            }],
        };
        expect![[r#"
            id  state   health       catalogue  data     term  lag  log        snapshot  free       version  client                peers          why
            1   active  ready        leader     leader   3     2    64.00 MiB  0 B       16.00 GiB  0.1.0    http://10.0.0.1:7070  10.0.0.1:7171  -
            2   active  ready        learner    learner  3     2    64.00 MiB  0 B       16.00 GiB  0.1.0    http://10.0.0.2:7070  10.0.0.2:7171  -
            3   active  unreachable  -          -        -     -    -          -         -          -        http://10.0.0.3:7070  10.0.0.3:7171  10.0.0.3:7171 cannot be reached: connection refused"#]].assert_eq(&table_of(&nodes(&cluster), NODES));
        expect![[r#"
            group  name  leader  voters  learners  term  committed
            1      data  none    1,3     2         3     40"#]]
        .assert_eq(&table_of(&groups(&cluster), GROUPS));
    }
}
