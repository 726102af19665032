//! The repo: one folder, opened by one process, holding everything a node keeps.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use data_encoding::HEXLOWER;

use super::{
    Batch, Blocks, Durability, Kv, Pins, Recovered, StoreError, Wal,
    files::{Lock, check_name, make_dir, read_small, write_whole},
    kv::{RedbKv, SledKv},
    wal::WeakWal,
};
use crate::base::{Cid, Keypair, PeerId, cid, random};

/// How a repo is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Size at which a block segment file is closed and the next begun, in bytes.
    pub segment_bytes: u32,
    /// Memory for small blocks that were read lately, in bytes; 0 = none.
    pub block_cache_bytes: u64,
    /// Page cache of each redb file, in bytes.
    pub kv_cache_bytes: usize,
    /// Cache of the sled folder, in bytes.
    pub soft_cache_bytes: u64,
    /// Size of a write-ahead log segment, in bytes; each is written full of zeros before use.
    pub wal_segment_bytes: u32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            segment_bytes: 256 << 20,
            block_cache_bytes: 16 << 20,
            kv_cache_bytes: 16 << 20,
            soft_cache_bytes: 16 << 20,
            wal_segment_bytes: 16 << 20,
        }
    }
}

/// What `init` found or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitReport {
    /// The repo's identity.
    pub peer_id: PeerId,
    /// False when the repo was there already.
    pub created: bool,
}

/// An open repo. Cheap to clone; the folder is released when the last clone and everything got from it are dropped.
#[derive(Clone)]
pub struct Repo {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    options: StoreOptions,
    keypair: Keypair,
    storage_id: [u8; 16],
    blocks: Blocks,
    pins: Pins,
    state: Arc<dyn Kv>,
    soft: Arc<dyn Kv>,
    // Logs and files opened beside these, so that none is opened twice.
    wals: Mutex<HashMap<String, WeakWal>>,
    kvs: Mutex<HashMap<String, Weak<dyn Kv>>>,
    lock: Arc<Lock>,
}

/// Version of the folder's layout.
pub const LAYOUT: &str = "1";
pub(super) const KEY_FILE: &str = "identity.key";
pub(super) const ID_FILE: &str = "storage_id";
pub(super) const VERSION_FILE: &str = "version";
const SCRATCH: &str = "scratch";
/// Table of single roots by name, and the name of the files tree's.
const ROOTS: &str = "roots";
const FILES_KEY: &[u8] = b"files";

