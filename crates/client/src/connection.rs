//! One connection, and the pool of those that are idle.
//!
//! A call drives its own connection: there is no task of the connection's, so a request costs no switch
//! between tasks or threads beyond those of the socket. A call that is dropped takes its connection with
//! it, which is how the server hears that nobody waits any more.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::{BackupError, Error, transport::Failed};

/// Largest reply read, bytes: a dequeue of many large items fits.
const REPLY_BYTES: usize = 256 << 20;
/// An idle connection older than this is not used again: proxies forget about such.
const IDLE: Duration = Duration::from_secs(60);

/// What came back: status and whole body.
pub(crate) type Reply = (StatusCode, Bytes);

type Driver = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

/// An open connection without a request under way.
struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// What moves bytes; gone when the connection has ended.
    driver: Option<Pin<Box<Driver>>>,
    wakes: Arc<Wakes>,
    idle_since: Instant,
}

/// Connections to one server that no call uses at the moment.
pub(crate) struct Pool {
    /// `host:port`.
    authority: Box<str>,
    connect_timeout: Duration,
    /// The most that are kept.
    most: usize,
    idle: Mutex<Vec<Connection>>,
}

/// What became of a request on one connection.
enum Sent {
    Replied(Reply),
    /// The server had closed the connection before: nothing was sent.
    NotSent(Box<Request<Full<Bytes>>>),
}

impl Pool {
    pub(crate) fn new(authority: &str, connect_timeout: Duration, most: usize) -> Self {
        Self { authority: authority.into(), connect_timeout, most, idle: Mutex::default() }
    }

    /// Sends a request, on an idle connection if there is one.
    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Reply, Failed> {
        let unsent = |error| Failed { is_unsent: true, ..Failed::from(error) };
        loop {
            let (mut connection, is_new) = match self.take() {
                Some(idle) => (idle, false),
                None => (self.connect().await.map_err(unsent)?, true),
            };
            match connection.send(request).await? {
                Sent::Replied(reply) => {
                    self.put_back(connection);
                    return Ok(reply);
                }
                Sent::NotSent(_) if is_new => {
                    return Err(unsent(Error::Connection("closed by the server before the first request".to_owned())));
                }
                Sent::NotSent(unsent) => request = *unsent,
            }
        }
    }

    /// Sends a request on a connection of its own, and hands the body of a good reply out as it comes. `sink` is
    /// told nothing of a bad one, which comes back whole.
    pub(crate) async fn download(
        &self,
        request: Request<Full<Bytes>>,
        mut sink: impl FnMut(&[u8]) -> std::io::Result<()> + Send,
    ) -> Result<Reply, BackupError> {
        let Connection { mut sender, driver, .. } = self.connect().await?;
        let driver = tokio::spawn(async move {
            if let Some(driver) = driver {
                drop(driver.await);
            }
        });
        let downloaded = async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            if !response.status().is_success() {
                return Ok(read(response).await?);
            }
            let (status, mut body) = (response.status(), response.into_body());
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| broken(&error))?;
                if let Ok(data) = frame.into_data() {
                    sink(&data).map_err(BackupError::Write)?;
                }
            }
            Ok((status, Bytes::new()))
        };
        let reply = downloaded.await;
        driver.abort();
        reply
    }

    /// The connection used last that is still open; those found closed are dropped.
    fn take(&self) -> Option<Connection> {
        loop {
            // A statement of its own, so that the lock is not held while the connection is looked at.
            let mut idle = self.idle.lock().pop()?;
            if idle.idle_since.elapsed() < IDLE && idle.is_usable() {
                return Some(idle);
            }
        }
    }

    fn put_back(&self, mut connection: Connection) {
        if !connection.is_usable() {
            return;
        }
        connection.idle_since = Instant::now();
        let mut idle = self.idle.lock();
        if idle.len() < self.most {
            idle.push(connection);
        }
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let failed = |error: std::io::Error| Error::Connection(format!("{}: {error}", self.authority));
        let connecting = TcpStream::connect(&*self.authority);
        let stream = tokio::time::timeout(self.connect_timeout, connecting).await;
        let stream = stream
            .map_err(|_| Error::Connection(format!("{}: no connection in time", self.authority)))?
            .map_err(failed)?;
        // A request is written in one piece; waiting for more only delays it.
        stream.set_nodelay(true).map_err(failed)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let wakes = Arc::default();
        Ok(Connection { sender, driver: Some(Box::pin(driver)), wakes, idle_since: Instant::now() })
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Connection {
    /// Whether another request may be sent. Lets the library see what has happened meanwhile.
    fn is_usable(&mut self) -> bool {
        drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Sent, Error> {
        let Self { sender, driver, wakes, .. } = self;
        let mut exchange = pin!(async {
            match sender.try_send_request(request).await {
                Ok(response) => read(response).await.map(Sent::Replied),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => Ok(Sent::NotSent(Box::new(unsent))),
                    None => Err(broken(error.error())),
                },
            }
        });
        let waker = Waker::from(Arc::clone(wakes));
        std::future::poll_fn(|cx| {
            let mut inner = Context::from_waker(&waker);
            wakes.begin(cx.waker());
            loop {
                if let Poll::Ready(sent) = exchange.as_mut().poll(&mut inner) {
                    return Poll::Ready(sent);
                }
                drive(driver, &mut inner);
                if wakes.may_rest() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

/// A driver that has ended is dropped at once: that is how a request it did not get to hears of it.
fn drive(driver: &mut Option<Pin<Box<Driver>>>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
        *driver = None;
    }
}

async fn read(response: Response<Incoming>) -> Result<Reply, Error> {
    let status = response.status();
    let body = Limited::new(response.into_body(), REPLY_BYTES).collect().await;
    let body = body.map_err(|error| Error::Connection(error.to_string()))?;
    Ok((status, body.to_bytes()))
}

/// What happened is in the sources of the error: the outermost one only says where.
fn broken(error: &hyper::Error) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    Error::Connection(text)
}

/// Wakes of a call's own two halves, the request and the connection, by each other. They are polled in turn
/// until neither has woken the other; only then does a wake go to the task.
#[derive(Default)]
struct Wakes(Mutex<WakeState>);

#[derive(Default)]
struct WakeState {
    is_polling: bool,
    is_woken: bool,
    task: Option<Waker>,
}

impl Wakes {
    fn begin(&self, task: &Waker) {
        let mut state = self.0.lock();
        state.is_polling = true;
        state.is_woken = false;
        match &mut state.task {
            Some(known) => known.clone_from(task),
            unknown => *unknown = Some(task.clone()),
        }
    }

    /// Whether nothing has woken a half since the last turn. If so, the next wake is the task's.
    fn may_rest(&self) -> bool {
        let mut state = self.0.lock();
        state.is_polling = std::mem::take(&mut state.is_woken);
        !state.is_polling
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let task = {
            let mut state = self.0.lock();
            state.is_woken = true;
            if state.is_polling { None } else { state.task.clone() }
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests;
