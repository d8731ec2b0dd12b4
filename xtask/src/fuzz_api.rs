//! The API under schemathesis, driven by its own OpenAPI document.

use anyhow::{Context, ensure};
use willow_harness::Server;
use xshell::{Shell, cmd};

use crate::{demo::target, setup};

pub(crate) fn run(sh: &Shell, examples: u32) -> anyhow::Result<()> {
    let schemathesis = setup::schemathesis(sh)?;
    cmd!(sh, "cargo build --package willow").run()?;
    let target = target(sh);
    let mut server = Server::willow(format!("{target}/debug/willow"))?;
    let examples = examples.to_string();
    let document = format!("{}/v1/openapi.json", server.url());
    // One check is out: what the schema allows may still be refused for what is there or not (404, 412, 422).
    // A seed of its own each time would make CI fail now and then for what nobody changed.
    cmd!(sh, "{schemathesis} run {document} --phases examples,coverage,fuzzing,stateful --max-examples {examples} --seed 1 --request-timeout 20 --suppress-health-check all --exclude-checks positive_data_acceptance")
        .run()
        .context("schemathesis found faults; its output above has a curl command for each")?;
    ensure!(server.is_running()?, "the server ended during the run");
    Ok(())
}
