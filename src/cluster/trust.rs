//! What a member keeps on its disk about its membership: `cluster/member.cbor` and, on masters, `cluster/key`.
//!
//! Both are written whole beside the old one and renamed over it, readable by the owner only.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::base::{HasKind, NodeId, Role, cbor};

use super::{
    error::ClusterError,
    model::{Certificate, ClusterId, ClusterKey, MasterInfo},
    raft::Timing,
};

/// The largest membership file, in bytes.
const MAX_BYTES: usize = 256 * 1024;
const VERSION: u8 = 1;

/// A membership as it is kept over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFile {
    /// The file's version, 1.
    pub v: u8,
    /// The cluster.
    pub cluster: ClusterId,
    /// This node's number; leechers have none.
    pub node: Option<NodeId>,
    /// This node's role.
    pub role: Role,
    /// This node's certificate, the newest.
    pub certificate: Certificate,
    /// Where the masters were last known to be.
    pub masters: Vec<MasterInfo>,
    /// Raft's timers, chosen when the cluster was founded; `None` = those of the node's options.
    #[serde(default)]
    pub timing: Option<Timing>,
}

impl MemberFile {
    /// A file for this membership.
    pub fn new(certificate: Certificate, masters: Vec<MasterInfo>) -> Self {
        let (cluster, node, role) = (certificate.cluster(), certificate.node, certificate.role);
        MemberFile { v: VERSION, cluster, node, role, certificate, masters, timing: None }
    }
}

fn folder(repo: &Path) -> PathBuf {
    repo.join("cluster")
}

fn member_path(repo: &Path) -> PathBuf {
    folder(repo).join("member.cbor")
}

fn key_path(repo: &Path) -> PathBuf {
    folder(repo).join("key")
}

fn damaged(path: &Path, reason: impl ToString) -> ClusterError {
    ClusterError::Membership { path: path.display().to_string(), reason: reason.to_string() }
}

fn storage(path: &Path, e: io::Error) -> ClusterError {
    ClusterError::Storage { kind: HasKind::kind(&e), message: format!("{}: {e}", path.display()) }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, ClusterError> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_BYTES as u64 => return Err(damaged(path, "it is far too large")),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(storage(path, e)),
    }
    fs::read(path).map(Some).map_err(|e| storage(path, e))
}

/// Writes durably: after a power cut the old or the new content is there, never a mixture.
fn write(path: &Path, bytes: &[u8]) -> Result<(), ClusterError> {
    let attempt = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let new = path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(folder)?.sync_all()
    };
    attempt().map_err(|e| storage(path, e))
}

/// Reads the membership kept in `repo`, if there is one.
pub fn load(repo: &Path) -> Result<Option<MemberFile>, ClusterError> {
    let path = member_path(repo);
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let file: MemberFile = cbor::from_slice(&bytes, MAX_BYTES).map_err(|e| damaged(&path, e))?;
    if file.v != VERSION {
        return Err(damaged(&path, format!("version {} is not known to this program", file.v)));
    }
    let certificate = &file.certificate;
    // Expiry is judged by the other members; what must hold here is that the parts fit together.
    match certificate.verify(&file.cluster, certificate.issued_ms) {
        Ok(()) if certificate.role == file.role && certificate.node == file.node => Ok(Some(file)),
        Ok(()) => Err(damaged(&path, "its parts contradict each other")),
        Err(e) => Err(damaged(&path, e)),
    }
}

/// Keeps a membership in `repo`.
pub fn save(repo: &Path, file: &MemberFile) -> Result<(), ClusterError> {
    write(&member_path(repo), &cbor::to_vec(file))
}

/// Reads the cluster's key, which masters hold.
pub fn load_key(repo: &Path) -> Result<Option<ClusterKey>, ClusterError> {
    let path = key_path(repo);
    match read(&path)? {
        Some(bytes) => ClusterKey::from_bytes(&bytes).map(Some).ok_or_else(|| damaged(&path, "it holds no key")),
        None => Ok(None),
    }
}

/// Keeps the cluster's key.
pub fn save_key(repo: &Path, key: &ClusterKey) -> Result<(), ClusterError> {
    write(&key_path(repo), &key.to_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{base::Keypair, cluster::model::Subject};

    fn sample() -> (ClusterKey, MemberFile) {
        let key = ClusterKey::from_seed([3; 32]);
        let peer_key = Keypair::ed25519_from_bytes([1; 32]).unwrap().public();
        let master = MasterInfo { peer: peer_key.to_peer_id(), addrs: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()] };
        let subject = Subject { peer_key, node: Some(NodeId::new(1, 5)), role: Role::Worker, epoch: 1 };
        (key.clone(), MemberFile::new(key.certify(subject, 1_000), vec![master]))
    }

    #[test]
    fn the_files_are_read_back_and_private() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        assert!(load_key(dir.path()).unwrap().is_none());
        assert_eq!(crate::cluster::Cluster::role_on_disk(dir.path()).unwrap(), None);
        let (key, file) = sample();
        save_key(dir.path(), &key).unwrap();
        save(dir.path(), &file).unwrap();
        save(dir.path(), &file).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(file));
        assert_eq!(crate::cluster::Cluster::role_on_disk(dir.path()).unwrap(), Some(Role::Worker));
        assert_eq!(load_key(dir.path()).unwrap().unwrap().id(), key.id());
        for path in [member_path(dir.path()), key_path(dir.path())] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (_, file) = sample();
        save(dir.path(), &file).unwrap();
        let path = member_path(dir.path());
        let good = fs::read(&path).unwrap();
        for bad in [&good[..good.len() / 2], b"", &vec![0u8; MAX_BYTES + 1]] {
            fs::write(&path, bad).unwrap();
            let error = load(dir.path()).unwrap_err();
            assert!(matches!(error, ClusterError::Membership { .. }), "{error}");
        }
        let mut promoted = file.clone();
        promoted.role = Role::Master;
        save(dir.path(), &promoted).unwrap();
        assert!(load(dir.path()).is_err());
        fs::write(key_path(dir.path()), b"no key").unwrap();
        assert!(load_key(dir.path()).is_err());
    }
}
