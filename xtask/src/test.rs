//! What CI runs.

use xshell::{Shell, cmd};

use crate::{setup, simulate};

pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    setup::nextest(sh)?;
    cmd!(sh, "cargo fmt --all --check").run()?;
    cmd!(sh, "cargo clippy --workspace --all-targets -- -D warnings").run()?;
    cmd!(sh, "cargo test --workspace --doc").run()?;
    cmd!(sh, "cargo nextest run --workspace --no-fail-fast").run()?;
    simulate::run(sh, &simulate::Arguments::default())
}

/// The long form of a test that CI runs short.
pub(crate) fn soak_pages(sh: &Shell) -> anyhow::Result<()> {
    let test = ["--package", "willow-query", "--test", "pages_under_writes"];
    Ok(cmd!(sh, "cargo test --release {test...} -- --ignored --nocapture").run()?)
}
