//! A Kubo repo's folder, read while no Kubo runs on it, and never written.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::{BASE32_NOPAD, BASE64};
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use rustix::fs::{FlockOperation, fcntl_lock};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Got, LeftBehind, MoveError, Origin, flatfs::FlatFs, left_keys, leveldb::Datastore};
use crate::{
    base::{Cid, Keypair},
    content::ContentError,
    store::{Pin, keys::check_key_name},
};

/// Longest file read whole (version, settings, a key), in bytes.
const MAX_SMALL_BYTES: u64 = 1 << 20;
/// The first version of Kubo's repos whose blocks are named by multihash alone, and the newest one known.
const VERSIONS: std::ops::RangeInclusive<u32> = 12..=18;
/// What to do about a datastore that cannot be read.
const RUN_IT: &str = "run Kubo on it, and import from its API: --from-kubo ADDRESS";

/// The folder of a Kubo repo.
pub struct KuboFolder {
    dir: PathBuf,
    blocks: FlatFs,
    datastore: Arc<Datastore>,
    keys_taken: bool,
    // Kubo does not start on the folder while this is held. Where Kubo ended well there is no file to hold.
    _lock: Option<File>,
}

/// Reads a small file; `None` when it is not there.
fn small(path: &Path) -> Result<Option<Vec<u8>>, ContentError> {
    let mut out = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_SMALL_BYTES).read_to_end(&mut out)) {
        Ok(_) => Ok(Some(out)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(ContentError::io(path, e)),
    }
}

fn not_one(dir: &Path, reason: impl Into<String>) -> ContentError {
    MoveError::NotOne { dir: dir.into(), reason: reason.into() }.into()
}

/// Takes the lock that a running Kubo holds, for reading; the file is left as it is.
fn lock(dir: &Path) -> Result<Option<File>, ContentError> {
    let path = dir.join("repo.lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ContentError::io(path, e)),
    };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
            Err(MoveError::KuboRuns { dir: dir.into() }.into())
        }
        Err(e) => Err(ContentError::io(path, e)),
    }
}

/// Where the folder keeps blocks, and where the rest.
fn places(dir: &Path) -> Result<(PathBuf, PathBuf), ContentError> {
    let Some(text) = small(&dir.join("datastore_spec"))? else {
        return Err(not_one(dir, "it has no datastore_spec; name the folder of a Kubo repo, such as ~/.ipfs"));
    };
    let spec: Value = serde_json::from_slice(&text).map_err(|e| not_one(dir, format!("its datastore_spec: {e}")))?;
    let mounts = match spec["type"].as_str() {
        Some("mount") => spec["mounts"].as_array().cloned().unwrap_or_default(),
        other => {
            let kind = other.unwrap_or("unknown");
            return Err(not_one(dir, format!("its datastore is {kind:?}, not flatfs with leveldb; {RUN_IT}")));
        }
    };
    let find = |at: &str, kind: &str| -> Result<PathBuf, ContentError> {
        let mount = mounts.iter().find(|mount| mount["mountpoint"] == at);
        let found = mount.and_then(|mount| mount["type"].as_str()).unwrap_or("nothing");
        if found != kind {
            return Err(not_one(dir, format!("its datastore at {at} is {found:?}, not {kind:?}; {RUN_IT}")));
        }
        let path = mount.and_then(|mount| mount["path"].as_str()).filter(|path| !path.is_empty());
        path.map(|path| dir.join(path)).ok_or_else(|| not_one(dir, format!("its datastore_spec has no path for {at}")))
    };
    Ok((find("/blocks", "flatfs")?, find("/", "levelds")?))
}

impl KuboFolder {
    /// Opens the folder; copies of small files are made in `scratch`.
    pub async fn open(dir: &Path, scratch: PathBuf) -> Result<KuboFolder, ContentError> {
        let dir = dir.to_owned();
        let task = tokio::task::spawn_blocking(move || {
            let (blocks, datastore) = places(&dir)?;
            let version = small(&dir.join("version"))?.unwrap_or_default();
            let version = String::from_utf8_lossy(&version).trim().to_owned();
            if !version.parse().is_ok_and(|version: u32| VERSIONS.contains(&version)) {
                let (least, most) = (VERSIONS.start(), VERSIONS.end());
                let known = format!("it is a Kubo repo of version {version:?}, and {least} to {most} are known");
                return Err(not_one(&dir, format!("{known}; bring it there with 'ipfs repo migrate', or {RUN_IT}")));
            }
            let lock = lock(&dir)?;
            let blocks = FlatFs::open(&blocks)?;
            let datastore = Arc::new(Datastore::copy(&datastore, &scratch)?);
            Ok(KuboFolder { dir, blocks, datastore, keys_taken: false, _lock: lock })
        });
        task.await.map_err(ContentError::joined)?
    }

