//! Times of single calls.

use std::time::{Duration, Instant};

use anyhow::Context;

/// What calls took, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) mean: f64,
}

/// Calls measured at most.
const CALLS_MAX: usize = 20_000;
/// Calls measured at least, however long they take.
const CALLS_MIN: usize = 10;

/// Calls with 0, 1, … for so long, after a tenth of it to warm up.
pub(super) fn measure(span: Duration, mut call: impl FnMut(u64) -> anyhow::Result<usize>) -> anyhow::Result<Times> {
    let mut round = 0;
    let began = Instant::now();
    while round < 3 || (began.elapsed() < span / 10 && round < CALLS_MAX as u64 / 10) {
        std::hint::black_box(call(round)?);
        round += 1;
    }
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < CALLS_MIN || (began.elapsed() < span && times.len() < CALLS_MAX) {
        let start = Instant::now();
        std::hint::black_box(call(round)?);
        times.push(start.elapsed());
        round += 1;
    }
    times.sort_unstable();
    let micros = |part: usize| -> anyhow::Result<f64> {
        let time = times.get(times.len() * part / 100).context("something was measured")?;
        Ok(time.as_secs_f64() * 1e6)
    };
    let total: Duration = times.iter().sum();
    Ok(Times { p50: micros(50)?, p99: micros(99)?, mean: total.as_secs_f64() * 1e6 / times.len() as f64 })
}

/// Resident bytes of this process.
pub(super) fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// A command that runs as long as something is measured, and learns of the end by the end of its input:
/// to keep others away, or to profile.
pub(super) struct Beside(Option<std::process::Child>);

impl Beside {
    pub(super) fn start(command: Option<&str>) -> anyhow::Result<Self> {
        let start = |command: &str| {
            std::process::Command::new("sh").args(["-c", command]).stdin(std::process::Stdio::piped()).spawn()
        };
        let child = command.map(start).transpose()?;
        if child.is_some() {
            std::thread::sleep(Duration::from_secs(2));
        }
        Ok(Self(child))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            drop(child.stdin.take());
            if let Err(error) = child.wait() {
                complain(&error);
            }
        }
    }
}

/// The bench has no log: talk goes to stderr.
fn complain(error: &std::io::Error) {
    use std::io::Write as _;
    let _closed = writeln!(std::io::stderr(), "the command beside did not end: {error}");
}
