//! Willow under test, by its own Rust client over HTTP. Every reply comes after the fsync.

use willow_api::queue::CreateQueueRequest;
use willow_client::{Client, Options};
use willow_harness::Server;
use willow_model::{KeyValues, Origin};

/// The queue of the benchmarks.
pub(crate) const QUEUE: &str = "bench";

/// As the peers' clients: no idempotency record for each call.
pub(crate) fn client(server: &Server) -> anyhow::Result<Client> {
    client_of(&server.url())
}

/// The same for a server known by its URL.
pub(crate) fn client_of(url: &str) -> anyhow::Result<Client> {
    let options = Options { request_ids: false, ..Options::default() };
    Ok(Client::with_options(url, options)?)
}

pub(crate) fn key_values(text: &str) -> anyhow::Result<KeyValues> {
    Ok(KeyValues::parse(Origin::User, text)?)
}

/// Creates the queue.
pub(crate) async fn create_queue(server: &Server) -> anyhow::Result<()> {
    client(server)?.queues().create(&CreateQueueRequest::new(QUEUE)).await?;
    Ok(())
}
