//! Three real nodes: whatever node is asked, whichever dies.

use std::{process::Command, time::Duration};

use willow_api::lock::AcquireRequest;
use willow_client::Client;
use willow_harness::Cluster;
use willow_model::{KeyValues, Origin};

const PROGRAM: &str = env!("CARGO_BIN_EXE_willow");

fn kv(text: &str) -> KeyValues {
    KeyValues::parse(Origin::User, text).expect("well-formed")
}

/// Takes a lock for an hour and returns its token.
async fn acquire(client: &Client, key: &str) -> u64 {
    let request =
        AcquireRequest { key_values: Some(kv(key).into()), ttl_ms: Some(3_600_000), ..AcquireRequest::default() };
    client.locks().acquire(&request).await.unwrap_or_else(|error| panic!("{key}: {error}")).locks[0].token.0
}

/// What the program prints on stdout.
fn willow(servers: &str, arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(["--server", servers]).args(arguments).output().expect("it runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {stdout}{stderr}");
    stdout.into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_outlive_their_leader_and_take_in_another() {
    let mut cluster = Cluster::start(PROGRAM).expect("three nodes");
    let all = Client::new(&cluster.urls()).expect("URLs");
    let mut last = 0;
    let mut grows = |token: u64| {
        assert!(token > last, "tokens only grow: {token} after {last}");
        last = token;
    };
    for index in 0..cluster.len() {
        let one = Client::new(&cluster.url(index)).expect("a URL");
        grows(acquire(&one, &format!("through={index}")).await);
    }

    let leader = cluster.leader().expect("one leads");
    cluster.node(leader).kill().expect("it runs");
    grows(acquire(&all, "after=kill").await);
    let status = willow(&cluster.urls(), &["cluster", "status"]);
    assert!(status.contains("unreachable"), "{status}");
    cluster.node(leader).relaunch().expect("it starts again");
    cluster.wait_until_complete().expect("it comes back");
    grows(acquire(&Client::new(&cluster.url(leader)).expect("a URL"), "after=restart").await);

    let lost = cluster.id(leader).expect("its id");
    cluster.replace(leader).expect("it starts on an empty disk");
    cluster.wait_for("a fourth node", |nodes| nodes.len() == 4).expect("it joins");
    willow(&cluster.urls(), &["cluster", "remove", &lost.to_string()]);
    cluster.wait_for("the old one to go", |nodes| nodes.iter().all(|node| node.id != lost)).expect("it goes");
    cluster.wait_until_complete().expect("the new one votes");
    let new = cluster.id(leader).expect("its id");
    assert!(new > 3, "ids are not given out again: {new}");
    willow(&cluster.urls(), &["cluster", "transfer-leader", &new.to_string()]);
    assert_eq!(cluster.leader().expect("one leads"), leader);
    grows(acquire(&Client::new(&cluster.url(leader)).expect("a URL"), "after=replace").await);
    let held = all.locks().query_all(willow_query::Query::default()).collect().await.expect("locks");
    assert_eq!(held.len(), 6, "nothing was lost on the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_keeps_its_place_when_the_leader_dies() {
    let mut cluster = Cluster::start(PROGRAM).expect("three nodes");
    let all = Client::new(&cluster.urls()).expect("URLs");
    let request = AcquireRequest { key_values: Some(kv("a=1").into()), ..AcquireRequest::default() };
    let holder = all.locks().acquire(&request).await.expect("it is free");
    let mut waiting = Vec::new();
    for place in 0_u64..3 {
        let (client, request) = (all.clone(), AcquireRequest { wait_ms: Some(60_000), ..request.clone() });
        waiting.push(tokio::spawn(async move { client.locks().acquire(&request).await }));
        while all.cluster().await.expect("a cluster").waiting <= place {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let leader = cluster.leader().expect("one leads");
    cluster.node(leader).kill().expect("it runs");
    let mut session = holder.session;
    let mut token = holder.locks[0].token;
    for waiter in waiting {
        all.sessions().end(session).await.expect("it is held");
        let grant = waiter.await.expect("no panic").expect("its turn");
        assert!(grant.locks[0].token > token);
        (session, token) = (grant.session, grant.locks[0].token);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_founds_a_new_cluster_whose_tokens_go_on_far_beyond() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backup");
    let path = file.to_str().expect("UTF-8");
    let (before, old_id) = {
        let cluster = Cluster::start(PROGRAM).expect("three nodes");
        let all = Client::new(&cluster.urls()).expect("URLs");
        let token = acquire(&all, "a=1").await;
        all.queues().create(&willow_api::queue::CreateQueueRequest::new("q")).await.expect("a queue");
        willow(&cluster.urls(), &["item", "enqueue", "q", "os=linux", "--data", "7"]);
        willow(&cluster.urls(), &["counter", "increment", "b=1", "--amount", "3"]);
        willow(&cluster.urls(), &["cluster", "backup", "--file", path]);
        (token, all.cluster().await.expect("a cluster").id)
    };
    let options = willow_harness::ClusterOptions { restore: Some(file), ..Default::default() };
    let mut cluster = Cluster::with(PROGRAM, options).expect("three nodes, from the backup");
    let all = Client::new(&cluster.urls()).expect("URLs");
    assert_ne!(all.cluster().await.expect("a cluster").id, old_id);
    assert!(acquire(&all, "c=1").await > before + (1 << 32));
    for restart in [false, true] {
        if restart {
            (0..cluster.len()).for_each(|index| cluster.node(index).relaunch().expect("it starts again"));
            cluster.wait_until_complete().expect("they come back");
        }
        let items = willow(&cluster.urls(), &["item", "query", "q", "--output", "json"]);
        assert!(items.contains("linux"), "{items}");
        let counters = willow(&cluster.urls(), &["counter", "query", "--output", "json"]);
        assert!(counters.contains("\"amount\": 3"), "{counters}");
    }
}
