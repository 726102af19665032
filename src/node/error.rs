//! Sans-IO: why a node cannot be built or asked.

use std::path::PathBuf;

use crate::{
    base::{HasKind, Kind},
    cluster::ClusterError,
    config::ConfigError,
    net::NetError,
    store::StoreError,
};

/// Why a node cannot be built or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The repo cannot be used.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The network cannot be used.
    #[error(transparent)]
    Net(Box<NetError>),
    /// The cluster said no.
    #[error(transparent)]
    Cluster(Box<ClusterError>),
    /// This node was opened without a network.
    #[error(
        "no daemon runs on the repo {}, and this needs the network: start one with 'ipfs-kit --repo {} daemon'",
        repo.display(), repo.display()
    )]
    Offline {
        /// The repo.
        repo: PathBuf,
    },
    /// The node is a member of something else already.
    #[error(
        "this node is a {role} of cluster {cluster} already, and the token is for another cluster; \
         to join that one use another repo (--repo DIR)"
    )]
    OtherCluster {
        /// Its role.
        role: crate::base::Role,
        /// Its cluster.
        cluster: String,
    },
}

impl HasKind for NodeError {
    fn kind(&self) -> Kind {
        match self {
            NodeError::Config(e) => e.kind(),
            NodeError::Store(e) => e.kind(),
            NodeError::Net(e) => e.kind(),
            NodeError::Cluster(e) => e.kind(),
            NodeError::Offline { .. } => Kind::Offline,
            NodeError::OtherCluster { .. } => Kind::Conflict,
        }
    }
}

macro_rules! boxed {
    ($($variant:ident($error:ty)),*) => {$(
        impl From<$error> for NodeError {
            fn from(error: $error) -> Self {
                NodeError::$variant(Box::new(error))
            }
        }
    )*};
}

boxed!(Store(StoreError), Net(NetError), Cluster(ClusterError));