impl Repo {
    /// Opens the repo in `dir`, making a missing one.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Repo, StoreError> {
        let (lock, keypair, storage_id, _) = prepare(dir)?;
        let lock = Arc::new(lock);
        // Nobody needs what a process that ended left there.
        let scratch = dir.join(SCRATCH);
        match fs::remove_dir_all(&scratch) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(folder = %scratch.display(), error = %e, "what was left there could not be removed");
            }
            _ => {}
        }
        let hold = || Some(Arc::clone(&lock));
        let state: Arc<dyn Kv> = Arc::new(RedbKv::open(&dir.join("repo.redb"), options.kv_cache_bytes, hold())?);
        let soft: Arc<dyn Kv> = Arc::new(SledKv::open(&dir.join("soft"), options.soft_cache_bytes, hold()));
        let blocks = Blocks::open(&dir.join("blocks"), options.segment_bytes, options.block_cache_bytes, hold())?;
        let inner = Inner {
            dir: dir.into(),
            options,
            keypair,
            storage_id,
            blocks,
            pins: Pins::new(Arc::clone(&state)),
            state,
            soft,
            wals: Mutex::default(),
            kvs: Mutex::default(),
            lock,
        };
        Ok(Repo { inner: Arc::new(inner) })
    }

    /// Makes a repo in `dir`; one that is there already is left as it is, even while a daemon runs on it.
    pub fn init(dir: &Path) -> Result<InitReport, StoreError> {
        if read_small(&dir.join(VERSION_FILE)).map_err(StoreError::io("reading the repo's version"))?.is_some() {
            check_version(dir)?;
            let peer_id = read_key(dir)?.ok_or_else(|| no_key(dir))?.public().to_peer_id();
            return Ok(InitReport { peer_id, created: false });
        }
        let (_lock, keypair, _, created) = prepare(dir)?;
        Ok(InitReport { peer_id: keypair.public().to_peer_id(), created })
    }

    /// Makes a repo in `dir` with this identity. One that is there already is left as it is, whatever its identity.
    pub fn init_as(dir: &Path, key: &Keypair) -> Result<InitReport, StoreError> {
        let io = StoreError::io("making the repo");
        if read_small(&dir.join(VERSION_FILE)).map_err(&io)?.is_none() && !dir.join("datastore_spec").exists() {
            make_dir(dir).map_err(&io)?;
            let _lock = Lock::take(dir)?;
            if read_key(dir)?.is_none() {
                write_own_key(dir, key)?;
            }
        }
        Repo::init(dir)
    }

    /// The repo's folder.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// A folder for what is needed for a while only; emptied when the repo is opened.
    pub fn scratch(&self) -> Result<PathBuf, StoreError> {
        let dir = self.inner.dir.join(SCRATCH);
        make_dir(&dir).map_err(StoreError::io("making a folder"))?;
        Ok(dir)
    }

    /// The node's identity key.
    pub fn keypair(&self) -> &Keypair {
        &self.inner.keypair
    }

    /// The node's identity.
    pub fn peer_id(&self) -> PeerId {
        self.inner.keypair.public().to_peer_id()
    }

    /// A random number drawn when the folder was made: a copied key in another folder does not have it.
    pub fn storage_id(&self) -> [u8; 16] {
        self.inner.storage_id
    }

    /// The blocks.
    pub fn blocks(&self) -> &Blocks {
        &self.inner.blocks
    }

    /// The pins.
    pub fn pins(&self) -> &Pins {
        &self.inner.pins
    }

    /// What must last: pins, roots, outboxes.
    pub fn state(&self) -> &Arc<dyn Kv> {
        &self.inner.state
    }

    /// The root of the files tree (MFS); `None` before anything was put there. What it links to stays, as under a pin.
    pub fn files_root(&self) -> Result<Option<Cid>, StoreError> {
        let Some(bytes) = self.inner.state.get(ROOTS, FILES_KEY)? else { return Ok(None) };
        let damaged =
            |reason: String| StoreError::Damaged { what: "the root of the files tree".into(), offset: 0, reason };
        cid::decode(&bytes).map(Some).map_err(|e| damaged(e.to_string()))
    }

    /// Moves the root of the files tree; durable when it returns. Everything below must be durable before.
    pub async fn set_files_root(&self, root: Cid) -> Result<(), StoreError> {
        let state = Arc::clone(&self.inner.state);
        let task = tokio::task::spawn_blocking(move || {
            let mut batch = Batch::new();
            batch.put(ROOTS, FILES_KEY, root.to_bytes());
            state.commit(batch, Durability::Immediate)
        });
        task.await.map_err(|_| StoreError::Closed)?
    }

    /// What can be relearnt: address books, reputation, DHT records. May be found empty after a crash.
    pub fn soft(&self) -> &Arc<dyn Kv> {
        &self.inner.soft
    }

    /// Bytes of all files in the folder; blocks.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        let mut folders = vec![self.inner.dir.clone()];
        let mut bytes = 0;
        let mut measure = || -> io::Result<()> {
            while let Some(folder) = folders.pop() {
                let Some(entries) = there(fs::read_dir(folder))? else { continue };
                for entry in entries {
                    let entry = entry?;
                    let Some(found) = there(entry.metadata())? else { continue };
                    match found.is_dir() {
                        true => folders.push(entry.path()),
                        false => bytes += found.len(),
                    }
                }
            }
            Ok(())
        };
        measure().map_err(StoreError::io("measuring the repo"))?;
        Ok(bytes)
    }

    /// Bytes that are free on the folder's disk.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        let disk = rustix::fs::statvfs(&self.inner.dir).map_err(io::Error::from);
        let disk = disk.map_err(StoreError::io("asking how much is free on the disk"))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Opens the write-ahead log `raft/NAME`; one log can be open once at a time.
    pub fn open_wal(&self, name: &str) -> Result<(Wal, Recovered), StoreError> {
        check_name(name)?;
        let mut wals = self.inner.wals.lock().unwrap_or_else(PoisonError::into_inner);
        if wals.get(name).is_some_and(WeakWal::is_open) {
            return Err(open_already(name));
        }
        let dir = self.inner.dir.join("raft");
        make_dir(&dir).map_err(StoreError::io("opening the log"))?;
        let lock = Some(Arc::clone(&self.inner.lock));
        let (wal, recovered) = Wal::open(&dir.join(name), self.inner.options.wal_segment_bytes, lock)?;
        wals.insert(name.into(), wal.downgrade());
        Ok((wal, recovered))
    }

    /// Opens the redb file `NAME.redb`, making a missing one; while it is open, the same is given again.
    pub fn open_kv(&self, name: &str) -> Result<Arc<dyn Kv>, StoreError> {
        check_name(name)?;
        if name == "repo" {
            return Ok(Arc::clone(&self.inner.state));
        }
        let mut kvs = self.inner.kvs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kv) = kvs.get(name).and_then(Weak::upgrade) {
            return Ok(kv);
        }
        let path = self.inner.dir.join(format!("{name}.redb"));
        let lock = Some(Arc::clone(&self.inner.lock));
        let kv: Arc<dyn Kv> = Arc::new(RedbKv::open(&path, self.inner.options.kv_cache_bytes, lock)?);
        kvs.insert(name.into(), Arc::downgrade(&kv));
        Ok(kv)
    }

    /// Makes everything durable. The repo stays usable; the folder is released by dropping it.
    pub async fn close(&self) {
        if let Err(e) = self.inner.blocks.flush().await {
            tracing::warn!(error = %e, "the block store could not be flushed");
        }
        let kvs: Vec<Arc<dyn Kv>> = {
            let opened = self.inner.kvs.lock().unwrap_or_else(PoisonError::into_inner);
            opened.values().filter_map(Weak::upgrade).collect()
        };
        let (state, soft) = (Arc::clone(&self.inner.state), Arc::clone(&self.inner.soft));
        let flush = tokio::task::spawn_blocking(move || {
            for kv in kvs.into_iter().chain([state, soft]) {
                if let Err(e) = kv.sync() {
                    tracing::warn!(error = %e, "a key-value store could not be flushed");
                }
            }
        });
        let _ = flush.await;
    }
}

