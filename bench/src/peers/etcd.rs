//! etcd: lock + unlock by its lock service, one lease per client. It always syncs its log.

use std::net::SocketAddr;

use anyhow::Context;
use etcd_client::{Client as Connection, LockOptions};
use willow_harness::{Server, free_address};

use crate::load::Client;

pub(crate) fn start() -> anyhow::Result<Server> {
    let peer = free_address()?;
    Server::start("etcd", |dir, address| {
        Ok(arguments(
            "default",
            &dir.display().to_string(),
            address,
            &format!("http://{peer}"),
            &format!("default=http://{peer}"),
        ))
    })
}

/// Members of one cluster; with `tls`, peers talk over it with certificates that each makes for itself.
pub(crate) fn start_cluster(members: usize, tls: bool) -> anyhow::Result<Vec<Server>> {
    let scheme = if tls { "https" } else { "http" };
    let mut peers = Vec::with_capacity(members);
    for _ in 0..members {
        peers.push(format!("{scheme}://{}", free_address()?));
    }
    let names: Vec<String> = (0..members).map(|index| format!("m{index}={}", peers[index])).collect();
    let cluster = names.join(",");
    let mut servers = Vec::with_capacity(members);
    for (index, peer) in peers.iter().enumerate() {
        servers.push(Server::launch("etcd", |dir, address| {
            let mut arguments = arguments(&format!("m{index}"), &dir.display().to_string(), address, peer, &cluster);
            if tls {
                arguments.push("--peer-auto-tls".into());
            }
            Ok(arguments)
        })?);
    }
    // Each listens once a majority runs.
    servers.iter_mut().try_for_each(Server::wait_until_it_listens)?;
    Ok(servers)
}

fn arguments(name: &str, dir: &str, address: SocketAddr, peer: &str, cluster: &str) -> Vec<String> {
    let client = format!("http://{address}");
    [
        ["--name", name],
        ["--data-dir", &format!("{dir}/data")],
        ["--listen-client-urls", &client],
        ["--advertise-client-urls", &client],
        ["--listen-peer-urls", peer],
        ["--initial-advertise-peer-urls", peer],
        ["--initial-cluster", cluster],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect()
}

/// The index of the member that leads.
pub(crate) async fn leader(members: &[Server]) -> anyhow::Result<usize> {
    for (index, member) in members.iter().enumerate() {
        let mut connection = Connection::connect([member.address().to_string()], None).await?;
        let status = connection.status().await?;
        if status.header().is_some_and(|header| header.member_id() == status.leader()) {
            return Ok(index);
        }
    }
    None.context("no member of etcd leads")
}

/// One lock per client, so that nobody waits.
pub(crate) struct Locks {
    connection: Connection,
    lease: i64,
    name: String,
}

impl Locks {
    pub(crate) async fn connect(address: SocketAddr, index: usize) -> anyhow::Result<Self> {
        let mut connection = Connection::connect([address.to_string()], None).await?;
        let lease = connection.lease_grant(600, None).await?.id();
        Ok(Self { connection, lease, name: format!("bench/{index}") })
    }
}

impl Client for Locks {
    async fn cycle(&mut self) -> anyhow::Result<()> {
        let options = LockOptions::new().with_lease(self.lease);
        let held = self.connection.lock(self.name.as_str(), Some(options)).await?;
        self.connection.unlock(held.key()).await?;
        Ok(())
    }
}
