//! JSON over pooled HTTP connections.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::{Serialize, de::DeserializeOwned};
use willow_api::{ErrorCode, Problem};

use crate::{BackupError, Error, Options, connection::Pool};

/// Where calls go: to the server that answered last, and on to the next when it does not.
#[derive(Debug)]
pub(crate) struct Transport {
    servers: Vec<Server>,
    /// Which one is asked.
    current: AtomicUsize,
}

/// One server.
#[derive(Debug)]
struct Server {
    pool: Pool,
    host: HeaderValue,
    /// What the paths of the API are put behind; mostly nothing.
    prefix: Box<str>,
}

/// A try that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Nothing was sent, so nothing was done.
    pub(crate) is_unsent: bool,
    /// The next try goes to another server, which may be better off.
    pub(crate) is_elsewhere: bool,
}

/// One request, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
    pub(crate) if_match: Option<u64>,
    pub(crate) idempotency_key: Option<uuid::Uuid>,
    /// How long the server may take by request, on top of the client's own timeout.
    pub(crate) wait: Duration,
}

impl Call {
    pub(crate) fn new(method: Method, path: String) -> Self {
        Self { method, path, body: Bytes::new(), if_match: None, idempotency_key: None, wait: Duration::ZERO }
    }

    /// # Errors
    /// Never for the types of the API: none has a map with keys that are not strings.
    pub(crate) fn json<T: Serialize>(mut self, body: &T) -> Result<Self, Error> {
        self.body = serde_json::to_vec(body).map_err(|error| Error::Protocol(error.to_string()))?.into();
        Ok(self)
    }

    pub(crate) fn wait_ms(mut self, wait_ms: Option<u64>) -> Self {
        self.wait = Duration::from_millis(wait_ms.unwrap_or(0));
        self
    }
}

impl Transport {
    /// `bases` are `http://host[:port][/prefix]`, separated by commas.
    pub(crate) fn new(bases: &str, options: &Options) -> Result<Self, Error> {
        let bases = bases.split(',').map(str::trim).filter(|base| !base.is_empty());
        let servers = bases.map(|base| Server::new(base, options)).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(Error::BadUrl("there is none; give it as http://host:port".to_owned()));
        }
        Ok(Self { servers, current: AtomicUsize::new(0) })
    }

    /// How many servers there are.
    pub(crate) fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Sends once, and waits for the reply until `limit` has passed.
    pub(crate) async fn send<T: DeserializeOwned>(&self, call: &Call, limit: Duration) -> Result<T, Failed> {
        let index = self.current.load(Ordering::Relaxed);
        let Some(server) = self.servers.get(index) else { return Err(Error::BadUrl(String::new()).into()) };
        let exchange = async { server.pool.send(server.request(call)?).await };
        let sent = tokio::time::timeout(limit, exchange).await;
        let replied = sent.unwrap_or_else(|_| Err(Error::TimedOut.into()));
        let decoded = replied.and_then(|(status, body)| Ok(decode(status, &body)?));
        decoded.map_err(|failed| self.go_on(index, failed))
    }

    /// Sends once, and hands the body out as it comes.
    pub(crate) async fn download(
        &self,
        call: &Call,
        sink: impl FnMut(&[u8]) -> std::io::Result<()> + Send,
    ) -> Result<(), BackupError> {
        let index = self.current.load(Ordering::Relaxed);
        let Some(server) = self.servers.get(index) else { return Err(Error::BadUrl(String::new()).into()) };
        let downloaded = match server.pool.download(server.request(call)?, sink).await {
            Ok((status, _)) if status.is_success() => return Ok(()),
            Ok((status, body)) => decode::<()>(status, &body),
            Err(BackupError::Call(error)) => Err(error),
            Err(error) => return Err(error),
        };
        downloaded.map_err(|error| BackupError::Call(self.go_on(index, error.into()).error))
    }

    /// From now on the next server is asked, if this one is to blame.
    fn go_on(&self, index: usize, failed: Failed) -> Failed {
        if self.servers.len() < 2 || !is_the_servers_fault(&failed.error) {
            return failed;
        }
        let next = (index + 1) % self.servers.len();
        // Another call may have gone on already.
        let _moved = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
        tracing::debug!(error = %failed.error, server = next, "going on at the next server");
        Failed { is_elsewhere: true, ..failed }
    }
}

/// Whether another server of the cluster may do better.
fn is_the_servers_fault(error: &Error) -> bool {
    use ErrorCode as C;
    match error {
        Error::Connection(_) | Error::TimedOut => true,
        Error::Refused(problem) => matches!(
            problem.code,
            C::NoLeader
                | C::NotLeader
                | C::NoQuorum
                | C::NodeRemoved
                | C::ShuttingDown
                | C::StorageFailed
                | C::DiskFull
                | C::OutcomeUnknown
        ),
        Error::Protocol(_) | Error::BadUrl(_) => false,
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, is_unsent: false, is_elsewhere: false }
    }
}

impl Server {
    fn new(base: &str, options: &Options) -> Result<Self, Error> {
        let uri: Uri = base.parse().map_err(|error| Error::BadUrl(format!("{base}: {error}")))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(Error::BadUrl(format!("{base}: give it as http://host:port")));
        };
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| Error::BadUrl(error.to_string()))?;
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        Ok(Self {
            pool: Pool::new(&address, options.connect_timeout, options.idle_connections),
            host,
            prefix: uri.path().trim_end_matches('/').into(),
        })
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", self.prefix, call.path))
            .header(header::HOST, &self.host);
        if !call.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(revision) = call.if_match {
            request = request.header(header::IF_MATCH, format!("\"{revision}\""));
        }
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key.as_hyphenated().to_string());
        }
        request.body(Full::new(call.body.clone())).map_err(|error| Error::BadUrl(error.to_string()))
    }
}

fn decode<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, Error> {
    let unreadable = |error: serde_json::Error| Error::Protocol(format!("{status}: {error}"));
    if status.is_success() {
        // A reply without a body is the JSON null, that is, `()`.
        let body = if body.is_empty() { b"null" } else { body };
        return serde_json::from_slice(body).map_err(unreadable);
    }
    Err(Error::Refused(Box::new(serde_json::from_slice::<Problem>(body).map_err(unreadable)?)))
}
