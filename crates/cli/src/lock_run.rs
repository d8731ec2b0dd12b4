//! `willow lock run`: a command that runs only while a lock is held.
//!
//! ```text
//!  acquire ─► spawn in a process group of its own ─► child ends ─► release ─► child's exit code
//!                │ heartbeat at a third of the lease (client guard)
//!                ├ the lease cannot be renewed:
//!                │     lease end - margin: SIGTERM to the group ──► margin/2 later: SIGKILL ──► exit code 6
//!                └ the lock was taken away by force: SIGTERM at once ──► margin/2 later: SIGKILL ──► exit code 6
//! ```
//! Time is counted from before the last successful heartbeat was sent, so the group is gone before the
//! server may give the lock to somebody else.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};
use willow_client::{Client, LockGuard, LockOptions};

use crate::{
    args::{duration, key_values},
    commands::lock::Mode,
    failure::Failure,
};

/// Shortest lease: a heartbeat, a SIGTERM and a SIGKILL have to fit in.
const SHORTEST: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
#[command(override_usage = "willow lock run [OPTIONS] --key <KEY=VALUE>... -- <COMMAND>...")]
pub(crate) struct Arguments {
    /// A pair of the lock's key values, such as deploy=web; may be repeated
    #[arg(long = "key", value_name = "KEY=VALUE", required = true)]
    keys: Vec<String>,
    #[command(flatten)]
    mode: Mode,
    /// Lease of the lock; the command is stopped within it when the server is gone
    #[arg(long, value_parser = duration, default_value = "30s")]
    ttl: Duration,
    /// How long to wait in line
    #[arg(long, value_parser = duration, default_value = "0s")]
    wait: Duration,
    /// Who this is, for people
    #[arg(long)]
    owner: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) async fn run(client: &Client, arguments: Arguments) -> Result<ExitCode, Failure> {
    if arguments.ttl < SHORTEST {
        return Err(Failure::usage("--ttl must be at least 1s, so that the command can be stopped within it"));
    }
    let (permits, max_permits) = arguments.mode.permits();
    let options = LockOptions {
        mode: arguments.mode.mode(),
        permits,
        max_permits,
        ttl: arguments.ttl,
        wait: arguments.wait,
        owner: arguments.owner,
    };
    let lock = client.lock(key_values(&arguments.keys)?, options).await?;
    let (program, rest) = arguments.command.split_first().ok_or_else(|| Failure::usage("no command"))?;
    let spawned = Command::new(program)
        .args(rest)
        .env("WILLOW_FENCING_TOKEN", lock.token().to_string())
        .env("WILLOW_LOCK_ID", lock.grants().first().map(|grant| grant.lock.to_string()).unwrap_or_default())
        .env("WILLOW_SESSION", lock.session().to_string())
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {program}"));
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            // Nothing runs: the next in line need not wait for the lease to end.
            give_back(lock).await;
            return Err(error.into());
        }
    };
    let ended = watch(&mut child, &lock, arguments.ttl).await;
    let Some(status) = ended? else { return Err(Failure::LostLock) };
    give_back(lock).await;
    Ok(exit_code(status))
}

/// Releases the lock; a failure is only worth a note.
async fn give_back(lock: LockGuard) {
    if let Err(error) = lock.release().await {
        eprintln!("note: the lock was not given back ({error}); its lease ends by itself");
    }
}

/// Waits for the child; `None` when it was stopped because the lock was being lost.
async fn watch(child: &mut Child, lock: &LockGuard, ttl: Duration) -> anyhow::Result<Option<std::process::ExitStatus>> {
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let margin = ttl / 4;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        // A heartbeat moves it; looked at again when this moment comes.
        let end = lock.lease().valid_until();
        let stop_at = end.map_or_else(Instant::now, |end| end - margin);
        tokio::select! {
            status = child.wait() => return Ok(Some(status?)),
            _ = interrupt.recv() => send(group, Signal::INT),
            _ = terminate.recv() => send(group, Signal::TERM),
            _ = hangup.recv() => send(group, Signal::HUP),
            () = lock.lost() => {
                eprintln!("the lock was taken away, or its lease ended: stopping the command");
                // Somebody else may have it: no longer than when a lease runs out, whatever is left of this one.
                stop(child, group, end.map(|end| (end - margin / 2).min(Instant::now() + margin / 2))).await?;
                return Ok(None);
            }
            () = sleep_until(stop_at) => {
                let renewed = lock.lease().valid_until().is_some_and(|end| end - margin > Instant::now());
                if !renewed {
                    eprintln!("the lock cannot be renewed: stopping the command before its lease ends");
                    stop(child, group, end.map(|end| end - margin / 2)).await?;
                    return Ok(None);
                }
            }
        }
    }
}

/// SIGTERM now, SIGKILL at `kill_at` (at once when the lease has ended already).
async fn stop(child: &mut Child, group: Option<Pid>, kill_at: Option<Instant>) -> anyhow::Result<()> {
    send(group, Signal::TERM);
    if let Some(kill_at) = kill_at {
        tokio::select! {
            _ = child.wait() => {}
            () = sleep_until(kill_at) => {}
        }
    }
    // The child may be gone and others of its group not.
    send(group, Signal::KILL);
    child.wait().await?;
    Ok(())
}

fn send(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // Nobody left in the group is what is wanted in the end.
        let _gone = kill_process_group(group, signal);
    }
}

/// The child's own code, or 128 + its signal, as shells have it.
fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
