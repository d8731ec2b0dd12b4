//! `willow server`: flag, then environment, then file, then default.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use tracing_subscriber::EnvFilter;
use willow_server::Config;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where log and snapshots live; created when missing [default: willow-data]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7070]
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Settings in TOML; every one can also be set as WILLOW_SERVER_<NAME>
    #[arg(long)]
    config: Option<PathBuf>,
    /// Form of the log lines on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// For machines: one JSON object a line
    Json,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    log(arguments.log_format, "info,openraft=warn");
    let config = config(&arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = shutdown()?;
        willow_server::run(config, shutdown, |address| eprintln!("willow listens on http://{address}")).await?;
        Ok(())
    })
}

/// Logs go to stderr; `RUST_LOG` chooses what, else `default`.
pub(crate) fn log(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}

fn config(arguments: &Arguments) -> anyhow::Result<Config> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(file) = &arguments.config {
        anyhow::ensure!(file.exists(), "{} does not exist", file.display());
        figment = figment.merge(Toml::file(file));
    }
    figment = figment.merge(Env::prefixed("WILLOW_SERVER_"));
    if let Some(data_dir) = &arguments.data_dir {
        figment = figment.merge(Serialized::default("data_dir", data_dir));
    }
    if let Some(listen) = &arguments.listen {
        figment = figment.merge(Serialized::default("listen", listen));
    }
    figment.extract().context("the server's settings")
}

/// Ends at SIGINT or SIGTERM.
pub(crate) fn shutdown() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
