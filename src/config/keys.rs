//! Sans-IO: every setting there is: its name, its variable, what it may be, what it does.

use std::path::PathBuf;

use super::{
    Config, LogFormat, address,
    value::{Shape, Value, flag, is, list, maybe, number, shown, small, span, text},
};
use crate::{
    base::Hash,
    dag::{Chunking, ImportParams, codec::names},
};

/// A setting.
pub struct Key {
    /// Its name: the names that lead to it in a file, with dots between them.
    pub name: &'static str,
    /// The environment variable that sets it.
    pub variable: &'static str,
    /// What it may be.
    pub shape: Shape,
    /// What it does.
    pub about: &'static str,
    /// What stands for its default where none can be written down.
    pub unset: &'static str,
    set: fn(&mut Config, &Value) -> Result<(), String>,
    show: fn(&Config) -> Value,
}

impl Key {
    /// Sets it; the error says what is wrong with the value.
    pub fn set(&self, config: &mut Config, value: &Value) -> Result<(), String> {
        (self.set)(config, value)
    }

    /// Its value.
    pub fn value(&self, config: &Config) -> Value {
        (self.show)(config)
    }

    /// Its value for people.
    pub fn shown(&self, config: &Config) -> String {
        match self.value(config) {
            Value::Unset => self.unset.to_owned(),
            value => value.to_string(),
        }
    }
}

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The name nearest to one that is not there.
pub fn nearest(name: &str) -> Option<&'static str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let score = |known: &str| {
        let whole = strsim::normalized_damerau_levenshtein(known, name);
        // The right word in the wrong group.
        whole.max(0.9 * strsim::normalized_damerau_levenshtein(&last(known), &last(name)))
    };
    let best = KEYS.iter().map(|key| (score(key.name), key.name)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.6).then_some(best.1)
}

const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600 * SECOND_MS;

