//! PostgreSQL's side: a server of its own on a folder that goes with it, over a Unix socket.
//!
//! Resources are `(id uuid, kv jsonb)` with a GIN index on the pairs and a B-tree on the sort key;
//! patterns are arrays of terms with a GIN index. Nothing is synced, so that only the work counts.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use postgres::{Client, Config, NoTls, Statement};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use uuid::Uuid;

use super::{
    data::{Resource, id},
    measure::{Times, measure},
    patterns::Pairs,
};

/// Where Debian's packages put the programs, a folder per version.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// The account that Debian's packages make; the server refuses to run as root.
const ACCOUNT: &str = "postgres";
const START: Duration = Duration::from_secs(60);
/// Rows of one statement that writes.
const WRITES_AT_ONCE: usize = 1_000;
const WRITES: u64 = 20_000;

const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "shared_buffers=3GB",
    "effective_cache_size=8GB",
    "work_mem=64MB",
    "maintenance_work_mem=1GB",
    "random_page_cost=1.1",
    "jit=off",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=8GB",
    "autovacuum=off",
];

pub(super) struct Postgres {
    client: Client,
    child: Child,
    _folder: TempDir,
}

impl Postgres {
    pub(super) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("willow-bench-").tempdir()?;
        let account = Account::find()?;
        account.give(folder.path())?;
        let data = folder.path().join("data");
        let made = account
            .command("initdb")?
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--username=bench", "--no-sync"])
            .arg("--pgdata")
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .context("initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut server = account.command("postgres")?;
        server.arg("-D").arg(&data).arg("-k").arg(folder.path()).current_dir(folder.path());
        for setting in SETTINGS {
            server.args(["-c", setting]);
        }
        let child = server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let client = connect(folder.path())?;
        Ok(Self { client, child, _folder: folder })
    }

    pub(super) fn version(&mut self) -> anyhow::Result<String> {
        Ok(self.client.query_one("SHOW server_version", &[])?.get(0))
    }

    /// The same resources as the index has.
    pub(super) fn load(&mut self, count: u64) -> anyhow::Result<()> {
        self.client.batch_execute("CREATE TABLE resources (id uuid NOT NULL, kv jsonb NOT NULL)")?;
        let progress = ProgressBar::new(count).with_message("resources into PostgreSQL");
        let mut copy = self.client.copy_in("COPY resources FROM STDIN")?;
        let mut rows = String::new();
        for number in 0..count {
            let resource = Resource::new(number, count);
            resource.copy_row(id(&resource.key_values()?), &mut rows)?;
            if rows.len() > 1 << 16 || number + 1 == count {
                copy.write_all(rows.as_bytes())?;
                rows.clear();
                progress.set_position(number + 1);
            }
        }
        copy.finish()?;
        progress.finish_and_clear();
        self.index(&[
            "ALTER TABLE resources ADD PRIMARY KEY (id)",
            "CREATE INDEX resources_created ON resources (((kv->>'created')::bigint), id)",
            "CREATE INDEX resources_kv ON resources USING gin (kv jsonb_path_ops)",
            "VACUUM (ANALYZE) resources",
            "CHECKPOINT",
        ])
    }

    pub(super) fn load_patterns(&mut self, count: u64) -> anyhow::Result<()> {
        self.client.batch_execute(
            "DROP TABLE IF EXISTS patterns; CREATE TABLE patterns (id int NOT NULL, terms text[] NOT NULL)",
        )?;
        let progress = ProgressBar::new(count).with_message("patterns into PostgreSQL");
        let mut copy = self.client.copy_in("COPY patterns FROM STDIN")?;
        for number in 0..count {
            writeln!(copy, "{number}\t{{{}}}", Pairs::pattern(number, count).terms(false).join(","))?;
            if number % 10_000 == 0 {
                progress.inc(10_000);
            }
        }
        copy.finish()?;
        progress.finish_and_clear();
        self.index(&[
            "CREATE INDEX patterns_terms ON patterns USING gin (terms)",
            "VACUUM (ANALYZE) patterns",
            "CHECKPOINT",
        ])
    }

