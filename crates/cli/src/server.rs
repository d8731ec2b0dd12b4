//! `willow server`: flag, then environment, then file, then default.

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use willow_server::Config;

/// Environment variables of the settings start so.
const PREFIX: &str = "WILLOW_SERVER_";

#[derive(clap::Args)]
#[command(after_help = settings())]
pub(crate) struct Arguments {
    /// Where log and snapshots live; created when missing [default: willow-data]
    #[arg(long, env = "WILLOW_SERVER_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7070]
    #[arg(long, env = "WILLOW_SERVER_LISTEN")]
    listen: Option<SocketAddr>,
    /// A TOML file of settings
    #[arg(long, env = "WILLOW_SERVER_CONFIG")]
    config: Option<PathBuf>,
    /// With an empty data directory: found a new cluster with the data of this file, as `willow cluster backup`
    /// wrote it
    #[arg(long, value_name = "FILE", env = "WILLOW_SERVER_RESTORE")]
    restore: Option<PathBuf>,
    #[command(flatten)]
    peers: Peers,
    /// Form of the log lines on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "WILLOW_SERVER_LOG_FORMAT")]
    log_format: LogFormat,
}

/// Heading in the help of what makes a node one of several.
const PEERS: &str = "Options of a node among others";

#[derive(clap::Args, Serialize)]
struct Peers {
    /// Where to listen for the other nodes; without, the server is a cluster of its own
    #[arg(long, help_heading = PEERS, env = "WILLOW_SERVER_PEER_LISTEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_listen: Option<SocketAddr>,
    /// Where the others reach this node, host:port [default: --peer-listen]
    #[arg(long, help_heading = PEERS, value_name = "HOST:PORT", env = "WILLOW_SERVER_PEER_ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_addr: Option<String>,
    /// Where clients reach this node [default: http:// and --listen]
    #[arg(long, help_heading = PEERS, value_name = "URL", env = "WILLOW_SERVER_CLIENT_URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_url: Option<String>,
    /// With an empty data directory: found the cluster, unless one of --join knows of one
    #[arg(long, help_heading = PEERS)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    bootstrap: bool,
    /// With an empty data directory: join the cluster that one of these nodes belongs to
    #[arg(long, help_heading = PEERS, value_name = "HOST:PORT", value_delimiter = ',', env = "WILLOW_SERVER_JOIN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    join: Vec<String>,
    /// Folder of ca.pem, node.pem and node.key; `willow cluster certs` makes them
    #[arg(long, help_heading = PEERS, value_name = "DIR", env = "WILLOW_SERVER_PEER_CERTS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_certs: Option<PathBuf>,
    /// No certificates: to try things out, on loopback addresses only
    #[arg(long, help_heading = PEERS)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    peer_insecure: bool,
}

/// How to start three nodes, for `--help`.
const THREE_NODES: &str = "Three nodes on this machine, in three shells:
  peers=127.0.0.1:7171,127.0.0.1:7181,127.0.0.1:7191
  willow server --data-dir n1 --listen 127.0.0.1:7070 --peer-listen 127.0.0.1:7171 --peer-insecure --join $peers --bootstrap
  willow server --data-dir n2 --listen 127.0.0.1:7080 --peer-listen 127.0.0.1:7181 --peer-insecure --join $peers
  willow server --data-dir n3 --listen 127.0.0.1:7090 --peer-listen 127.0.0.1:7191 --peer-insecure --join $peers

On machines of their own, give each a certificate (willow cluster certs) and --peer-certs instead of --peer-insecure.
The first founds the cluster once the others say that they know of none; should it ever start on an empty disk again, it
joins them instead. --bootstrap and --join are not looked at where the data directory holds a member's data.
";

/// All settings with their defaults, for `--help`.
fn settings() -> String {
    let mut text = THREE_NODES.to_owned();
    text += "\nSettings, as environment variables. The TOML file of --config names them in small letters, without\n\
                    WILLOW_SERVER_. A flag goes before the environment, that before the file. docs/cli.md explains\n\
                    each.\n\n";
    for (name, default) in defaults() {
        text += &format!("  {PREFIX}{:<27} [default: {default}]\n", name.to_uppercase());
    }
    text
}

/// The settings by name, as text.
fn defaults() -> Vec<(String, String)> {
    let json = serde_json::to_value(Config::default()).unwrap_or_default();
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "none".to_owned(),
        serde_json::Value::Array(items) if items.is_empty() => "none".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    json.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// For machines: one JSON object a line
    Json,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    log(arguments.log_format, "info,openraft=error,openraft::raft::api::management=off");
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
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
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
    figment = figment.merge(Env::prefixed(PREFIX).filter(|name| is_setting(name.as_str())));
    if let Some(data_dir) = &arguments.data_dir {
        figment = figment.merge(Serialized::default("data_dir", data_dir));
    }
    if let Some(listen) = &arguments.listen {
        figment = figment.merge(Serialized::default("listen", listen));
    }
    if let Some(restore) = &arguments.restore {
        figment = figment.merge(Serialized::default("restore", restore));
    }
    // Only what was given is in it.
    figment = figment.merge(Serialized::defaults(&arguments.peers));
    figment.extract().context("the server's settings")
}

/// Whether a variable with our prefix is meant for the server's settings. Two are the command line's own (see
/// `Arguments`), and Kubernetes sets some for the pods beside a Service that is called `willow-server`. All others
/// are, so that one misspelt is refused.
fn is_setting(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_of_kubernetes = name == "port" || name.starts_with("port_") || name.starts_with("service_");
    !is_of_kubernetes && !["config", "log_format"].contains(&name.as_str())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_kubernetes_sets_are_no_settings() {
        for name in ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_7070_TCP", "PORT_7070_TCP_ADDR"]
        {
            assert!(!is_setting(name), "{name}");
        }
        assert!(defaults().iter().all(|(name, _)| is_setting(name)));
        assert!(is_setting("misspelt"), "and refused as such");
    }

    #[test]
    fn every_setting_is_in_the_docs_with_its_default() {
        let page = include_str!("../../../docs/cli.md");
        for (name, default) in defaults() {
            let variable = format!("{PREFIX}{}", name.to_uppercase());
            assert!(settings().contains(&variable), "{variable} is not in --help");
            let row = page.lines().find(|line| line.starts_with(&format!("| `{variable}` ")));
            assert!(row.is_some_and(|row| row.contains(&format!("`{default}`"))), "docs/cli.md: {variable} {default}");
        }
    }
}