/// Makes what is missing in `dir` and reads what is there. Every line leaves something that the next call completes:
/// the version file comes last.
fn prepare(dir: &Path) -> Result<(Lock, Keypair, [u8; 16], bool), StoreError> {
    let io = StoreError::io("making the repo");
    if dir.join("datastore_spec").exists() {
        return Err(layout(dir, "it is a Kubo repo; choose another folder with --repo".into()));
    }
    make_dir(dir).map_err(&io)?;
    let lock = Lock::take(dir)?;
    let created = read_small(&dir.join(VERSION_FILE)).map_err(&io)?.is_none();
    if !created {
        check_version(dir)?;
    }
    let keypair = match read_key(dir)? {
        Some(keypair) => keypair,
        None if created => {
            let keypair = Keypair::generate_ed25519();
            write_own_key(dir, &keypair)?;
            keypair
        }
        None => return Err(no_key(dir)),
    };
    let storage_id = match read_small(&dir.join(ID_FILE)).map_err(&io)? {
        Some(text) => decode_id(&text).ok_or_else(|| StoreError::Damaged {
            what: dir.join(ID_FILE).display().to_string(),
            offset: 0,
            reason: "it is not 32 hexadecimal digits; restore it from a backup".into(),
        })?,
        None => {
            let id = random::bytes();
            write_whole(&dir.join(ID_FILE), HEXLOWER.encode(&id).as_bytes()).map_err(&io)?;
            id
        }
    };
    if created {
        write_whole(&dir.join(VERSION_FILE), LAYOUT.as_bytes()).map_err(&io)?;
    }
    Ok((lock, keypair, storage_id, created))
}

pub(super) fn check_version(dir: &Path) -> Result<(), StoreError> {
    let bytes = read_small(&dir.join(VERSION_FILE)).map_err(StoreError::io("reading the repo's version"))?;
    let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).trim().to_owned();
    if text == LAYOUT {
        return Ok(());
    }
    let older = matches!((text.parse::<u32>(), LAYOUT.parse::<u32>()), (Ok(found), Ok(known)) if found < known);
    let hint = if older { "run 'ipfs-kit repo migrate'" } else { "use the program that made it" };
    let reason = format!("its layout is version {text:?}, this program knows {LAYOUT:?}; {hint}");
    Err(layout(dir, reason))
}

