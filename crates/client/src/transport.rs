//! JSON over pooled HTTP connections.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::{Serialize, de::DeserializeOwned};
use willow_api::Problem;

use crate::{Error, Options, connection::Pool};

/// Where calls go.
#[derive(Debug)]
pub(crate) struct Transport {
    pool: Pool,
    host: HeaderValue,
    /// What the paths of the API are put behind; mostly nothing.
    prefix: Box<str>,
    timeout: Duration,
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
    /// `base` is `http://host[:port][/prefix]`.
    pub(crate) fn new(base: &str, options: &Options) -> Result<Self, Error> {
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
            timeout: options.timeout,
        })
    }

    /// Sends once.
    pub(crate) async fn send<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let exchange = self.pool.send(self.request(call)?);
        let limit = self.timeout.saturating_add(call.wait);
        let (status, body) = tokio::time::timeout(limit, exchange).await.map_err(|_| Error::TimedOut)??;
        decode(status, &body)
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
