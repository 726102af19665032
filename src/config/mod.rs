//! Settings of a node: what flags, environment and defaults say, checked and in one place.
//!
//! For the floors that start things (`node`, `cli`). What always holds: a [`Config`] names absolute facts (a folder,
//! socket addresses, multiaddresses), never text that still has to be parsed. Start with [`Config`]; [`address`] turns
//! what people type into addresses, [`repo`] finds the folder, [`duration`] reads spans of time; [`settings`] reads files
//! and the environment, by the table in [`keys`], which `docs/configuration.md` shows to people.

pub mod address;
pub mod duration;
mod edit;
pub mod error;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
pub mod keys;
pub mod repo;
pub mod settings;
mod tree;
pub mod value;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use error::ConfigError;
pub use settings::Settings;

use crate::{
    base::{Multiaddr, Role},
    dag::ImportParams,
    net::NetLimits,
    store::StoreOptions,
};

/// The swarm port of IPFS, used when it is free.
pub const DEFAULT_SWARM_PORT: u16 = 4001;
/// Where the API listens by default.
pub const DEFAULT_API: &str = "127.0.0.1:5001";
/// The Kademlia protocol of the local profile.
pub const LAN_KAD_PROTOCOL: &str = "/ipfs/lan/kad/1.0.0";
/// How long is waited for an answer or its next piece when nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest DHT namespace, in bytes.
pub const MAX_NAMESPACE_BYTES: usize = 64;

/// What this program says it is to other peers, and in `version`.
pub fn agent_version() -> String {
    format!("ipfs-kit/{}", env!("CARGO_PKG_VERSION"))
}

/// How a node joins a cluster.
#[derive(Clone, Debug)]
pub struct Join {
    /// Members to ask, in order.
    pub addresses: Vec<Multiaddr>,
    /// The token's text.
    pub token: String,
    /// What this node is to be; the token must allow it. `None` = what the token says.
    pub role: Option<Role>,
}

/// What the daemon logs, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// error, warn, info, debug or trace.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
    /// Where lines are appended; `None` = standard error.
    pub file: Option<PathBuf>,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// How much may be kept, and when garbage is collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Most bytes that blocks may take on the disk; `None` = as the role and the disk have it.
    pub max: Option<u64>,
    /// Whether garbage is collected without being asked.
    pub collect: bool,
    /// The part of the most, in percent, from which on it is.
    pub watermark_percent: u8,
    /// How often is looked whether that is passed; `None` = when it is passed only.
    pub interval: Option<Duration>,
}

impl Default for Storage {
    fn default() -> Self {
        Storage { max: None, collect: false, watermark_percent: 90, interval: Some(Duration::from_secs(3600)) }
    }
}

/// Settings of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// The repo folder.
    pub repo: PathBuf,
    /// Where the swarm listens; `None` = port 4001 over TCP and QUIC, or free ports when it is taken.
    pub swarm: Option<Vec<Multiaddr>>,
    /// Where the API listens; port 0 = any free one.
    pub api: SocketAddr,
    /// A private DHT's name; `None` = the local network's DHT.
    pub dht_namespace: Option<String>,
    /// The cluster to join, when this node is not a member already.
    pub join: Option<Join>,
    /// How files and folders become blocks when nothing else is said.
    pub import: ImportParams,
    /// Addresses to announce beside those listened on.
    pub announce: Vec<Multiaddr>,
    /// How much the network may take.
    pub limits: NetLimits,
    /// How the repo is opened.
    pub store: StoreOptions,
    /// How much may be kept.
    pub storage: Storage,
    /// How long a caller that says nothing waits for an answer or its next piece; `None` = for ever.
    pub timeout: Option<Duration>,
    /// Most tasks at once; `None` = as many as the machine has cores.
    pub parallel_tasks: Option<u32>,
    /// What to ask to be when joining a cluster without saying so.
    pub role: Option<Role>,
    /// Members of the cluster to join, with the token in [`Config::token_file`].
    pub join_addresses: Vec<Multiaddr>,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
    /// What the daemon logs.
    pub log: Log,
}

impl Config {
    /// Defaults for the repo in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Config {
            repo: folder.into(),
            swarm: None,
            api: DEFAULT_API.parse().expect("the default API address is an address"),
            dht_namespace: None,
            join: None,
            import: ImportParams::default(),
            announce: Vec::new(),
            limits: NetLimits::default(),
            store: StoreOptions::default(),
            storage: Storage::default(),
            timeout: Some(DEFAULT_TIMEOUT),
            parallel_tasks: None,
            role: None,
            join_addresses: Vec::new(),
            token_file: None,
            log: Log { level: "info".into(), format: LogFormat::Text, file: None },
        }
    }

    /// A path as it stands in a setting: `~/…` lies in the home folder, a relative one in the repo.
    pub fn path(&self, path: &Path, home: Option<OsString>) -> PathBuf {
        match (path.strip_prefix("~"), home.filter(|home| !home.is_empty())) {
            (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => self.repo.join(path),
        }
    }

    /// The Kademlia protocol this node speaks.
    pub fn kad_protocol(&self) -> Result<String, ConfigError> {
        let Some(name) = &self.dht_namespace else { return Ok(LAN_KAD_PROTOCOL.to_owned()) };
        let good = (1..=MAX_NAMESPACE_BYTES).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if good {
            Ok(format!("/ipfs-kit/{name}/kad/1.0.0"))
        } else {
            Err(ConfigError::Namespace { name: name.chars().take(80).collect() })
        }
    }

    /// The swarm addresses to try first, and those to fall back to when port 4001 is taken.
    pub fn listen(&self) -> (Vec<Multiaddr>, Option<Vec<Multiaddr>>) {
        match &self.swarm {
            Some(addresses) => (addresses.clone(), None),
            None => (default_listen(DEFAULT_SWARM_PORT), Some(default_listen(0))),
        }
    }
}

fn default_listen(port: u16) -> Vec<Multiaddr> {
    [format!("/ip4/0.0.0.0/tcp/{port}"), format!("/ip4/0.0.0.0/udp/{port}/quic-v1")]
        .iter()
        .map(|text| text.parse().expect("the default swarm addresses are multiaddresses"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_make_private_protocols_and_odd_names_are_refused() {
        let mut config = Config::new("/tmp/x");
        assert_eq!(config.kad_protocol().unwrap(), "/ipfs/lan/kad/1.0.0");
        config.dht_namespace = Some("demo-1".into());
        assert_eq!(config.kad_protocol().unwrap(), "/ipfs-kit/demo-1/kad/1.0.0");
        for bad in ["", "a/b", "a b", &"x".repeat(65)] {
            config.dht_namespace = Some(bad.into());
            assert!(config.kad_protocol().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_default_port_has_a_fallback() {
        let mut config = Config::new("/tmp/x");
        let (first, fallback) = config.listen();
        assert_eq!(first[0].to_string(), "/ip4/0.0.0.0/tcp/4001");
        assert_eq!(fallback.unwrap()[1].to_string(), "/ip4/0.0.0.0/udp/0/quic-v1");
        config.swarm = Some(vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()]);
        assert!(config.listen().1.is_none());
    }
}
