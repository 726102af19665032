//! Pins, and whether a whole DAG is here.

use std::collections::HashSet;

use futures::{Stream, StreamExt, TryStreamExt, stream::FuturesUnordered};
use sha2::Digest;

use super::{
    Content, ContentError, PinEntry, PinFilter, PinType,
    source::{Source, driven, gone},
};
use crate::{
    base::Cid,
    store::{Pin, PinKind},
};

/// Blocks asked for at a time while a DAG is fetched.
const FETCH_LANES: usize = 64;
/// Pins read from the store at a time.
const PAGE: usize = 512;

/// CIDs seen, 16 bytes each: hashed, so that nobody can make two that collide, whatever their own hash function.
#[derive(Default)]
pub(super) struct Seen(HashSet<[u8; 16]>);

impl Seen {
    /// Whether it is new.
    pub(super) fn insert(&mut self, cid: &Cid) -> bool {
        self.0.insert(Self::key(cid))
    }

    /// Whether it was seen before.
    pub(super) fn contains(&self, cid: &Cid) -> bool {
        self.0.contains(&Self::key(cid))
    }

    fn key(cid: &Cid) -> [u8; 16] {
        let digest = sha2::Sha256::digest(cid.to_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        key
    }
}

impl Content {
    /// Pins: fetches what is missing, makes it durable, then records the pin. True when it was not pinned so before.
    pub async fn pin(&self, cid: &Cid, kind: PinKind, name: Option<String>) -> Result<bool, ContentError> {
        let source = self.source(*cid);
        match kind {
            PinKind::Recursive => {
                fetch_all(&source, *cid).await?;
            }
            PinKind::Direct => {
                source.get(cid).await?;
            }
        }
        self.repo.blocks().sync().await?;
        let new = self.repo.pins().add(cid, kind, name).await?;
        self.announce(cid).await;
        Ok(new)
    }

    /// Fetches a whole DAG into the local store and makes it durable; gives its number of different blocks.
    pub async fn fetch(&self, cid: &Cid) -> Result<u64, ContentError> {
        let blocks = fetch_all(&self.source(*cid), *cid).await?;
        self.repo.blocks().sync().await?;
        Ok(blocks)
    }

    /// Removes a pin, of this kind or of whatever kind it is.
    pub async fn unpin(&self, cid: &Cid, kind: Option<PinKind>) -> Result<(), ContentError> {
        if self.repo.pins().remove(cid, kind).await? {
            return Ok(());
        }
        let hint = match (self.repo.pins().get(cid)?, kind) {
            (Some(pin), _) if pin.kind == PinKind::Recursive => " directly; it is pinned recursively",
            (Some(_), _) => " recursively; it is pinned directly",
            (None, _) => "; list-pins shows what is (what lies below a recursive pin cannot be unpinned alone)",
        };
        Err(ContentError::NotPinned { cid: Box::new(*cid), hint })
    }

    /// The pins, as a stream. Indirect ones are found by walking the recursive ones locally; each is named once.
    pub fn pins(
        &self,
        filter: PinFilter,
    ) -> impl Stream<Item = Result<PinEntry, ContentError>> + Send + Unpin + 'static {
        let content = self.clone();
        driven(64, move |sender| async move {
            let mut after = None;
            let mut seen = Seen::default();
            if filter != PinFilter::Only(PinType::Indirect) {
                loop {
                    let page = content.page(after.as_ref()).await?;
                    let Some(last) = page.last() else { break };
                    after = Some(last.cid);
                    for pin in page {
                        seen.insert(&pin.cid);
                        let kind = pin_type(pin.kind);
                        if matches!(filter, PinFilter::All | PinFilter::Roots) || filter == PinFilter::Only(kind) {
                            let entry = PinEntry { cid: pin.cid, kind, name: pin.name };
                            sender.send(Ok(entry)).await.map_err(gone)?;
                        }
                    }
                }
            }
            if !matches!(filter, PinFilter::All | PinFilter::Only(PinType::Indirect)) {
                return Ok(());
            }
            let mut walked = Seen::default();
            let mut after = None;
            loop {
                let page = content.page(after.as_ref()).await?;
                let Some(last) = page.last() else { return Ok(()) };
                after = Some(last.cid);
                for pin in page.into_iter().filter(|pin| pin.kind == PinKind::Recursive) {
                    let source = content.source(pin.cid).offline();
                    let mut open = vec![pin.cid];
                    while let Some(cid) = open.pop() {
                        if !walked.insert(&cid) {
                            continue;
                        }
                        for below in source.links(&cid).await? {
                            if seen.insert(&below) {
                                let entry = PinEntry { cid: below, kind: PinType::Indirect, name: None };
                                sender.send(Ok(entry)).await.map_err(gone)?;
                            }
                            open.push(below);
                        }
                    }
                }
            }
        })
    }

