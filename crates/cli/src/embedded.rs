//! A server in this process, on a free port, with data that goes when it ends.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use willow_server::{Config, RunError, Server};

/// Runs until [`Embedded::stop`].
pub(crate) struct Embedded {
    url: String,
    data: TempDir,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), RunError>>,
}

impl Embedded {
    /// Starts it and returns when it listens.
    pub(crate) async fn start(prefix: &str) -> anyhow::Result<Self> {
        let data = tempfile::Builder::new().prefix(prefix).tempdir_in(scratch())?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(Config { listen, data_dir: data.path().to_path_buf(), ..Config::default() }).await?;
        let url = format!("http://{}", server.addr());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async {
            // An error means that whoever would have stopped it is gone: the same.
            let _gone = stopped.await;
        }));
        Ok(Self { url, data, stop, running })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Shuts it down in order and removes its data.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        // An error means that it has ended already.
        let _ended = self.stop.send(());
        self.running.await??;
        Ok(self.data.close()?)
    }
}

/// `/tmp` is often in memory, where an fsync costs nothing; `/var/tmp` is on a disk (FHS 3.0, 5.15).
fn scratch() -> PathBuf {
    let on_disk = PathBuf::from("/var/tmp");
    if on_disk.is_dir() { on_disk } else { std::env::temp_dir() }
}
