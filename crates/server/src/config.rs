//! Settings of the server, each with its reason.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize};

/// How the server runs. Every setting has a default; durations are in ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one. Loopback by default: there is no authentication yet.
    pub listen: SocketAddr,
    /// Where log and snapshots live. Created when missing.
    pub data_dir: PathBuf,
    /// From the first byte of a request (or the opening of a connection) to the end of its headers.
    pub header_timeout_ms: u64,
    /// For a request's whole body to come in.
    pub body_timeout_ms: u64,
    /// How long a connection may idle between requests.
    pub idle_timeout_ms: u64,
    /// How long a client may take no byte of a reply.
    pub write_timeout_ms: u64,
    /// Connections at once; more are answered 503 and closed. Each costs a file descriptor and about 20 KiB.
    pub max_connections: usize,
    /// Requests at once, long polls included; more are answered 503.
    pub max_requests: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams_per_connection: u32,
    /// Bytes of a request's headers.
    pub max_header_bytes: usize,
    /// Bytes of an ordinary body. Enqueuing takes more: 2 MiB for one item, 16 MiB for a batch.
    pub max_body_bytes: usize,
    /// Bytes of all bodies being read at once; past it requests are answered 503, before memory runs out.
    pub max_bodies_bytes: usize,
    /// At shutdown, how long to let running requests end.
    pub shutdown_grace_ms: u64,
    /// Where to listen for the other nodes of the cluster. Without, the node is a cluster of its own.
    pub peer_listen: Option<SocketAddr>,
    /// Where the others reach it, `host:port`: `peer_listen`, unless that is every address.
    pub peer_addr: Option<String>,
    /// Where clients reach this node, an `http` URL: that of `listen`, unless that is every address.
    pub client_url: Option<String>,
    /// On an empty data directory: found a cluster, unless one of `join` knows of one.
    pub bootstrap: bool,
    /// Peer addresses of the other nodes. On an empty data directory: join the cluster that one of them knows.
    #[serde(deserialize_with = "list")]
    pub join: Vec<String>,
    /// Folder of `ca.pem`, `node.pem` and `node.key`, by which nodes know each other.
    pub peer_certs: Option<PathBuf>,
    /// On an empty data directory: found a new cluster with the data of this backup.
    pub restore: Option<PathBuf>,
    /// Nodes talk in the clear, and to anybody who asks. On loopback addresses only.
    pub peer_insecure: bool,
}

/// A list, or as in an environment variable, text with commas.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        List(Vec<String>),
    }
    let items = match Form::deserialize(deserializer)? {
        Form::Text(text) => text.split(',').map(str::to_owned).collect(),
        Form::List(items) => items,
    };
    let trimmed = items.iter().map(|item| item.trim());
    Ok(trimmed.filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

/// Bytes of the body of one enqueue: an item's 1 MiB in base64, and its options.
pub(crate) const ENQUEUE_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of the body of a batch: what one log entry may hold.
pub(crate) const BATCH_BYTES: usize = willow_node::COMMAND_BYTES;
/// Levels of a body's JSON. Checked before anything recurses; more than any request needs.
pub(crate) const JSON_DEPTH: usize = 64;

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070),
            data_dir: PathBuf::from("willow-data"),
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 75_000,
            write_timeout_ms: 30_000,
            max_connections: 10_000,
            max_requests: 20_000,
            max_streams_per_connection: 256,
            max_header_bytes: 32 * 1024,
            max_body_bytes: 1024 * 1024,
            max_bodies_bytes: 256 * 1024 * 1024,
            shutdown_grace_ms: 10_000,
            peer_listen: None,
            peer_addr: None,
            client_url: None,
            bootstrap: false,
            join: Vec::new(),
            peer_certs: None,
            restore: None,
            peer_insecure: false,
        }
    }
}

