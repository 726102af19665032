//! A session: related fetches that share what is learnt about who has their blocks.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{
    ExchangeError,
    client::{Report, SessionId},
    service::Inner,
};
use crate::{
    base::{Cid, PeerId, cid, time},
    routing::Candidate,
};

/// Bytes of blocks wanted at once by one [`Session::get_many`], and bounds of their number.
const AHEAD_BYTES: usize = 48 * 1024 * 1024;
const AHEAD_BLOCKS: std::ops::RangeInclusive<usize> = 16..=1024;
/// Results waiting to be taken from [`Session::get_many`].
const RESULTS: usize = 32;

/// Related fetches. Cheap to clone; it ends, and its wants with it, when the last clone is dropped.
#[derive(Clone)]
pub struct Session {
    handle: Arc<Handle>,
}

struct Handle {
    inner: Arc<Inner>,
    id: SessionId,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.close(self.id);
    }
}

impl Session {
    pub(super) fn new(inner: Arc<Inner>, id: SessionId) -> Self {
        Session { handle: Arc::new(Handle { inner, id }) }
    }

    /// Gives a block, from the store or from others; it is in the store before it is given. Waits until the block is
    /// here: the caller bounds the time and then asks [`Session::reason`] why it is not, or uses
    /// [`Session::get_within`]. Dropping the future takes the want back.
    pub async fn get(&self, cid: &Cid) -> Result<Bytes, ExchangeError> {
        cid::admit(cid)?;
        let inner = &self.handle.inner;
        if let Some(data) = local(inner, cid).await? {
            return Ok(data);
        }
        let (arrived, guard) = inner.want(self.handle.id, cid)?;
        // It may have been stored between looking and wanting.
        if inner.blocks.has(cid).await.map_err(|e| ExchangeError::Store(e.to_string()))?
            && let Some(data) = local(inner, cid).await?
        {
            return Ok(data);
        }
        let result = tokio::select! {
            data = arrived => data.map_err(|_| ExchangeError::Stopping),
            () = inner.tasks.stopped() => Err(ExchangeError::Stopping),
        };
        drop(guard);
        result
    }

    /// As [`Session::get`], ending with [`ExchangeError::NotFound`] and its reason after `timeout`.
    pub async fn get_within(&self, cid: &Cid, timeout: Duration) -> Result<Bytes, ExchangeError> {
        match tokio::time::timeout(timeout, self.get(cid)).await {
            Ok(result) => result,
            Err(_) => Err(self.reason(cid, timeout)),
        }
    }

    /// Gives blocks as they come, in any order, each once. At most about 48 MiB of them are wanted at once; dropping the
    /// receiver takes the wants back. The first error ends it.
    pub fn get_many(&self, cids: Vec<Cid>) -> mpsc::Receiver<Result<(Cid, Bytes), ExchangeError>> {
        let (out, results) = mpsc::channel(RESULTS);
        let session = self.clone();
        self.handle.inner.tasks.spawn("fetch many", async move {
            let closed = out.clone();
            tokio::select! {
                () = closed.closed() => {}
                () = session.pump(cids.into(), out) => {}
            }
        });
        results
    }

    async fn pump(&self, mut cids: VecDeque<Cid>, out: mpsc::Sender<Result<(Cid, Bytes), ExchangeError>>) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let ahead = (AHEAD_BYTES / self.block_bytes()).clamp(*AHEAD_BLOCKS.start(), *AHEAD_BLOCKS.end());
            while under_way.len() < ahead
                && let Some(cid) = cids.pop_front()
            {
                let session = self;
                under_way.push(async move { session.get(&cid).await.map(|data| (cid, data)) });
            }
            let Some(result) = under_way.next().await else { return };
            let failed = result.is_err();
            if out.send(result).await.is_err() || failed {
                return;
            }
        }
    }

    /// What a block of this session is expected to weigh, in bytes: for windows counted in blocks.
    pub fn block_bytes(&self) -> usize {
        self.handle.inner.fetching().client.block_bytes(self.handle.id)
    }

    /// Why `cid` has not come within `waited`.
    pub fn reason(&self, cid: &Cid, waited: Duration) -> ExchangeError {
        let Report { asked, refused, providers, .. } = self.report();
        ExchangeError::NotFound { cid: Box::new(*cid), asked, refused, providers, waited }
    }

    /// Whom the session has asked and who was named to it.
    pub fn report(&self) -> Report {
        self.handle.inner.fetching().client.report(self.handle.id)
    }

    /// The candidates that routing named for the session, with who named them.
    pub fn found(&self) -> Vec<Candidate> {
        self.handle.inner.found(self.handle.id)
    }

    /// Tells the session of a connected peer that has its blocks: it is asked for them directly.
    pub fn add_provider(&self, peer: PeerId) {
        let id = self.handle.id;
        self.handle.inner.with_client(|client, _| client.provider(id, peer, time::now()));
    }
}

async fn local(inner: &Inner, cid: &Cid) -> Result<Option<Bytes>, ExchangeError> {
    inner.blocks.get(cid).await.map_err(|e| ExchangeError::Store(e.to_string()))
}