    /// Says whether somebody else takes its keys, so that they are not left behind.
    pub fn keys_taken(self, keys_taken: bool) -> KuboFolder {
        KuboFolder { keys_taken, ..self }
    }
}

impl Origin for KuboFolder {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    fn pins(&self) -> BoxStream<'_, Result<Pin, ContentError>> {
        let (sender, pins) = mpsc::channel(256);
        let datastore = self.datastore.clone();
        let read = async move { datastore.pins(sender).await.err().map(Err) };
        let end = read.into_stream().filter_map(std::future::ready);
        stream::select(ReceiverStream::new(pins), end).boxed()
    }

    fn files_root(&self) -> BoxFuture<'_, Result<Option<Cid>, ContentError>> {
        self.datastore.files_root().boxed()
    }

    fn block(&self, cid: Cid) -> BoxFuture<'_, Result<Got, ContentError>> {
        let blocks = self.blocks.clone();
        async move { tokio::task::spawn_blocking(move || blocks.read(&cid)).await.map_err(ContentError::joined) }
            .boxed()
    }

    fn left(&self) -> BoxFuture<'_, Result<Vec<LeftBehind>, ContentError>> {
        async {
            if self.keys_taken {
                return Ok(Vec::new());
            }
            let (keys, mut left) = KuboKeys { dir: self.dir.clone() }.named()?;
            left.extend(left_keys(keys.into_iter().map(|(name, _)| name).collect()));
            Ok(left)
        }
        .boxed()
    }
}

/// A key's name, and the key in libp2p's protobuf encoding.
pub type NamedKey = (String, Vec<u8>);

/// The keys of a Kubo repo's folder.
pub struct KuboKeys {
    dir: PathBuf,
}

impl KuboKeys {
    /// The keys of the repo in `dir`; anything but a Kubo repo is refused.
    pub fn open(dir: &Path) -> Result<KuboKeys, ContentError> {
        if small(&dir.join("datastore_spec"))?.is_none() {
            return Err(not_one(dir, "it has no datastore_spec; name the folder of a Kubo repo, such as ~/.ipfs"));
        }
        Ok(KuboKeys { dir: dir.into() })
    }

    /// The keys' names and encodings, in order, and what is no key, or is called what no key may be called here.
    pub fn named(&self) -> Result<(Vec<NamedKey>, Vec<LeftBehind>), ContentError> {
        let dir = self.dir.join("keystore");
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
            Err(e) => return Err(ContentError::io(dir, e)),
        };
        let (mut keys, mut left) = (Vec::new(), Vec::new());
        for entry in entries {
            let path = entry.map_err(|e| ContentError::io(&dir, e))?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = file.strip_prefix("key_").and_then(|encoded| {
                let name = BASE32_NOPAD.decode(encoded.to_uppercase().as_bytes()).ok()?;
                String::from_utf8(name).ok()
            });
            let read = || {
                let name = name.clone().ok_or("its file is not named like a key's")?;
                check_key_name(&name).map_err(|e| e.to_string())?;
                let bytes = small(&path).map_err(|e| e.to_string())?.unwrap_or_default();
                Keypair::from_protobuf_encoding(&bytes).map_err(|e| e.to_string())?;
                Ok::<_, String>((name, bytes))
            };
            match read() {
                Ok(key) => keys.push(key),
                Err(reason) => left.push(LeftBehind { what: "key".into(), name: name.clone().unwrap_or(file), reason }),
            }
        }
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Ok((keys, left))
    }

    /// The node's own key.
    pub fn identity(&self) -> Result<Keypair, ContentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Settings {
            identity: Identity,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Identity {
            #[serde(default)]
            priv_key: String,
        }
        let bad = |e: &dyn std::fmt::Display| not_one(&self.dir, format!("its config has no identity to import: {e}"));
        let text = small(&self.dir.join("config"))?.ok_or_else(|| bad(&"the file is missing"))?;
        let settings: Settings = serde_json::from_slice(&text).map_err(|e| bad(&e))?;
        let bytes = BASE64.decode(settings.identity.priv_key.as_bytes()).map_err(|e| bad(&e))?;
        Keypair::from_protobuf_encoding(&bytes).map_err(|e| bad(&e))
    }
}