/// Every setting, in the order in which they are written down; where one decides others, it comes first.
pub const KEYS: &[Key] = &[
    Key {
        name: "api.address",
        variable: "IPFS_KIT_API_ADDRESS",
        shape: Shape::Text("HOST:PORT or a multiaddress, on loopback; port 0 is any free one"),
        about: "where the API listens",
        unset: "",
        set: |config, value| {
            config.api = address::api_bind(text(value)?).map_err(is)?;
            Ok(())
        },
        show: |config| Value::Text(config.api.to_string()),
    },
    Key {
        name: "swarm.listen",
        variable: "IPFS_KIT_SWARM_LISTEN",
        shape: Shape::List("multiaddresses with /tcp/PORT or /udp/PORT/quic-v1"),
        about: "where the swarm listens",
        unset: "port 4001 over TCP and QUIC, or free ports when it is taken",
        set: |config, value| {
            let addresses = list(value)?.iter().map(|text| address::swarm(text));
            config.swarm = Some(addresses.collect::<Result<_, _>>().map_err(is)?);
            Ok(())
        },
        show: |config| shown(config.swarm.iter().flatten()),
    },
    Key {
        name: "swarm.announce",
        variable: "IPFS_KIT_SWARM_ANNOUNCE",
        shape: Shape::List("multiaddresses"),
        about: "addresses others are told beside those listened on, as a forwarded port's",
        unset: "none",
        set: |config, value| {
            let addresses = list(value)?.iter().map(|text| address::swarm(text));
            config.announce = addresses.collect::<Result<_, _>>().map_err(is)?;
            Ok(())
        },
        show: |config| shown(&config.announce),
    },
    Key {
        name: "swarm.connections",
        variable: "IPFS_KIT_SWARM_CONNECTIONS",
        shape: Shape::Number(1, 100_000),
        about: "most connections at once",
        unset: "",
        set: |config, value| {
            config.limits.connections = small(value)?;
            Ok(())
        },
        show: |config| Value::Number(config.limits.connections.into()),
    },
    Key {
        name: "swarm.connections_per_peer",
        variable: "IPFS_KIT_SWARM_CONNECTIONS_PER_PEER",
        shape: Shape::Number(2, 64),
        about: "most connections with one peer",
        unset: "",
        set: |config, value| {
            config.limits.connections_per_peer = small(value)?;
            Ok(())
        },
        show: |config| Value::Number(config.limits.connections_per_peer.into()),
    },
    Key {
        name: "swarm.pending_connections",
        variable: "IPFS_KIT_SWARM_PENDING_CONNECTIONS",
        shape: Shape::Number(1, 100_000),
        about: "most connections being set up at once, each way",
        unset: "",
        set: |config, value| {
            config.limits.pending_connections = small(value)?;
            Ok(())
        },
        show: |config| Value::Number(config.limits.pending_connections.into()),
    },
    Key {
        name: "swarm.idle_timeout",
        variable: "IPFS_KIT_SWARM_IDLE_TIMEOUT",
        shape: Shape::Time { min_ms: SECOND_MS, max_ms: 24 * HOUR_MS, zero: false },
        about: "how long a connection nobody uses is kept",
        unset: "",
        set: |config, value| {
            config.limits.idle_timeout = span(value)?;
            Ok(())
        },
        show: |config| Value::Time(config.limits.idle_timeout),
    },
    Key {
        name: "swarm.known_peers",
        variable: "IPFS_KIT_SWARM_KNOWN_PEERS",
        shape: Shape::Number(16, 10_000_000),
        about: "peers whose addresses are remembered",
        unset: "",
        set: |config, value| {
            config.limits.known_peers = small(value)?;
            Ok(())
        },
        show: |config| Value::Number(config.limits.known_peers as u64),
    },
    Key {
        name: "dht.namespace",
        variable: "IPFS_KIT_DHT_NAMESPACE",
        shape: Shape::Text("1 to 64 letters, digits, '-', '_' or '.'"),
        about: "use a DHT of this name, apart from all others",
        unset: "the local network's DHT",
        set: |config, value| {
            config.dht_namespace = Some(text(value)?.to_owned());
            config.kad_protocol().map(|_| ()).map_err(is)
        },
        show: |config| maybe(config.dht_namespace.as_ref()),
    },
    Key {
        name: "dht.records",
        variable: "IPFS_KIT_DHT_RECORDS",
        shape: Shape::Number(1_000, 10_000_000),
        about: "most provider records kept for others",
        unset: "",
        set: |config, value| {
            config.limits.remote_records = small(value)?;
            Ok(())
        },
        show: |config| Value::Number(config.limits.remote_records as u64),
    },
    Key {
        name: "timeouts.api",
        variable: "IPFS_KIT_TIMEOUT",
        shape: Shape::Time { min_ms: 1, max_ms: 24 * HOUR_MS, zero: true },
        about: "how long a verb, and a request that says nothing else, waits for an answer or its next piece",
        unset: "",
        set: |config, value| {
            config.timeout = Some(span(value)?).filter(|limit| !limit.is_zero());
            Ok(())
        },
        show: |config| Value::Time(config.timeout.unwrap_or_default()),
    },
    Key {
        name: "timeouts.peer_connect",
        variable: "IPFS_KIT_TIMEOUTS_PEER_CONNECT",
        shape: Shape::Time { min_ms: 100, max_ms: HOUR_MS, zero: false },
        about: "how long connecting to a peer may take",
        unset: "",
        set: |config, value| {
            config.limits.dial_timeout = span(value)?;
            Ok(())
        },
        show: |config| Value::Time(config.limits.dial_timeout),
    },
    Key {
        name: "storage.segment_size",
        variable: "IPFS_KIT_STORAGE_SEGMENT_SIZE",
        shape: Shape::Bytes(4 << 20, 2 << 30),
        about: "size at which a file of blocks is closed and the next begun",
        unset: "",
        set: |config, value| {
            config.store.segment_bytes = small(value)?;
            Ok(())
        },
        show: |config| Value::Bytes(config.store.segment_bytes.into()),
    },
    Key {
        name: "storage.max",
        variable: "IPFS_KIT_STORAGE_MAX",
        shape: Shape::Bytes(1 << 20, 1 << 50),
        about: "most that blocks may take on the disk; what would go beyond is refused",
        unset: "10 GB, a worker's 100 GB, a master's 500 GB; at most 80 % of the disk's room",
        set: |config, value| {
            config.storage.max = Some(number(value)?);
            Ok(())
        },
        show: |config| config.storage.max.map_or(Value::Unset, Value::Bytes),
    },
    Key {
        name: "storage.gc",
        variable: "IPFS_KIT_STORAGE_GC",
        shape: Shape::Flag,
        about: "whether the daemon collects garbage by itself, as daemon --enable-gc",
        unset: "",
        set: |config, value| {
            config.storage.collect = flag(value)?;
            Ok(())
        },
        show: |config| Value::Flag(config.storage.collect),
    },
    Key {
        name: "storage.gc_watermark",
        variable: "IPFS_KIT_STORAGE_GC_WATERMARK",
        shape: Shape::Number(10, 100),
        about: "the percentage of storage.max from which on it does",
        unset: "",
        set: |config, value| {
            config.storage.watermark_percent = small(value)?;
            Ok(())
        },
        show: |config| Value::Number(config.storage.watermark_percent.into()),
    },
    Key {
        name: "storage.gc_interval",
        variable: "IPFS_KIT_STORAGE_GC_INTERVAL",
        shape: Shape::Time { min_ms: SECOND_MS, max_ms: 30 * 24 * HOUR_MS, zero: true },
        about: "how often it looks whether that is passed, beside the moment when it is",
        unset: "",
        set: |config, value| {
            config.storage.interval = Some(span(value)?).filter(|span| !span.is_zero());
            Ok(())
        },
        show: |config| Value::Time(config.storage.interval.unwrap_or_default()),
    },
    Key {
        name: "cache.memory_size",
        variable: "IPFS_KIT_CACHE_MEMORY_SIZE",
        shape: Shape::Bytes(0, 64 << 30),
        about: "memory for small blocks that were read lately; 0 is none",
        unset: "",
        set: |config, value| {
            config.store.block_cache_bytes = number(value)?;
            Ok(())
        },
        show: |config| Value::Bytes(config.store.block_cache_bytes),
    },
    Key {
        name: "cache.state_size",
        variable: "IPFS_KIT_CACHE_STATE_SIZE",
        shape: Shape::Bytes(1 << 20, 64 << 30),
        about: "memory for reading pins and the cluster's state, each",
        unset: "",
        set: |config, value| {
            config.store.kv_cache_bytes = small(value)?;
            Ok(())
        },
        show: |config| Value::Bytes(config.store.kv_cache_bytes as u64),
    },
    Key {
        name: "cache.peers_size",
        variable: "IPFS_KIT_CACHE_PEERS_SIZE",
        shape: Shape::Bytes(1 << 20, 64 << 30),
        about: "memory for addresses, reputation and DHT records",
        unset: "",
        set: |config, value| {
            config.store.soft_cache_bytes = number(value)?;
            Ok(())
        },
        show: |config| Value::Bytes(config.store.soft_cache_bytes),
    },
    Key {
        name: "import.profile",
        variable: "IPFS_KIT_IMPORT_PROFILE",
        shape: Shape::Choice(&["unixfs-v0-2015", "unixfs-v1-2025"]),
        about: "what decides the CIDs of what is added; the settings below change parts of it",
        unset: "its own, made of the settings below",
        set: |config, value| {
            config.import = ImportParams::profile(text(value)?).map_err(is)?;
            Ok(())
        },
        show: |config| match &config.import {
            import if *import == ImportParams::default() => Value::Text("unixfs-v0-2015".into()),
            import if *import == ImportParams::v1_2025() => Value::Text("unixfs-v1-2025".into()),
            _ => Value::Unset,
        },
    },
    Key {
        name: "import.cid_version",
        variable: "IPFS_KIT_IMPORT_CID_VERSION",
        shape: Shape::Number(0, 1),
        about: "the version of CIDs; 1 means raw leaves unless they are switched off",
        unset: "",
        set: |config, value| {
            config.import.cid_version = small(value)?;
            config.import.raw_leaves = config.import.cid_version > 0;
            Ok(())
        },
        show: |config| Value::Number(config.import.cid_version.into()),
    },
    Key {
        name: "import.raw_leaves",
        variable: "IPFS_KIT_IMPORT_RAW_LEAVES",
        shape: Shape::Flag,
        about: "leaves of files without UnixFS around them",
        unset: "",
        set: |config, value| {
            config.import.raw_leaves = flag(value)?;
            Ok(())
        },
        show: |config| Value::Flag(config.import.raw_leaves),
    },
    Key {
        name: "import.hash",
        variable: "IPFS_KIT_IMPORT_HASH",
        shape: Shape::Text("a name that 'ipfs-kit cid hashes' lists; all but sha2-256 need CID version 1"),
        about: "the hash function",
        unset: "",
        set: |config, value| {
            config.import.hash = Hash::parse(text(value)?).map_err(is)?;
            Ok(())
        },
        show: |config| maybe(names::hash(config.import.hash.code())),
    },
    Key {
        name: "import.chunker",
        variable: "IPFS_KIT_IMPORT_CHUNKER",
        shape: Shape::Text("size-BYTES, rabin-MIN-AVG-MAX or buzhash"),
        about: "where files are cut",
        unset: "",
        set: |config, value| {
            config.import.chunker = Chunking::parse(text(value)?).map_err(is)?;
            Ok(())
        },
        show: |config| Value::Text(config.import.chunker.to_string()),
    },
    Key {
        name: "import.max_file_links",
        variable: "IPFS_KIT_IMPORT_MAX_FILE_LINKS",
        shape: Shape::Number(2, 65_536),
        about: "most children of a file's node",
        unset: "",
        set: |config, value| {
            config.import.max_file_links = small(value)?;
            Ok(())
        },
        show: |config| Value::Number(config.import.max_file_links as u64),
    },
    Key {
        name: "import.max_directory_links",
        variable: "IPFS_KIT_IMPORT_MAX_DIRECTORY_LINKS",
        shape: Shape::Number(0, 1_000_000),
        about: "most entries of a folder that is not sharded; 0 is as many as fit",
        unset: "",
        set: |config, value| {
            config.import.max_directory_links = small(value)?;
            Ok(())
        },
        show: |config| Value::Number(config.import.max_directory_links as u64),
    },
    Key {
        name: "import.max_hamt_fanout",
        variable: "IPFS_KIT_IMPORT_MAX_HAMT_FANOUT",
        shape: Shape::Number(8, 1_024),
        about: "slots of a sharded folder's nodes: a power of two",
        unset: "",
        set: |config, value| {
            config.import.hamt_fanout = small(value)?;
            config.import.validate().map_err(is)
        },
        show: |config| Value::Number(config.import.hamt_fanout as u64),
    },
    Key {
        name: "role",
        variable: "IPFS_KIT_ROLE",
        shape: Shape::Choice(&["master", "worker", "leecher"]),
        about: "what this node asks to be when it joins a cluster",
        unset: "what the token says",
        set: |config, value| {
            config.role = Some(text(value)?.parse().map_err(is)?);
            Ok(())
        },
        show: |config| maybe(config.role),
    },
    Key {
        name: "cluster.join",
        variable: "IPFS_KIT_CLUSTER_JOIN",
        shape: Shape::List("multiaddresses or HOST:PORT"),
        about: "members of the cluster to join; a node that is a member already stays what it is",
        unset: "none",
        set: |config, value| {
            let addresses = list(value)?.iter().map(|text| address::peer(text));
            config.join_addresses = addresses.collect::<Result<_, _>>().map_err(is)?;
            Ok(())
        },
        show: |config| shown(&config.join_addresses),
    },
    Key {
        name: "cluster.token_file",
        variable: "IPFS_KIT_CLUSTER_TOKEN_FILE",
        shape: Shape::Text("a path; ~ is the home folder, a relative one begins in the repo"),
        about: "the file with the token that admits this node",
        unset: "none",
        set: |config, value| {
            config.token_file = Some(PathBuf::from(text(value)?));
            Ok(())
        },
        show: |config| maybe(config.token_file.as_ref().map(|path| path.display().to_string())),
    },
    Key {
        name: "tasks.parallel",
        variable: "IPFS_KIT_WORKERS",
        shape: Shape::Number(1, 1_024),
        about: "most tasks this node runs at once",
        unset: "as many as the machine has cores",
        set: |config, value| {
            config.parallel_tasks = Some(small(value)?);
            Ok(())
        },
        show: |config| config.parallel_tasks.map_or(Value::Unset, |n| Value::Number(n.into())),
    },
    Key {
        name: "logging.level",
        variable: "IPFS_KIT_LOG",
        shape: Shape::Choice(&["error", "warn", "info", "debug", "trace"]),
        about: "how much the daemon logs; RUST_LOG, when it is set, decides finer",
        unset: "",
        set: |config, value| {
            config.log.level = text(value)?.to_owned();
            Ok(())
        },
        show: |config| Value::Text(config.log.level.clone()),
    },
    Key {
        name: "logging.format",
        variable: "IPFS_KIT_LOGGING_FORMAT",
        shape: Shape::Choice(&["text", "json"]),
        about: "lines for people, or one JSON object a line",
        unset: "",
        set: |config, value| {
            config.log.format = if text(value)? == "json" { LogFormat::Json } else { LogFormat::Text };
            Ok(())
        },
        show: |config| Value::Text(if config.log.format == LogFormat::Json { "json" } else { "text" }.into()),
    },
    Key {
        name: "logging.file",
        variable: "IPFS_KIT_LOGGING_FILE",
        shape: Shape::Text("a path; ~ is the home folder, a relative one begins in the repo"),
        about: "the file the daemon's log is appended to",
        unset: "standard error",
        set: |config, value| {
            config.log.file = Some(PathBuf::from(text(value)?));
            Ok(())
        },
        show: |config| maybe(config.log.file.as_ref().map(|path| path.display().to_string())),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed_and_comes_back() {
        let mut config = Config::new("/repo");
        for key in KEYS {
            let value = key.value(&config);
            assert_eq!(value == Value::Unset, !key.unset.is_empty() && key.name != "import.profile", "{}", key.name);
            if value != Value::Unset {
                assert_eq!(key.shape.read(&value.to_string()), Ok(value.clone()), "{}", key.name);
                key.set(&mut config, &value).unwrap_or_else(|e| panic!("{} {e}", key.name));
                assert_eq!(key.value(&config), value, "{}", key.name);
            }
            assert!(key.variable.starts_with("IPFS_KIT_") && !key.shape.allowed().is_empty(), "{}", key.name);
        }
    }

    #[test]
    fn every_setting_changes_the_one_thing_it_is_for() {
        for key in KEYS {
            let text = match key.shape {
                Shape::Number(min, max) => if max == 1 { 1 } else { (min * 2).max(4) }.to_string(),
                Shape::Bytes(..) => "8MiB".into(),
                Shape::Time { .. } => "7s".into(),
                Shape::Flag => "true".into(),
                Shape::Choice(words) => (*words.last().unwrap()).to_owned(),
                Shape::List(_) => "/ip4/10.0.0.1/tcp/1".into(),
                Shape::Text(_) => match key.name {
                    "api.address" => "127.0.0.1:1".into(),
                    "import.chunker" => "size-1000".into(),
                    "import.hash" => "sha1".into(),
                    _ => "x-1".into(),
                },
            };
            let value = key.shape.read(&text).unwrap();
            let mut config = Config::new("/repo");
            let others: Vec<String> = KEYS.iter().map(|key| key.shown(&config)).collect();
            key.set(&mut config, &value).unwrap_or_else(|e| panic!("{} {e}", key.name));
            assert_eq!(key.value(&config), value, "{}", key.name);
            for (other, before) in KEYS.iter().zip(others) {
                let group = key.name.starts_with("import.") && other.name.starts_with("import.");
                if other.name != key.name && !group {
                    assert_eq!(other.shown(&config), before, "{} changed {}", key.name, other.name);
                }
            }
        }
    }

    #[test]
    fn the_nearest_name_is_found() {
        for (wrong, right) in [
            ("swarm.connection", Some("swarm.connections")),
            ("connections", Some("swarm.connections")),
            ("loging.level", Some("logging.level")),
            ("log.level", Some("logging.level")),
            ("timeout.api", Some("timeouts.api")),
            ("Role", Some("role")),
            ("plugins", None),
        ] {
            assert_eq!(nearest(wrong), right, "{wrong}");
        }
    }
}
