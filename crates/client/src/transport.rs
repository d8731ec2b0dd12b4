//! JSON over pooled HTTP connections.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::{Serialize, de::DeserializeOwned};
use willow_api::Problem;

use crate::Error;

/// Largest reply read, bytes: a dequeue of many large items fits.
const REPLY_BYTES: usize = 256 << 20;

/// Connections to one server.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    base: Box<str>,
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
    pub(crate) fn new(base: &str, timeout: Duration, connect_timeout: Duration, idle_connections: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect_timeout));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(idle_connections)
            .build(connector);
        Self { http, base: base.trim_end_matches('/').into(), timeout }
    }

    /// Sends once.
    pub(crate) async fn send<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let exchange = async {
            let response = self.http.request(self.request(call)?).await.map_err(Error::connection)?;
            read(response).await
        };
        let (status, body) = tokio::time::timeout(self.timeout.saturating_add(call.wait), exchange)
            .await
            .map_err(|_| Error::TimedOut)??;
        decode(status, &body)
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder().method(&call.method).uri(format!("{}{}", self.base, call.path));
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

async fn read(response: Response<hyper::body::Incoming>) -> Result<(StatusCode, Bytes), Error> {
    let status = response.status();
    let body = Limited::new(response.into_body(), REPLY_BYTES).collect().await;
    let body = body.map_err(|error| Error::Connection(error.to_string()))?;
    Ok((status, body.to_bytes()))
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
