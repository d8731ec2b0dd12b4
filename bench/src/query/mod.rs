//! The query engine, in this process, beside PostgreSQL on the same data: every answer is compared
//! before anything is measured.
//!
//! Each size is a process of its own, so that its memory is its own.

mod data;
mod engine;
mod growth;
mod measure;
mod patterns;
mod peer;
mod postgres;
mod report;
mod work;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Parser;
use willow_query::Query;

use engine::{Engine, Patterns};
use measure::Beside;
use peer::Peer;
use report::{Row, Unit};
use work::Work;

/// Cases of a page so late that getting there takes long.
const LATE_CASES: usize = 8;

#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// How many resources, in turn
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000_000])]
    resources: Vec<u64>,
    /// How many stored patterns, in turn
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000_000])]
    patterns: Vec<u64>,
    /// More than so many are not loaded into PostgreSQL
    #[arg(long, default_value_t = 10_000_000)]
    peer_resources: u64,
    /// More than so many are not loaded into PostgreSQL
    #[arg(long, default_value_t = 1_000_000)]
    peer_patterns: u64,
    /// Measured seconds of each work
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Draw how times grow with the size into this SVG file
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Keep the rows in this JSON file, and show those of earlier runs with other sizes beside them
    #[arg(long)]
    rows: Option<PathBuf>,
    /// A command that runs as long as something is measured; its input then ends
    #[arg(long)]
    beside: Option<String>,
    /// One part of it, whose rows go into this file
    #[arg(long, hide = true)]
    part: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(file) = &arguments.part {
        let rows = match (&arguments.resources[..], &arguments.patterns[..]) {
            (&[count], _) if count > 0 => resources(count, arguments)?,
            (_, &[count]) => patterns(count, arguments)?,
            _ => anyhow::bail!("a part is of one size"),
        };
        return Ok(std::fs::write(file, serde_json::to_vec(&rows)?)?);
    }
    let mut rows = Vec::new();
    for &count in &arguments.resources {
        rows.extend(part(arguments, count, 0)?);
    }
    for &count in &arguments.patterns {
        rows.extend(part(arguments, 0, count)?);
    }
    if let Some(file) = &arguments.rows {
        rows = with_earlier(file, rows)?;
    }
    crate::print(&report::table(&rows));
    if !growth::series(&rows).is_empty() {
        crate::print(&growth::table(&rows));
        if let Some(file) = &arguments.plot {
            growth::draw(file, &rows)?;
        }
    }
    Ok(())
}

/// Puts rows into a file; those in it that were not measured again stay.
fn with_earlier(file: &Path, rows: Vec<Row>) -> anyhow::Result<Vec<Row>> {
    let earlier: Vec<Row> = if file.exists() { serde_json::from_slice(&std::fs::read(file)?)? } else { Vec::new() };
    let again = |row: &Row| rows.iter().any(|new| new.size == row.size && new.work == row.work);
    let mut all: Vec<Row> = earlier.into_iter().filter(|row| !again(row)).collect();
    all.extend(rows);
    std::fs::write(file, serde_json::to_vec_pretty(&all)?)?;
    Ok(all)
}

/// Has a process of its own measure one size.
fn part(arguments: &Arguments, resources: u64, patterns: u64) -> anyhow::Result<Vec<Row>> {
    let file = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("query").arg("--part").arg(file.path());
    for (option, value) in [
        ("--resources", resources),
        ("--patterns", patterns),
        ("--peer-resources", arguments.peer_resources),
        ("--peer-patterns", arguments.peer_patterns),
        ("--seconds", arguments.seconds),
    ] {
        command.arg(option).arg(value.to_string());
    }
    if let Some(beside) = &arguments.beside {
        command.arg("--beside").arg(beside);
    }
    ensure!(command.status()?.success(), "{} resources, {} patterns: failed", resources, patterns);
    serde_json::from_slice(&std::fs::read(file.path())?).context("the rows of a part")
}

