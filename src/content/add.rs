//! Turning bytes into stored blocks: read, hash in parallel, build, put in batches.

use std::{collections::VecDeque, io, sync::Arc, task::Poll};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, future::BoxFuture, poll, stream};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::{AddEvent, AddOptions, Added, Content, ContentError, News};
use crate::{
    base::Cid,
    dag::{
        Chunking, ImportParams, Layout, OutBlock,
        chunk::Chunker,
        file::{self, FileRoot, TreeBuilder},
        unixfs::Attributes,
    },
    store::{Blocks, NewBlock, PinKind, StoreError, blocks::Adding},
};

/// Chunks below this are hashed where they are: handing them to another thread costs more.
const INLINE_HASH_BYTES: usize = 16 * 1024;
/// A batch is put when it has this many bytes or blocks.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
const BATCH_BLOCKS: usize = 1024;
/// Batches being stored while the next one is read and hashed.
const BATCHES_FLYING: usize = 2;
/// The disk is set to work whenever so many bytes are stored, so that little is left to wait for at the end.
const SYNC_BYTES: usize = 64 * 1024 * 1024;

/// Collects blocks and puts them in batches.
pub(super) struct Sink {
    blocks: Option<Blocks>,
    /// Until the root is kept, nothing of it is collected.
    _adding: Option<Adding>,
    batch: Vec<NewBlock>,
    bytes: usize,
    /// Batches on their way, in order.
    flying: VecDeque<BoxFuture<'static, Result<(), StoreError>>>,
    /// Bytes put since the disk was set to work.
    unsynced: usize,
    /// Blocks taken so far.
    pub(super) count: u64,
}

impl Sink {
    pub(super) fn new(content: &Content, options: &AddOptions) -> Self {
        let blocks = (!options.only_hash).then(|| content.repo.blocks().clone());
        let _adding = blocks.as_ref().map(Blocks::adding);
        Sink { blocks, _adding, batch: Vec::new(), bytes: 0, flying: VecDeque::new(), unsynced: 0, count: 0 }
    }

    pub(super) async fn put(&mut self, out: OutBlock) -> Result<(), ContentError> {
        self.count += 1;
        if self.blocks.is_none() {
            return Ok(());
        }
        self.bytes += out.block.data().len();
        self.batch.push(NewBlock { block: out.block, links: out.links });
        if self.bytes >= BATCH_BYTES || self.batch.len() >= BATCH_BLOCKS { self.flush().await } else { Ok(()) }
    }

    /// Sends the batch on its way, and waits while too many are.
    async fn flush(&mut self) -> Result<(), ContentError> {
        let bytes = std::mem::take(&mut self.bytes);
        let Some(blocks) = self.blocks.clone().filter(|_| !self.batch.is_empty()) else { return Ok(()) };
        self.unsynced += bytes;
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            // Begun here, waited for at the end; so is its error heard there.
            let _ = blocks.sync().now_or_never();
        }
        let batch = std::mem::take(&mut self.batch);
        let mut put: BoxFuture<'static, _> = Box::pin(async move { blocks.put(batch).await });
        match poll!(put.as_mut()) {
            Poll::Ready(done) => done?,
            Poll::Pending => self.flying.push_back(put),
        }
        self.land(BATCHES_FLYING).await
    }

    /// Waits until at most so many batches are on their way.
    async fn land(&mut self, most: usize) -> Result<(), ContentError> {
        while self.flying.len() > most
            && let Some(put) = self.flying.pop_front()
        {
            put.await?;
        }
        Ok(())
    }

    /// Puts what is left and waits until everything put so far is durable.
    pub(super) async fn finish(&mut self) -> Result<(), ContentError> {
        self.flush().await?;
        self.land(0).await?;
        match &self.blocks {
            Some(blocks) => Ok(blocks.sync().await?),
            None => Ok(()),
        }
    }
}

/// How many chunks are hashed at a time.
fn lanes() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get() + 1).clamp(2, 16)
}

async fn hash(
    params: Arc<ImportParams>,
    chunk: Bytes,
    attributes: Attributes,
) -> Result<(OutBlock, FileRoot), ContentError> {
    if chunk.len() <= INLINE_HASH_BYTES {
        return Ok(file::leaf_with(&params, chunk, &attributes)?);
    }
    let leaf = tokio::task::spawn_blocking(move || file::leaf_with(&params, chunk, &attributes));
    Ok(leaf.await.map_err(ContentError::joined)??)
}

