//! `willow lock`.

use std::time::Duration;

use clap::Subcommand;
use willow_api::{
    Id, Revision,
    keys::SessionId,
    lock::{AcquireRequest, HeldLockRequest, LockMode, ValidateRequest},
};
use willow_client::Client;

use super::answer;
use crate::{
    args::{QueryArguments, duration, key_values, ms},
    failure::Failure,
    lock_run,
    output::{GRANTS, LOCKS, Output},
};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Take a lock and print its fencing token
    Acquire(Acquire),
    /// Give a lock back
    Release(Held),
    /// Renew the lease of the session that holds a lock
    Heartbeat(Held),
    /// Turn an exclusive lock into a shared one
    Downgrade(Held),
    /// Is a fencing token held now?
    Validate {
        /// The lock's id
        lock: Id,
        /// The token to check
        token: u64,
    },
    /// Show one lock
    Get {
        /// The lock's id
        lock: Id,
    },
    /// List locks in use
    #[command(visible_alias = "list")]
    Query(QueryArguments),
    /// Take a lock away from all who hold it; audited
    ForceRelease {
        /// The lock's id
        lock: Id,
        /// Who asks
        #[arg(long)]
        by: Option<String>,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Run a command while holding a lock; it is stopped before the lock can be lost
    Run(lock_run::Arguments),
}

/// How to hold a lock.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Mode {
    /// Share it with other shared holders
    #[arg(long, conflicts_with = "permits")]
    shared: bool,
    /// Take this many permits of a semaphore
    #[arg(long, requires = "max_permits")]
    permits: Option<u32>,
    /// Permits the semaphore has in all
    #[arg(long, requires = "permits")]
    max_permits: Option<u32>,
}

impl Mode {
    pub(crate) fn mode(&self) -> LockMode {
        match (self.shared, self.permits) {
            (true, _) => LockMode::Shared,
            (false, Some(_)) => LockMode::Semaphore,
            (false, None) => LockMode::Exclusive,
        }
    }

    pub(crate) fn permits(&self) -> (Option<u32>, Option<u32>) {
        (self.permits, self.max_permits)
    }
}

#[derive(clap::Args)]
pub(crate) struct Acquire {
    /// What to lock, such as repo=willow branch=main
    #[arg(required = true)]
    key_values: Vec<String>,
    #[command(flatten)]
    mode: Mode,
    /// The session to hold it; a new one when absent
    #[arg(long)]
    session: Option<SessionId>,
    /// Lease of the session
    #[arg(long, value_parser = duration)]
    ttl: Option<Duration>,
    /// How long to wait in line
    #[arg(long, value_parser = duration, default_value = "0s")]
    wait: Duration,
    /// Who this is, for people
    #[arg(long)]
    owner: Option<String>,
    /// Makes a repeat answer from the record
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Held {
    /// The lock's id
    lock: Id,
    /// The session that holds it
    #[arg(long)]
    session: SessionId,
    /// The fencing token held
    #[arg(long)]
    token: Option<u64>,
}

impl Held {
    fn request(&self) -> HeldLockRequest {
        HeldLockRequest { session: self.session, token: self.token.map(Revision), request_id: None }
    }
}

pub(crate) async fn run(client: &Client, verb: Verb, output: &Output) -> Result<(), Failure> {
    let locks = client.locks();
    match verb {
        Verb::Acquire(acquire) => {
            let (permits, max_permits) = acquire.mode.permits();
            let request = AcquireRequest {
                key_values: Some(key_values(&acquire.key_values)?.into()),
                mode: Some(acquire.mode.mode()),
                permits,
                max_permits,
                session: acquire.session,
                ttl_ms: acquire.ttl.map(ms),
                wait_ms: Some(ms(acquire.wait)),
                owner: acquire.owner,
                request_id: acquire.request_id,
                locks: None,
            };
            let reply = locks.acquire(&request).await?;
            if output.format() == crate::output::Format::Json {
                return output.one(&reply);
            }
            output.list(&reply.locks, GRANTS)?;
            eprintln!("session {}, lease ends in {}", reply.session, crate::output::human_ms(reply.expires_in_ms));
            Ok(())
        }
        Verb::Release(held) => output.one(&locks.release(held.lock, &held.request()).await?),
        Verb::Heartbeat(held) => output.one(&locks.heartbeat(held.lock, &held.request()).await?),
        Verb::Downgrade(held) => output.one(&locks.downgrade(held.lock, &held.request()).await?),
        Verb::Validate { lock, token } => {
            output.one(&locks.validate(lock, &ValidateRequest { token: Revision(token) }).await?)
        }
        Verb::Get { lock } => output.one(&locks.get(lock).await?),
        Verb::Query(query) => {
            let one = async |query| locks.query(&query).await;
            answer(&query, one, |query| locks.query_all(query), output, LOCKS).await
        }
        Verb::ForceRelease { lock, by, reason } => {
            output.one(&locks.force_release(lock, by.as_deref(), reason.as_deref()).await?)
        }
        Verb::Run(_) => unreachable!("handled by the caller, for it has an exit code of its own"),
    }
}