pub(super) fn read_key(dir: &Path) -> Result<Option<Keypair>, StoreError> {
    let path = dir.join(KEY_FILE);
    let Some(bytes) = read_small(&path).map_err(StoreError::io("reading the identity key"))? else { return Ok(None) };
    let key = Keypair::from_protobuf_encoding(&bytes).map_err(|e| StoreError::Damaged {
        what: path.display().to_string(),
        offset: 0,
        reason: format!("{e}; restore it from a backup"),
    })?;
    Ok(Some(key))
}

/// The identity key in the folder, which must have one.
pub(crate) fn own_key(dir: &Path) -> Result<Keypair, StoreError> {
    read_key(dir)?.ok_or_else(|| no_key(dir))
}

/// The identity key in the folder, if it has one.
pub(crate) fn own_key_if_any(dir: &Path) -> Result<Option<Keypair>, StoreError> {
    read_key(dir)
}

/// Writes the identity key of the folder; durable when it returns.
pub(crate) fn write_own_key(dir: &Path, key: &Keypair) -> Result<(), StoreError> {
    let bytes = key.to_protobuf_encoding().map_err(|e| layout(dir, e.to_string()))?;
    write_whole(&dir.join(KEY_FILE), &bytes).map_err(StoreError::io("writing the identity key"))
}

pub(super) fn decode_id(text: &[u8]) -> Option<[u8; 16]> {
    HEXLOWER.decode(text.trim_ascii()).ok()?.try_into().ok()
}

/// What was found, if it is still there: files come and go while they are looked at.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

pub(super) fn layout(dir: &Path, reason: String) -> StoreError {
    StoreError::Layout { dir: dir.into(), reason }
}

fn no_key(dir: &Path) -> StoreError {
    layout(dir, format!("the file {KEY_FILE} is missing; restore it from a backup, or move the folder away"))
}

