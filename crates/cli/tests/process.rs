//! The real program, real processes, real sockets: `kill -9` under load loses nothing acknowledged.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use willow_api::{
    item::{EnqueueRequest, NewItem},
    limiter::SetCounterRequest,
    lock::AcquireRequest,
    queue::CreateQueueRequest,
};
use willow_client::{Client, LockOptions, Options};
use willow_model::{KeyValues, Origin};
use willow_query::Query;

/// A server process; killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(data: &Path) -> Self {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = address.expect("a free port");
        let child = Command::new(env!("CARGO_BIN_EXE_willow"))
            .args(["server", "--listen", &address.to_string(), "--data-dir"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, address }
    }

    fn client(&self) -> Client {
        let options = Options { request_ids: false, ..Options::default() };
        Client::with_options(&format!("http://{}", self.address), options).expect("a URL")
    }

    /// SIGKILL, at whatever the server is doing.
    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn kv(text: &str) -> KeyValues {
    KeyValues::parse(Origin::User, text).expect("well-formed")
}

/// What one writer was told is done.
#[derive(Default)]
struct Acknowledged {
    counters: u64,
    items: u64,
    token: u64,
}

/// Writes until the server is gone.
async fn write(client: Client, writer: u64) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    for round in 0u64.. {
        let counter = kv(&format!("writer={writer} round={round}")).into();
        let set = SetCounterRequest { key_values: counter, amount: 1, request_id: None };
        if client.counters().set(&set).await.is_err() {
            break;
        }
        acknowledged.counters += 1;
        let item: EnqueueRequest = NewItem::new(kv(&format!("writer={writer} round={round}"))).into_request(None);
        if client.queue("q").items().enqueue(&item).await.is_err() {
            break;
        }
        acknowledged.items += 1;
        let lock = AcquireRequest {
            key_values: Some(kv(&format!("writer={writer} round={round}")).into()),
            ttl_ms: Some(3_600_000),
            ..AcquireRequest::default()
        };
        let Ok(held) = client.locks().acquire(&lock).await else { break };
        let token = held.locks[0].token.0;
        assert!(token > acknowledged.token, "tokens only grow");
        acknowledged.token = token;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_dash_nine_loses_nothing_acknowledged() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path());
    server.client().queues().create(&CreateQueueRequest::new("q")).await.expect("a new queue");
    server.kill();
    let mut counters = 0;
    let mut items = 0;
    let mut token = 0;
    for life in 0..3u64 {
        let server = Server::start(data.path());
        let writers: Vec<_> = (0..8).map(|writer| tokio::spawn(write(server.client(), life * 8 + writer))).collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.kill();
        let before = token;
        for writer in writers {
            let acknowledged = writer.await.expect("a writer ends with an error, not a panic");
            counters += acknowledged.counters;
            items += acknowledged.items;
            assert!(acknowledged.token == 0 || acknowledged.token > before, "a token of an earlier life came back");
            token = token.max(acknowledged.token);
        }
        assert!(counters > 0 && items > 0, "nothing was written: the test shows nothing");

        let server = Server::start(data.path());
        let client = server.client();
        let all = client.counters().query_all(Query::default()).collect().await.expect("counters");
        // What was not acknowledged may have been done: one call of each writer at most.
        let most = counters + 8 * (life + 1);
        assert!((counters..=most).contains(&(all.len() as u64)), "{} counters, {counters} acknowledged", all.len());
        let queue = client.queue("q").get().await.expect("the queue");
        let most = items + 8 * (life + 1);
        assert!((items..=most).contains(&queue.counts.waiting), "{} items, {items} acknowledged", queue.counts.waiting);
        let again =
            AcquireRequest { key_values: Some(kv(&format!("life={life}")).into()), ..AcquireRequest::default() };
        let held = client.locks().acquire(&again).await.expect("a free lock");
        assert!(held.locks[0].token.0 > token, "tokens never go back, also over a restart");
        token = held.locks[0].token.0;
        server.kill();
    }
}

