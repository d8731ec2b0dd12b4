//! Servers as real processes, for tests, examples and benchmarks: never part of the product.
//!
//! ```text
//!  start ─► program ARGUMENTS(data folder, free loopback address) ─► listens ─► in use ─► stop, or dropped
//!                    ▲                                                  │                 SIGTERM, then SIGKILL;
//!                    └──────────── restart: the same arguments ◄── kill ┘                 the folder goes too
//! ```
//! It knows any server that listens on TCP, so that peers of a benchmark run as Willow does. A [`Cluster`] is
//! several Willow nodes on loopback.
#![warn(missing_docs)]

mod cluster;
mod http;

pub use cluster::{Cluster, ClusterOptions, NodeState};

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to listen: a busy machine, or a long log to replay.
const START: Duration = Duration::from_secs(120);
/// How long a server may take to end after SIGTERM; Willow gives running requests 10 s.
const STOP: Duration = Duration::from_secs(15);

/// A server process; stopped when dropped.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    address: SocketAddr,
    dir: TempDir,
    child: Child,
}

impl Server {
    /// Starts `program` with what `arguments` makes of its folder and its address, and waits until it listens.
    /// What it prints goes to `log` in the folder.
    ///
    /// # Errors
    /// When it cannot be started, ends, or does not listen in time; the first lines say which program.
    pub fn start(
        program: impl Into<PathBuf>,
        arguments: impl FnOnce(&Path, SocketAddr) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Self> {
        let mut server = Self::launch(program, arguments)?;
        server.wait_until_it_listens()?;
        Ok(server)
    }

    /// The same without the wait: for a server that listens only once others run, too.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(
        program: impl Into<PathBuf>,
        arguments: impl FnOnce(&Path, SocketAddr) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Self> {
        let program = program.into();
        let dir = tempfile::Builder::new().prefix("server-").tempdir_in(scratch()?)?;
        let address = free_address()?;
        let arguments = arguments(dir.path(), address)?;
        let child = spawn(&program, &arguments, dir.path())?;
        Ok(Self { program, arguments, address, dir, child })
    }

    /// Starts `willow server` on its defaults, with its data in `data` in the folder.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn willow(program: impl Into<PathBuf>) -> anyhow::Result<Self> {
        Self::start(program, |dir, address| {
            let data = dir.join("data").display().to_string();
            Ok(vec!["server".into(), "--data-dir".into(), data, "--listen".into(), address.to_string()])
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its folder, which goes with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether the process lives.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Its resident memory, bytes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// What it printed so far, all its lives together.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// SIGKILL, at whatever it is doing.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on the same data and address, killed before if it still runs; returns how long until
    /// it listens.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn restart(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.relaunch()?;
        self.wait_until_it_listens()?;
        Ok(began.elapsed())
    }

    /// The same without the wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn relaunch(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.child = spawn(&self.program, &self.arguments, self.dir.path())?;
        Ok(())
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGSTOP: it does nothing until it is resumed, and its sockets stay open.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on where it was paused.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a process has an id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// SIGTERM, and SIGKILL for one that does not end by it.
    pub fn stop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()).filter(|_| self.is_running().unwrap_or(true)) {
            // It may have ended since; the wait below is what counts.
            let _ended = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP;
        // One that was stopped would not hear of it.
        let _gone = self.resume();
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.kill().is_err() {
            // Nobody to tell but the terminal, if that is still there.
            let _said = writeln!(std::io::stderr(), "process {} did not stop", self.child.id());
        }
    }

    /// Waits until it listens.
    ///
    /// # Errors
    /// When it ends, or does not listen in time.
    pub fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let program = self.program.display();
        let deadline = Instant::now() + START;
        loop {
            let listens = TcpStream::connect(self.address).is_ok();
            // Asked after the connect: somebody else may have taken the address, and this one ended by it.
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                bail!("{program} ended with {status}:\n{log}");
            }
            if listens {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{program} does not listen on {} after {START:?}", self.address);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(program: &Path, arguments: &[String], dir: &Path) -> anyhow::Result<Child> {
    let log: File = OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("start {}", program.display()))
}

/// A free loopback address: bound, looked at, and let go.
///
/// # Errors
/// When the system has none.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// On the disk of the build, not in memory: fsync must mean something.
fn scratch() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let dir = program.parent().context("the program lies in a folder")?.join("servers");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Server::willow("/nonexistent/willow").expect_err("there is none");
        assert!(format!("{error:#}").contains("start /nonexistent/willow"), "{error:#}");
    }

    #[test]
    fn a_server_that_ends_shows_what_it_said() {
        let arguments = |_: &Path, _| Ok(vec!["-c".into(), "echo no such thing >&2; exit 3".into()]);
        let error = Server::start("sh", arguments).expect_err("it ends");
        let text = format!("{error:#}");
        assert!(text.contains("exit status: 3") && text.contains("no such thing"), "{text}");
    }
}
