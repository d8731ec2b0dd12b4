//! The API under schemathesis, driven by its own OpenAPI document.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use xshell::{Shell, cmd};

use crate::{demo::target, setup};

pub(crate) fn run(sh: &Shell, examples: u32) -> anyhow::Result<()> {
    let schemathesis = setup::schemathesis(sh)?;
    cmd!(sh, "cargo build --package willow").run()?;
    let target = target(sh);
    let data = sh.create_temp_dir()?;
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let child = Command::new(format!("{target}/debug/willow"))
        .args(["server", "--listen", &address.to_string(), "--data-dir"])
        .arg(data.path().join("data"))
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(data.path().join("log"))?)
        .spawn()
        .context("start the server")?;
    let mut server = Server(child);
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).is_err() {
        ensure!(Instant::now() < deadline, "the server does not listen after a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    let examples = examples.to_string();
    let document = format!("http://{address}/v1/openapi.json");
    // Two checks are out: what the schema allows may still be refused for what is there or not (412, 422),
    // and the schema's int64 is narrower than the u64 that is taken.
    // A seed of its own each time would make CI fail now and then for what nobody changed.
    cmd!(sh, "{schemathesis} run {document} --phases examples,coverage,fuzzing,stateful --max-examples {examples} --seed 1 --request-timeout 20 --suppress-health-check all --exclude-checks positive_data_acceptance,negative_data_rejection")
        .run()
        .context("schemathesis found faults; its output above has a curl command for each")?;
    ensure!(server.0.try_wait()?.is_none(), "the server ended during the run");
    Ok(())
}

/// Stops with the task.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to be done if it has ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
