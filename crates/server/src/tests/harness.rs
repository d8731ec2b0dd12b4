//! A server in this process, on a free port, with a clock that the test moves; and a client.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};
use willow_api::{Consistency, ErrorCode, Problem};
use willow_core::{Command, RequestId};
use willow_node::{
    Backup, BackupError, ClusterError, ClusterStatus, GroupId, Health, ManualClock, Node, NodeId, NodeState,
    ProposeError, Proposed, ReadError, Stats,
};

use crate::{
    Config, RunError, Server,
    backend::{Backend, BoxFuture, Reading},
};

/// Long enough for anything that ends at all, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// When the clock starts, ms since the Unix epoch.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// A running server.
pub(super) struct Harness {
    pub(super) addr: SocketAddr,
    pub(super) clock: Arc<ManualClock>,
    pub(super) faults: Arc<Faults>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Result<(), RunError>>>,
    _dir: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

impl Harness {
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With settings changed.
    pub(super) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(EPOCH_MS));
        let mut node = willow_node::Config::new(dir.path());
        node.clock = Arc::<ManualClock>::clone(&clock);
        let node = Node::start(node).await.unwrap();
        let (propose, read, health, cluster) = Default::default();
        let faults = Arc::new(Faults { node, propose, read, health, cluster });
        let mut config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
        change(&mut config);
        let server = Server::with_backend(config, Arc::<Faults>::clone(&faults)).unwrap();
        let addr = server.addr();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async move {
            let _stop = stopped.await;
        }));
        Self { addr, clock, faults, stop: Some(stop), task: Some(task), _dir: dir }
    }

    /// Begins the shutdown, and hands out what ends with it.
    pub(super) fn stop(&mut self) -> JoinHandle<Result<(), RunError>> {
        let _sent = self.stop.take().unwrap().send(());
        self.task.take().unwrap()
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        send(self.addr, method, path, headers, body.into()).await
    }

    /// A call with a JSON body.
    pub(super) async fn call(&self, method: Method, path: &str, body: &Value) -> Reply {
        self.send(method, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::POST, path, body).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::PUT, path, body).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    pub(super) async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], Bytes::new()).await
    }

    /// The value of a metric without labels.
    pub(super) async fn metric(&self, name: &str) -> u64 {
        let reply = self.get("/metrics").await;
        let text = String::from_utf8(reply.bytes.to_vec()).unwrap();
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("{name} is not in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until a metric has a value.
    pub(super) async fn metric_is(&self, name: &str, value: u64) {
        let reached = async {
            while self.metric(name).await != value {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, reached).await.is_ok(), "{name} did not become {value}");
    }
}

/// One request on a connection of its own.
pub(super) async fn send(addr: SocketAddr, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Reply {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(body)).unwrap());
    let response = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time").expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    driver.abort();
    Reply { status: parts.status, headers: parts.headers, bytes }
}

impl Reply {
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {:?}", self.bytes))
    }

    /// The body of a reply with this status.
    #[track_caller]
    pub(super) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }

    /// The problem with this code, checked as a whole.
    #[track_caller]
    pub(super) fn problem(&self, code: ErrorCode) -> Problem {
        let text = String::from_utf8_lossy(&self.bytes);
        assert_eq!(self.header("content-type"), "application/problem+json", "{text}");
        let problem: Problem = serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(problem.code, code, "{text}");
        assert_eq!(problem.status, code.status(), "{text}");
        assert_eq!(self.status.as_u16(), code.status(), "{text}");
        assert_eq!(problem.title, code.title(), "{text}");
        assert_eq!(problem.type_, code.path(), "{text}");
        assert!(!problem.detail.is_empty(), "{text}");
        let retry_after = problem.facts.retry_after_ms.map(|ms| ms.div_ceil(1000).to_string());
        assert_eq!(self.header("retry-after"), retry_after.unwrap_or_default(), "{text}");
        problem
    }

    /// A header; empty when it is not there.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A node behind a switch that makes it fail.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) node: Node,
    propose: Mutex<Option<ProposeError>>,
    read: Mutex<Option<ReadError>>,
    health: Mutex<Option<Health>>,
    cluster: Mutex<Option<ClusterError>>,
}

impl Faults {
    /// Makes the next proposal fail.
    pub(super) fn fail_propose(&self, error: ProposeError) {
        *self.propose.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Makes the next read fail.
    pub(super) fn fail_read(&self, error: ReadError) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Makes the next change of the cluster fail.
    pub(super) fn fail_cluster(&self, error: ClusterError) {
        *self.cluster.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn cluster_fault(&self) -> Option<ClusterError> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Makes the node say that it is in this state.
    pub(super) fn pretend(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Some(health);
    }
}

impl Backend for Faults {
    fn propose(
        &self,
        command: Command,
        request_id: Option<RequestId>,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        match self.propose.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => Backend::propose(&self.node, command, request_id),
        }
    }

    fn read<'a>(&'a self, consistency: Consistency, read: Reading<'a>) -> BoxFuture<'a, Result<(), ReadError>> {
        match self.read.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => Backend::read(&self.node, consistency, read),
        }
    }

    fn now_ms(&self) -> u64 {
        self.node.now_ms()
    }

    fn health(&self) -> Health {
        let pretended = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pretended.unwrap_or_else(|| self.node.health())
    }

    fn stats(&self) -> Stats {
        self.node.stats()
    }

    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, ReadError>> {
        let fault = self.read.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            if let Some(error) = fault {
                return Err(error);
            }
            let mut status = Backend::status(&self.node).await?;
            for node in &mut status.nodes {
                if let Ok(report) = &mut node.report {
                    report.health = self.health();
                }
            }
            Ok(status)
        })
    }

    fn remove_node(&self, node: NodeId) -> BoxFuture<'_, Result<NodeState, ClusterError>> {
        match self.cluster_fault() {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => Backend::remove_node(&self.node, node),
        }
    }

    fn transfer_leader(&self, group: GroupId, to: NodeId) -> BoxFuture<'_, Result<(), ClusterError>> {
        match self.cluster_fault() {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => Backend::transfer_leader(&self.node, group, to),
        }
    }

    fn backup(&self) -> BoxFuture<'_, Result<Backup, BackupError>> {
        Backend::backup(&self.node)
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Backend::shutdown(&self.node)
    }
}
