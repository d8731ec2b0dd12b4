//! The real program, real processes, real sockets: `kill -9` under load loses nothing acknowledged.

use std::{
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use willow_api::{
    item::{EnqueueRequest, NewItem},
    limiter::SetCounterRequest,
    lock::AcquireRequest,
    queue::CreateQueueRequest,
};
use willow_client::{Client, LockOptions, Options};
use willow_harness::Server;
use willow_model::{KeyValues, Origin};
use willow_query::Query;

fn start() -> Server {
    Server::willow(env!("CARGO_BIN_EXE_willow")).expect("the server starts")
}

fn client(server: &Server) -> Client {
    let options = Options { request_ids: false, ..Options::default() };
    Client::with_options(&server.url(), options).expect("a URL")
}

/// The program, to talk to the server.
fn willow(server: &Server) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_willow"));
    command.args(["--server", &server.url()]);
    command
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
    let mut server = start();
    client(&server).queues().create(&CreateQueueRequest::new("q")).await.expect("a new queue");
    let mut counters = 0;
    let mut items = 0;
    let mut token = 0;
    for life in 0..3u64 {
        server.restart().expect("it starts again");
        let writers: Vec<_> = (0..8).map(|writer| tokio::spawn(write(client(&server), life * 8 + writer))).collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.kill().expect("it runs");
        let before = token;
        for writer in writers {
            let acknowledged = writer.await.expect("a writer ends with an error, not a panic");
            counters += acknowledged.counters;
            items += acknowledged.items;
            assert!(acknowledged.token == 0 || acknowledged.token > before, "a token of an earlier life came back");
            token = token.max(acknowledged.token);
        }
        assert!(counters > 0 && items > 0, "nothing was written: the test shows nothing");

        server.restart().expect("it starts again");
        let client = client(&server);
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
    }
}

#[test]
fn commands_speak_to_a_real_server() {
    let server = start();
    let url = server.url();
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
    assert!(!text.contains("denied_by"), "a field of the API: {text}");
    let (_, text) = willow(&["item", "enqueue", "builds", "os=linux"]);
    assert!(text.contains("`willow queue create`") && !text.contains("POST"), "{text}");
    ok(&["lock", "acquire", "deploy=db"]);
    let (_, text) = willow(&["lock", "acquire", "deploy=db"]);
    assert!(text.contains("--wait") && !text.contains("wait_ms"), "{text}");
    let (code, text) = willow(&["lock", "acquire", "deploy=api", "--ttl", "1ms"]);
    assert_eq!(code, 2);
    assert!(text.contains("the lease is out of bounds: 100ms to 1day (OUT_OF_BOUNDS)"), "{text}");
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
fn bench_without_a_server_measures_one_of_its_own() {
    let bench = Command::new(env!("CARGO_BIN_EXE_willow"))
        .env_remove("WILLOW_SERVER")
        .args(["bench", "lock", "batch", "--clients", "2", "--duration", "200ms", "--output", "json"])
        .output()
        .expect("the program runs");
    let talk = String::from_utf8_lossy(&bench.stderr);
    assert!(bench.status.success(), "{talk}");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&bench.stdout).expect("data alone on stdout");
    assert_eq!((rows[0]["work"].as_str(), rows[1]["work"].as_str()), (Some("lock"), Some("batch")));
    assert!(rows.iter().all(|row| row["per_second"].as_u64() > Some(0)), "{rows:?}");
    let folder = talk.split_once("its data in ").and_then(|(_, rest)| rest.split_once(' ')).expect("it says where").0;
    assert!(!Path::new(folder).exists(), "{folder} is left behind");
}

#[test]
fn dev_has_sample_data_at_once_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = env!("CARGO_BIN_EXE_willow");
    let arguments = |_: &Path, address: std::net::SocketAddr| {
        // By way of `env`, so that its temporary folder is where the test can look.
        let set = format!("TMPDIR={}", folder.path().display());
        let listen = format!("--listen={address}");
        Ok(vec![set, program.to_owned(), "dev".to_owned(), listen])
    };
    let mut server = Server::start("env", arguments).expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    let log = server.dir().join("log");
    while !std::fs::read_to_string(&log).expect("the log").contains("Ctrl-C ends it") {
        assert!(Instant::now() < deadline, "it does not get ready");
        std::thread::sleep(Duration::from_millis(10));
    }
    let said = std::fs::read_to_string(&log).expect("the log");
    assert!(said.contains(&format!("export WILLOW_SERVER={}", server.url())), "not the default address: {said}");
    for (noun, sample) in [("lock", "deploy=web"), ("rule", "one-build-per-branch"), ("queue", "builds")] {
        let list = willow(&server).args([noun, "list"]).output().expect("the program runs");
        assert!(String::from_utf8_lossy(&list.stdout).contains(sample), "{noun}");
    }
    server.stop();
    assert!(std::fs::read_to_string(&log).expect("the log").contains("stopped"));
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0, "data is left behind");
}

#[test]
fn lock_run_gives_the_lock_back_when_its_command_does_not_start() {
    let server = start();
    let run = |command: &str| {
        willow(&server)
            .args(["lock", "run", "--key", "a=b", "--ttl", "1h", "--", command])
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
    let server = start();
    let client = client(&server);
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
    let server = start();
    let mark = server.dir().join("alive");
    let mut run = lock_run_that_marks(&server, &mark);
    let lock = kv("a=b");
    let client = client(&server);
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
    let run = willow(server)
        .args(["lock", "run", "--key", "a=b", "--ttl", "3s", "--", "sh", "-c", &script])
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
    let mut server = start();
    let mark = server.dir().join("alive");
    let mut run = lock_run_that_marks(&server, &mark);
    server.kill().expect("it runs");
    assert_eq!(wait(&mut run), Some(6));
    nobody_writes(&mark);
}
