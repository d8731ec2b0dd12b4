//! `willow cluster certs`: the certificates by which nodes know each other. No server is called.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;
use willow_peer::certs::{CertError, NewNode, create_ca, create_node, has_ca};

use crate::{args, failure::Failure, output::Output};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of the cluster's CA, which is made when there is none
    #[arg(long, default_value = "willow-certs")]
    dir: PathBuf,
    /// Name of the node; its files are in the folder of that name in --dir
    #[arg(long)]
    node: String,
    /// Host name or IP address at which peers reach the node; may be repeated, and `*.example` names a whole
    /// domain. With none, the certificate is good for any address
    #[arg(long = "host", value_name = "HOST", num_args = 1..)]
    hosts: Vec<String>,
    /// How long the node's certificate is valid
    #[arg(long, value_parser = args::duration, default_value = "2y")]
    validity: Duration,
    /// How long a CA that is made now is valid
    #[arg(long, value_parser = args::duration, default_value = "10y")]
    ca_validity: Duration,
}

/// What has been made.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Made {
    node: String,
    /// Where the node's ca.pem, node.pem and node.key are.
    folder: PathBuf,
    hosts: Vec<String>,
    ca_created: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let made = make(arguments)?;
    output.one(&made)?;
    eprintln!("give {} to the node, and nothing else of {}:", made.folder.display(), arguments.dir.display());
    eprintln!("who has ca.key can add nodes, and a node can do everything");
    Ok(())
}

fn make(arguments: &Arguments) -> Result<Made, Failure> {
    let Arguments { dir, node, hosts, validity, ca_validity } = arguments;
    let ca_created = !has_ca(dir).map_err(failure)?;
    if ca_created {
        create_ca(dir, *ca_validity).map_err(failure)?;
    }
    let node = NewNode { name: node.clone(), hosts: hosts.clone(), valid_for: *validity };
    let folder = create_node(dir, &node).map_err(failure)?;
    Ok(Made { node: node.name, folder, hosts: node.hosts, ca_created })
}

fn failure(error: CertError) -> Failure {
    match error {
        CertError::Exists(_) | CertError::Name(_) | CertError::Host(_) | CertError::Validity => Failure::usage(error),
        error => Failure::Other(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn made(line: &[&str]) -> Result<Made, Failure> {
        make(&Line::parse_from([&["certs"], line].concat()).arguments)
    }

    #[test]
    fn the_first_node_brings_the_ca_and_nothing_is_made_twice() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_str().unwrap();
        let first = made(&["--dir", dir, "--node", "n1", "--host", "n1.example", "10.0.0.1"]).unwrap();
        let hosts = vec!["n1.example".to_owned(), "10.0.0.1".to_owned()];
        assert_eq!(first, Made { node: "n1".into(), folder: folder.path().join("n1"), hosts, ca_created: true });
        let second = made(&["--dir", dir, "--node", "n2", "--validity", "90d"]).unwrap();
        assert!(!second.ca_created);
        for made in [first, second] {
            willow_peer::PeerTls::from_dir(&made.folder).expect("a node can start with them");
        }
        for wrong in [&["--node", "n1"][..], &["--node", "a/b"], &["--node", "n3", "--host", "a b"]] {
            let failure = made(&[&["--dir", dir], wrong].concat()).unwrap_err();
            assert!(matches!(failure, Failure::Usage(_)), "{wrong:?}: {failure:?}");
        }
    }
}
