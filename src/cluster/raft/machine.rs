//! openraft's state machine over a key-value file: entries in, one lazy commit for each batch, replies and events out.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StoredMembership, storage::RaftStateMachine,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::broadcast, task::spawn_blocking};

use crate::{
    base::{cbor, random},
    cluster::state::{Entry, Event, KvTables, Overlay, apply, tables},
    store::{Batch, Durability, Kv},
};

use super::{
    snapshot::{self, SnapshotFile},
    types::{
        CommittedLeaderId, LogIdOf, MasterNode, Replies, SnapshotMetaOf, StoredMembershipOf, TypeConfig, decode_small,
    },
};

/// The table of what Raft itself keeps beside the state.
pub(crate) const RAFT_TABLE: &str = "raft";
/// The key of [`Applied`].
pub(crate) const APPLIED: &[u8] = b"applied";
/// Entries committed at once while applying.
const APPLY_BATCH: usize = 256;
/// Name of the snapshot's file in its folder.
const CURRENT: &str = "current.snapshot";

type SnapshotOf = Snapshot<CommittedLeaderId, u64, MasterNode, SnapshotFile>;

/// How far the state has come; written in the same commit as the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub last: Option<LogIdOf>,
    pub membership: StoredMembershipOf,
}

/// The state machine. Cheap to clone; clones are the same machine.
#[derive(Clone)]
pub(crate) struct Machine {
    kv: Arc<dyn Kv>,
    folder: PathBuf,
    applied: Arc<Mutex<Applied>>,
    events: broadcast::Sender<(u64, Event)>,
    /// Held while the current snapshot's file is replaced: building and receiving may end at the same time.
    files: Arc<Mutex<()>>,
}

impl Machine {
    /// Opens the state in `kv` and its snapshots in `folder`; a snapshot that is ahead of the state is installed, since
    /// a crash may have come between the two.
    pub fn open(kv: Arc<dyn Kv>, folder: &Path, events: broadcast::Sender<(u64, Event)>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name != CURRENT) {
                fs::remove_file(path)?;
            }
        }
        let mut applied = read_applied(&*kv)?;
        let current = folder.join(CURRENT);
        if current.try_exists()? && snapshot::meta(&current)?.last_log_id > applied.last {
            snapshot::install(&current, &*kv)?;
            applied = read_applied(&*kv)?;
        }
        Ok(Machine { kv, folder: folder.into(), applied: Arc::new(Mutex::new(applied)), events, files: Arc::default() })
    }

    fn known(&self) -> Applied {
        self.applied.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn know(&self, applied: Applied) {
        *self.applied.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = applied;
    }

    /// The last entry applied.
    pub fn applied(&self) -> Option<LogIdOf> {
        self.known().last
    }

    /// The last entry the current snapshot covers.
    pub fn snapshot(&self) -> io::Result<Option<LogIdOf>> {
        let current = self.folder.join(CURRENT);
        Ok(if current.try_exists()? { snapshot::meta(&current)?.last_log_id } else { None })
    }

    /// Where a snapshot that is being received can be written; removed at the next start if it stays there.
    pub fn inbox(&self) -> PathBuf {
        self.folder.join(format!("received-{:016x}", random::u64()))
    }

    /// Makes everything applied so far durable.
    pub async fn sync(&self) -> io::Result<()> {
        let kv = self.kv.clone();
        blocking(move || kv.sync().map_err(io::Error::other)).await
    }
}

fn read_applied(kv: &dyn Kv) -> io::Result<Applied> {
    match kv.get(RAFT_TABLE, APPLIED).map_err(io::Error::other)? {
        Some(bytes) => decode_small(&bytes),
        None => Ok(Applied::default()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf>, StoredMembershipOf)> {
        let Applied { last, membership } = self.known();
        Ok((last, membership))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<openraft::storage::EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.chunks(APPLY_BATCH);
        while let Some(chunk) = chunks.next().await {
            let mut applied = self.known();
            let mut answers = Vec::with_capacity(chunk.len());
            let mut events = Vec::new();
            let base = KvTables(self.kv.clone());
            let mut view = Overlay::new(&base);
            for item in chunk {
                let (entry, responder) = item?;
                let index = entry.log_id.index;
                let mut replies = Replies::default();
                match entry.payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Normal(logged) => {
                        let bad = |e: cbor::CborError| io::Error::new(io::ErrorKind::InvalidData, e.to_string());
                        let entry = Entry::decode(&logged.0).map_err(bad)?;
                        let done = apply(&mut view, index, &entry).map_err(io::Error::other)?;
                        replies.0 = done.replies;
                        events.extend(done.events.into_iter().map(|event| (index, event)));
                    }
                    EntryPayload::Membership(membership) => {
                        applied.membership = StoredMembership::new(Some(entry.log_id), membership);
                    }
                }
                applied.last = Some(entry.log_id);
                if let Some(responder) = responder {
                    answers.push((responder, replies));
                }
            }
            let mut batch = Batch::new();
            tables::fill(&mut batch, view.into_changes());
            batch.put(RAFT_TABLE, APPLIED, cbor::to_vec(&applied));
            self.kv.commit(batch, Durability::Lazy).map_err(io::Error::other)?;
            self.know(applied);
            for (responder, replies) in answers {
                responder.send(replies);
            }
            for event in events {
                // Nobody listening is no error.
                let _ = self.events.send(event);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { machine: self.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf, snapshot: SnapshotFile) -> io::Result<()> {
        let (kv, current, received) = (self.kv.clone(), self.folder.join(CURRENT), snapshot.path);
        let files = self.files.clone();
        let expected = meta.clone();
        let meta = blocking(move || {
            if snapshot::meta(&received)? != expected {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "another snapshot than was announced"));
            }
            if received != current {
                snapshot::check(&received)?;
                // The file first: a crash before the commit installs it again at the next start.
                let _lock = files.lock();
                snapshot::place(&received, &current)?;
            }
            snapshot::install(&current, &*kv)
        })
        .await?;
        self.know(Applied { last: meta.last_log_id, membership: meta.last_membership.clone() });
        let _ = self.events.send((meta.last_log_id.map_or(0, |id| id.index), Event::Reloaded));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf>> {
        let current = self.folder.join(CURRENT);
        blocking(move || {
            if !current.try_exists()? {
                return Ok(None);
            }
            let snapshot = SnapshotFile::open(&current)?;
            Ok(Some(Snapshot { meta: snapshot::meta(&current)?, snapshot }))
        })
        .await
    }
}

/// Builds a snapshot beside the Raft task.
pub(crate) struct Builder {
    machine: Machine,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf> {
        let Machine { kv, folder, files, .. } = self.machine.clone();
        blocking(move || {
            // The state the snapshot covers becomes durable first: the log behind it may be purged.
            kv.sync().map_err(io::Error::other)?;
            let (current, building) = (folder.join(CURRENT), folder.join(format!("building-{:016x}", random::u64())));
            let meta = snapshot::write(&*kv, &building)?;
            let _lock = files.lock();
            snapshot::place(&building, &current)?;
            Ok(Snapshot { meta, snapshot: SnapshotFile::open(&current)? })
        })
        .await
    }
}