fn open_already(name: &str) -> StoreError {
    StoreError::Invalid { what: format!("opening {name:?} again"), reason: "it is open already".into() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::base::{Block, Codec, Hash};

    fn open(dir: &Path) -> Result<Repo, StoreError> {
        let small = StoreOptions { wal_segment_bytes: 1 << 16, ..StoreOptions::default() };
        Repo::open(dir, small)
    }

    #[tokio::test]
    async fn a_repo_is_made_once_and_opened_by_one() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let made = Repo::init(&dir).unwrap();
        assert!(made.created);
        let again = Repo::init(&dir).unwrap();
        assert_eq!((again.created, again.peer_id), (false, made.peer_id));
        assert_eq!(fs::metadata(dir.join(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        let repo = open(&dir).unwrap();
        assert_eq!(repo.peer_id(), made.peer_id);
        assert!(!Repo::init(&dir).unwrap().created);
        let id = repo.storage_id();
        let pid = std::process::id().to_string();
        assert!(matches!(open(&dir), Err(StoreError::Locked { pid: p, .. }) if p == pid));
        repo.close().await;
        // Whatever is still in use keeps the folder.
        let blocks = repo.blocks().clone();
        drop(repo);
        assert!(matches!(open(&dir), Err(StoreError::Locked { .. })));
        drop(blocks);
        assert_eq!(open(&dir).unwrap().storage_id(), id);
    }

    #[tokio::test]
    async fn the_root_of_the_files_tree_lasts() {
        let root = tempfile::tempdir().unwrap();
        let repo = open(root.path()).unwrap();
        assert_eq!(repo.files_root().unwrap(), None);
        for content in ["one", "two"] {
            let cid = *Block::new(Codec::Raw, Hash::Sha2_256, content).unwrap().cid();
            repo.set_files_root(cid).await.unwrap();
            assert_eq!(repo.files_root().unwrap(), Some(cid));
        }
        let last = repo.files_root().unwrap();
        drop(repo);
        assert_eq!(open(root.path()).unwrap().files_root().unwrap(), last);
    }

    /// What a crash may leave of the file that was being made, by the bytes it was to have.
    fn halves(whole: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut cuts = vec![0, 1, whole.len() / 2, whole.len()];
        cuts.dedup();
        let cut = cuts.into_iter().map(|len| Some(whole[..len].to_vec()));
        // A file whose length is durable and whose bytes are not.
        std::iter::once(None).chain(cut).chain([Some(vec![0; whole.len()])]).collect()
    }

    #[test]
    fn init_stopped_between_any_two_lines_is_completed_later() {
        let whole = tempfile::tempdir().unwrap();
        let made = Repo::init(whole.path()).unwrap();
        let order = ["lock", KEY_FILE, ID_FILE, VERSION_FILE];
        let bytes = |name: &str| fs::read(whole.path().join(name)).unwrap();
        for done in 0..order.len() {
            for half in halves(&bytes(order[done])) {
                let dir = tempfile::tempdir().unwrap();
                for name in &order[..done] {
                    fs::write(dir.path().join(name), bytes(name)).unwrap();
                }
                let at = dir.path().join(order[done]);
                // The lock's content is for people only, and it is made under its own name.
                let at = if done == 0 { at } else { at.with_extension("tmp") };
                if let Some(half) = &half {
                    fs::write(at, half).unwrap();
                }
                let what = format!("stopped at {}, of which {half:?} was there", order[done]);
                let report = Repo::init(dir.path()).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert!(report.created, "{what}");
                if done > 1 {
                    assert_eq!(report.peer_id, made.peer_id, "{what}");
                }
                if done > 2 {
                    assert_eq!(fs::read(dir.path().join(ID_FILE)).unwrap(), bytes(ID_FILE), "{what}");
                }
                assert_eq!(open(dir.path()).unwrap().peer_id(), report.peer_id, "{what}");
                assert!(!Repo::init(dir.path()).unwrap().created, "{what}");
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
        /// The first opening makes more: engines, segments. Their order is not one line after another, so any of them may
        /// be missing, or have been left empty by the crash.
        #[test]
        fn the_first_opening_stopped_anywhere_is_completed_later(
            fates in proptest::collection::vec(0u8..3, 64),
            files in 0u8..4,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let peer = Repo::init(dir.path()).unwrap().peer_id;
            drop(open(dir.path()).unwrap());
            let mut made = Vec::new();
            let mut folders = vec![dir.path().to_owned()];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() { folders.push(path) } else { made.push(path) }
                }
            }
            let first = [KEY_FILE, ID_FILE, VERSION_FILE].map(|name| dir.path().join(name));
            made.retain(|path| !first.contains(path));
            made.sort();
            if files == 0 {
                fs::remove_dir_all(dir.path().join("soft")).unwrap();
                made.retain(|path| path.exists());
            }
            for (path, fate) in made.iter().zip(&fates) {
                match fate {
                    0 => fs::remove_file(path).unwrap(),
                    1 => fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap(),
                    _ => {}
                }
            }
            let repo = open(dir.path()).unwrap();
            proptest::prop_assert_eq!(repo.peer_id(), peer);
            let mut batch = Batch::new();
            batch.put("t", b"k".to_vec(), b"v".to_vec());
            repo.state().commit(batch.clone(), Durability::Immediate).unwrap();
            repo.soft().commit(batch, Durability::Lazy).unwrap();
            drop(repo);
            proptest::prop_assert!(open(dir.path()).unwrap().state().get("t", b"k").unwrap().is_some());
        }
    }

    #[test]
    fn strange_folders_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        Repo::init(dir.path()).unwrap();
        fs::write(dir.path().join(VERSION_FILE), "99").unwrap();
        assert!(matches!(open(dir.path()), Err(StoreError::Layout { .. })));
        fs::write(dir.path().join(VERSION_FILE), LAYOUT).unwrap();
        fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        assert!(matches!(open(dir.path()), Err(StoreError::Layout { .. })));
        let kubo = tempfile::tempdir().unwrap();
        fs::write(kubo.path().join("datastore_spec"), "{}").unwrap();
        assert!(matches!(Repo::init(kubo.path()), Err(StoreError::Layout { .. })));
    }

    #[tokio::test]
    async fn logs_and_files_are_opened_once() {
        let dir = tempfile::tempdir().unwrap();
        let repo = open(dir.path()).unwrap();
        let (wal, _) = repo.open_wal("cluster").unwrap();
        assert!(repo.open_wal("cluster").is_err());
        wal.save_vote(vec![1]).await.unwrap();
        drop(wal);
        assert_eq!(repo.open_wal("cluster").unwrap().1.vote, Some(vec![1]));
        assert!(repo.open_wal("../x").is_err());
        let kv = repo.open_kv("cluster").unwrap();
        let mut batch = Batch::new();
        batch.put("t", b"k".to_vec(), b"v".to_vec());
        kv.commit(batch, Durability::Lazy).unwrap();
        assert!(repo.open_kv("cluster").unwrap().get("t", b"k").unwrap().is_some());
        assert!(repo.state().get("t", b"k").unwrap().is_none());
    }
}
