//! What CI runs.

use xshell::{Shell, cmd};

use crate::setup;

pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    setup::nextest(sh)?;
    cmd!(sh, "cargo fmt --all --check").run()?;
    cmd!(sh, "cargo clippy --workspace --all-targets -- -D warnings").run()?;
    cmd!(sh, "cargo test --workspace --doc").run()?;
    cmd!(sh, "cargo nextest run --workspace --no-fail-fast").run()?;
    Ok(())
}
