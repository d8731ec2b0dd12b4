//! `willow session`.

use std::time::Duration;

use clap::Subcommand;
use willow_api::{keys::SessionId, lock::CreateSessionRequest};
use willow_client::Client;

use crate::{
    args::{duration, ms},
    failure::Failure,
    output::Output,
};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Start a session that holds nothing yet
    Create {
        /// Its lease
        #[arg(long, value_parser = duration)]
        ttl: Option<Duration>,
        /// Who this is, for people
        #[arg(long)]
        owner: Option<String>,
    },
    /// Renew its lease
    Heartbeat {
        /// The session
        session: SessionId,
    },
    /// End it and give back all it holds
    End {
        /// The session
        session: SessionId,
    },
}

pub(crate) async fn run(client: &Client, verb: Verb, output: &Output) -> Result<(), Failure> {
    let sessions = client.sessions();
    match verb {
        Verb::Create { ttl, owner } => {
            let request = CreateSessionRequest { ttl_ms: ttl.map(ms), owner, request_id: None };
            output.one(&sessions.create(&request).await?)
        }
        Verb::Heartbeat { session } => output.one(&sessions.heartbeat(session).await?),
        Verb::End { session } => output.one(&sessions.end(session).await?),
    }
}
