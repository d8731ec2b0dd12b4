//! `willow cluster`.

use clap::Subcommand;
use willow_client::Client;

use crate::{
    failure::Failure,
    output::{Format, NODES, Output},
};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// The nodes and how they are
    Status,
}

pub(crate) async fn run(client: &Client, verb: Verb, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Status => {
            let cluster = client.cluster().await?;
            if output.format() == Format::Json {
                return output.one(&cluster);
            }
            output.list(&cluster.nodes, NODES)?;
            eprintln!("cluster {}, version {}, revision {}", cluster.id, cluster.version, cluster.revision);
            Ok(())
        }
    }
}
