//! Walking a DAG of files and directories in the order it is written somewhere.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::{
    Stream,
    future::{BoxFuture, MaybeDone, maybe_done},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Content, ContentError, TreeEvent,
    read::{node, send_file},
    source::{Sender, Source, driven, gone},
    tree::MAX_DEPTH,
};
use crate::{
    base::{Cid, Codec},
    dag::{
        DagError, pb,
        read::{DEFAULT_WINDOW_BYTES, Entry, Node},
        unixfs::{Attributes, UnixFs},
    },
};

/// Blocks asked for ahead in all directories of one walk together.
const AHEAD_BLOCKS: usize = 64;
/// Of these, in one directory.
const AHEAD_IN_DIR: usize = 32;

impl Content {
    /// A file, a symbolic link or a whole directory, in the order it is written. Entries of a directory are fetched
    /// ahead, so that many small files do not cost a round trip each.
    pub fn walk(&self, root: Cid) -> impl Stream<Item = Result<TreeEvent, ContentError>> + Send + Unpin + 'static {
        let source = self.source(root);
        driven(8, move |sender| async move {
            let bytes = source.get(&root).await?;
            let walk = Walk { source, sender, permits: Arc::new(Semaphore::new(AHEAD_BLOCKS)) };
            walk.node(root, bytes, Vec::new()).await
        })
    }
}

type Coming = Pin<Box<MaybeDone<BoxFuture<'static, Result<Bytes, ContentError>>>>>;

struct Walk {
    source: Source,
    sender: Sender<TreeEvent>,
    permits: Arc<Semaphore>,
}

impl Walk {
    async fn say(&self, event: TreeEvent) -> Result<(), ContentError> {
        self.sender.send(Ok(event)).await.map_err(gone)
    }

    fn node<'a>(&'a self, cid: Cid, bytes: Bytes, path: Vec<Vec<u8>>) -> BoxFuture<'a, Result<(), ContentError>> {
        Box::pin(async move {
            if path.len() > MAX_DEPTH {
                let (count, limit) = (path.len() as u64, MAX_DEPTH as u64);
                return Err(DagError::TooLarge { what: "levels of folders", count, limit }.into());
            }
            let attributes = attributes(&cid, &bytes);
            if !attributes.is_empty() {
                self.say(TreeEvent::Attributes(attributes)).await?;
            }
            match node(&self.source, &cid, &bytes).await? {
                Node::Symlink(target) => self.say(TreeEvent::Symlink { path, target }).await,
                Node::File(file) => {
                    self.say(TreeEvent::File { path, size: file.size }).await?;
                    drop(file);
                    let (all, window) = (0..u64::MAX, DEFAULT_WINDOW_BYTES);
                    send_file(&self.source, cid, Some(bytes), all, window, &self.sender, TreeEvent::Data).await
                }
                Node::Directory(entries) => {
                    drop(bytes);
                    self.say(TreeEvent::Dir { path: path.clone() }).await?;
                    self.dir(entries, path).await
                }
            }
        })
    }

    async fn dir(&self, entries: Vec<Entry>, path: Vec<Vec<u8>>) -> Result<(), ContentError> {
        let mut rest = entries.into_iter();
        let mut ahead: VecDeque<(Entry, Coming, Option<OwnedSemaphorePermit>)> = VecDeque::new();
        loop {
            while ahead.len() < AHEAD_IN_DIR {
                // Only the first may go without a permit: deep trees then still move on, but hold little.
                let permit = self.permits.clone().try_acquire_owned().ok();
                if permit.is_none() && !ahead.is_empty() {
                    break;
                }
                let Some(entry) = rest.next() else { break };
                let (source, cid) = (self.source.clone(), entry.cid);
                let get: BoxFuture<'static, _> = Box::pin(async move { source.get(&cid).await });
                let mut coming = Box::pin(maybe_done(get));
                // Polled once, so that it is on its way while the ones before it are written.
                let _ = futures::poll!(coming.as_mut());
                ahead.push_back((entry, coming, permit));
            }
            let Some((entry, mut coming, permit)) = ahead.pop_front() else { return Ok(()) };
            coming.as_mut().await;
            let bytes = coming.as_mut().take_output().expect("it was waited for")?;
            drop((coming, permit));
            let mut below = path.clone();
            below.push(entry.name);
            self.node(entry.cid, bytes, below).await?;
        }
    }
}

/// What a node says of itself; what is no node says nothing, and is refused where it is read.
fn attributes(cid: &Cid, bytes: &Bytes) -> Attributes {
    let data = (Codec::from(cid.codec()) == Codec::DagPb).then(|| pb::data(bytes).ok().flatten()).flatten();
    data.and_then(|data| UnixFs::decode(&data).ok()).map(|node| node.attributes()).unwrap_or_default()
}
