//! A CI system on the history of a git repository.
//!
//! Every commit is built for Linux, Windows and macOS. Rules: one build per repository and branch; no
//! Windows and no macOS builds; overrides lift all of them for the main branch. Runners take builds by
//! a query on `os`. The program then proves from its own records that no limit was ever exceeded, that
//! every build that may run ran exactly once, and that what the rules forbid did not run, and why.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use willow_api::{
    channel::Reason,
    item::{DequeueRequest, EnqueueBatchRequest, EnqueueResult, LeaseRequest, NewItem, RawJson},
    limiter::{CreateOverrideRequest, CreateRuleRequest, Limit},
    page::QueryInput,
    queue::{CreateQueueRequest, QueueActionRequest},
};
use willow_client::Client;
use willow_examples::{
    print,
    server::{self, Server},
    table,
    timeline::{Span, peaks},
};
use willow_model::{KeyValues, Origin};
use willow_query::Query;

const QUEUE: &str = "builds";
const SYSTEMS: [&str; 3] = ["linux", "windows", "mac"];

#[derive(Parser)]
#[command(about = "Builds the commits of a git repository under limits, and checks from outside that they held")]
struct Args {
    /// A local git repository
    #[arg(long, default_value = ".")]
    repo: PathBuf,
    /// At most this many commits, newest first
    #[arg(long, default_value_t = 200)]
    commits: usize,
    /// Runners for Linux; half as many each for Windows and macOS
    #[arg(long, default_value_t = 8)]
    runners: usize,
    /// What a build takes, ms
    #[arg(long, default_value_t = 20)]
    build_ms: u64,
    #[command(flatten)]
    server: server::Arguments,
}

/// One build to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Build {
    branch: String,
    os: &'static str,
    commit: String,
}

/// One build done.
struct Done {
    build: Build,
    runner: String,
    span: Span,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let history = History::read(&args.repo, args.commits)?;
    let builds = history.builds();
    let (allowed, forbidden): (Vec<Build>, Vec<Build>) =
        builds.iter().cloned().partition(|build| build.branch == history.main || build.os == "linux");
    eprintln!(
        "{}: {} commits on {} branches, {} builds",
        history.repo,
        history.commits.len(),
        builds.iter().map(|build| &build.branch).collect::<BTreeSet<_>>().len(),
        builds.len()
    );
    if history.invented {
        eprintln!(
            "the history has one branch only: each commit is also built on a topic branch named after its folder"
        );
    }

    let server = Server::start(&args.server)?;
    let client = server.client()?;
    create_rules(&client, &history.main).await?;
    let began = Instant::now();
    enqueue(&client, &history.repo, &builds).await?;
    let done = run(&args, &client, began, allowed.len()).await?;

    report(&done, &history.main);
    check_limits(&done, &history.main)?;
    check_completeness(&done, &allowed)?;
    check_forbidden(&client, &forbidden).await?;
    print(format_args!(
        "\nchecked: {} builds ran exactly once, {} forbidden ones did not run, no limit was exceeded ({:.1} s)",
        done.len(),
        forbidden.len(),
        began.elapsed().as_secs_f64()
    ));
    client.queue(QUEUE).purge(&QueueActionRequest::default()).await?;
    Ok(())
}

/// What is built.
struct History {
    repo: String,
    main: String,
    /// Branch and commit, oldest first.
    commits: Vec<(String, String)>,
    /// Branches are made up from folders, for the history has one only.
    invented: bool,
}

impl History {
    fn read(repo: &PathBuf, limit: usize) -> anyhow::Result<Self> {
        let git = |arguments: &[&str]| -> anyhow::Result<String> {
            let output = Command::new("git").arg("-C").arg(repo).args(arguments).output().context("run git")?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "git {}: {}", arguments.join(" "), errors.trim());
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let main = git(&["rev-parse", "--abbrev-ref", "HEAD"])?.trim().to_owned();
        let top = git(&["rev-parse", "--show-toplevel"])?;
        let repo = top.trim().rsplit('/').next().unwrap_or("repo").to_owned();
        let count = format!("-n{limit}");
        let log = git(&["log", "--source", "--branches", "HEAD", &count, "--name-only", "--format=%x01%h%x09%S"])?;
        let mut commits = Vec::new();
        let mut folders = Vec::new();
        for entry in log.split('\u{1}').skip(1) {
            let mut lines = entry.lines();
            let (commit, source) = lines.next().and_then(|line| line.split_once('\t')).context("git log")?;
            let branch = source.strip_prefix("refs/heads/").unwrap_or(&main);
            let folder = lines.find(|line| !line.is_empty()).map_or("root", topic);
            commits.push((branch.to_owned(), commit.to_owned()));
            folders.push((format!("topic/{folder}"), commit.to_owned()));
        }
        ensure!(!commits.is_empty(), "the repository has no commits");
        let invented = commits.iter().all(|(branch, _)| *branch == main);
        if invented {
            commits.extend(folders);
        }
        commits.reverse();
        Ok(Self { repo, main, commits, invented })
    }

