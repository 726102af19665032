//! A full IPFS peer, and a member of a Raft-coordinated cluster, as one library and one binary.
//!
//! The modules stand on floors: each may use only what lies below it. `docs/architecture.md` holds the ladder and
//! `tests/architecture.rs` keeps it true. Start reading at [`node`], which assembles everything, or at [`base`],
//! which holds the words all others speak.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod base;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod content;
pub mod dag;
pub mod exchange;
pub mod http;
pub mod net;
pub mod node;
pub mod routing;
pub mod store;
pub mod work;

pub use base::{Cid, Role};
pub use config::Config;
pub use http::Client;
pub use node::Node;

/// Entry points of the fuzz targets in `fuzz/`. A test runs them over their corpora too.
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzz {
    use crate::{cluster, config, content, dag, exchange, http, net, store};

    /// A name, and what it runs.
    pub type Target = (&'static str, fn(&[u8]));

    /// Every target by its name.
    pub const TARGETS: &[Target] = &[
        ("bitswap", exchange::fuzz::bitswap),
        ("car", dag::fuzz::car),
        ("cbor", dag::fuzz::cbor),
        ("checkpoint", store::blocks::fuzz::checkpoint),
        ("cid", dag::fuzz::cid),
        ("cluster", cluster::fuzz::messages),
        ("dag_cbor", dag::fuzz::dag_cbor),
        ("dag_json", dag::fuzz::dag_json),
        ("dag_pb", dag::fuzz::dag_pb),
        ("dht", net::fuzz_dht),
        ("file", dag::fuzz::file),
        ("files_path", content::fuzz::files_path),
        ("hamt", dag::fuzz::hamt),
        ("json", dag::fuzz::json),
        ("path", dag::fuzz::path),
        ("rules", content::fuzz::rules),
        ("segment", store::blocks::fuzz::segment),
        ("settings", config::fuzz::settings),
        ("snapshot", cluster::raft::fuzz_snapshot),
        ("tar", content::fuzz::tar),
        ("unixfs", dag::fuzz::unixfs),
        ("upload", http::rpc::fuzz::upload),
        ("wal", store::wal::fuzz::wal),
    ];

    /// Runs a target.
    ///
    /// # Panics
    /// When there is none of this name, or when it finds something.
    pub fn run(name: &str, data: &[u8]) {
        let target = TARGETS.iter().find(|(known, _)| *known == name);
        target.unwrap_or_else(|| panic!("no fuzz target is called {name}")).1(data);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// What fuzzing has found or is to start from goes through every target again; each target has a corpus, and each corpus
    /// a target with a program of its own.
    #[test]
    fn every_corpus_is_replayed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let names = |sub: &str| -> Vec<String> {
            let entries = fs::read_dir(folder.join(sub)).unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| Path::new(&entry.unwrap().file_name()).file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        let targets: Vec<&str> = super::fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names("corpus"), targets);
        assert_eq!(names("fuzz_targets"), targets);
        let mut failed = Vec::new();
        for (name, target) in super::fuzz::TARGETS {
            let mut inputs = 0;
            target(b"");
            for entry in fs::read_dir(folder.join("corpus").join(name)).unwrap() {
                let path = entry.unwrap().path();
                let input = fs::read(&path).unwrap();
                if std::panic::catch_unwind(|| target(&input)).is_err() {
                    failed.push(path);
                }
                inputs += 1;
            }
            assert!(inputs > 0, "{name} has nothing to start from");
        }
        assert!(failed.is_empty(), "{failed:#?}");
    }
}