    /// The pins, collected.
    pub async fn list_pins(&self, filter: PinFilter) -> Result<Vec<PinEntry>, ContentError> {
        self.pins(filter).try_collect().await
    }

    /// How one CID is pinned by itself, if it is.
    pub fn pinned(&self, cid: &Cid) -> Result<Option<PinEntry>, ContentError> {
        let pin = self.repo.pins().get(cid)?;
        Ok(pin.map(|pin| PinEntry { cid: pin.cid, kind: pin_type(pin.kind), name: pin.name }))
    }

    /// Recursive pins behind `after`, at most `limit`: the roots to announce again after a restart.
    pub async fn roots(&self, after: Option<Cid>, limit: usize) -> Result<Vec<Cid>, ContentError> {
        let pins = self.repo.pins().clone();
        let page = tokio::task::spawn_blocking(move || pins.list(after.as_ref(), limit));
        let page = page.await.map_err(ContentError::joined)??;
        Ok(page.into_iter().map(|pin| pin.cid).collect())
    }

    /// Whether the whole DAG is here. The network is not asked.
    pub async fn holds(&self, cid: &Cid) -> Result<bool, ContentError> {
        // A recursive pin is recorded only when everything below is here and durable.
        if self.repo.pins().get(cid)?.is_some_and(|pin| pin.kind == PinKind::Recursive) {
            return Ok(true);
        }
        let source = self.source(*cid).offline();
        let mut seen = Seen::default();
        let mut open = vec![*cid];
        while let Some(cid) = open.pop() {
            if !seen.insert(&cid) {
                continue;
            }
            match source.links(&cid).await {
                Ok(links) => open.extend(links),
                Err(ContentError::NotFoundOffline { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn page(&self, after: Option<&Cid>) -> Result<Vec<Pin>, ContentError> {
        let (pins, after) = (self.repo.pins().clone(), after.copied());
        let page = tokio::task::spawn_blocking(move || pins.list(after.as_ref(), PAGE));
        Ok(page.await.map_err(ContentError::joined)??)
    }
}

fn pin_type(kind: PinKind) -> PinType {
    match kind {
        PinKind::Recursive => PinType::Recursive,
        PinKind::Direct => PinType::Direct,
    }
}

/// Walks a DAG, fetching what is missing; gives the number of different blocks.
pub(super) async fn fetch_all(source: &Source, root: Cid) -> Result<u64, ContentError> {
    let mut seen = Seen::default();
    seen.insert(&root);
    let mut open = vec![root];
    let mut coming = FuturesUnordered::new();
    let mut blocks = 0;
    loop {
        while coming.len() < FETCH_LANES {
            let Some(cid) = open.pop() else { break };
            coming.push(async move { source.links(&cid).await });
        }
        let Some(links) = coming.next().await else { return Ok(blocks) };
        blocks += 1;
        // Last in, first out: reversed, a file's blocks come in its order.
        let new: Vec<Cid> = links?.into_iter().filter(|cid| seen.insert(cid)).collect();
        open.extend(new.into_iter().rev());
    }
}
