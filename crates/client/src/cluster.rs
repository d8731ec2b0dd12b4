//! Calls about the cluster itself.

use http::Method;
use willow_api::cluster::{Cluster, LeaderReply, LeavingReply, TransferLeaderRequest};

use crate::{Client, Error, transport::Call};

impl Client {
    /// The cluster's nodes and groups, as the node that answers sees them.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn cluster(&self) -> Result<Cluster, Error> {
        self.read(Call::new(Method::GET, "/v1/cluster".into())).await
    }

    /// Lets a node go, also one that is down for good.
    ///
    /// # Errors
    /// `NODE_NOT_FOUND`, `LAST_NODE`; else as [`Error`] says.
    pub async fn remove_node(&self, node: u64) -> Result<LeavingReply, Error> {
        self.change(Call::new(Method::DELETE, format!("/v1/cluster/nodes/{node}")), None).await
    }

    /// Makes a node lead a group; answered when it does.
    ///
    /// # Errors
    /// `CANNOT_LEAD` for a node that does not vote; else as [`Error`] says.
    pub async fn transfer_leader(&self, group: u32, node: u64) -> Result<LeaderReply, Error> {
        let call = Call::new(Method::POST, format!("/v1/cluster/groups/{group}/transfer-leader"));
        self.change(call.json(&TransferLeaderRequest { node })?, None).await
    }
}
