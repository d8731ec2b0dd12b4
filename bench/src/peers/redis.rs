//! Redis with `appendfsync always`: a lock by `SET NX` and a compare-and-delete script, and a
//! queue by streams with a consumer group.

use anyhow::ensure;
use redis::{
    AsyncCommands, Script,
    aio::MultiplexedConnection,
    streams::{StreamReadOptions, StreamReadReply},
};
use willow_harness::Server;

use crate::load::Client;

pub(crate) fn start() -> anyhow::Result<Server> {
    Server::start("redis-server", |dir, address| {
        let arguments = [
            "--dir".into(),
            dir.display().to_string(),
            "--bind".into(),
            address.ip().to_string(),
            "--port".into(),
            address.port().to_string(),
            "--appendonly".into(),
            "yes".into(),
            "--appendfsync".into(),
            "always".into(),
            "--save".into(),
            String::new(),
        ];
        Ok(arguments.to_vec())
    })
}

async fn connect(server: &Server) -> anyhow::Result<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://{}/", server.address()))?;
    Ok(client.get_multiplexed_async_connection().await?)
}

/// One lock per client.
pub(crate) struct Locks {
    connection: MultiplexedConnection,
    name: String,
    unlock: Script,
}

impl Locks {
    pub(crate) async fn connect(server: &Server, index: usize) -> anyhow::Result<Self> {
        let unlock = Script::new(
            "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
        );
        Ok(Self { connection: connect(server).await?, name: format!("bench:{index}"), unlock })
    }
}

impl Client for Locks {
    async fn cycle(&mut self) -> anyhow::Result<()> {
        let taken: bool = redis::cmd("SET")
            .arg(&self.name)
            .arg("token")
            .arg("NX")
            .arg("PX")
            .arg(600_000)
            .query_async(&mut self.connection)
            .await?;
        ensure!(taken, "the lock is this client's own");
        let freed: i64 = self.unlock.key(&self.name).arg("token").invoke_async(&mut self.connection).await?;
        ensure!(freed == 1, "the lock was held");
        Ok(())
    }
}

/// Enqueue, take, acknowledge and delete on a stream per client.
pub(crate) struct Stream {
    connection: MultiplexedConnection,
    stream: String,
    options: StreamReadOptions,
    payload: String,
}

impl Stream {
    pub(crate) async fn connect(server: &Server, index: usize, payload: &str) -> anyhow::Result<Self> {
        let mut connection = connect(server).await?;
        let stream = format!("queue:{index}");
        let _made: String = connection.xgroup_create_mkstream(&stream, "group", "0").await?;
        let options = StreamReadOptions::default().group("group", "consumer").count(1);
        Ok(Self { connection, stream, options, payload: payload.into() })
    }
}

impl Client for Stream {
    async fn cycle(&mut self) -> anyhow::Result<()> {
        let _id: String = self.connection.xadd(&self.stream, "*", &[("data", &self.payload)]).await?;
        let reply: StreamReadReply = self.connection.xread_options(&[&self.stream], &[">"], &self.options).await?;
        let taken = reply.keys.first().and_then(|key| key.ids.first()).map(|entry| entry.id.clone());
        let Some(id) = taken else { anyhow::bail!("the item just added is there") };
        let acked: i64 = redis::pipe()
            .xack(&self.stream, "group", &[&id])
            .xdel(&self.stream, &[&id])
            .ignore()
            .query_async::<(i64,)>(&mut self.connection)
            .await?
            .0;
        ensure!(acked == 1, "the item was pending");
        Ok(())
    }
}
