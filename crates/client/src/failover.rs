//! Clients of several servers, against servers that do as told.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use willow_api::{ErrorCode, Problem, lock::AcquireRequest};

use crate::{Client, Error, Options};

/// What a server does with each request.
#[derive(Clone)]
enum Does {
    /// Answers with this status and body.
    Answers(u16, String),
    /// Reads it and hangs up.
    HangsUp,
    /// Reads it and says nothing.
    Hangs,
}

/// A server.
struct Fake {
    url: String,
    /// Heads and bodies of the requests that it has read.
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Fake {
    async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                open.spawn(serve(stream, does.clone(), Arc::clone(&log)));
            }
        });
        Self { url, seen, task }
    }

    /// One that is gone: its port is closed.
    async fn gone() -> Self {
        let fake = Self::start(Does::Hangs).await;
        fake.task.abort();
        while !fake.task.is_finished() {
            tokio::task::yield_now().await;
        }
        fake
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().clone()
    }

    /// The request ids that it has seen.
    fn ids(&self) -> Vec<String> {
        let id = |request: &String| {
            let line = request.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
            line.unwrap_or_default().to_owned()
        };
        self.requests().iter().map(id).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, does: Does, seen: Arc<Mutex<Vec<String>>>) {
    loop {
        let Some(request) = read(&mut stream).await else { return };
        seen.lock().push(request);
        match &does {
            Does::Answers(status, body) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
            Does::HangsUp => return,
            Does::Hangs => std::future::pending().await,
        }
    }
}

/// One request, if there is another.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

fn ok() -> Does {
    let session = "0190163d-8694-739b-aea5-966c26f8ad91";
    Does::Answers(200, format!("{{\"session\":\"{session}\",\"locks\":[],\"expires_in_ms\":30000}}"))
}

fn refuses(code: ErrorCode) -> Does {
    let problem = Problem::new(code, "").with(|facts| facts.retry_after_ms = Some(500));
    Does::Answers(problem.status, serde_json::to_string(&problem).unwrap())
}

fn client(servers: &[&Fake], request_ids: bool) -> Client {
    let urls: Vec<&str> = servers.iter().map(|server| server.url.as_str()).collect();
    let attempt_timeout = Duration::from_millis(300);
    Client::with_options(&urls.join(","), Options { request_ids, attempt_timeout, ..Options::default() }).unwrap()
}

async fn acquire(client: &Client, wait_ms: u64) -> Result<(), Error> {
    let request = AcquireRequest { wait_ms: Some(wait_ms), ..AcquireRequest::default() };
    client.locks().acquire(&request).await.map(drop)
}

#[tokio::test]
async fn whatever_is_wrong_with_one_server_the_next_hears_the_same_request() {
    for does in [Does::HangsUp, Does::Hangs, refuses(ErrorCode::NoLeader), refuses(ErrorCode::ShuttingDown)] {
        let (bad, good) = (Fake::start(does).await, Fake::start(ok()).await);
        let client = client(&[&bad, &good], true);
        acquire(&client, 0).await.unwrap();
        assert_eq!(bad.ids().len(), 1);
        assert_eq!(bad.ids(), good.ids(), "the same request id");
        acquire(&client, 0).await.unwrap();
        assert_eq!((bad.ids().len(), good.ids().len()), (1, 2), "the client stays with the one that answers");
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_passed_by_and_so_is_a_removed_node() {
    let (gone, removed) = (Fake::gone().await, Fake::start(refuses(ErrorCode::NodeRemoved)).await);
    let good = Fake::start(ok()).await;
    // Without request ids, too: nothing was done yet.
    acquire(&client(&[&gone, &removed, &good], false), 0).await.unwrap();
    assert_eq!((removed.requests().len(), good.requests().len()), (1, 1));
}

#[tokio::test]
async fn what_may_have_been_done_is_not_repeated_without_a_request_id() {
    for does in [Does::HangsUp, Does::Hangs, refuses(ErrorCode::OutcomeUnknown)] {
        let (bad, good) = (Fake::start(does).await, Fake::start(ok()).await);
        let client = client(&[&bad, &good], false);
        assert!(acquire(&client, 0).await.is_err());
        assert_eq!(good.requests().len(), 0);
        acquire(&client, 0).await.unwrap();
        assert_eq!(bad.requests().len(), 1, "the next call does not go there again");
    }
}

#[tokio::test]
async fn a_long_poll_goes_on_elsewhere_with_the_body_it_had() {
    let (bad, good) = (Fake::start(Does::HangsUp).await, Fake::start(ok()).await);
    acquire(&client(&[&bad, &good], true), 60_000).await.unwrap();
    let body = |fake: &Fake| fake.requests()[0].split_once("\r\n\r\n").unwrap().1.to_owned();
    assert!(body(&good).contains("60000"));
    assert_eq!(body(&bad), body(&good), "else the record would take it for another request");
}

#[tokio::test]
async fn an_answer_is_an_answer() {
    let (first, second) = (Fake::start(refuses(ErrorCode::LockHeld)).await, Fake::start(ok()).await);
    let error = acquire(&client(&[&first, &second], true), 0).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::LockHeld));
    assert_eq!(second.requests().len(), 0);
}

/// An election may take a while; the call outlasts it.
#[tokio::test(start_paused = true)]
async fn a_cluster_without_a_leader_is_asked_for_more_than_ten_seconds() {
    let began = tokio::time::Instant::now();
    let policy = crate::RetryPolicy::default();
    let outcome = crate::retry::run(&policy, true, 1, || async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let problem = Problem::new(ErrorCode::NoLeader, "").with(|facts| facts.retry_after_ms = Some(500));
        Err::<(), _>(Error::Refused(Box::new(problem)).into())
    });
    assert!(outcome.await.is_err());
    let took = began.elapsed();
    assert!(took > Duration::from_secs(10) && took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn every_one_of_several_urls_is_checked() {
    assert!(Client::new("http://a:1, http://b:2,http://c:3").is_ok());
    for bad in ["", ",", "http://a:1,https://b:2", "http://a:1,b"] {
        assert!(Client::new(bad).is_err(), "{bad}");
    }
}