    fn builds(&self) -> Vec<Build> {
        let each = |(branch, commit): &(String, String)| {
            SYSTEMS.map(|os| Build { branch: branch.clone(), os, commit: commit.clone() })
        };
        self.commits.iter().flat_map(each).collect()
    }
}

/// The folder that a path lies in, two levels deep at most.
fn topic(path: &str) -> &str {
    let second = path.match_indices('/').nth(1).map(|(at, _)| at);
    let first = path.find('/');
    second.or(first).map_or("root", |end| &path[..end])
}

async fn create_rules(client: &Client, main: &str) -> anyhow::Result<()> {
    client.queues().create(&CreateQueueRequest::new(QUEUE)).await?;
    let rules = [
        ("one-build-per-branch", "repo=* branch=*", 1),
        ("no-windows-builds", "os=windows", 0),
        ("no-mac-builds", "os=mac", 0),
    ];
    for (name, key_values, limit) in rules {
        let key_values = format!("_willow_queue_name={QUEUE} {key_values}");
        let pattern = KeyValues::parse(Origin::Pattern, &key_values)?;
        client.rules().create(&CreateRuleRequest::new(name, pattern, Limit::At(limit))).await?;
        let narrower = format!("{} branch={}", key_values.replace(" branch=*", ""), quote(main));
        let pattern = KeyValues::parse(Origin::Pattern, &narrower)?;
        let lifted = CreateOverrideRequest::new("main-is-free", pattern, Limit::Unlimited);
        client.overrides(name).create(&lifted).await?;
    }
    Ok(())
}

fn quote(text: &str) -> String {
    format!("{text:?}")
}

async fn enqueue(client: &Client, repo: &str, builds: &[Build]) -> anyhow::Result<()> {
    for chunk in builds.chunks(500) {
        let item = |build: &Build| {
            let key_values = KeyValues::parse_args(
                Origin::User,
                [
                    format!("repo={}", quote(repo)),
                    format!("branch={}", quote(&build.branch)),
                    format!("os={}", build.os),
                    format!("commit={}", quote(&build.commit)),
                ],
            )?;
            let mut item = NewItem::new(key_values);
            item.data = Some(RawJson::of(&serde_json::json!({
                "branch": build.branch, "os": build.os, "commit": build.commit
            }))?);
            anyhow::Ok(item)
        };
        let items = chunk.iter().map(item).collect::<anyhow::Result<_>>()?;
        let request = EnqueueBatchRequest { items, request_id: None };
        let reply = client.queue(QUEUE).items().enqueue_batch(&request).await?;
        for result in reply.results {
            if let EnqueueResult::Refused(refused) = result {
                bail!("an item was refused: {}", refused.error);
            }
        }
    }
    Ok(())
}

/// Runs the runners until `expected` builds are done.
async fn run(args: &Args, client: &Client, began: Instant, expected: usize) -> anyhow::Result<Vec<Done>> {
    let done = Arc::new(Mutex::new(Vec::new()));
    let left = Arc::new(AtomicUsize::new(expected));
    let failed = Arc::new(AtomicBool::new(false));
    let progress = ProgressBar::new(expected as u64);
    let mut runners = JoinSet::new();
    for (os, count) in
        [("linux", args.runners), ("windows", args.runners.div_ceil(2)), ("mac", args.runners.div_ceil(2))]
    {
        for index in 0..count {
            let runner = Runner {
                name: format!("{os}-{index}"),
                os,
                client: client.clone(),
                build: Duration::from_millis(args.build_ms),
                began,
                done: Arc::clone(&done),
                left: Arc::clone(&left),
                failed: Arc::clone(&failed),
                progress: progress.clone(),
            };
            runners.spawn(runner.run());
        }
    }
    while let Some(runner) = runners.join_next().await {
        runner??;
    }
    progress.finish_and_clear();
    let done = std::mem::take(&mut *done.lock().map_err(|_| anyhow::anyhow!("a runner panicked"))?);
    Ok(done)
}

struct Runner {
    name: String,
    os: &'static str,
    client: Client,
    build: Duration,
    began: Instant,
    done: Arc<Mutex<Vec<Done>>>,
    left: Arc<AtomicUsize>,
    failed: Arc<AtomicBool>,
    progress: ProgressBar,
}