    fn index(&mut self, statements: &[&'static str]) -> anyhow::Result<()> {
        for statement in statements {
            let progress = ProgressBar::new_spinner().with_message(*statement);
            progress.enable_steady_tick(Duration::from_millis(500));
            self.client.batch_execute(statement)?;
            progress.finish_and_clear();
        }
        Ok(())
    }

    pub(super) fn ids(&mut self, sql: &str) -> anyhow::Result<Vec<u128>> {
        let rows = self.client.query(sql, &[]).with_context(|| sql.to_owned())?;
        Ok(rows.iter().map(|row| row.get::<_, Uuid>(0).as_u128()).collect())
    }

    pub(super) fn number(&mut self, sql: &str) -> anyhow::Result<u64> {
        Ok(u64::try_from(self.client.query_one(sql, &[])?.get::<_, i64>(0))?)
    }

    /// Statements are prepared before, so that only their execution counts.
    pub(super) fn measure(&mut self, statements: &[String], span: Duration) -> anyhow::Result<Times> {
        let prepared = statements.iter().map(|sql| Ok(self.client.prepare(sql)?));
        let prepared: Vec<Statement> = prepared.collect::<anyhow::Result<_>>()?;
        measure(span, |round| Ok(self.client.query(&prepared[round as usize % prepared.len()], &[])?.len()))
    }

    /// Patterns whose every term is among these.
    pub(super) fn matching(&mut self, terms: &[String]) -> anyhow::Result<Vec<u32>> {
        let rows = self.client.query("SELECT id FROM patterns WHERE terms <@ $1 ORDER BY id", &[&terms])?;
        rows.iter().map(|row| Ok(u32::try_from(row.get::<_, i32>(0))?)).collect()
    }

    pub(super) fn measure_matching(&mut self, probes: &[Vec<String>], span: Duration) -> anyhow::Result<Times> {
        let statement = self.client.prepare("SELECT id FROM patterns WHERE terms <@ $1")?;
        measure(span, |round| Ok(self.client.query(&statement, &[&probes[round as usize % probes.len()]])?.len()))
    }

    /// Destroys and creates, a thousand rows at a time; both per second.
    pub(super) fn churn(&mut self, count: u64) -> anyhow::Result<(f64, f64)> {
        let mut random = super::data::Random::new(7);
        let mut victims = Vec::new();
        for _ in 0..WRITES.min(count / 4) {
            let key_values = Resource::new(random.below(count), count).key_values()?;
            victims.push(Uuid::from_u128(id(&key_values).to_u128()));
        }
        let mut arriving = Vec::new();
        for number in count..count + victims.len() as u64 {
            let resource = Resource::new(number, count);
            let id = id(&resource.key_values()?);
            let mut row = String::new();
            resource.copy_row(id, &mut row)?;
            let json = row.trim_end().split_once('\t').context("a tab")?.1.to_owned();
            arriving.push((Uuid::from_u128(id.to_u128()), json));
        }
        let start = Instant::now();
        for victims in victims.chunks(WRITES_AT_ONCE) {
            self.client.execute("DELETE FROM resources WHERE id = ANY($1)", &[&victims])?;
        }
        let removed = start.elapsed();
        let insert = "INSERT INTO resources SELECT id, kv::jsonb FROM unnest($1::uuid[], $2::text[]) AS new (id, kv)";
        let start = Instant::now();
        for rows in arriving.chunks(WRITES_AT_ONCE) {
            let (ids, texts): (Vec<Uuid>, Vec<&str>) = rows.iter().map(|(id, text)| (*id, text.as_str())).unzip();
            self.client.execute(insert, &[&ids, &texts])?;
        }
        let inserted = start.elapsed();
        let rate = |took: Duration| victims.len() as f64 / took.as_secs_f64();
        Ok((rate(removed), rate(inserted)))
    }

    /// Bytes of the table and its indexes.
    pub(super) fn size(&mut self) -> anyhow::Result<u64> {
        self.number("SELECT pg_total_relation_size('resources')")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // SIGINT is a fast shutdown. It may be gone already; the wait below is what counts.
            let _gone = kill_process(pid, Signal::INT);
        }
        if let Err(error) = self.child.wait() {
            let _closed = writeln!(std::io::stderr(), "PostgreSQL did not stop: {error}");
        }
    }
}

fn connect(folder: &Path) -> anyhow::Result<Client> {
    let mut config = Config::new();
    config.host_path(folder).user("bench").dbname("postgres");
    let deadline = Instant::now() + START;
    loop {
        match config.connect(NoTls) {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > deadline => {
                let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                bail!("PostgreSQL does not answer: {error}\n{log}");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// As whom the server runs: as who runs this, or, since that must not be root, as Debian's account.
struct Account {
    programs: PathBuf,
    ids: Option<(u32, u32)>,
}

impl Account {
    fn find() -> anyhow::Result<Self> {
        let versions = std::fs::read_dir(PROGRAMS).with_context(|| format!("{PROGRAMS}: install postgresql"))?;
        let mut versions: Vec<PathBuf> = versions.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
        versions.sort_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()));
        let programs = versions.pop().context("PostgreSQL is not installed")?.join("bin");
        let number = |what: &str| -> anyhow::Result<u32> {
            let output = Command::new("id").args([what, ACCOUNT]).output()?;
            Ok(String::from_utf8(output.stdout)?.trim().parse()?)
        };
        let ids = if rustix::process::geteuid().is_root() { Some((number("-u")?, number("-g")?)) } else { None };
        Ok(Self { programs, ids })
    }

    fn give(&self, folder: &Path) -> anyhow::Result<()> {
        if let Some((user, group)) = self.ids {
            std::os::unix::fs::chown(folder, Some(user), Some(group))?;
        }
        Ok(())
    }

    fn command(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(self.programs.join(program));
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        Ok(command)
    }
}
