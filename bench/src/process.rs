//! A server under test: a real process on a loopback port, its data in a folder that goes with it.

use std::{
    fs::File,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(60);

/// A running server; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    dir: TempDir,
}

impl Server {
    /// Starts `program` with what `arguments` makes of its data folder and its address, and waits
    /// until it listens.
    pub(crate) fn start(
        program: &str,
        arguments: impl FnOnce(&Path, SocketAddr) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("willow-bench-").tempdir_in(scratch()?)?;
        let address = free_address()?;
        let log = File::create(dir.path().join("log"))?;
        let child = Command::new(program)
            .args(arguments(dir.path(), address)?)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {program}"))?;
        let mut server = Self { child, address, dir };
        server.wait_until_listening(program)?;
        Ok(server)
    }

    /// Resident memory, bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// Kills the process and starts it again on the same data; returns how long until it listens.
    pub(crate) fn restart(
        &mut self,
        program: &str,
        arguments: impl FnOnce(&Path, SocketAddr) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Duration> {
        self.child.kill()?;
        self.child.wait()?;
        let began = Instant::now();
        self.child = Command::new(program)
            .args(arguments(self.dir.path(), self.address)?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.wait_until_listening(program)?;
        Ok(began.elapsed())
    }

    fn wait_until_listening(&mut self, program: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                bail!("{program} ended with {status}:\n{log}");
            }
            if Instant::now() > deadline {
                bail!("{program} does not listen after {START:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // It may be gone already; the wait below is what counts.
            let _gone = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        if self.child.kill().and_then(|()| self.child.wait().map(drop)).is_err() {
            let _closed = writeln!(std::io::stderr(), "process {} did not stop", self.child.id());
        }
    }
}

/// A free loopback address: bound, looked at, and let go.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// On the disk of the build, not in a tmpfs: fsync must mean something.
fn scratch() -> anyhow::Result<std::path::PathBuf> {
    let target = std::env::current_exe()?;
    let dir = target.parent().context("the program lies in a folder")?.join("bench-data");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}