impl Runner {
    async fn run(self) -> anyhow::Result<()> {
        let outcome = self.work().await;
        if outcome.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    async fn work(&self) -> anyhow::Result<()> {
        let items = self.client.queue(QUEUE).items();
        let query: Query = format!("os = {}", quote(self.os)).parse()?;
        let request = DequeueRequest {
            query: Some(QueryInput::from(query)),
            wait_ms: Some(500),
            lease_ms: Some(60_000),
            consumer: Some(self.name.clone()),
            ..DequeueRequest::default()
        };
        while self.left.load(Ordering::Relaxed) > 0 && !self.failed.load(Ordering::Relaxed) {
            for delivery in items.dequeue(&request).await?.items {
                let started = self.began.elapsed();
                let data: BTreeMap<String, String> =
                    serde_json::from_str(delivery.data.as_ref().context("every build has data")?.get())?;
                tokio::time::sleep(self.build).await;
                let ended = self.began.elapsed();
                items.ack(delivery.item, &LeaseRequest { lease_token: delivery.lease_token, request_id: None }).await?;
                let build = Build { branch: data["branch"].clone(), os: self.os, commit: data["commit"].clone() };
                ensure!(data["os"] == self.os, "{} was given a build for {}", self.name, data["os"]);
                let span = Span { group: build.branch.clone(), weight: 1, enqueued: Duration::ZERO, started, ended };
                let mut done = self.done.lock().map_err(|_| anyhow::anyhow!("a runner panicked"))?;
                done.push(Done { build, runner: self.name.clone(), span });
                self.left.fetch_sub(1, Ordering::Relaxed);
                self.progress.inc(1);
            }
        }
        Ok(())
    }
}

/// What ran where.
fn report(done: &[Done], main: &str) {
    let spans: Vec<Span> = done.iter().map(|done| done.span.clone()).collect();
    let peaks = peaks(&spans);
    let mut branches: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut runners: BTreeMap<&str, usize> = BTreeMap::new();
    for done in done {
        *branches.entry(&done.build.branch).or_default().entry(done.build.os).or_default() += 1;
        *runners.entry(&done.runner).or_default() += 1;
    }
    let mut rows = table(["branch", "limit", "linux", "windows", "mac", "most at once"]);
    for (branch, systems) in branches {
        let limit = if branch == main { "unlimited" } else { "1" };
        let count = |os| systems.get(os).copied().unwrap_or(0).to_string();
        let peak = peaks.get(branch).copied().unwrap_or(0).to_string();
        rows.add_row([branch.to_owned(), limit.into(), count("linux"), count("windows"), count("mac"), peak]);
    }
    print(format_args!("\nBuilds that ran, by branch and system. `limit` is how many of a branch may run at once:"));
    print(rows);
    let mut rows = table(["runner", "builds"]);
    for (runner, count) in runners {
        rows.add_row([runner.to_owned(), count.to_string()]);
    }
    print("\nWho ran them:");
    print(rows);
}

fn check_limits(done: &[Done], main: &str) -> anyhow::Result<()> {
    let spans: Vec<Span> = done.iter().map(|done| done.span.clone()).collect();
    for (branch, peak) in peaks(&spans) {
        ensure!(branch == main || peak <= 1, "branch {branch} had {peak} builds at once");
    }
    let strays = done.iter().filter(|done| done.build.branch != main && done.build.os != "linux").count();
    ensure!(strays == 0, "{strays} forbidden builds ran");
    Ok(())
}

fn check_completeness(done: &[Done], allowed: &[Build]) -> anyhow::Result<()> {
    let mut ran: Vec<&Build> = done.iter().map(|done| &done.build).collect();
    let mut wanted: Vec<&Build> = allowed.iter().collect();
    ran.sort_unstable();
    wanted.sort_unstable();
    ensure!(ran == wanted, "not every build that may run ran exactly once");
    Ok(())
}

/// The forbidden builds still wait, and the server says which rule is in the way.
async fn check_forbidden(client: &Client, forbidden: &[Build]) -> anyhow::Result<()> {
    let queue = client.queue(QUEUE);
    let channels = queue.channels().query_all(Query::default()).collect().await?;
    let waiting: u64 = channels.iter().map(|channel| channel.counts.waiting).sum();
    ensure!(waiting == forbidden.len() as u64, "{waiting} builds wait, not {}", forbidden.len());
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for channel in &channels {
        let explanation = queue.channels().explain(channel.id).await?;
        ensure!(!explanation.eligible, "a forbidden build could run");
        for reason in explanation.reasons {
            if let Reason::Limited { denied_by } = reason {
                for limit in denied_by {
                    *reasons.entry(limit.rule_name).or_default() += 1;
                }
            }
        }
    }
    let mut rows = table(["rule in the way", "builds it holds back"]);
    for (rule, count) in &reasons {
        rows.add_row([rule.clone(), count.to_string()]);
    }
    print("\nBuilds that did not run, by what the server gives as the reason:");
    print(rows);
    let blamed = ["no-windows-builds", "no-mac-builds"].iter().all(|rule| reasons.contains_key(*rule));
    ensure!(forbidden.is_empty() || blamed, "the server does not name the rules in the way");
    Ok(())
}
