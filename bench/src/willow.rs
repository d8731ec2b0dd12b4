//! Willow under test, by its own Rust client over HTTP. Every reply comes after the fsync.

use willow_api::queue::CreateQueueRequest;
use willow_client::{Client, Options};
use willow_model::{KeyValues, Origin};

use crate::process::Server;

/// The queue of the benchmarks.
pub(crate) const QUEUE: &str = "bench";

/// Starts the server on its defaults.
pub(crate) fn start(program: &str) -> anyhow::Result<Server> {
    Server::start(program, arguments)
}

/// Kills it and starts it again on the same data.
pub(crate) fn restart(server: &mut Server, program: &str) -> anyhow::Result<std::time::Duration> {
    server.restart(program, arguments)
}

fn arguments(dir: &std::path::Path, address: std::net::SocketAddr) -> anyhow::Result<Vec<String>> {
    let data = dir.join("data").display().to_string();
    Ok(vec!["server".into(), "--data-dir".into(), data, "--listen".into(), address.to_string()])
}

/// As the peers' clients: no idempotency record for each call.
pub(crate) fn client(server: &Server) -> anyhow::Result<Client> {
    let options = Options { request_ids: false, ..Options::default() };
    Ok(Client::with_options(&format!("http://{}", server.address), options)?)
}

pub(crate) fn key_values(text: &str) -> anyhow::Result<KeyValues> {
    Ok(KeyValues::parse(Origin::User, text)?)
}

/// Creates the queue.
pub(crate) async fn create_queue(server: &Server) -> anyhow::Result<()> {
    client(server)?.queues().create(&CreateQueueRequest::new(QUEUE)).await?;
    Ok(())
}