impl Config {
    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    pub(crate) fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }

    /// Refuses settings under which the server could not work.
    ///
    /// # Errors
    /// Names the setting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("header_timeout_ms", self.header_timeout_ms),
            ("body_timeout_ms", self.body_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("write_timeout_ms", self.write_timeout_ms),
            ("max_connections", self.max_connections as u64),
            ("max_requests", self.max_requests as u64),
            ("max_streams_per_connection", self.max_streams_per_connection.into()),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError { name, reason: "it must be at least 1" });
        }
        if !(8 * 1024..=1024 * 1024).contains(&self.max_header_bytes) {
            return Err(ConfigError { name: "max_header_bytes", reason: "it must be 8 KiB to 1 MiB" });
        }
        if self.max_body_bytes < 64 * 1024 {
            return Err(ConfigError { name: "max_body_bytes", reason: "it must be at least 64 KiB" });
        }
        if self.max_bodies_bytes < BATCH_BYTES {
            return Err(ConfigError { name: "max_bodies_bytes", reason: "it must be at least 16 MiB, one batch" });
        }
        self.validate_peering()
    }

    fn validate_peering(&self) -> Result<(), ConfigError> {
        let refuse = |name, reason| Err(ConfigError { name, reason });
        if self.restore.is_some() && (self.bootstrap || !self.join.is_empty()) {
            return refuse("restore", "a backup founds a cluster of its own: it goes with neither bootstrap nor join");
        }
        let Some(listen) = self.peer_listen else {
            let set = [
                ("peer_addr", self.peer_addr.is_some()),
                ("client_url", self.client_url.is_some()),
                ("bootstrap", self.bootstrap),
                ("join", !self.join.is_empty()),
                ("peer_certs", self.peer_certs.is_some()),
                ("peer_insecure", self.peer_insecure),
            ];
            return match set.into_iter().find(|(_, is_set)| *is_set) {
                Some((name, _)) => refuse(name, "it is for nodes of a cluster: set peer_listen, too"),
                None => Ok(()),
            };
        };
        match (&self.peer_certs, self.peer_insecure) {
            (None, false) => {
                return refuse(
                    "peer_certs",
                    "nodes need certificates: make them with `willow cluster certs`, or set peer_insecure on loopback",
                );
            }
            (Some(_), true) => return refuse("peer_insecure", "it does not go with peer_certs"),
            (None, true) if !listen.ip().is_loopback() => {
                return refuse("peer_insecure", "it is for loopback addresses only, and peer_listen is another");
            }
            _ => {}
        }
        if self.peer_addr.is_none() && listen.ip().is_unspecified() {
            return refuse(
                "peer_addr",
                "peer_listen is every address: say at which one the other nodes reach this one",
            );
        }
        if self.peer_addr.iter().chain(&self.join).any(|addr| !is_host_and_port(addr)) {
            let name = if self.peer_addr.as_deref().is_some_and(is_host_and_port) { "join" } else { "peer_addr" };
            let name = if self.peer_addr.is_none() { "join" } else { name };
            return refuse(name, "write it as host:port");
        }
        let own = self.peer_addr.clone().unwrap_or_else(|| listen.to_string());
        if !self.bootstrap && !self.join.is_empty() && self.join.iter().all(|addr| *addr == own) {
            return refuse("join", "it names only this node: name others, or set bootstrap to found a cluster");
        }
        match &self.client_url {
            None if self.listen.ip().is_unspecified() => {
                refuse("client_url", "listen is every address: say at which one clients reach this node")
            }
            Some(url) if !url.starts_with("http://") => refuse("client_url", "write it as http://host:port"),
            _ => Ok(()),
        }
    }
}

fn is_host_and_port(addr: &str) -> bool {
    let is_host = |host: &str| match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            !host.is_empty() && host.bytes().all(is_fine)
        }
    };
    addr.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// A setting is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad setting {name}: {reason}")]
pub struct ConfigError {
    /// Which setting.
    pub name: &'static str,
    /// What is wrong.
    pub reason: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_every_field_may_be_left_out() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn zero_and_unknown_settings_are_refused() {
        let zero = Config { max_requests: 0, ..Config::default() };
        assert_eq!(zero.validate().unwrap_err().name, "max_requests");
        assert!(serde_json::from_str::<Config>(r#"{"max_request": 1}"#).is_err());
    }

    fn peered() -> Config {
        Config { peer_listen: Some("127.0.0.1:7171".parse().unwrap()), peer_insecure: true, ..Config::default() }
    }

    /// The setting that is refused after `change`.
    fn refused(change: impl FnOnce(&mut Config)) -> Option<&'static str> {
        let mut config = peered();
        change(&mut config);
        config.validate().err().map(|error| error.name)
    }

    #[test]
    fn settings_of_a_node_among_others_fit_together() {
        assert_eq!(refused(|_| {}), None);
        assert_eq!(refused(|config| config.join = vec!["n1:7171".to_owned(), "[::1]:7171".to_owned()]), None);
        assert_eq!(refused(|config| config.peer_listen = None), Some("peer_insecure"));
        assert_eq!(refused(|config| config.peer_insecure = false), Some("peer_certs"));
        assert_eq!(refused(|config| config.peer_certs = Some("certs".into())), Some("peer_insecure"));
        assert_eq!(refused(|config| config.peer_listen = "10.0.0.1:1".parse().ok()), Some("peer_insecure"));
        let with_certs = |listen: &str, addr: Option<&str>| {
            let (peer_listen, peer_addr) = (listen.parse().ok(), addr.map(str::to_owned));
            let config = Config { peer_listen, peer_addr, peer_insecure: false, ..peered() };
            Config { peer_certs: Some("certs".into()), ..config }.validate().err().map(|error| error.name)
        };
        assert_eq!(with_certs("0.0.0.0:7171", None), Some("peer_addr"));
        assert_eq!(with_certs("0.0.0.0:7171", Some("n1.example")), Some("peer_addr"));
        assert_eq!(with_certs("0.0.0.0:7171", Some("n1.example:7171")), None);
        for addr in ["n1", "http://n1:7171", "n1:0", ":7171", "::1:7171", "n 1:7171"] {
            assert_eq!(refused(|config| config.join = vec![addr.to_owned()]), Some("join"), "{addr}");
        }
        let own = |config: &mut Config| config.join = vec![config.peer_listen.unwrap().to_string()];
        assert_eq!(refused(own), Some("join"));
        let founds = |config: &mut Config| {
            own(config);
            config.bootstrap = true;
        };
        assert_eq!(refused(founds), None);
        assert_eq!(refused(|config| config.listen = "0.0.0.0:7070".parse().unwrap()), Some("client_url"));
        assert_eq!(refused(|config| config.client_url = Some("n1:7070".to_owned())), Some("client_url"));
        assert_eq!(refused(|config| (config.restore, config.bootstrap) = (Some("b".into()), true)), Some("restore"));
    }

    #[test]
    fn a_list_may_be_text_with_commas() {
        let join = |json: &str| serde_json::from_str::<Config>(json).unwrap().join;
        assert_eq!(join(r#"{"join": "a:1, b:2,"}"#), ["a:1", "b:2"]);
        assert_eq!(join(r#"{"join": ["a:1", "b:2"]}"#), ["a:1", "b:2"]);
    }
}
