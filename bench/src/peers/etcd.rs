//! etcd: lock + unlock by its lock service, one lease per client. It always syncs its log.

use etcd_client::{Client as Connection, LockOptions};

use willow_harness::{Server, free_address};

use crate::load::Client;

pub(crate) fn start() -> anyhow::Result<Server> {
    Server::start("etcd", |dir, address| {
        let peer = format!("http://{}", free_address()?);
        let client = format!("http://{address}");
        Ok(vec![
            "--data-dir".into(),
            dir.join("data").display().to_string(),
            "--listen-client-urls".into(),
            client.clone(),
            "--advertise-client-urls".into(),
            client,
            "--listen-peer-urls".into(),
            peer.clone(),
            "--initial-advertise-peer-urls".into(),
            peer.clone(),
            "--initial-cluster".into(),
            format!("default={peer}"),
        ])
    })
}

/// One lock per client, so that nobody waits.
pub(crate) struct Locks {
    connection: Connection,
    lease: i64,
    name: String,
}

impl Locks {
    pub(crate) async fn connect(server: &Server, index: usize) -> anyhow::Result<Self> {
        let mut connection = Connection::connect([server.address().to_string()], None).await?;
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
