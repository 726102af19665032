//! Where blocks come from while content is read: the local store, then the network if there is one.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::ContentError;
use crate::{
    base::{Block, Cid, cid},
    dag::{self, ImportParams, dir::DirBuilder},
    exchange::{Exchange, Session},
    store::Blocks,
};

/// The empty directory, which everybody has.
pub(crate) fn empty_dir() -> &'static Block {
    static EMPTY: OnceLock<Block> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let built = DirBuilder::new().build(&ImportParams::default());
        built.expect("the empty directory fits a block").0.block
    })
}

/// Blocks for one operation. Clones share the session, which is made at the first block that is not here.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) blocks: Blocks,
    exchange: Option<Exchange>,
    session: Arc<OnceLock<Session>>,
    root: Cid,
    timeout: Duration,
}

impl Source {
    pub(crate) fn new(blocks: Blocks, exchange: Option<Exchange>, root: Cid, timeout: Duration) -> Self {
        Source { blocks, exchange, session: Arc::default(), root, timeout }
    }

    /// The same without the network.
    pub(crate) fn offline(mut self) -> Self {
        self.exchange = None;
        self
    }

    /// The block's bytes.
    pub(crate) async fn get(&self, cid: &Cid) -> Result<Bytes, ContentError> {
        cid::admit(cid)?;
        if let Some(bytes) = self.blocks.get(cid).await? {
            return Ok(bytes);
        }
        if cid == empty_dir().cid() {
            return Ok(empty_dir().data().clone());
        }
        let Some(exchange) = &self.exchange else {
            return Err(ContentError::NotFoundOffline { cid: Box::new(*cid) });
        };
        let session = self.session.get_or_init(|| exchange.session(&self.root));
        match tokio::time::timeout(self.timeout, session.get(cid)).await {
            Ok(got) => Ok(got?),
            Err(_) => Err(session.reason(cid, self.timeout).into()),
        }
    }

    /// Has a block here, spared by collections from now on; gives its size in bytes.
    pub(crate) async fn claim(&self, cid: &Cid) -> Result<u64, ContentError> {
        if let Some(bytes) = self.blocks.claim(cid) {
            return Ok(bytes.into());
        }
        self.get(cid).await?;
        match self.blocks.claim(cid) {
            Some(bytes) => Ok(bytes.into()),
            None if cid == empty_dir().cid() => Ok(0),
            None => Err(ContentError::NotStored { cid: Box::new(*cid) }),
        }
    }

    /// The CIDs a block links to; when it is here, without reading it.
    pub(crate) async fn links(&self, cid: &Cid) -> Result<Vec<Cid>, ContentError> {
        if let Some(links) = self.blocks.links(cid).await? {
            return Ok(links);
        }
        // Not here, or here under another codec.
        let bytes = self.get(cid).await?;
        Ok(dag::links(cid, &bytes)?)
    }
}

/// Sends of a [`driven`] stream.
pub(crate) type Sender<T> = mpsc::Sender<Result<T, ContentError>>;

/// A stream whose items `produce` sends; both run in whoever polls it, and dropping it drops the work.
pub(crate) fn driven<T, P, F>(bound: usize, produce: P) -> BoxStream<'static, Result<T, ContentError>>
where
    T: Send + 'static,
    P: FnOnce(Sender<T>) -> F,
    F: Future<Output = Result<(), ContentError>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(bound);
    let errors = sender.clone();
    let work = produce(sender);
    let run = async move {
        if let Err(error) = work.await {
            let _ = errors.send(Err(error)).await;
        }
    };
    stream::select(ReceiverStream::new(receiver), run.into_stream().filter_map(|()| std::future::ready(None))).boxed()
}

/// What a send into a stream that is gone comes to; nobody sees it.
pub(crate) fn gone<E>(_: E) -> ContentError {
    ContentError::Internal { what: "the reader is gone".into() }
}
