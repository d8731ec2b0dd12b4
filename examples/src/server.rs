//! The server under the example: one that runs already, or a process of our own on fresh data.

use std::path::PathBuf;

use anyhow::Context;
use willow_client::{Client, Options};

/// Where to find the server.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// A server that runs already, instead of one started on fresh data
    #[arg(long)]
    server: Option<String>,
    /// The willow program to start; by default the one beside this program
    #[arg(long)]
    willow: Option<PathBuf>,
}

/// A server to talk to; stopped when dropped if it was started here.
#[derive(Debug)]
pub struct Server {
    url: String,
    _process: Option<willow_harness::Server>,
}

impl Server {
    /// Finds or starts the server.
    ///
    /// # Errors
    /// When it cannot be started, or does not listen in time.
    pub fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        if let Some(url) = &arguments.server {
            return Ok(Self { url: url.clone(), _process: None });
        }
        let program = match &arguments.willow {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("willow"),
        };
        let process = willow_harness::Server::willow(program).context("build it first with `cargo build --release`")?;
        Ok(Self { url: process.url(), _process: Some(process) })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of it.
    ///
    /// # Errors
    /// When the URL given is not one.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::with_options(&self.url, Options { idle_connections: 4096, ..Options::default() })?)
    }
}
