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
