//! Assembly of a running node: builds every service in the order of the floors and stops them together.
//!
//! For the HTTP faces, the command line and programs that embed a node. What always holds: a [`Node`] that was built is
//! whole (an offline one has no network, and says so), and [`Node::stop`] ends all of it within its limit. Start with
//! [`Node::builder`].

mod builder;
mod error;
mod records;
mod room;
mod roots;

use std::{sync::Arc, time::Duration};

pub use builder::NodeBuilder;
pub use error::NodeError;

use crate::{
    base::{Multiaddr, PeerId, Tasks, time},
    cluster::{Cluster, ClusterError, Token},
    config::{Config, Join},
    content::Content,
    exchange::Exchange,
    net::Net,
    routing::Routing,
    store::Repo,
};

/// How long a node may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(4);

/// How long of that the files tree may take to become durable.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// A node. Cheap to clone; all clones are the same node.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    repo: Repo,
    content: Content,
    tasks: Tasks,
    online: Option<Online>,
    notices: Vec<String>,
}

/// What only a node with a network has.
pub struct Online {
    /// The network.
    pub net: Net,
    /// Who has what.
    pub routing: Routing,
    /// Bitswap.
    pub exchange: Exchange,
    /// The cluster.
    pub cluster: Cluster,
}

impl Node {
    /// Begins to describe a node.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Its repo.
    pub fn repo(&self) -> &Repo {
        &self.inner.repo
    }

    /// What is in it, and what the network has.
    pub fn content(&self) -> &Content {
        &self.inner.content
    }

    /// Its peer id.
    pub fn peer_id(&self) -> PeerId {
        self.inner.repo.keypair().public().to_peer_id()
    }

    /// Its background tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }

    /// What only a node with a network has; an error that says how to get one when this node has none.
    pub fn online(&self) -> Result<&Online, NodeError> {
        self.inner.online.as_ref().ok_or_else(|| NodeError::Offline { repo: self.inner.config.repo.clone() })
    }

    /// Where the swarm listens, without `/p2p/…`; empty without a network.
    pub fn swarm_addresses(&self) -> Vec<Multiaddr> {
        self.inner.online.as_ref().map(|o| o.net.peers().listen_addrs()).unwrap_or_default()
    }

    /// What the operator should know about the start, such as a port that was taken.
    pub fn notices(&self) -> &[String] {
        &self.inner.notices
    }

    /// Joins a cluster; a node that is a member of the token's cluster already stays what it is. Ends with an error
    /// within ten seconds.
    pub async fn join(&self, join: &Join) -> Result<(), NodeError> {
        let cluster = &self.online()?.cluster;
        let token: Token = join.token.trim().parse().map_err(ClusterError::Token)?;
        if let Some(member) = cluster.membership() {
            if member.cluster == token.cluster {
                tracing::info!(role = %member.role, "a member of this cluster already; it goes on as that");
                return Ok(());
            }
            return Err(NodeError::OtherCluster { role: member.role, cluster: member.cluster.to_string() });
        }
        let role = join.role.unwrap_or(token.role);
        cluster.join(join.addresses.clone(), &token, role).await?;
        room::apply(&self.inner.config, &self.inner.repo)
    }

    /// Stops everything; false when it did not end within four seconds.
    pub async fn stop(&self) -> bool {
        let began = time::now();
        let ended = self.inner.tasks.shutdown(STOP_LIMIT).await;
        let files = self.inner.content.files();
        match tokio::time::timeout(FLUSH_LIMIT, files.settle()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "changes of the files tree that were not flushed are lost"),
            Err(_) => tracing::warn!("changes of the files tree that were not flushed are lost: it was busy"),
        }
        let services_ms = began.elapsed().as_millis() as u64;
        self.inner.repo.close().await;
        let whole_ms = began.elapsed().as_millis() as u64;
        tracing::info!(ended, services_ms, whole_ms, "stopped");
        ended
    }
}
