//! The order in which a node's services are built.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{Inner, Node, NodeError, Online, records::Records, room, roots};
use crate::{
    base::{Multiaddr, Role, Tasks},
    cluster::{Cluster, ClusterOptions, Timing, Token},
    config::{self, Config, DEFAULT_SWARM_PORT, Join},
    content::Content,
    exchange::Exchange,
    net::{Net, NetError, NetOptions},
    routing::Routing,
    store::Repo,
    work::{Registry, Work},
};

/// Describes a node before it is started.
#[derive(Clone, Debug, Default)]
pub struct NodeBuilder {
    config: Option<Config>,
    repo: Option<PathBuf>,
    swarm: Option<Vec<Multiaddr>>,
    join: Option<Join>,
    join_later: bool,
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

    /// Leaves the joining to the caller, by [`Node::join`].
    pub fn join_later(mut self) -> Self {
        self.join_later = true;
        self
    }

    /// No network: what is in the repo can be read, added and pinned.
    pub fn offline(mut self) -> Self {
        self.offline = true;
        self
    }

    /// Starts the node; returns when it serves (and is admitted, when it joins).
    ///
    /// Boxed, so that what a node consists of is compiled with this crate and not again with each program that polls it.
    pub fn start(self) -> BoxFuture<'static, Result<Node, NodeError>> {
        Box::pin(self.build())
    }

    async fn build(self) -> Result<Node, NodeError> {
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

        let repo = open(&config).await?;
        let tasks = Tasks::new();
        room::apply(&config, &repo)?;
        if self.offline {
            let content = waiting(Content::new(repo.clone(), None, None), &config);
            let inner = Inner { config, repo, content, tasks, online: None, notices: Vec::new() };
            return Ok(Node { inner: Arc::new(inner) });
        }
        match assemble(&config, &repo, &tasks).await {
            Ok((content, online, notices)) => {
                room::start(&content, &config, &tasks);
                let join = config.join.clone().filter(|_| !self.join_later);
                let inner = Inner { config, repo, content, tasks, online: Some(online), notices };
                let node = Node { inner: Arc::new(inner) };
                if let Some(join) = join
                    && let Err(error) = node.join(&join).await
                {
                    node.stop().await;
                    return Err(error);
                }
                Ok(node)
            }
            Err(error) => {
                tasks.shutdown(super::STOP_LIMIT).await;
                repo.close().await;
                Err(error)
            }
        }
    }
}

/// Opening reads indexes and may repair what a power cut tore, so it runs beside the async tasks.
async fn open(config: &Config) -> Result<Repo, NodeError> {
    let (folder, options) = (config.repo.clone(), config.store.clone());
    let opening = tokio::task::spawn_blocking(move || Repo::open(&folder, options));
    match opening.await {
        Ok(opened) => Ok(opened?),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The services with a network, in the order of their floors.
async fn assemble(config: &Config, repo: &Repo, tasks: &Tasks) -> Result<(Content, Online, Vec<String>), NodeError> {
    let mut notices = Vec::new();
    let net = listen(config, repo, tasks, &mut notices).await?;
    let routing = Routing::start(net.clone(), repo.soft().clone(), tasks);
    let exchange = Exchange::start(net.clone(), routing.clone(), repo.blocks().clone(), tasks);
    let content = waiting(Content::new(repo.clone(), Some(exchange.clone()), Some(routing.clone())), config);
    routing.set_roots(roots::pages(repo.clone()));
    let data = Arc::new(match config.parallel_tasks {
        Some(most) => Work::new(content.clone(), Registry::builtin(), most),
        None => Work::builtin(content.clone()),
    });
    let options = ClusterOptions { repo: repo.clone(), net: net.clone(), data, timing: Timing::default() };
    let cluster = Cluster::start(options, tasks).await?;
    Ok((content, Online { net, routing, exchange, cluster }, notices))
}

/// Content that waits for a block as long as the settings say.
fn waiting(content: Content, config: &Config) -> Content {
    content.with_timeout(config.timeout.unwrap_or(Duration::MAX))
}

async fn listen(config: &Config, repo: &Repo, tasks: &Tasks, notices: &mut Vec<String>) -> Result<Net, NodeError> {
    let mut options = NetOptions::new(repo.keypair().clone());
    options.agent_version = config::agent_version();
    options.kad_protocol = config.kad_protocol()?;
    options.announce = config.announce.clone();
    options.limits = config.limits.clone();
    // Leechers ask the DHT and do not carry it.
    options.kad_server = role(Cluster::role_on_disk(repo.dir())?, config.join.as_ref()) != Some(Role::Leecher);
    let (first, fallback) = config.listen();
    options.listen = first;
    let records = Arc::new(Records::new(repo.soft().clone()));
    match Net::start(options.clone(), records.clone(), tasks).await {
        Err(NetError::Listen { in_use: true, address, .. }) if fallback.is_some() => {
            notices.push(format!(
                "port {DEFAULT_SWARM_PORT} is taken ({address}), so the swarm listens on free ports; \
                 choose one with --swarm MULTIADDR"
            ));
            options.listen = fallback.unwrap_or_default();
            Ok(Net::start(options, records, tasks).await?)
        }
        started => Ok(started?),
    }
}

/// What a node will be: the role of the membership it has, else that of the one it asks for; `None` for a plain peer or
/// a token that cannot be read.
fn role(member: Option<Role>, join: Option<&Join>) -> Option<Role> {
    let asked = || {
        let join = join?;
        join.role.or_else(|| join.token.trim().parse::<Token>().ok().map(|token| token.role))
    };
    member.or_else(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_outweighs_what_is_asked_for() {
        let join = |role| Join { addresses: Vec::new(), token: "no token".into(), role };
        assert_eq!(role(None, None), None);
        assert_eq!(role(None, Some(&join(None))), None);
        assert_eq!(role(None, Some(&join(Some(Role::Leecher)))), Some(Role::Leecher));
        assert_eq!(role(Some(Role::Leecher), None), Some(Role::Leecher));
        assert_eq!(role(Some(Role::Worker), Some(&join(Some(Role::Leecher)))), Some(Role::Worker));
    }
}
