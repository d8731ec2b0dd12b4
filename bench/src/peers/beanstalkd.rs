//! beanstalkd with `-f0` (sync every write): put, reserve, delete in a tube per client.

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
};
use willow_harness::Server;

use crate::load::Client;

pub(crate) fn start() -> anyhow::Result<Server> {
    Server::start("beanstalkd", |dir, address| {
        Ok(vec![
            "-l".into(),
            address.ip().to_string(),
            "-p".into(),
            address.port().to_string(),
            "-b".into(),
            dir.display().to_string(),
            "-f0".into(),
        ])
    })
}

pub(crate) struct Tube {
    stream: BufStream<TcpStream>,
    payload: String,
}

impl Tube {
    pub(crate) async fn connect(server: &Server, index: usize, payload: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server.address()).await?;
        stream.set_nodelay(true)?;
        let mut tube = Self { stream: BufStream::new(stream), payload: payload.into() };
        tube.call(&format!("use t{index}\r\n"), "USING").await?;
        tube.call(&format!("watch t{index}\r\n"), "WATCHING").await?;
        Ok(tube)
    }

    async fn call(&mut self, request: &str, expected: &str) -> anyhow::Result<String> {
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        ensure!(line.starts_with(expected), "beanstalkd answered {line:?}");
        Ok(line)
    }
}

impl Client for Tube {
    async fn cycle(&mut self) -> anyhow::Result<()> {
        let put = format!("put 0 0 600 {}\r\n{}\r\n", self.payload.len(), self.payload);
        self.call(&put, "INSERTED").await?;
        let reserved = self.call("reserve-with-timeout 5\r\n", "RESERVED").await?;
        let mut words = reserved.split_whitespace().skip(1);
        let id = words.next().context("id")?.to_owned();
        let bytes: usize = words.next().context("bytes")?.parse()?;
        let mut body = vec![0; bytes + 2];
        self.stream.read_exact(&mut body).await?;
        self.call(&format!("delete {id}\r\n"), "DELETED").await?;
        Ok(())
    }
}
