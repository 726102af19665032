//! Garbage collection: what no root reaches is removed while the node serves.
//!
//! Roots are pins, what tasks and the cluster hold, the files tree (as it is durable, and as it is seen), and what is
//! under way. Additions hold what they have put or found by [`crate::store::blocks::Adding`], from their first block until
//! they are pinned.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures::Stream;
use tokio::{
    runtime::Handle,
    sync::{
        Mutex, OwnedMutexGuard,
        mpsc::{self, error::TrySendError},
    },
};

use super::{
    Content, ContentError,
    source::{Source, driven, empty_dir, gone},
};
use crate::{
    base::Cid,
    dag,
    store::{
        PinKind,
        blocks::{Collection, Keeper, SLICE, TIDY_PERCENT, Walked},
    },
};

/// Blocks walked between two looks at whether anybody still wants it.
const WALK: usize = 4096;
/// Pins read at a time.
const PAGE: usize = 4096;
/// Names of removed blocks that wait for their reader.
const TOLD: usize = 1024;
/// How long the reader of the names may not listen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often places of the dead are listed anew, when some have moved.
const ROUNDS: usize = 4;
/// The share of garbage at which a segment is compacted when the limit is near, in percent.
const NEAR_LIMIT_PERCENT: u8 = 5;

/// Who collects: one at a time, others wait.
pub(super) type Turn = Arc<Mutex<()>>;

impl Content {
    /// Removes every block that no root reaches, and then gives the disk back what they took. The stream names what was
    /// removed, as raw blocks, for blocks are kept by their hash; dropping it stops the collection. When something that
    /// is pinned or held is missing, it cannot be told what lies below it: that is an error and nothing is removed.
    pub fn collect(&self) -> impl Stream<Item = Result<Cid, ContentError>> + Send + Unpin + 'static {
        let content = self.clone();
        driven(TOLD, move |sender| async move {
            let turn = Arc::clone(&content.collecting).lock_owned().await;
            let run = Run { content: content.offline(), sender, runtime: Handle::current(), _turn: turn };
            tokio::task::spawn_blocking(move || run.all()).await.map_err(ContentError::joined)?
        })
    }

    /// Has a collection that is under way keep a new root and what lies below it. The root must be in its place.
    pub(crate) async fn protect(&self, root: Cid) -> Result<(), ContentError> {
        let Some(keeper) = self.repo.blocks().keeper() else { return Ok(()) };
        let (source, runtime) = (self.source(root).offline(), Handle::current());
        let walk = move || {
            let mut walk = Walk { keeper, source, runtime, strict: false };
            walk.keeper.keep(&root);
            walk.below(|| Ok(()))
        };
        tokio::task::spawn_blocking(walk).await.map_err(ContentError::joined)?
    }
}

/// A walk from roots, and what it needs to read blocks whose links are not stored.
struct Walk<K> {
    keeper: K,
    source: Source,
    runtime: Handle,
    /// Whether all must be here.
    strict: bool,
}

impl<K: AsMut<Keeper>> Walk<K> {
    /// Walks what lies below the roots that were kept; `wanted` fails when nobody waits any more.
    fn below(&mut self, wanted: impl Fn() -> Result<(), ContentError>) -> Result<(), ContentError> {
        loop {
            match self.keeper.as_mut().walk(WALK)? {
                Walked::End => return Ok(()),
                Walked::More => wanted()?,
                Walked::Missing(cid) if !self.strict || cid == *empty_dir().cid() => {}
                Walked::Missing(cid) => return Err(ContentError::KeptMissing { cid: Box::new(cid) }),
                Walked::Unread(cid) => {
                    let read = self.runtime.block_on(self.source.get(&cid));
                    match read.and_then(|bytes| Ok(dag::links(&cid, &bytes)?)) {
                        Ok(links) => links.iter().for_each(|link| self.keeper.as_mut().keep(link)),
                        Err(error) if self.strict => return Err(error),
                        Err(_) => {}
                    }
                }
            }
        }
    }
}

struct Run {
    content: Content,
    sender: mpsc::Sender<Result<Cid, ContentError>>,
    runtime: Handle,
    _turn: OwnedMutexGuard<()>,
}

impl Run {
    fn all(self) -> Result<(), ContentError> {
        let blocks = self.content.repo.blocks();
        let mut collection = blocks.collect()?;
        self.mark(&mut collection)?;
        let removed = self.sweep(&collection)?;
        drop(collection);
        if removed > 0 {
            self.runtime.block_on(blocks.sync())?;
        }
        let near = blocks.limit().is_some_and(|limit| blocks.stat().disk_bytes > limit / 10 * 8);
        let least = if near { NEAR_LIMIT_PERCENT } else { TIDY_PERCENT };
        // On the runtime, where it ends with whoever waits for it.
        let compacted = self.runtime.block_on(async {
            tokio::select! {
                done = blocks.compact(least) => done,
                () = self.sender.closed() => Ok(Default::default()),
            }
        })?;
        tracing::info!(removed, disk_bytes = compacted.removed_bytes, "garbage was collected");
        Ok(())
    }

    fn wanted(&self) -> Result<(), ContentError> {
        if self.sender.is_closed() { Err(gone(())) } else { Ok(()) }
    }

    /// Names a removed block. Whoever does not listen for long counts as gone: others wait for their turn.
    fn tell(&self, cid: Cid) -> Result<(), ContentError> {
        match self.sender.try_send(Ok(cid)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(gone(())),
            Err(TrySendError::Full(item)) => {
                self.runtime.block_on(self.sender.send_timeout(item, PATIENCE)).map_err(gone)
            }
        }
    }

    /// Keeps what roots reach. All roots are asked for after the collection has begun: one that comes later protects
    /// itself.
    fn mark(&self, collection: &mut Collection) -> Result<(), ContentError> {
        let repo = &self.content.repo;
        let (source, runtime) = (self.content.source(*empty_dir().cid()).offline(), self.runtime.clone());
        let mut walk = Walk { keeper: collection.keeper(), source, runtime, strict: true };
        let mut after = None;
        loop {
            let page = repo.pins().list(after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.cid);
            for pin in page {
                match pin.kind {
                    PinKind::Recursive => walk.keeper.keep(&pin.cid),
                    PinKind::Direct => walk.keeper.keep_alone(&pin.cid),
                }
                walk.below(|| self.wanted())?;
            }
        }
        for (_, cid) in repo.pins().holds("")? {
            walk.keeper.keep(&cid);
            walk.below(|| self.wanted())?;
        }
        // Of the files tree and of what is being fetched only what is here can be kept.
        walk.strict = false;
        let files = [Some(self.content.files().root()?), repo.files_root()?];
        for root in files.into_iter().flatten().chain(repo.pins().roots_under_way()) {
            walk.keeper.keep(&root);
            walk.below(|| self.wanted())?;
        }
        Ok(())
    }

    /// Removes the dead, and names them; gives how many.
    fn sweep(&self, collection: &Collection) -> Result<u64, ContentError> {
        let mut removed = 0;
        for _ in 0..ROUNDS {
            let before = removed;
            for slice in collection.dead().chunks(SLICE) {
                self.wanted()?;
                for cid in collection.remove(slice)? {
                    removed += 1;
                    self.tell(cid)?;
                }
            }
            if removed == before {
                break;
            }
        }
        Ok(removed)
    }
}
