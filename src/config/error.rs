//! Sans-IO: what can be wrong with settings.

use std::path::PathBuf;

use crate::base::{HasKind, Kind};

/// Why a setting is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is neither HOST:PORT nor a multiaddress.
    #[error(
        "'{text}' is no address: {reason}; write HOST:PORT (127.0.0.1:5001) or a multiaddress (/ip4/127.0.0.1/tcp/5001)"
    )]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The API would be reachable from other machines.
    #[error(
        "the API gives full control of this node and has no passwords yet, so it listens on loopback only; \
         '{address}' is not: use --api 127.0.0.1:PORT and reach it from elsewhere through an SSH tunnel"
    )]
    ApiNotLoopback {
        /// What was given.
        address: String,
    },
    /// The DHT's name does not fit into a protocol name.
    #[error("'{name}' is no name for a DHT: use 1 to 64 letters, digits, '-', '_' or '.'")]
    Namespace {
        /// What was given.
        name: String,
    },
    /// The text is no span of time.
    #[error("'{text}' is no span of time: write for example 500ms, 10s, 2m, 24h")]
    Duration {
        /// What was given.
        text: String,
    },
    /// Something in a settings file is wrong.
    #[error("{}:{line}:{column}: {reason}", file.display())]
    Place {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// A settings file cannot be used at all.
    #[error("the settings file {}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An environment variable is wrong.
    #[error("the variable {name}: {reason}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// A value that was to be set is wrong.
    #[error("{reason}")]
    Setting {
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// Settings that are fine alone do not go together.
    #[error("settings that do not go together: {reason}")]
    Together {
        /// What is wrong.
        reason: String,
    },
    /// There is no folder to use.
    #[error("no folder for the repo: set --repo DIR, IPFS_KIT_PATH or HOME")]
    NoRepo,
}

impl HasKind for ConfigError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}
