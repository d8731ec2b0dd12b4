//! `willow dev`: a server with sample data, ready at once.

use std::{net::SocketAddr, path::PathBuf};

use willow_api::{
    ErrorCode,
    item::{EnqueueBatchRequest, NewItem, RawJson},
    limiter::{CreateOverrideRequest, CreateRuleRequest, IncrementRequest, Limit},
    lock::{AcquireRequest, CreateSessionRequest},
    queue::CreateQueueRequest,
};
use willow_client::Client;
use willow_model::{KeyValues, Origin};

use crate::server::{self, LogFormat};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Keep the data here; a folder that goes away at the end when absent
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    server::log(LogFormat::Text, "warn,openraft=error");
    let (data_dir, temporary) = match arguments.data_dir {
        Some(folder) => (folder, None),
        None => {
            let folder = tempfile::Builder::new().prefix("willow-dev-").tempdir()?;
            (folder.path().to_path_buf(), Some(folder))
        }
    };
    let config = willow_server::Config { listen: arguments.listen, data_dir, ..willow_server::Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = server::shutdown()?;
        let server = willow_server::Server::start(config).await?;
        let url = format!("http://{}", server.addr());
        let client = Client::new(&url)?;
        let filled = tokio::spawn(async move {
            match fill(&client).await {
                Ok(()) => welcome(&url),
                Err(error) => eprintln!("the sample data is not complete: {error:#}"),
            }
        });
        server.run(shutdown).await?;
        filled.abort();
        match temporary {
            Some(folder) => {
                folder.close()?;
                eprintln!("stopped; its data is gone");
            }
            None => eprintln!("stopped; its data is kept"),
        }
        Ok(())
    })
}

fn welcome(url: &str) {
    let elsewhere =
        if url == crate::DEFAULT_SERVER { String::new() } else { format!("  export WILLOW_SERVER={url}\n") };
    eprintln!(
        "willow runs on {url} with sample data; the reference is at {url}/docs. Try, in another shell:

{elsewhere}  willow queue list
  willow channel query builds 'os = \"linux\" order by branch'
  willow item dequeue builds --query 'os = \"linux\"' --wait 5s
  willow limit explain repo=willow branch=main os=windows
  willow lock list
  willow lock run --key deploy=web -- echo 'one at a time'

Ctrl-C ends it."
    );
}

/// What a CI system would have. On kept data most of it is there already.
async fn fill(client: &Client) -> anyhow::Result<()> {
    there(client.queues().create(&CreateQueueRequest::new("builds")).await)?;
    let rules = [("one-build-per-branch", "repo=* branch=*", 1), ("no-windows-builds", "os=windows", 0)];
    for (name, key_values, limit) in rules {
        let pattern = KeyValues::parse(Origin::Pattern, key_values)?;
        there(client.rules().create(&CreateRuleRequest::new(name, pattern, Limit::At(limit))).await)?;
        let narrower = format!("{} branch=main", key_values.replace(" branch=*", ""));
        let pattern = KeyValues::parse(Origin::Pattern, &narrower)?;
        let lifted = CreateOverrideRequest::new("main-is-free", pattern, Limit::Unlimited);
        there(client.overrides(name).create(&lifted).await)?;
    }
    let mut items = Vec::new();
    for branch in ["main", "fix-typo", "new-parser"] {
        for os in ["linux", "mac", "windows"] {
            let pairs = ["repo=willow".to_owned(), format!("branch={branch}"), format!("os={os}")];
            let mut item = NewItem::new(KeyValues::parse_args(Origin::User, pairs)?);
            item.data = Some(RawJson::of(&serde_json::json!({"commit": "3f2a91c", "branch": branch, "os": os}))?);
            item.idempotency_key = Some(format!("sample-{branch}-{os}"));
            items.push(item);
        }
    }
    client.queue("builds").items().enqueue_batch(&EnqueueBatchRequest { items, request_id: None }).await?;
    let session = CreateSessionRequest { ttl_ms: Some(3_600_000), owner: Some("deployer-7".into()), request_id: None };
    let session = client.sessions().create(&session).await?.session;
    let key_values = KeyValues::parse(Origin::User, "deploy=web env=prod")?;
    let acquire =
        AcquireRequest { key_values: Some(key_values.into()), session: Some(session), ..AcquireRequest::default() };
    there(client.locks().acquire(&acquire).await)?;
    let key_values = KeyValues::parse(Origin::User, "repo=willow branch=fix-typo")?;
    let increment =
        IncrementRequest { key_values: key_values.into(), amount: None, hold: None, wait_ms: None, request_id: None };
    there(client.counters().increment(&increment).await)?;
    Ok(())
}

/// What is there already is as good as made.
fn there<T>(made: Result<T, willow_client::Error>) -> anyhow::Result<()> {
    match made {
        Ok(_) => Ok(()),
        Err(error) => match error.code() {
            Some(ErrorCode::AlreadyExists | ErrorCode::LockHeld | ErrorCode::LimitReached) => Ok(()),
            _ => Err(error.into()),
        },
    }
}
