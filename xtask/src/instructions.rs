//! Instructions of the query engine's hot paths, counted by callgrind, beside what was recorded.
//!
//! A count does not depend on what else the machine does, so that a change of a percent shows.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use xshell::{Shell, cmd};

use crate::demo::target;

/// What was recorded, to be committed with the change that explains it.
const RECORDED: &str = "crates/query/benches/instructions.txt";
/// As in the program that is counted.
const CALLS: u64 = 100;
const PATHS: &[&str] = &[
    "order_alone",
    "equality_ordered_by_another",
    "ranges_and_or",
    "random_one",
    "random_hundred",
    "round_robin",
    "count",
    "parse",
    "reverse_match",
    "insert",
    "delete",
];

pub(crate) fn run(sh: &Shell, record: bool) -> anyhow::Result<()> {
    if cmd!(sh, "valgrind --version").quiet().ignore_stderr().read().is_err() {
        crate::setup::valgrind(sh)?;
    }
    let counts = count(sh)?;
    let recorded = parse(&sh.read_file(RECORDED).unwrap_or_default());
    print(&counts, &recorded);
    if record {
        let lines = counts.iter().map(|(path, count)| format!("{path} {count}\n"));
        let compiler = cmd!(sh, "rustc --version").quiet().read()?;
        let head = format!("# Instructions per call: cargo xtask bench instructions --record; {compiler}\n");
        sh.write_file(RECORDED, head + &lines.collect::<String>())?;
    }
    Ok(())
}

/// Instructions per call of each path.
fn count(sh: &Shell) -> anyhow::Result<BTreeMap<String, u64>> {
    let built = cmd!(sh, "cargo bench --package willow-query --bench instructions --no-run").read_stderr()?;
    let program =
        built.rsplit_once('(').and_then(|(_, rest)| rest.split_once(')')).context("the path of the program")?.0;
    // One file for all: each is read before the next is written.
    let output = format!("{}/instructions.callgrind", target(sh));
    let options = ["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*instructions::hot*", "--quiet"];
    let mut counts = BTreeMap::new();
    for path in PATHS {
        eprintln!("counting {path}");
        cmd!(sh, "valgrind {options...} --callgrind-out-file={output} {program} {path}").quiet().run()?;
        let counted = total(&sh.read_file(&output)?).with_context(|| format!("{path}: callgrind's total"))?;
        ensure!(counted > 0, "{path}: callgrind counted nothing");
        counts.insert((*path).to_owned(), counted / CALLS);
    }
    Ok(counts)
}

/// What callgrind's file says was counted in all.
fn total(file: &str) -> Option<u64> {
    file.lines().find_map(|line| line.strip_prefix("totals:"))?.trim().parse().ok()
}

fn parse(recorded: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (path, count) = line.split_once(' ')?;
        Some((path.to_owned(), count.parse().ok()?))
    };
    recorded.lines().filter(|line| !line.starts_with('#')).filter_map(pair).collect()
}

/// The table is this task's data: it goes to stdout.
#[expect(clippy::print_stdout, reason = "a program's result")]
fn print(counts: &BTreeMap<String, u64>, recorded: &BTreeMap<String, u64>) {
    println!("{:<32} {:>12} {:>12} {:>9}", "instructions per call", "recorded", "now", "change");
    for (path, now) in counts {
        let before = recorded.get(path);
        let change = before.map(|before| (*now as f64 / *before as f64 - 1.0) * 100.0);
        let before = before.map(u64::to_string).unwrap_or_default();
        let change = change.map(|change| format!("{change:+.2} %")).unwrap_or_default();
        println!("{path:<32} {before:>12} {now:>12} {change:>9}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_callgrind_and_we_write() {
        assert_eq!(total("version: 1\nevents: Ir\n\ntotals: 123400\n"), Some(123_400));
        assert_eq!(total("events: Ir\n"), None);
        assert_eq!(parse("# head\ninsert 12\n"), BTreeMap::from([("insert".to_owned(), 12)]));
    }
}