/// Imports one file from its chunks, which must be cut already. `progress` hears the bytes so far.
pub(super) async fn import(
    params: &Arc<ImportParams>,
    attributes: &Attributes,
    chunks: impl Stream<Item = Result<Bytes, ContentError>> + Send,
    sink: &mut Sink,
    mut progress: impl FnMut(u64) + Send,
) -> Result<FileRoot, ContentError> {
    let mut chunks = std::pin::pin!(chunks);
    let first = chunks.try_next().await?;
    let second = if first.is_some() { chunks.try_next().await? } else { None };
    if second.is_none() && params.layout == Layout::Balanced {
        let (leaf, root) = hash(params.clone(), first.unwrap_or_default(), *attributes).await?;
        sink.put(leaf).await?;
        progress(root.size);
        return Ok(root);
    }
    let mut tree = TreeBuilder::new((**params).clone())?;
    let chunks = stream::iter(first.into_iter().chain(second).map(Ok)).chain(chunks);
    let mut leaves = chunks.map_ok(|chunk| hash(params.clone(), chunk, Attributes::default())).try_buffered(lanes());
    let mut bytes = 0;
    while let Some((out, root)) = leaves.try_next().await? {
        sink.put(out).await?;
        bytes += root.size;
        progress(bytes);
        for node in tree.push(root)? {
            sink.put(node).await?;
        }
    }
    let (rest, root) = tree.finish(attributes)?;
    for node in rest {
        sink.put(node).await?;
    }
    Ok(root)
}

/// Cuts a stream of pieces of any size into chunks.
pub(super) fn cut(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send,
    chunking: Chunking,
) -> impl Stream<Item = Result<Bytes, ContentError>> + Send {
    let state = (Box::pin(pieces), Some(Chunker::new(chunking)));
    futures::stream::try_unfold(state, |(mut pieces, mut chunker)| async move {
        loop {
            let Some(cutter) = &mut chunker else { return Ok(None) };
            if let Some(chunk) = cutter.next_chunk() {
                return Ok(Some((chunk, (pieces, chunker))));
            }
            match pieces.next().await {
                Some(piece) => cutter.push(piece.map_err(ContentError::Input)?),
                None => {
                    let last = chunker.take().and_then(Chunker::finish);
                    return Ok(last.map(|chunk| (chunk, (pieces, None))));
                }
            }
        }
    })
}

impl Content {
    /// Adds one file from a stream of pieces of any size. Returns when it is durable, pinned if asked, and queued to be
    /// announced.
    pub async fn add_stream(
        &self,
        source: impl Stream<Item = io::Result<Bytes>> + Send,
        options: AddOptions,
    ) -> Result<Added, ContentError> {
        let params = Arc::new(options.params.clone());
        params.validate()?;
        let mut sink = Sink::new(self, &options);
        let progress = |bytes| tell_progress(&options, "", bytes);
        let kept = options.attributes(&Attributes::default());
        let root = import(&params, &kept, cut(source, params.chunker), &mut sink, progress).await?;
        sink.finish().await?;
        let FileRoot { cid, size, tsize } = root;
        let (path, attributes) = (String::new(), Attributes::default());
        let added = Added { path, cid, size, tsize, blocks: sink.count, attributes };
        self.keep(&root.cid, &options).await?;
        tell(&options, &added).await;
        Ok(added)
    }

    /// Adds one file from a reader.
    pub async fn add_reader(&self, source: impl AsyncRead + Send, options: AddOptions) -> Result<Added, ContentError> {
        let pieces = ReaderStream::with_capacity(source, options.params.chunker.max_bytes().clamp(4096, 1 << 20));
        self.add_stream(pieces, options).await
    }

    /// Adds one file from memory.
    pub async fn add_bytes(&self, bytes: impl Into<Bytes>, options: AddOptions) -> Result<Added, ContentError> {
        let bytes = bytes.into();
        self.add_stream(futures::stream::once(std::future::ready(Ok(bytes))), options).await
    }

    /// Pins or holds a root whose blocks are durable, and has it announced.
    pub(super) async fn keep(&self, root: &Cid, options: &AddOptions) -> Result<(), ContentError> {
        if options.only_hash {
            return Ok(());
        }
        if let Some(owner) = &options.hold {
            self.repo.pins().hold(owner, root).await?;
        }
        if options.pin {
            self.repo.pins().add(root, PinKind::Recursive, options.pin_name.clone()).await?;
        }
        self.announce(root).await;
        Ok(())
    }

    /// Has a root announced to the network, when there is one.
    pub async fn announce(&self, root: &Cid) {
        if let Some(routing) = &self.routing {
            routing.provide(root).await;
        }
    }
}

/// Tells progress unless the listener lags behind.
pub(super) fn tell_progress(options: &AddOptions, path: &str, bytes: u64) {
    if let Some(events) = options.events.as_ref().filter(|_| options.news == News::All)
        && events.capacity() > 1
    {
        let _ = events.try_send(AddEvent::Progress { path: path.to_owned(), bytes });
    }
}

/// Tells that something was added; a listener that has gone does not matter.
pub(super) async fn tell(options: &AddOptions, added: &Added) {
    if let Some(events) = options.events.as_ref().filter(|_| options.news != News::Roots || !added.path.contains('/')) {
        let _ = events.send(AddEvent::Added(Box::new(added.clone()))).await;
    }
}
