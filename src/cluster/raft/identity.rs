//! Whose disk this is: a small durable file that binds the log to a node number and a repository.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    base::{Kind, NodeId, cbor},
    cluster::error::ClusterError,
};

const FILE: &str = "identity";
const MAX_BYTES: usize = 1024;

#[derive(Serialize, Deserialize)]
struct Identity {
    version: u8,
    node: NodeId,
    #[serde(with = "serde_bytes")]
    storage_id: [u8; 16],
}

/// Checks that the log in `dir` belongs to `node` and the repository `storage_id`; binds an empty one to them.
pub(crate) fn bind(dir: &Path, node: NodeId, storage_id: [u8; 16], empty: bool) -> Result<(), ClusterError> {
    let refuse = |reason: String| ClusterError::Identity { node, reason };
    match fs::read(dir.join(FILE)) {
        Ok(bytes) => {
            let known: Identity = cbor::from_slice(&bytes, MAX_BYTES)
                .map_err(|e| refuse(format!("its identity file is damaged ({e})")))?;
            if known.version != 1 {
                return Err(refuse(format!("its identity file has version {}; use a newer ipfs-kit", known.version)));
            }
            if known.node != node {
                return Err(refuse(format!("its log belongs to member {}", known.node)));
            }
            if known.storage_id != storage_id {
                return Err(refuse("its log was copied here from another repo".into()));
            }
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && empty => {
            write(dir, &Identity { version: 1, node, storage_id })
                .map_err(|e| ClusterError::Storage { kind: Kind::Bug, message: format!("writing {FILE}: {e}") })
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(refuse("its log has lost its identity file and may be another member's".into()))
        }
        Err(e) => Err(ClusterError::Storage { kind: Kind::Bug, message: format!("reading {FILE}: {e}") }),
    }
}

fn write(dir: &Path, identity: &Identity) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let temporary = dir.join("identity.new");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(&cbor::to_vec(identity))?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FILE))?;
    fs::File::open(dir)?.sync_all()
}
