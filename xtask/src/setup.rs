//! What the tasks need beyond the Rust toolchain, from Debian's packages and PyPI.

use anyhow::Context;
use xshell::{Shell, cmd};

/// The peers of `cargo xtask bench peers`, and what building their clients takes.
const PEERS: &[&str] = &["redis-server", "etcd-server", "beanstalkd", "protobuf-compiler", "libprotobuf-dev"];

/// Where the Python tools of the tests live.
pub(crate) const VENV: &str = "target/venv";

pub(crate) fn run(sh: &Shell, peers: bool) -> anyhow::Result<()> {
    nextest(sh)?;
    if peers {
        self::peers(sh)?;
    }
    Ok(())
}

/// The test runner.
pub(crate) fn nextest(sh: &Shell) -> anyhow::Result<()> {
    if cmd!(sh, "cargo nextest --version").quiet().ignore_stderr().read().is_ok() {
        return Ok(());
    }
    eprintln!("installing cargo-nextest");
    Ok(cmd!(sh, "cargo install --locked cargo-nextest").run()?)
}

/// The peers' servers; nothing happens where they are there already.
pub(crate) fn peers(sh: &Shell) -> anyhow::Result<()> {
    apt(sh, PEERS)
}

/// The peer of `cargo xtask bench query`; nothing happens where it is there already.
pub(crate) fn postgres(sh: &Shell) -> anyhow::Result<()> {
    if sh.path_exists("/usr/lib/postgresql") {
        return Ok(());
    }
    apt(sh, &["postgresql"])
}

/// Callgrind.
pub(crate) fn valgrind(sh: &Shell) -> anyhow::Result<()> {
    apt(sh, &["valgrind"])
}

/// Schemathesis in a virtual environment of its own; returns the path of its program.
pub(crate) fn schemathesis(sh: &Shell) -> anyhow::Result<String> {
    let program = format!("{VENV}/bin/schemathesis");
    if !sh.path_exists(&program) {
        eprintln!("installing schemathesis into {VENV}");
        if cmd!(sh, "python3 -m venv {VENV}").run().is_err() {
            apt(sh, &["python3-venv"])?;
            cmd!(sh, "python3 -m venv {VENV}").run()?;
        }
        cmd!(sh, "{VENV}/bin/pip install --quiet schemathesis==4.*").run().context("pip install schemathesis")?;
    }
    Ok(program)
}

fn apt(sh: &Shell, packages: &[&str]) -> anyhow::Result<()> {
    eprintln!("installing from Debian: {}", packages.join(" "));
    let sudo: &[&str] = if cmd!(sh, "id -u").quiet().read()? == "0" { &[] } else { &["sudo"] };
    cmd!(sh, "env {sudo...} apt-get update").quiet().ignore_stdout().run()?;
    let _env = sh.push_env("DEBIAN_FRONTEND", "noninteractive");
    cmd!(sh, "env {sudo...} apt-get install -y --no-install-recommends {packages...}").quiet().ignore_stdout().run()?;
    Ok(())
}