#[test]
fn commands_speak_to_a_real_server() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path());
    let url = format!("http://{}", server.address);
    let willow = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_willow")).args(["--server", &url]).args(arguments).output();
        let output = output.expect("the program runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().expect("an exit code"), text + &String::from_utf8_lossy(&output.stderr))
    };
    let ok = |arguments: &[&str]| {
        let (code, text) = willow(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text
    };
    ok(&["rule", "create", "one-per-branch", "repo=*", "branch=*", "--limit", "1"]);
    ok(&["override", "create", "one-per-branch", "main-is-free", "repo=*", "branch=main", "--limit", "unlimited"]);
    ok(&["counter", "increment", "repo=w", "branch=dev"]);
    let (code, text) = willow(&["counter", "increment", "repo=w", "branch=dev"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("LIMIT_REACHED") && text.contains("one-per-branch"), "{text}");
    assert!(ok(&["limit", "explain", "repo=w", "branch=dev"]).contains("would be denied"));
    ok(&["queue", "create", "builds"]);
    ok(&["item", "enqueue", "builds", "os=linux", "--data", "{\"commit\":\"4be2a1\"}"]);
    assert!(ok(&["channel", "query", "builds", "os = \"linux\""]).contains("os=linux"));
    assert!(ok(&["item", "dequeue", "builds", "--query", "os = \"linux\"", "-o", "json"]).contains("4be2a1"));
    let held =
        ok(&["lock", "run", "--key", "deploy=web", "--", "sh", "-c", "echo token=$WILLOW_FENCING_TOKEN; exit 0"]);
    assert!(held.contains("token=") && !held.contains("token=\n"), "{held}");
    assert_eq!(willow(&["lock", "run", "--key", "deploy=web", "--", "sh", "-c", "exit 7"]).0, 7);
    assert_eq!(willow(&["rule", "get", "nothing"]).0, 4);
    let (code, text) = willow(&["rule", "query", "os = "]);
    assert_eq!(code, 2);
    assert!(text.contains('^'), "a query error points at its place: {text}");
    drop(server);
    assert_eq!(willow(&["cluster", "status"]).0, 5, "nobody listens");
}

#[test]
fn lock_run_gives_the_lock_back_when_its_command_does_not_start() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path());
    let run = |command: &str| {
        Command::new(env!("CARGO_BIN_EXE_willow"))
            .args(["--server", &format!("http://{}", server.address), "lock", "run", "--key", "a=b", "--ttl", "1h"])
            .args(["--", command])
            .output()
            .expect("the program runs")
    };
    let failed = run("/nonexistent/program");
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("start /nonexistent/program"));
    assert_eq!(run("true").status.code(), Some(0), "the lock is free at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_is_lost_when_any_of_its_locks_is_taken_away_by_force() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path());
    let client = server.client();
    let options = LockOptions { ttl: Duration::from_secs(3), ..LockOptions::default() };
    let guard = client.lock_all(vec![kv("a=1"), kv("a=2")], options).await.expect("free locks");
    let second = guard.grants()[1].lock;
    client.locks().force_release(second, None, None).await.expect("it is held");
    // The session lives on: without the lock's own heartbeat this would never end.
    tokio::time::timeout(Duration::from_secs(60), guard.lost()).await.expect("the guard notices");
    assert_eq!(guard.lease().valid_until(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_run_stops_its_command_when_the_lock_is_taken_away_by_force() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path());
    let mark = data.path().join("alive");
    let mut run = lock_run_that_marks(&server, &mark);
    let lock = kv("a=b");
    let client = server.client();
    let held = client.locks().query_all(Query::default()).collect().await.expect("locks");
    assert_eq!(held[0].key_values, lock);
    client.locks().force_release(held[0].id, None, None).await.expect("it is held");
    assert_eq!(wait(&mut run), Some(6));
    nobody_writes(&mark);
}

/// `lock run` of a command that ignores SIGTERM and writes `mark` all the time; returns when it does.
fn lock_run_that_marks(server: &Server, mark: &Path) -> Child {
    let script =
        format!("trap '' TERM; (trap '' TERM; while :; do date +%s%N > {0}; sleep 0.05; done) & wait", mark.display());
    let run = Command::new(env!("CARGO_BIN_EXE_willow"))
        .args(["--server", &format!("http://{}", server.address), "lock", "run", "--key", "a=b", "--ttl", "3s", "--"])
        .args(["sh", "-c", &script])
        .spawn()
        .expect("the program runs");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !mark.exists() {
        assert!(Instant::now() < deadline, "the command does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    run
}

/// The exit code, within a minute.
fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().expect("it was started") {
            return status.code();
        }
        if Instant::now() > deadline {
            child.kill().expect("it runs");
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Nobody of the stopped group lives on.
fn nobody_writes(mark: &Path) {
    let last = std::fs::read(mark).expect("the mark");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(std::fs::read(mark).expect("the mark"), last, "a grandchild lives on");
}

/// The server dies while a command runs under a lock: the whole group is gone before the lease ends.
#[test]
fn lock_run_stops_its_command_when_the_lock_is_lost() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path());
    let mark = data.path().join("alive");
    let mut run = lock_run_that_marks(&server, &mark);
    server.kill();
    assert_eq!(wait(&mut run), Some(6));
    nobody_writes(&mark);
}
