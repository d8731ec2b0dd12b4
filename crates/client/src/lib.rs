//! The Rust client of Willow.
//!
//! ```no_run
//! # async fn example() -> Result<(), willow_client::Error> {
//! use std::time::Duration;
//! use willow_client::{Client, LockOptions};
//! use willow_model::{KeyValues, Origin};
//!
//! let client = Client::new("http://127.0.0.1:7070")?;
//! let key_values = KeyValues::parse(Origin::User, "deploy=web env=prod").expect("well-formed");
//! let options = LockOptions { wait: Duration::from_secs(30), ..LockOptions::default() };
//! let lock = client.lock(key_values, options).await?;
//! tokio::select! {
//!     () = lock.lost() => eprintln!("the lock is lost: stop at once"),
//!     () = async { /* the work, which shows lock.token() to what it changes */ } => {}
//! }
//! lock.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!  Client ─ locks() sessions() rules() overrides() counters() holds() queues() queue(name)
//!     │       one method per call of the API, request and reply as in `willow-api`
//!     ├─ retry: only what the error says is retryable, with full jitter; a request id makes repeats safe
//!     ├─ guards: LockGuard, HoldGuard, DeliveryGuard; heartbeat at a third of the lease, `lost()`
//!     └─ transport: pooled HTTP/1.1
//! ```
#![warn(missing_docs)]

mod backup;
mod calls;
mod cluster;
mod connection;
mod error;
mod guard;
mod pages;
mod retry;
mod transport;

#[cfg(test)]
mod failover;

use std::{sync::Arc, time::Duration};

use http::Method;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

pub use backup::BackupError;
pub use calls::{
    Channels, Counters, DeadLetters, Holds, Items, Locks, Overrides, QueueHandle, Queues, Rules, Sessions,
};
pub use error::Error;
pub use guard::{DeliveryGuard, HoldGuard, Lease, LockGuard, LockOptions};
pub use pages::Pages;
pub use retry::RetryPolicy;
pub use willow_api as api;

use transport::{Call, Transport};

/// How a client behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How long a call may take beyond what it asks the server to wait.
    pub timeout: Duration,
    /// Of several servers, how long one may take beyond what it is asked to wait, before the next is asked with the
    /// same request id. A server that has no leader says so within 8 s; one that hangs says nothing.
    pub attempt_timeout: Duration,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// Connections kept open while unused.
    pub idle_connections: usize,
    /// What is tried again, and when.
    pub retry: RetryPolicy,
    /// Whether calls that change something and have no request id of their own get one, so that a
    /// repeat after a lost reply is answered from the record. Without, such calls are not repeated
    /// after a lost reply.
    pub request_ids: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            idle_connections: 1024,
            retry: RetryPolicy::default(),
            request_ids: true,
        }
    }
}

/// A client of one server, or of several that are one cluster. Cheap to clone; clones share connections.
///
/// Of several, it talks to one until that one fails: no connection, no answer, or an answer that another server
/// may not give (no leader, shutting down, a failed disk). Then it goes on at the next, with the same request id, so
/// that nothing is done twice: a call that waited keeps its place in line. A long poll ends when it would have ended.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Arc<Transport>,
    options: Options,
}

impl Client {
    /// A client of the server at `url` (`http://host:port`), or of several, separated by commas. Connects with the
    /// first call.
    ///
    /// # Errors
    /// When one is not an `http` URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::with_options(url, Options::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// When one is not an `http` URL.
    pub fn with_options(url: &str, options: Options) -> Result<Self, Error> {
        let transport = Arc::new(Transport::new(url, &options)?);
        Ok(Self { inner: Arc::new(Inner { transport, options }) })
    }

    /// The same servers and connections, with at most `limit` for each try: for heartbeats, which have to find a
    /// server that answers while there is some of the lease left.
    fn hasty(&self, limit: Duration) -> Self {
        let attempt_timeout = self.inner.options.attempt_timeout.min(limit);
        let options = Options { attempt_timeout, ..self.inner.options.clone() };
        Self { inner: Arc::new(Inner { transport: Arc::clone(&self.inner.transport), options }) }
    }

    /// Sends a read: always safe to repeat.
    async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        self.send(&call, true).await
    }

    /// Sends a change; `request_id` is the body's own.
    async fn change<T: DeserializeOwned>(&self, mut call: Call, request_id: Option<&str>) -> Result<T, Error> {
        let generate = request_id.is_none() && self.inner.options.request_ids;
        if generate {
            call.idempotency_key = Some(uuid::Uuid::new_v4());
        }
        self.send(&call, generate || request_id.is_some()).await
    }

    async fn send<T: DeserializeOwned>(&self, call: &Call, repeatable: bool) -> Result<T, Error> {
        let Inner { transport, options } = &*self.inner;
        let servers = transport.servers();
        // What a call waits for was asked of the cluster, not of the server: it goes on elsewhere, and the body stays
        // as it is, for a repeat is known by it. Only this side's patience shrinks.
        let end = Instant::now() + options.timeout.saturating_add(call.wait);
        retry::run(&options.retry, repeatable, servers, || {
            let left = end.saturating_duration_since(Instant::now());
            let limit = match servers {
                1 => options.timeout.saturating_add(call.wait),
                _ => left.min(options.attempt_timeout.saturating_add(call.wait)),
            };
            transport.send(call, limit)
        })
        .await
    }

    /// Calls any path: for what this client has no method for.
    ///
    /// # Errors
    /// As every call.
    pub async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, Error> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| Error::BadUrl(error.to_string()))?;
        let mut call = Call::new(method, path.to_owned());
        if let Some(body) = body {
            call = call.json(body)?;
        }
        let limit = self.inner.options.timeout;
        self.inner.transport.send(&call, limit).await.map_err(|failed| failed.error)
    }
}