fn resources(count: u64, arguments: &Arguments) -> anyhow::Result<Vec<Row>> {
    let span = Duration::from_secs(arguments.seconds);
    let mut peer = Peer::load(count, arguments.peer_resources)?;
    let mut engine = Engine::load(count)?;
    let mut works = Vec::new();
    for mut work in work::all(count) {
        if work.cases.iter().any(|case| case.skip > 0) {
            work.cases.truncate(LATE_CASES);
        }
        works.push(Prepared::new(work, &engine, &mut peer)?);
    }
    let beside = Beside::start(arguments.beside.as_deref())?;
    let mut rows = Vec::new();
    if let Some(micros) = peer.round_trip(span)? {
        let version = peer.version()?.unwrap_or_default();
        let name = format!("the way to PostgreSQL {version} and back, included below");
        rows.push(Row { postgres: Some(micros), ..Row::new(count, name, Unit::Micros, 0.0) });
    }
    for prepared in &works {
        rows.push(prepared.measure(count, &engine, &mut peer, span)?);
    }
    let memory =
        Row::new(count, "memory of one, 5 pairs, resident", Unit::Bytes, engine.resident as f64 / count as f64);
    let counted =
        Row::new(count, "memory of one, 5 pairs, counted", Unit::Bytes, engine.memory_bytes() as f64 / count as f64);
    let peer_size = peer.size()?.map(|size| size as f64 / count as f64);
    let (delete, insert) = engine.churn()?;
    let peer_rates = peer.churn(count)?;
    drop(beside);
    drop(peer);
    let goal = 200_000.0;
    rows.push(Row {
        postgres: peer_rates.map(|(_, insert)| insert),
        ..Row::new(count, "insert, 5 pairs", Unit::PerSecond, insert).with_goal(goal)
    });
    rows.push(Row {
        postgres: peer_rates.map(|(delete, _)| delete),
        ..Row::new(count, "delete, 5 pairs", Unit::PerSecond, delete).with_goal(goal)
    });
    rows.push(Row { postgres: peer_size, ..memory.with_goal(400.0) });
    rows.push(counted);
    let (counted, resident) = engine.clear()?;
    rows.push(Row::new(
        count,
        "memory left after deleting all, per one there was: counted",
        Unit::Bytes,
        counted as f64 / count as f64,
    ));
    rows.push(Row::new(
        count,
        "memory left after deleting all, per one there was: resident",
        Unit::Bytes,
        resident as f64 / count as f64,
    ));
    Ok(rows)
}

/// A work with its queries parsed and its answers compared.
struct Prepared {
    work: Work,
    queries: Vec<Query>,
    statements: Vec<String>,
    compared: Option<u64>,
}

impl Prepared {
    fn new(work: Work, engine: &Engine, peer: &mut Peer) -> anyhow::Result<Self> {
        let (mut queries, mut statements) = (Vec::new(), Vec::new());
        for case in &work.cases {
            let (query, after) = engine.prepare(case)?;
            queries.push(query);
            statements.push(work::with_keyset(&case.sql, after));
        }
        let compared = peer.compare(&work, &queries, &statements, engine).with_context(|| work.name.clone())?;
        Ok(Self { work, queries, statements, compared })
    }

    fn measure(&self, count: u64, engine: &Engine, peer: &mut Peer, span: Duration) -> anyhow::Result<Row> {
        let times = engine.measure(&self.work, &self.queries, span)?;
        Ok(Row {
            willow_p99: Some(times.p99),
            postgres: peer.measure(&self.statements, span)?,
            goal: self.work.goal_us,
            goal_ratio: self.work.goal_ratio,
            compared: self.compared,
            ..Row::new(count, self.work.name.clone(), Unit::Micros, times.p50)
        })
    }
}

fn patterns(count: u64, arguments: &Arguments) -> anyhow::Result<Vec<Row>> {
    let span = Duration::from_secs(arguments.seconds);
    let mut peer = Peer::load_patterns(count, arguments.peer_patterns)?;
    let patterns = Patterns::load(count)?;
    let compared = peer.compare_patterns(count, &patterns)?;
    let _beside = Beside::start(arguments.beside.as_deref())?;
    let (times, matches) = patterns.measure(span)?;
    let postgres = peer.measure_patterns(count, span)?;
    let name = "reverse match, 6 keys, patterns of 1–5 keys";
    let goal = if count > 1_000_000 { 30_000.0 } else { 100_000.0 };
    let rate = Row::new(count, name, Unit::PerSecond, 1e6 / times.mean).with_goal(goal);
    let latency =
        Row::new(count, format!("reverse match, one call, {matches:.0} matches on average"), Unit::Micros, times.p50);
    Ok(vec![
        Row { postgres: postgres.map(|times| 1e6 / times.mean), compared, ..rate },
        Row { willow_p99: Some(times.p99), postgres: postgres.map(|times| times.p50), ..latency },
        Row::new(count, "memory of one pattern, counted", Unit::Bytes, patterns.bytes_each()),
    ])
}
