//! What nodes say to each other.
//!
//! ```text
//! request  =  version (1 byte)  ·  cluster, from, to, group, call     (postcard)
//! answer   =  version           ·  answer | refused                   (postcard)
//! ```
//! The structures are this crate's own: neither the consensus library nor a change of it can change them. New
//! calls and fields go to the end of their enum or struct under a new version; version N speaks N and N−1, and
//! answers in the version it was asked in.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use willow_core::Reply;
use willow_core::catalogue::NodeFacts;

use crate::cluster::NodeReport;
use crate::record::{EntryId, VoteRecord};
use crate::{ProposeError, ReadError};

/// What this build speaks.
const VERSION: u8 = 1;
/// The oldest version this build understands.
const VERSION_OLDEST: u8 = 1;

/// A call to a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The caller's cluster; zero when it belongs to none yet.
    pub(crate) cluster: u128,
    /// The caller; zero when it has no id yet.
    pub(crate) from: u64,
    /// Who is meant; zero for whoever is there.
    pub(crate) to: u64,
    /// The group it is about.
    pub(crate) group: u32,
    pub(crate) call: Call,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Call {
    Append(Append),
    Vote(Vote),
    PreVote(Vote),
    Transfer(Transfer),
    /// Begins a snapshot; the answer names the transfer.
    SnapshotBegin(SnapshotBegin),
    SnapshotChunks(SnapshotChunks),
    /// All chunks are there: install it.
    SnapshotEnd(SnapshotEnd),
    /// An encoded envelope for the log, and whether its wait ends with the caller.
    Propose {
        envelope: Bytes,
        cancel_on_drop: bool,
    },
    /// How far a replica must be to serve a linearizable read.
    ReadIndex,
    /// How the node is.
    Report,
    /// Which cluster the node belongs to.
    Hello,
    /// Take me in.
    Join {
        identity: u128,
        facts: NodeFacts,
    },
    /// Lead, if you vote in this group: hand leadership to this node.
    Lead {
        node: u64,
    },
}

