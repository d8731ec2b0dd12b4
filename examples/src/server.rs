//! The server under the example: one that runs already, or a process of our own on fresh data.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
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
    process: Option<(Child, TempDir)>,
}

impl Server {
    /// Finds or starts the server.
    ///
    /// # Errors
    /// When it cannot be started, or does not listen within a minute.
    pub fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        if let Some(url) = &arguments.server {
            return Ok(Self { url: url.clone(), process: None });
        }
        let program = match &arguments.willow {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("willow"),
        };
        let dir = tempfile::Builder::new().prefix("willow-example-").tempdir()?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = File::create(dir.path().join("log"))?;
        let mut child = Command::new(&program)
            .args(["server", "--listen", &address.to_string(), "--data-dir"])
            .arg(dir.path().join("data"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}: build it first with `cargo build --release`", program.display()))?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("the server ended with {status}: {}", std::fs::read_to_string(dir.path().join("log"))?);
            }
            if Instant::now() > deadline {
                bail!("the server does not listen after a minute");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { url: format!("http://{address}"), process: Some((child, dir)) })
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

impl Drop for Server {
    fn drop(&mut self) {
        let Some((child, _dir)) = &mut self.process else {
            return;
        };
        if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
            // It may have ended already; waiting for it is what counts.
            let _ended = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ended = child.kill();
        let _reaped = child.wait();
    }
}
