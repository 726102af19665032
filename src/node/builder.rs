//! The order in which a node's services are built.

use std::path::PathBuf;

use super::{Node, NodeError};
use crate::{
    base::Multiaddr,
    config::{self, Config, Join},
};

/// Describes a node before it is started.
#[derive(Clone, Debug, Default)]
pub struct NodeBuilder {
    config: Option<Config>,
    repo: Option<PathBuf>,
    swarm: Option<Vec<Multiaddr>>,
    join: Option<Join>,
    offline: bool,
}

impl NodeBuilder {
    /// All settings at once; later calls change single ones.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// The repo's folder; made when it is missing.
    pub fn repo(mut self, folder: impl Into<PathBuf>) -> Self {
        self.repo = Some(folder.into());
        self
    }

    /// Where the swarm listens, instead of port 4001.
    pub fn swarm(mut self, addresses: Vec<Multiaddr>) -> Self {
        self.swarm = Some(addresses);
        self
    }

    /// The cluster to join once the network runs.
    pub fn join(mut self, join: Join) -> Self {
        self.join = Some(join);
        self
    }

    /// No network: what is in the repo can be read, added and pinned.
    pub fn offline(mut self) -> Self {
        self.offline = true;
        self
    }

    /// Starts the node; returns when it serves (and is admitted, when it joins).
    pub async fn start(self) -> Result<Node, NodeError> {
        let mut config = match (self.config, &self.repo) {
            (Some(config), _) => config,
            (None, Some(folder)) => Config::new(folder),
            (None, None) => Config::new(config::repo::folder(None, None, std::env::var_os("HOME"))?),
        };
        if let Some(folder) = self.repo {
            config.repo = folder;
        }
        config.swarm = self.swarm.or(config.swarm);
        config.join = self.join.or(config.join);
        let _ = (config, self.offline);
        todo!()
    }
}
