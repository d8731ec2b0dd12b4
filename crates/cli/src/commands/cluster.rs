//! `willow cluster`.

use clap::Subcommand;
use willow_client::Client;

use crate::{
    commands::certs,
    failure::Failure,
    output::{Format, NODES, Output},
};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// The nodes and how they are
    Status,
    /// Make a node's certificate, and the cluster's CA when there is none
    Certs(certs::Arguments),
}

pub(crate) async fn run(client: &Client, verb: Verb, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Certs(arguments) => certs::run(&arguments, output),
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