/// Entries for a follower's log; none is a heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Append {
    pub(crate) vote: VoteRecord,
    pub(crate) previous: Option<EntryId>,
    /// Each as the record it is in the log.
    pub(crate) entries: Vec<Bytes>,
    pub(crate) committed: Option<EntryId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vote {
    pub(crate) vote: VoteRecord,
    pub(crate) last: Option<EntryId>,
    pub(crate) is_transfer: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) from: VoteRecord,
    pub(crate) to: u64,
    pub(crate) last: Option<EntryId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotBegin {
    pub(crate) vote: VoteRecord,
    /// The snapshot's head, as it is in its file.
    pub(crate) head: Bytes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotChunks {
    pub(crate) transfer: u64,
    /// Number of the first: a repeated one is seen, a missing one too.
    pub(crate) first: u64,
    pub(crate) chunks: Vec<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotEnd {
    pub(crate) transfer: u64,
    /// How many there were.
    pub(crate) chunks: u64,
    pub(crate) vote: VoteRecord,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Append(Appended),
    Vote(Voted),
    Transfer(Result<(), String>),
    SnapshotBegun { transfer: u64 },
    SnapshotTaken,
    SnapshotInstalled { vote: VoteRecord },
    Proposed(Result<Reply, ProposeError>),
    ReadIndex(Result<Option<u64>, ReadError>),
    Report(NodeReport),
    Hello(Hello),
    Joined(Result<Joined, String>),
    Lead(Result<(), String>),
    Refused(Refused),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Appended {
    All,
    UpTo(Option<EntryId>),
    Conflict,
    HigherVote(VoteRecord),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Voted {
    pub(crate) vote: VoteRecord,
    pub(crate) is_granted: bool,
    pub(crate) last: Option<EntryId>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Zero: it belongs to no cluster yet.
    pub(crate) cluster: u128,
    /// Zero: it has no id yet.
    pub(crate) node: u64,
    /// The identity with which it is about to found a cluster; zero if it is not.
    pub(crate) bootstraps: u128,
}

/// Welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Joined {
    pub(crate) cluster: u128,
    pub(crate) node: u64,
}

/// Why a call was not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refused {
    /// It does not decode.
    #[error("the request is malformed: {0}")]
    Malformed(String),
    /// Of a version that this node does not speak.
    #[error("the peer speaks versions {oldest} to {newest} of the protocol, the request had {found}")]
    Version { found: u8, oldest: u8, newest: u8 },
    /// It is for a node of another cluster.
    #[error("the peer belongs to another cluster ({0:x})")]
    OtherCluster(u128),
    /// It is for another node.
    #[error("the peer is node {0}")]
    OtherNode(u64),
    /// The caller was removed from the cluster.
    #[error("this node was removed from the cluster; empty its data directory and let it join anew")]
    Removed,
    /// This node has no such group (yet).
    #[error("the peer does not run group {0}")]
    NoSuchGroup(u32),
    /// The node has not started, or has stopped.
    #[error("the peer does not run")]
    NotRunning,
    /// It went wrong on this node.
    #[error("the peer failed: {0}")]
    Failed(String),
}

pub(crate) fn encode<T: Serialize>(message: &T) -> Bytes {
    // Nothing in these types is unsupported, and memory is not bounded by postcard.
    postcard::to_extend(message, vec![VERSION]).map_or_else(|_unsupported| Bytes::new(), Bytes::from)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    let (&found, body) = bytes.split_first().ok_or_else(|| Refused::Malformed("it is empty".to_owned()))?;
    if !(VERSION_OLDEST..=VERSION).contains(&found) {
        return Err(Refused::Version { found, oldest: VERSION_OLDEST, newest: VERSION });
    }
    let (message, rest) =
        postcard::take_from_bytes(body).map_err(|error: postcard::Error| Refused::Malformed(error.to_string()))?;
    if rest.is_empty() { Ok(message) } else { Err(Refused::Malformed(format!("{} bytes too many", rest.len()))) }
}

/// The answer of a machine on which no node runs (yet); `bootstraps` as in [`Hello`], once that is known.
pub(crate) fn nobody(request: &[u8], bootstraps: Option<u128>) -> Bytes {
    let answer = match decode::<Request>(request) {
        Ok(Request { call: Call::Hello, .. }) if bootstraps.is_some() => {
            Answer::Hello(Hello { cluster: 0, node: 0, bootstraps: bootstraps.unwrap_or(0) })
        }
        Ok(_) => Answer::Refused(Refused::NotRunning),
        Err(refused) => Answer::Refused(refused),
    };
    encode(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(call: Call) -> Request {
        Request { cluster: 7, from: 1, to: 2, group: 1, call }
    }

    /// What version 1 has is written down: a build that cannot read it any more does not get past this test.
    #[test]
    fn the_bytes_of_version_1_stay() {
        let vote = VoteRecord { term: 3, node: 1, committed: true };
        let previous = Some(EntryId { term: 2, node: 1, index: 9 });
        let append = Append { vote, previous, entries: vec![Bytes::from_static(b"ab")], committed: None };
        let bytes = encode(&request(Call::Append(append.clone())));
        assert_eq!(&bytes[..], [1, 7, 1, 2, 1, 0, 3, 1, 1, 1, 2, 1, 9, 1, 2, b'a', b'b', 0]);
        assert_eq!(decode::<Request>(&bytes), Ok(request(Call::Append(append))));
        let bytes = encode(&Answer::Append(Appended::UpTo(previous)));
        assert_eq!(&bytes[..], [1, 0, 1, 1, 2, 1, 9]);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let mut bytes = encode(&request(Call::Report)).to_vec();
        bytes[0] = 9;
        assert_eq!(decode::<Request>(&bytes), Err(Refused::Version { found: 9, oldest: 1, newest: 1 }));
        bytes[0] = 1;
        bytes.push(0);
        assert!(matches!(decode::<Request>(&bytes), Err(Refused::Malformed(_))));
        assert!(matches!(decode::<Request>(&[]), Err(Refused::Malformed(_))));
        for end in 1..bytes.len() - 2 {
            assert!(matches!(decode::<Request>(&bytes[..end]), Err(Refused::Malformed(_))), "{end}");
        }
    }

    #[test]
    fn before_the_node_runs_it_belongs_to_no_cluster_but_says_so_only_once_it_knows_what_it_is_to_do() {
        let answer = decode::<Answer>(&nobody(&encode(&request(Call::Hello)), Some(5))).unwrap();
        assert_eq!(answer, Answer::Hello(Hello { cluster: 0, node: 0, bootstraps: 5 }));
        let answer = decode::<Answer>(&nobody(&encode(&request(Call::Hello)), None)).unwrap();
        assert_eq!(answer, Answer::Refused(Refused::NotRunning));
        let answer = decode::<Answer>(&nobody(b"GET / HTTP/1.1\r\n", None)).unwrap();
        assert!(matches!(answer, Answer::Refused(Refused::Version { found: b'G', .. })));
    }
}
